"""A gate's report as text, JUnit XML, GitHub's workflow commands, Markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from xml.etree import ElementTree

from tuna_eval.errors import TunaError
from tuna_eval.report.gate import GateReport, MetricChange, SuiteVerdict, TaskChange
from tuna_eval.report.gate_flips import Flip
from tuna_eval.schema import SCHEMA_VERSION

_LONGEST = 160  # characters of an output that is shown
_SHOWN_TASKS = 10


def as_text(report: GateReport) -> str:
    """Verdict, numbers and reasons, for a person at a terminal; no line begins with what a model said."""
    lines = [f"{_word(report.passed)}: {report.candidate} against {report.baseline}, {_count(report)}"]
    for verdict in report.suites:
        lines += ["", *_suite_lines(verdict)]
    lines += ["", *(f"{suite}: not compared, {reason}" for suite, reason in report.left_out.items())]
    lines.append(
        f"A gate on equal models fails in {100 * report.level:g} of 100 cases without a tolerance, less often with one "
        f"(seed {report.seed}, {report.resamples} resamples)."
    )
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _count(report: GateReport) -> str:
    passed = sum(verdict.passed for verdict in report.suites)
    return f"passed {passed} of {len(report.suites) + len(report.left_out)} benchmarks"


def _word(passed: bool) -> str:
    return "passed" if passed else "FAILED"


def _suite_lines(verdict: SuiteVerdict) -> list[str]:
    lines = [f"{verdict.suite}: {_word(verdict.passed)}, {verdict.reason}"]
    lines += [f"  {describe_runs(verdict)}"] if verdict.candidate_run else []
    lines += [f"  {describe_change(change)}" for change in (verdict.change, *verdict.others)]
    lines.append(f"  {describe_power(verdict)}")
    fallen = [task for task in verdict.tasks if task.task in verdict.fallen]
    if fallen:
        lines.append(f"  tasks that fell ({len(fallen)} of {len(verdict.tasks)}, Holm-corrected):")
        lines += [f"    {describe_task(task)}" for task in fallen[:_SHOWN_TASKS]]
    if verdict.flips:
        lines.append("  samples that fell furthest:")
        for flip in verdict.flips:
            lines.append(f"    {flip.task} {flip.id}: {flip.baseline_score:.1f} -> {flip.candidate_score:.1f}")
            lines += [f"      {who}: {text}" for who, text in _said(flip)]
    return lines


def _said(flip: Flip) -> list[tuple[str, str]]:
    """Both outputs in one line each, shortened; control characters and line ends are spelled out."""
    outputs = (("baseline", flip.baseline_output), ("candidate", flip.candidate_output))
    return [(who, _short(text)) for who, text in outputs if text is not None]


def _short(text: str) -> str:
    return json.dumps(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…", ensure_ascii=not text.isprintable())


def describe_runs(verdict: SuiteVerdict) -> str:
    """Which runs were compared: "run a/superni_0shot/01ab, baseline b/superni_0shot/23cd"."""
    return f"run {verdict.candidate_run}, baseline {verdict.baseline_run}"


def describe_change(change: MetricChange) -> str:
    """In one line: "rougeL 43.10, was 46.20: -3.10 [-4.02, -2.11], p = 0.0001"."""
    values = f"{change.metric} {change.candidate:.2f}, was {change.baseline:.2f}: {change.difference:+.2f}"
    interval = f" [{change.interval.low:+.2f}, {change.interval.high:+.2f}]" if change.interval else ""
    p = "" if change.p_value is None else f", p = {_p(change.p_value)}"
    return values + interval + p


def describe_power(verdict: SuiteVerdict) -> str:
    """Confidence, what was resampled, and the smallest drop that would be seen."""
    basis = f"{100 * (1 - 2 * verdict.level):.4g}% interval over {verdict.units} {verdict.unit}s"
    if verdict.change.interval is None:
        return f"{verdict.units} {verdict.unit}s: too few for an interval"
    if verdict.detectable_drop is None:
        return f"{basis}, which all agree"
    return f"{basis}; a true drop of {verdict.detectable_drop:.2f} is caught with {100 * verdict.power:g}% probability"


def describe_task(task: TaskChange) -> str:
    """In one line, with the p-value after Holm's correction."""
    if task.difference is None:
        return f"{task.task}: no score"
    values = f"{task.candidate:.2f}, was {task.baseline:.2f}: {task.difference:+.2f}"
    return f"{task.task}: {values}, n = {task.n}, p = {_p(task.p_holm)}"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}"


