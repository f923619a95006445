"""What a table says under its numbers: partial coverage, lost verdicts, and in what two systems differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tuna_eval.report.comparable import describe_coverage, differences, judging_of
from tuna_eval.report.frame import Frame, System
from tuna_eval.report.runs import StoredRun
from tuna_eval.schema import RunRecord
from tuna_eval.store import read_result

_SNAPSHOT = r"(-\d{4})?"  # gpt-4-0314 is gpt-4


@dataclass
class Comparisons:
    """Whether the systems of a frame compare, suite by suite; each pair of runs is looked at once.

    Attributes:
        frame: the systems.
        setting: how the published numbers were made: "format", "judge" and "baseline".
    """

    frame: Frame
    setting: Mapping[str, str]
    _known: dict[tuple[System, System, str], tuple[str, ...]] = field(default_factory=dict)

    def between(self, first: System, second: System, suite: str) -> tuple[str, ...]:
        """In what two systems differ on a suite, in words; empty if their numbers compare.

        Published numbers compare with one another, and with a run of all of the benchmark that was made as the
        paper says. People's points compare with those of the same study. What else came from a file is compared as
        it is.
        """
        key = first, second, suite
        if key not in self._known:
            self._known[key] = self._compare(*key)
        return self._known[key]

    def _compare(self, first: System, second: System, suite: str) -> tuple[str, ...]:
        own, other = self.frame.runs.get((first, suite)), self.frame.runs.get((second, suite))
        if first == second:
            return ()
        if suite == "human" and self._study(first) != self._study(second):
            return ("ranked by other people, among other answers",)
        if own and other:
            return tuple(difference.text for difference in differences(own.record, other.record))
        if own and second.origin == "paper":
            return tuple(from_the_paper(own.record, self.setting))
        if other and first.origin == "paper":
            return tuple(from_the_paper(other.record, self.setting))
        return ()

    def _study(self, system: System) -> str:
        """Where the points are from that people gave a system."""
        points = self.frame.get(system, "human", "points")
        return points.provenance.place if points else ""


def incomparable(frame: Frame) -> list[str]:
    """One line for each run that does not compare with the first one of its suite."""
    firsts: dict[str, System] = {}
    lines = []
    for (system, suite), run in frame.runs.items():
        first = firsts.setdefault(suite, system)
        found = differences(run.record, frame.runs[first, suite].record)
        if found and first != system:
            texts = "; ".join(difference.text for difference in found)
            lines.append(f"{suite}: {system.name} does not compare with {first.name} ({texts})")
    return lines


def from_the_paper(record: RunRecord, setting: Mapping[str, str]) -> list[str]:
    """In what a run differs from how the published numbers were made, as far as the paper tells.

    Args:
        record: of the run.
        setting: "format", "judge" and "baseline" of the paper.
    """
    found = []
    if is_partial(record):
        found.append("coverage: a part, not the whole benchmark")
    if (own := str(record.config.get("format", "unknown"))) != setting["format"]:
        found.append(f"prompt format: {own}, not {setting['format']}")
    if record.suite.startswith("superni") and record.config.get("cut_at_first_period"):
        found.append("scored: what stands before the first full stop, not all")
    if record.config.get("truncate"):  # LMentry's
        found.append("scored: what stands before the first newline and full stop, not all")
    if (scoring := str(record.config.get("scoring", "official"))) != "official":
        found.append(f"LMentry's scorers: {scoring}, not official")
    if judging := judging_of(record):
        if not re.fullmatch(re.escape(setting["judge"]) + _SNAPSHOT, str(judging.get("judge"))):
            found.append(f"judge: {judging.get('judge')}, not {setting['judge']}")
        if str(judging.get("baseline")).casefold() != setting["baseline"].casefold():
            found.append(f"system compared with: {judging.get('baseline')}, not {setting['baseline']}")
        if not judging.get("is_covered", True):
            found.append("questions with a verdict: too few")
    return found


def is_partial(record: RunRecord) -> bool:
    """Whether a run covers less than its whole benchmark; the built-in sample is none of it."""
    own = record.coverage
    is_short = own.get("tasks") != own.get("expected_tasks") or own.get("scored") != own.get("examples")
    return bool(is_short or own.get("limit") or record.config.get("data") == "mini")


def note_on(found: StoredRun) -> str:
    """What a reader must know of a run's numbers, whatever stands beside them; "" if nothing."""
    record = found.record
    said = []
    if is_partial(record):
        sample = ", built-in sample" if record.config.get("data") == "mini" else ""
        said.append(describe_coverage(record) + sample)
    if found.chosen_from > 1:
        said.append(f"the newest of {found.chosen_from} runs")
    if record.suite == "lmentry" and _lacks_score(record):
        said.append("no LMentry score: robustness needs more examples a task")
    if record.suite == "vicuna_qa":
        said += _verdicts(record)
    return "; ".join(said)


def _lacks_score(record: RunRecord) -> bool:
    score = read_result(record.results).metrics.get("lmentry_score")
    return score is not None and score.value is None


def _verdicts(record: RunRecord) -> list[str]:
    judging = judging_of(record)
    if not judging:
        return ["answered, not judged"]
    said = [f"judged by {judging.get('judge')} against {judging.get('baseline')}"]
    if not {"judge_sha256", "baseline_sha256"} <= judging.keys():
        said[0] += ", whose prompts and answers are not known"
    share, asked, unparsable = _lost(record)
    if share is not None and share < 100:
        judged = round(asked * share / 100)
        said.append(f"{judged} of {asked} questions have a verdict, {unparsable} unparsable")
    return said


def _lost(record: RunRecord) -> tuple[float | None, int, int]:
    """Share of the questions with a verdict in percent, questions asked, unparsable verdicts."""
    metrics = read_result(record.results).metrics
    covered, unparsable = metrics.get("coverage"), metrics.get("unparsable")
    if covered is None:
        return None, 0, 0
    return covered.value, covered.n, round(unparsable.value or 0) if unparsable else 0
