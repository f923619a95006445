"""The gate: whether a candidate is worse than its baseline, by more than is tolerated and by more than chance does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tuna_eval.errors import ConfigError
from tuna_eval.metrics.paired import RESAMPLES, Comparison, compare_paired
from tuna_eval.metrics.sign_flips import drop_p_values, holm
from tuna_eval.report.gate_flips import Flip, worst_flips
from tuna_eval.report.gate_runs import Pairing, RunPair, names_suite
from tuna_eval.report.gate_samples import Measured, PairedScores, TaskScores, paired_scores
from tuna_eval.schema import Interval


@dataclass(frozen=True, slots=True)
class GateOptions:
    """How strict a gate is.

    Attributes:
        max_drop: the largest drop that passes, in points of the metric that decides, by benchmark ("superni" is every
            number of shots); 0 where none is given.
        level: share of false alarms of the whole gate where nothing has changed and nothing is tolerated, in (0, 0.5).
        power: at which the detectable drop is stated, in (0, 1).
        seed: the same runs with the same seed give the same verdict.
        resamples: bootstrap samples, and random swappings.
        flips: how many samples are shown.
    """

    max_drop: Mapping[str, float] = field(default_factory=dict)
    level: float = 0.05
    power: float = 0.8
    seed: int = 0
    resamples: int = RESAMPLES
    flips: int = 10


@dataclass(frozen=True, slots=True)
class MetricChange:
    """One metric of both runs.

    Attributes:
        metric: its name.
        candidate, baseline: values of the records.
        difference: candidate - baseline.
        interval, p_value: see `Comparison`.
    """

    metric: str
    candidate: float
    baseline: float
    difference: float
    interval: Interval | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class TaskChange:
    """One task of both runs, on the metric that decides (LMentry: on accuracy).

    Attributes:
        task: its name.
        n: number of samples that both have a score of.
        candidate, baseline, difference: means over them; None without one.
        p_value: of a drop, by the sign-flip test over samples.
        p_holm: the same, adjusted for the number of tasks.
    """

    task: str
    n: int
    candidate: float | None
    baseline: float | None
    difference: float | None
    p_value: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class SuiteVerdict:
    """What the gate says of one benchmark.

    Attributes:
        suite: the benchmark.
        passed: False where the drop exceeds the tolerance and the interval leaves zero out.
        reason: why, in words.
        change: the metric that decides.
        others: the benchmark's other metrics; they decide nothing.
        tolerance: points that the metric may drop.
        level: one-sided, of this benchmark: that of the gate shared among its benchmarks.
        unit, units: what was resampled ("task" or "sample"), and how many there are.
        power: at which `detectable_drop` is stated.
        detectable_drop: smallest true drop that this comparison catches with that power; None where all units
            agree or are too few.
        tasks: the least likely drops first.
        fallen: tasks whose drop is significant at `level` after Holm's correction; they decide nothing.
        flips: the samples whose score fell furthest.
        candidate_run, baseline_run: which runs they are, as MODEL/SUITE/ID; "" for scores without runs.
    """

    suite: str
    passed: bool
    reason: str
    change: MetricChange
    others: tuple[MetricChange, ...]
    tolerance: float
    level: float
    unit: str
    units: int
    power: float
    detectable_drop: float | None
    tasks: tuple[TaskChange, ...]
    fallen: tuple[str, ...]
    flips: tuple[Flip, ...]
    candidate_run: str = ""
    baseline_run: str = ""


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate says of a candidate.

    Attributes:
        candidate, baseline: what tables call the models.
        passed: whether every benchmark passed.
        level: share of false alarms of the whole gate.
        seed, resamples: of the statistics.
        suites: the verdicts, by name of the benchmark.
        left_out: why a benchmark was not compared, by name.
    """

    candidate: str
    baseline: str
    passed: bool
    level: float
    seed: int
    resamples: int
    suites: tuple[SuiteVerdict, ...]
    left_out: Mapping[str, str]


def gate(pairing: Pairing, options: GateOptions) -> GateReport:
    """Compares runs that compare.

    Args:
        pairing: of candidate and baseline.
        options: how strict.

    Raises:
        ConfigError: an option is out of range, or names a benchmark that is not compared.
        DataError: a run's files are broken, or not of the same samples.
    """
    check_gate_options(options)
    suites = [pair.candidate.record.suite for pair in pairing.pairs]
    allowed = tolerances(options.max_drop, suites)
    level = shared_level(options.level, len(suites))
    verdicts = []
    for pair, suite in zip(pairing.pairs, suites, strict=True):
        scores = paired_scores(pair)
        verdicts.append(suite_verdict(scores, options, level, allowed[suite], pair))
    first = pairing.pairs[0]
    return GateReport(
        candidate=first.candidate.record.model,
        baseline=first.baseline.record.model,
        passed=all(verdict.passed for verdict in verdicts),
        level=options.level,
        seed=options.seed,
        resamples=options.resamples,
        suites=tuple(verdicts),
        left_out=pairing.left_out,
    )