def as_json(report: GateReport) -> str:
    """The whole report as one JSON object."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(report)}, indent=2) + "\n"


def as_junit(report: GateReport) -> str:
    """One test suite, one test case for each benchmark; those that were not compared are skipped."""
    failures = sum(not verdict.passed for verdict in report.suites)
    counts = {
        "tests": str(len(report.suites) + len(report.left_out)),
        "failures": str(failures),
        "errors": "0",
        "skipped": str(len(report.left_out)),
    }
    root = ElementTree.Element("testsuites", counts)
    title = _xml(f"{report.candidate} against {report.baseline}")
    suite = ElementTree.SubElement(root, "testsuite", {"name": title, **counts})
    for verdict in report.suites:
        named = {"classname": "tuna-eval.gate", "name": f"{verdict.suite} {verdict.change.metric}"}
        case = ElementTree.SubElement(suite, "testcase", named)
        if not verdict.passed:
            failure = ElementTree.SubElement(case, "failure", {"message": verdict.reason, "type": "drop"})
            failure.text = describe_change(verdict.change)
        ElementTree.SubElement(case, "system-out").text = _xml("\n".join(_suite_lines(verdict)))
    for name, reason in report.left_out.items():
        case = ElementTree.SubElement(suite, "testcase", {"classname": "tuna-eval.gate", "name": name})
        ElementTree.SubElement(case, "skipped", {"message": reason})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """Without the characters that XML cannot hold, escaped or not."""
    return "".join(
        c if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c < "\ufffe") else "�" for c in text
    )


def as_github(report: GateReport) -> str:
    """Workflow commands: an error or a notice for each benchmark, a warning for each one that was left out.

    What a model said stands in no line of its own: it could hold a command.
    """
    lines = []
    for verdict in report.suites:
        kind = "notice" if verdict.passed else "error"
        title = f"{verdict.suite} {_word(verdict.passed)}: {verdict.reason}"
        lines.append(f"::{kind} title={_property(title)}::{_data(chr(10).join(_suite_lines(verdict)))}")
    for suite, reason in report.left_out.items():
        lines.append(f"::warning title={_property(f'{suite} not compared')}::{_data(reason)}")
    return "\n".join(lines) + "\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def as_markdown(report: GateReport) -> str:
    """A heading and a table of the benchmarks, for a job's summary."""
    rows = [
        f"## {_word(report.passed)}: {_cell(report.candidate)} against {_cell(report.baseline)}, {_count(report)}",
        "",
        "| benchmark | metric | baseline | candidate | difference | interval | p | detectable drop | verdict |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for verdict in report.suites:
        change = verdict.change
        interval = f"[{change.interval.low:+.2f}, {change.interval.high:+.2f}]" if change.interval else "–"
        p = "–" if change.p_value is None else _p(change.p_value)
        detectable = "–" if verdict.detectable_drop is None else f"{verdict.detectable_drop:.2f}"
        values = f"{change.baseline:.2f} | {change.candidate:.2f} | {change.difference:+.2f} | {interval} | {p}"
        rows.append(f"| {verdict.suite} | {change.metric} | {values} | {detectable} | {verdict.reason} |")
    for suite, reason in report.left_out.items():
        rows.append(f"| {suite} | – | – | – | – | – | – | – | not compared: {reason} |")
    rows += ["", *(f"- {_cell(f'{own.suite}: {describe_runs(own)}')}" for own in report.suites if own.candidate_run)]
    fallen = [(verdict, task) for verdict in report.suites for task in verdict.tasks if task.task in verdict.fallen]
    if fallen:
        rows += ["", "Tasks that fell (Holm-corrected):", ""]
        rows += [f"- {verdict.suite} {_cell(describe_task(task))}" for verdict, task in fallen]
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    """Markup in names stays text."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|" else c for c in " ".join(text.split()))


def refusal_as_json(error: TunaError) -> str:
    """An object whose "passed" is null, and why there is no verdict."""
    return json.dumps({"schema_version": SCHEMA_VERSION, "passed": None, "error": str(error)}, indent=2) + "\n"


def refusal_as_junit(error: TunaError) -> str:
    """One test suite with one test case that could not be run."""
    counts = {"tests": "1", "failures": "0", "errors": "1", "skipped": "0"}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "gate", **counts})
    case = ElementTree.SubElement(suite, "testcase", {"classname": "tuna-eval.gate", "name": "comparison"})
    ElementTree.SubElement(case, "error", {"message": _xml(str(error)), "type": type(error).__name__})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def refusal_as_github(error: TunaError) -> str:
    """One error as a workflow command."""
    return f"::error title=gate refused::{_data(str(error))}\n"


def refusal_as_markdown(error: TunaError) -> str:
    """A heading and the reason, for a job's summary."""
    return f"## REFUSED: no verdict\n\n{_cell(str(error))}\n"


FORMATS: Mapping[str, Callable[[GateReport], str]] = MappingProxyType(
    {"text": as_text, "junit": as_junit, "github": as_github, "json": as_json}
)
# Without a verdict; a person reads the line on standard error.
REFUSALS: Mapping[str, Callable[[TunaError], str]] = MappingProxyType(
    {"junit": refusal_as_junit, "github": refusal_as_github, "json": refusal_as_json}
)
