"""What the command line shows: progress with an estimate of the time left, notes, and the table at the end.

Everything goes to standard error, so that standard output holds nothing but what --json prints.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tuna_eval.schema import Summary

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.table import Table

    from tuna_eval.judge.report import BiasReport
    from tuna_eval.judging.judging import Judged
    from tuna_eval.metrics.stats import Share
    from tuna_eval.run import FinishedRun
    from tuna_eval.schema import SuiteResult

WIDTH_OF_A_LOG = 160
SPARSE = "(!)"  # beside a coverage below the threshold
SECONDS_BETWEEN_LINES = 30.0  # of progress in a log file, where a bar cannot be drawn


class ConsoleProgress:
    """Shows a run's progress: a bar on a terminal, a line now and then in a log."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        if not self.console.is_terminal:
            self.console.width = WIDTH_OF_A_LOG
        self._bar: Bar | None = None
        self._label, self._done, self._total = "", 0, 0
        self._began = self._told = 0.0
        self._done_before = 0

    def note(self, text: str) -> None:
        """A line for the user."""
        self.console.print(text, markup=False, emoji=False, soft_wrap=True)

    def begin(self, label: str, *, done: int, total: int) -> None:
        """A countable activity starts, of which a part may be done."""
        self._label, self._done, self._done_before, self._total = label, done, done, total
        self._began = self._told = time.monotonic()
        if self.console.is_terminal:
            self._bar = self._draw()
            self._bar.start()
            self._bar.add_task(label, completed=done, total=total)

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if self._bar:
            self._bar.advance(self._bar.task_ids[0])
        elif now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            left = (now - self._began) / (self._done - self._done_before) * (self._total - self._done)
            self.note(f"{self._label}: {self._done} of {self._total}, about {left / 60:.0f} min left")

    def end(self) -> None:
        """The activity is over."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _draw(self) -> Bar:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=self.console)


def show_runs(runs: Sequence[FinishedRun], progress: ConsoleProgress) -> None:
    """The table at the end of a run, and where the runs lie."""
    show_results(
        {run.record.suite: run.scoring.result.metrics for run in runs},
        {run.record.suite: run.record.coverage for run in runs},
        title=f"model {runs[0].record.model}" if runs else "",
        progress=progress,
    )
    for run in runs:
        show_shortened(run, progress)
        progress.note(f"run: {run.folder}")


def show_results(
    results: Mapping[str, Mapping[str, Summary]],
    coverage: Mapping[str, Mapping[str, object]],
    *,
    title: str,
    progress: ConsoleProgress,
) -> None:
    """A table for each set of metrics, one row a suite: coverage, and each metric with its 95% interval."""
    show_metrics(results, {suite: _covered(covered) for suite, covered in coverage.items()}, title, progress)


def show_metrics(
    results: Mapping[str, Mapping[str, Summary]], covered: Mapping[str, str], title: str, progress: ConsoleProgress
) -> None:
    """A table for each set of metrics, one row a suite, or one row a metric where the terminal is too narrow for that.

    `covered` says of a suite how much of it was scored.
    """
    from rich.measure import Measurement

    console = progress.console
    for metrics in dict.fromkeys(tuple(values) for values in results.values()):
        shown = {suite: values for suite, values in results.items() if tuple(values) == metrics}
        captions = ["[95% bootstrap interval]"] if any(s.interval for v in shown.values() for s in v.values()) else []
        if any(_is_sparse(name, values[name]) for values in shown.values() for name in metrics):
            captions.append(f"{SPARSE} too few verdicts: not comparable")
        table = _row_a_suite(shown, covered)
        if Measurement.get(console, console.options.update(width=1_000), table).maximum > console.width:
            table = _row_a_metric(shown, covered)
        table.title, table.title_justify = title, "left"
        table.caption = "; ".join(captions) or None
        console.print(table)


def _row_a_suite(results: Mapping[str, Mapping[str, Summary]], covered: Mapping[str, str]) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE)
    table.add_column("suite")
    if covered:
        table.add_column("coverage")
    for name in next(iter(results.values())):
        table.add_column(name, justify="right", no_wrap=True)
    for suite, values in results.items():
        table.add_row(suite, *_of(suite, covered), *(_marked(name, value) for name, value in values.items()))
    return table


def _row_a_metric(results: Mapping[str, Mapping[str, Summary]], covered: Mapping[str, str]) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, show_header=False)
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right")
    for suite, values in results.items():
        table.add_row(f"[bold]{suite}[/]", "")
        for text in _of(suite, covered):
            table.add_row("coverage", text)
        for name, value in values.items():
            table.add_row(name, _marked(name, value))
    return table


def _of(suite: str, covered: Mapping[str, str]) -> list[str]:
    return [covered[suite]] if covered else []


def _covered(coverage: Mapping[str, object]) -> str:
    return (
        f"{coverage['tasks']} of {coverage['expected_tasks']} tasks, "
        f"{coverage['scored']} of {coverage['examples']} examples"
        + (f", limit {coverage['limit']} a task" if coverage["limit"] else "")
    )


def show_shortened(run: FinishedRun, progress: ConsoleProgress) -> None:
    """Warns of prompts that lost demonstrations or text, and of replies that hit the token limit."""
    counts = run.scoring.coverage.finish_reasons
    kinds = {
        "demonstrations_dropped": "lost demonstrations to the length limit",
        "truncated": "were cut at the length limit",
        "over_limit": "are over the length limit and were sent whole",
    }
    for key, what in kinds.items():
        listed = run.record.prompts[key]
        if isinstance(listed, dict) and listed["count"]:
            total = run.record.prompts["count"]
            progress.note(f"{run.record.suite}: {listed['count']} of {total} prompts {what} (listed in record.json)")
    if counts.get("length"):
        progress.note(
            f"{run.record.suite}: {counts['length']} of {sum(counts.values())} replies ended at the token limit"
        )


def _is_sparse(name: str, summary: Summary) -> bool:
    """Whether a coverage is below the threshold that its score needs."""
    from tuna_eval.judge.verdicts import MIN_COVERAGE

    return name == "coverage" and summary.value is not None and summary.value < 100 * MIN_COVERAGE


def _marked(name: str, summary: Summary) -> str:
    return _cell(summary) + (f" {SPARSE}" if _is_sparse(name, summary) else "")


def _cell(summary: Summary) -> str:
    if summary.value is None:
        return "–"
    digits = {"percent": 2, "fraction": 3, "count": 0}[summary.unit]
    text = f"{summary.value:.{digits}f}"
    if summary.interval:
        text += f" [{summary.interval.low:.{digits}f}, {summary.interval.high:.{digits}f}]"
    return text


def show_judged(judged: Judged, result: SuiteResult, title: str, progress: ConsoleProgress) -> None:
    """The counts of a judging, and what its verdicts owe to the judge."""
    from tuna_eval.judge.significance import describe_counts
    from tuna_eval.judge.verdicts import MIN_COVERAGE

    report, counted = judged.report, judged.report.tally
    show_metrics({result.suite: result.metrics}, {}, title, progress)
    progress.note(f"win/lose/tie {describe_counts(counted.counts)}, judged by {judged.judge} ({judged.signature})")
    if (counted.coverage or 0.0) < MIN_COVERAGE:
        lost = f"{counted.unparsable} unparsable, {counted.refused} refused, {counted.api_error} failed"
        progress.note(f"warning: only {counted.counts.n} of {counted.asked} questions have a verdict ({lost})")
    net = report.significance
    if net.points is not None:
        interval = f" [{net.interval.low:+.1f}, {net.interval.high:+.1f}]" if net.interval else ""
        p = "" if net.p_value is None else f", sign test p = {net.p_value:.4f}"
        progress.note(f"wins less losses {net.points:+.1f} points{interval}{p}")
    for line in bias_lines(report.bias):
        progress.note(line)
    cost = "" if judged.cost is None else f", ${judged.cost:.4f}"
    used = judged.usage
    if len(used.served_models) > 1:
        progress.note(f"warning: several models answered as the judge: {', '.join(sorted(used.served_models))}")
    systems = title.lower().split(" against ")
    if any(judged.judge.lower().removeprefix("likelihood:") in system for system in systems):
        progress.note("warning: the judge compares answers of its own (self-preference); use another judge to check")
    progress.note(f"judge: {used.judgments} replies, {used.prompt_tokens} + {used.completion_tokens} tokens{cost}")
    progress.note(f"judging: {judged.folder}")


def bias_lines(bias: BiasReport) -> list[str]:
    """What the verdicts owe to the place and the length of the answers, one line each."""
    lines = []
    if bias.flips and bias.flips.flip_rate is not None:
        lines.append(f"the winner turns round with the order in {100 * bias.flips.flip_rate:.1f}% (flip rate)")
    if bias.first and bias.first.share.value is not None:
        lines.append(f"the answer shown first wins {_share(bias.first.share)} of the decided judgments")
    if bias.longer.value is not None:
        lines.append(f"the longer answer wins {_share(bias.longer)} of the decided verdicts")
    controlled = bias.length_controlled
    if controlled.win_rate is None:
        lines.append(f"no length-controlled win rate: {controlled.reason}")
    else:
        raw = 100 * (controlled.raw_win_rate or 0.0)
        lines.append(
            f"at equal length the win rate would be {100 * controlled.win_rate:.1f}%, not {raw:.1f}% (a tie is half)"
        )
    if bias.repeats and bias.repeats.agreement is not None:
        lines.append(f"asked again, the judge says the same in {100 * bias.repeats.agreement:.1f}%")
    return lines


def _share(share: Share) -> str:
    interval = f" [{100 * share.interval.low:.1f}, {100 * share.interval.high:.1f}]" if share.interval else ""
    return f"{100 * (share.value or 0.0):.1f}%{interval}"