def shared_level(level: float, suites: int) -> float:
    """The level of each of several benchmarks (Sidak): independent ones together raise a false alarm with probability
    `level`, dependent ones less often."""
    return level if suites == 1 else 1 - (1 - level) ** (1 / suites)


def check_gate_options(options: GateOptions) -> None:
    """Finds an option that cannot be used before anything is evaluated.

    Raises:
        ConfigError: it is out of range.
    """
    if not 0 < options.level < 0.5:
        raise ConfigError(f"--level {options.level:g} is not between 0 and 0.5", cure="0.05 is usual")
    if not 0 < options.power < 1:
        raise ConfigError(f"--power {options.power:g} is not between 0 and 1", cure="0.8 is usual")
    if options.seed < 0 or options.flips < 0:
        raise ConfigError(f"--seed {options.seed} or --flips {options.flips} is negative", cure="give 0 or more")
    for suite, points in options.max_drop.items():
        if not 0 <= points < np.inf:
            raise ConfigError(f"{points:g} is no drop", place=f"--max-drop {suite}", cure="give 0 or more points")


def tolerances(max_drop: Mapping[str, float], suites: Sequence[str]) -> dict[str, float]:
    """The points that each benchmark may lose.

    Raises:
        ConfigError: a drop is given for a benchmark that is not compared.
    """
    for name in max_drop:
        if not any(names_suite(name, suite) for suite in suites):
            cure = f"name one of {', '.join(suites)}, or give it to both"
            raise ConfigError(f"{name} is not compared", place="--max-drop", cure=cure)
    # The longer name is the more exact one: superni_2shot before superni.
    ranked = sorted(max_drop, key=len, reverse=True)
    return {suite: next((max_drop[name] for name in ranked if names_suite(name, suite)), 0.0) for suite in suites}


def suite_verdict(
    scores: PairedScores, options: GateOptions, level: float, tolerance: float, pair: RunPair | None = None
) -> SuiteVerdict:
    """The verdict on one benchmark.

    Args:
        scores: of both runs.
        options: how strict; their `level` is that of the whole gate.
        level: one-sided, of this benchmark.
        tolerance: points that may be lost.
        pair: where the outputs of the worst flips are; without it none are shown.
    """
    found = [
        compare_paired(own.statistic, level=level, resamples=options.resamples, seed=options.seed)
        for own in scores.metrics
    ]
    changes = [_change(own, comparison) for own, comparison in zip(scores.metrics, found, strict=True)]
    decides, change = found[0], changes[0]
    passed = not (-change.difference > tolerance and decides.is_drop)
    tasks = _task_changes(scores.tasks, level, options.seed)
    return SuiteVerdict(
        suite=scores.suite,
        passed=passed,
        reason=_reason(change, decides, tolerance),
        change=change,
        others=tuple(changes[1:]),
        tolerance=tolerance,
        level=level,
        unit=scores.unit,
        units=decides.units,
        power=options.power,
        detectable_drop=decides.detectable_drop(options.power, tolerance),
        tasks=tasks,
        fallen=tuple(task.task for task in tasks if task.p_holm <= level),
        flips=worst_flips(pair, scores.tasks, options.flips) if pair else (),
        candidate_run=pair.candidate.name if pair else "",
        baseline_run=pair.baseline.name if pair else "",
    )


def _change(own: Measured, found: Comparison) -> MetricChange:
    difference = own.candidate - own.baseline
    return MetricChange(own.name, own.candidate, own.baseline, difference, found.interval, found.p_value)


def _reason(change: MetricChange, found: Comparison, tolerance: float) -> str:
    drop = -change.difference
    if drop <= 0:
        return "no drop"
    if found.interval is None:
        return f"a drop of {drop:.2f}, and {found.units} units are too few to tell it from chance"
    if not found.is_drop:
        return f"a drop of {drop:.2f}, which chance may explain: the interval holds zero"
    if drop <= tolerance:
        return f"a drop of {drop:.2f}, within the tolerance of {tolerance:g}"
    return f"a drop of {drop:.2f} exceeds the tolerance of {tolerance:g}, and the interval leaves zero out"


def _task_changes(tasks: Mapping[str, TaskScores], level: float, seed: int) -> tuple[TaskChange, ...]:
    p_values = drop_p_values([scores.differences for scores in tasks.values()], level=level, seed=seed)
    rows = []
    for (task, scores), p_value, adjusted in zip(tasks.items(), p_values, holm(p_values), strict=True):
        is_scored = ~np.isnan(scores.candidate - scores.baseline)
        means = [float(side[is_scored].mean()) for side in (scores.candidate, scores.baseline) if is_scored.any()]
        own, other = means or (None, None)
        difference = None if own is None or other is None else own - other
        rows.append(TaskChange(task, int(is_scored.sum()), own, other, difference, p_value, adjusted))
    return tuple(sorted(rows, key=lambda row: (row.p_value, row.difference or 0.0, row.task)))
