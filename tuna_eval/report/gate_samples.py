"""The scores of two runs sample by sample, and the statistics that a gate tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from tuna_eval.disk import read_lines
from tuna_eval.errors import DataError
from tuna_eval.judging.folder import JudgingFolder
from tuna_eval.metrics.paired import FloatArray, MeanDifference, PairedStatistic
from tuna_eval.report.gate_runs import RunPair, judging_place
from tuna_eval.report.runs import StoredRun
from tuna_eval.schema import Summary
from tuna_eval.store import read_result
from tuna_eval.tasks.lmentry.names import CORE
from tuna_eval.tasks.lmentry.paired import Metric, SystemCounts, lmentry_difference, read_counts
from tuna_eval.tasks.lmentry.task import LMentry
from tuna_eval.tasks.vicuna import VicunaQA

# With fewer tasks than this they are no sample of tasks: the samples are the units then, and the tasks are given.
MIN_TASKS = 8

HEAD_TO_HEAD = "net_wins"  # the candidate's wins less its losses against the baseline, percentage points
_WORTH_OF_A_WIN = {"win": 100.0, "tie": 0.0, "lose": 0.0}  # win_rate is wins / verdicts, as the paper prints it
_NET = {"win": 100.0, "tie": 0.0, "lose": -100.0}


@dataclass(frozen=True, slots=True)
class TaskScores:
    """One task's scores on one metric, in its unit (percent as a rule).

    Attributes:
        ids: of the samples, sorted.
        candidate, baseline: shape (samples,); NaN where a judge gave no verdict.
    """

    ids: tuple[str, ...]
    candidate: FloatArray
    baseline: FloatArray

    @property
    def differences(self) -> FloatArray:
        """Candidate - baseline of the samples that have both. Shape (at most samples,)."""
        found = self.candidate - self.baseline
        scored: FloatArray = found[~np.isnan(found)]
        return scored


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric of both runs, and its difference as something to be tested.

    Attributes:
        name: of the metric.
        candidate, baseline: what the records say.
        statistic: candidate - baseline.
    """

    name: str
    candidate: float
    baseline: float
    statistic: PairedStatistic


@dataclass(frozen=True, slots=True)
class PairedScores:
    """Two runs of a benchmark, sample by sample.

    Attributes:
        suite: the benchmark.
        unit: what is resampled, "task" or "sample".
        metrics: the metric that decides, then the others.
        tasks: the samples' scores on the deciding metric (LMentry: on accuracy), by task in alphabetical order.
    """

    suite: str
    unit: str
    metrics: tuple[Measured, ...]
    tasks: Mapping[str, TaskScores]


def paired_scores(pair: RunPair) -> PairedScores:
    """Reads the scores of two runs and the statistics of their benchmark.

    Super-NI: mean ROUGE-L over all instances, resampled by task. LMentry: accuracy times robustness, recomputed from
    the tasks that are drawn (see `tasks/lmentry/paired.py`). Vicuna QA: win rate over the questions, which are the
    units, because its nine categories are all there are; head to head it is wins less losses, and the baseline has 0.

    Raises:
        DataError: the runs did not score the same samples, or a record and its scores say different things.
    """
    suite = pair.candidate.record.suite
    if suite == LMentry.name:
        return _lmentry(pair)
    if suite == VicunaQA.name:
        return _vicuna(pair)
    shared = _shared_metrics(pair)
    rows = _matched(pair, list(shared))
    unit = "task" if len(rows) >= MIN_TASKS else "sample"
    deciding = "rougeL" if "rougeL" in shared else next(iter(shared))
    order = [deciding, *(name for name in shared if name != deciding)]
    columns, scales = list(shared), _scales(pair)
    by_metric = {name: _scaled(rows, columns.index(name), scales[name]) for name in order}
    metrics = [_of_records(name, shared, mean_difference(by_metric[name], unit)) for name in order]
    for own in metrics:
        _check(own, pair)
    return PairedScores(suite, unit, tuple(metrics), by_metric[deciding])


def _shared_metrics(pair: RunPair) -> dict[str, tuple[float, float]]:
    """The metrics that both records have a value of."""
    own, other = (_metrics(run) for run in (pair.candidate, pair.baseline))
    shared: dict[str, tuple[float, float]] = {}
    for name in own:
        values = own[name].value, other[name].value if name in other else None
        if values[0] is not None and values[1] is not None:
            shared[name] = values[0], values[1]
    if not shared:
        raise DataError("no metric that both runs have", place=str(pair.candidate.folder.path), cure="score them anew")
    return shared


def _scales(pair: RunPair) -> dict[str, float]:
    """What turns a sample's score, a fraction, into the unit of its metric."""
    metrics = _metrics(pair.candidate)
    return {name: 100.0 if summary.unit == "percent" else 1.0 for name, summary in metrics.items()}


def _metrics(run: StoredRun) -> Mapping[str, Summary]:
    try:
        return read_result(run.record.results).metrics
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"the record holds no results that can be read ({error!r})"
        raise DataError(problem, place=str(run.folder.record_file), cure="score the run anew") from error


Rows = Mapping[str, tuple[tuple[str, ...], FloatArray, FloatArray]]  # ids, and scores of shape (samples, metrics)


def _matched(pair: RunPair, names: Sequence[str], only: Iterable[str] | None = None) -> Rows:
    """Both runs' scores by task and sample, in alphabetical order.

    Raises:
        DataError: one run scored a sample that the other did not.
    """
    kept = None if only is None else set(only)
    own, other = (_scores(run, names, kept) for run in (pair.candidate, pair.baseline))
    for run, scores in ((pair.candidate, own), (pair.baseline, other)):
        if not scores:
            cure = "run the same command again"
            raise DataError("the run has no scores", place=str(run.folder.scores_file), cure=cure)
    rows: dict[str, tuple[tuple[str, ...], FloatArray, FloatArray]] = {}
    for task in sorted(own.keys() | other.keys()):
        first, second = own.get(task, {}), other.get(task, {})
        if alone := sorted(first.keys() ^ second.keys()):
            where = pair.candidate if alone[0] in first else pair.baseline
            cure = "compare runs with the same samples"
            raise DataError(f"only this run scored {task} {alone[0]}", place=str(where.folder.scores_file), cure=cure)
        ids = tuple(sorted(first))
        rows[task] = ids, np.array([first[id] for id in ids]), np.array([second[id] for id in ids])
    return rows


def _scores(run: StoredRun, names: Sequence[str], kept: set[str] | None) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    try:
        for line in read_lines(run.folder.scores_file):
            if kept is None or line["task"] in kept:
                found.setdefault(line["task"], {})[line["id"]] = [float(line[name]) for name in names]
    except (KeyError, TypeError, ValueError) as error:
        cure = "score the run anew"
        raise DataError(f"a line without {error}", place=str(run.folder.scores_file), cure=cure) from error
    return found


def _scaled(rows: Rows, column: int, scale: float) -> dict[str, TaskScores]:
    return {
        task: TaskScores(ids, scale * candidate[:, column], scale * baseline[:, column])
        for task, (ids, candidate, baseline) in rows.items()
    }


def mean_difference(tasks: Mapping[str, TaskScores], unit: str) -> MeanDifference:
    """The difference of the means over all samples, with tasks or samples as its units."""
    own = [scores.candidate for scores in tasks.values()]
    other = [scores.baseline for scores in tasks.values()]
    if unit == "sample":
        own, other = ([np.atleast_1d(value) for group in groups for value in group] for groups in (own, other))
    sums = [np.array([np.nansum(group) for group in groups]) for groups in (own, other)]
    counts = [np.array([float((~np.isnan(group)).sum()) for group in groups]) for groups in (own, other)]
    return MeanDifference(*sums, *counts)


def _of_records(name: str, shared: Mapping[str, tuple[float, float]], statistic: PairedStatistic) -> Measured:
    return Measured(name, *shared[name], statistic)


def _check(measured: Measured, pair: RunPair, tolerance: float = 1e-6) -> None:
    """Refuses scores that are not those of the record.

    Raises:
        DataError: they are not.
    """
    difference = float(measured.statistic.reweighted(np.ones((1, measured.statistic.units)))[0])
    if not abs(difference - (measured.candidate - measured.baseline)) <= tolerance:
        said = f"{measured.candidate - measured.baseline:+.6f} by the records, {difference:+.6f} by the scores"
        place = str(pair.candidate.folder.path)
        raise DataError(f"{measured.name} differs by {said}", place=place, cure="score both runs anew")


def _lmentry(pair: RunPair) -> PairedScores:
    own, other = (_counts(run) for run in (pair.candidate, pair.baseline))
    shared = _shared_metrics(pair)
    rows = _scaled(_matched(pair, ["accuracy"], CORE), 0, 100.0)
    if not rows:
        raise DataError("no task of LMentry that counts", place=str(pair.candidate.folder.path), cure="run one")
    if uncounted := sorted(rows.keys() - own.counts.keys()):
        place = str(pair.candidate.folder.record_file)
        raise DataError(f"no LMentry counts of {uncounted[0]} in the record", place=place, cure="score the run anew")
    names: list[Metric] = [name for name in reversed(get_args(Metric)) if name in shared]
    unit = "task" if len(own.tasks) >= MIN_TASKS else "sample"
    if unit == "sample":  # accuracy alone: robustness is about tasks
        accuracy = _of_records("accuracy", shared, _macro(rows, own))
        return PairedScores(LMentry.name, unit, (accuracy,), rows)
    metrics = [_of_records(name, shared, lmentry_difference(own, other, name)) for name in names]
    for each in metrics:  # the record's robustness is rounded to 0.1 once more
        _check(each, pair, 1e-6 if each.name == "accuracy" else 0.11)
    return PairedScores(LMentry.name, unit, tuple(metrics), rows)


def _counts(run: StoredRun) -> SystemCounts:
    settings: Any = run.record.scoring.get("settings", {})
    breakdown: Any = run.record.results.get("breakdown")
    tasks = breakdown.get("tasks") if isinstance(breakdown, dict) else None
    if not isinstance(tasks, dict) or not tasks:
        place = str(run.folder.record_file)
        raise DataError("no LMentry counts in the record", place=place, cure="score the run anew")
    return read_counts(tasks, settings.get("repairs", []))


def _macro(rows: Mapping[str, TaskScores], counts: SystemCounts) -> MeanDifference:
    """Mean over tasks of the accuracies, each sample a unit; an example without a prediction is wrong for both."""
    total = sum(len(scores.ids) for scores in rows.values())
    share = {task: total / (len(counts.tasks) * sum(counts.counts[task].examples)) for task in rows}
    own, other = (
        np.concatenate([share[task] * getattr(scores, side) for task, scores in rows.items()])
        for side in ("candidate", "baseline")
    )
    return MeanDifference(own, other, np.ones(total), np.ones(total))


def _vicuna(pair: RunPair) -> PairedScores:
    candidate = _states(pair.candidate)
    baseline = candidate if pair.is_head_to_head else _states(pair.baseline)
    categories: dict[str, list[str]] = {}
    for task, scores in _matched(pair, []).items():
        categories[task] = list(scores[0])
    own = _NET if pair.is_head_to_head else _WORTH_OF_A_WIN
    other = dict.fromkeys(_NET, 0.0) if pair.is_head_to_head else _WORTH_OF_A_WIN
    tasks = {
        task: TaskScores(
            tuple(ids),
            np.array([own.get(candidate.get(id, ""), np.nan) for id in ids]),
            np.array([other.get(baseline.get(id, ""), np.nan) for id in ids]),
        )
        for task, ids in categories.items()
    }
    statistic = mean_difference(tasks, "sample")
    if pair.is_head_to_head:
        points = float(statistic.reweighted(np.ones((1, statistic.units)))[0])
        measured = Measured(HEAD_TO_HEAD, points, 0.0, statistic)
    else:
        measured = _of_records("win_rate", _shared_metrics(pair), statistic)
        _check(measured, pair)
    return PairedScores(VicunaQA.name, "sample", (measured,), tasks)


def _states(run: StoredRun) -> dict[str, str]:
    """The verdict on each question, from the judging that the record tells of."""
    return JudgingFolder(judging_place(run)).states()
