"""LMentry's accuracy, robustness and score of two systems, as functions of which tasks count and who is who.

The unit is a core task with its argument-content subsets. Where a task is drawn twice, its accuracy and its places in
the aspects count twice, and a pair of adjacent tasks counts as often as both together (a U-statistic's weights); a pair
of tasks that changed places between the systems one by one is computed anew. All of it comes from the counts in the
records, by the official rounding; robustness alone is not rounded once more before the product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tuna_eval.errors import DataError
from tuna_eval.metrics.paired import BoolArray, FloatArray
from tuna_eval.tasks.lmentry.aspects import ADJACENT, Aspects, Counts, aspects
from tuna_eval.tasks.lmentry.names import CORE

Metric = Literal["accuracy", "robustness", "lmentry_score"]

# Aspects whose value is a mean over single tasks, in the order of the rows behind accuracy.
_BY_TASK = ("argument_order", "argument_content", "template")


@dataclass(frozen=True, slots=True)
class SystemCounts:
    """What a record tells of one system.

    Attributes:
        counts: by task.
        is_rounded, fixed_denominators: see `aspects`.
    """

    counts: Mapping[str, Counts]
    is_rounded: bool
    fixed_denominators: bool

    def aspects(self) -> Aspects:
        """Accuracy, aspects, robustness and score."""
        return aspects(self.counts, is_rounded=self.is_rounded, fixed_denominators=self.fixed_denominators)

    @property
    def tasks(self) -> list[str]:
        """The core tasks that were asked, in official order."""
        return [task for task in CORE if task in self.counts]

    def accuracy(self, task: str) -> float:
        """Of one task, percent."""
        own = self.counts[task]
        right, examples = sum(own.right), sum(own.examples)
        value = right / examples * 100 if right else 0.0
        return round(value, 2) if self.is_rounded else value


def read_counts(breakdown: Mapping[str, Any], repairs: Sequence[str]) -> SystemCounts:
    """The counts that `TaskBreakdown.as_json` wrote into a record.

    Args:
        breakdown: "tasks" of a record's breakdown.
        repairs: of the scoring, as the record's settings list them.

    Raises:
        DataError: it does not hold them.
    """
    try:
        counts = {task: _counts(own) for task, own in breakdown.items()}
    except (KeyError, TypeError) as error:
        raise DataError(f"no LMentry counts in the record ({error!r})", cure="score the run anew") from error
    return SystemCounts(counts, "rounding" not in repairs, "denominators" in repairs)


def _counts(own: Mapping[str, Any]) -> Counts:
    templates, places = own["templates"], own.get("answer_index", ())
    return Counts(
        examples=tuple(row["examples"] for row in templates),
        right=tuple(row["certain_right"] + row["uncertain_right"] for row in templates),
        certain=tuple(row["certain_right"] + row["certain_wrong"] for row in templates),
        missing=tuple(row["missing"] for row in templates),
        examples_by_order=tuple(row["examples"] for row in places),
        answered_by_order=tuple(row["answered"] for row in places),
        right_by_order=tuple(row["right"] for row in places),
    )


@dataclass(frozen=True, slots=True)
class LMentryDifference:
    """Candidate minus baseline of one of LMentry's metrics, percentage points; a `PairedStatistic` over core tasks.

    Attributes:
        metric: which one.
        candidate, baseline: accuracy, argument order, argument content and template of each task, percent; NaN where a
            task is not part of an aspect. Shape (4, tasks).
        pairs: places of the adjacent tasks. Shape (2, pairs).
    """

    metric: Metric
    candidate: FloatArray
    baseline: FloatArray
    pairs: npt.NDArray[np.int64]

    @property
    def units(self) -> int:
        """See `PairedStatistic.units`."""
        return int(self.candidate.shape[1])

    def reweighted(self, weights: FloatArray) -> FloatArray:
        """See `PairedStatistic.reweighted`."""
        pair_weights = weights[:, self.pairs[0]] * weights[:, self.pairs[1]]

        def metric(values: FloatArray) -> FloatArray:
            is_there = ~np.isnan(values)
            with np.errstate(invalid="ignore"):  # 0/0 where no task of an aspect is drawn
                rows = weights @ np.where(is_there, values, 0.0).T / (weights @ is_there.T.astype(np.float64))
                adjacent = pair_weights @ _alike(values[0], self.pairs) / pair_weights.sum(axis=1)
            return self._combined(rows, adjacent)

        return metric(self.candidate) - metric(self.baseline)

    def swapped(self, is_swapped: BoolArray) -> FloatArray:
        """See `PairedStatistic.swapped`."""
        return self._after(is_swapped) - self._after(~is_swapped)

    def _after(self, is_swapped: BoolArray) -> FloatArray:
        """The candidate's metric after the swapping."""
        swaps = is_swapped.astype(np.float64)
        change = np.nan_to_num(self.baseline - self.candidate)
        sizes = (~np.isnan(self.candidate)).sum(axis=1)
        with np.errstate(invalid="ignore"):
            rows = (np.nansum(self.candidate, axis=1) + swaps @ change.T) / sizes
        adjacent = _alike(self.candidate[0] + swaps * change[0], self.pairs).mean(axis=-1)
        return self._combined(rows, adjacent)

    def _combined(self, rows: FloatArray, adjacent: FloatArray) -> FloatArray:
        """The metric of accuracy and three aspects, shape (draws, 4), and the fourth, shape (draws,)."""
        if self.metric == "accuracy":
            return rows[:, 0]
        robustness: FloatArray = (rows[:, 1:].sum(axis=1) + adjacent) / 4
        return robustness if self.metric == "robustness" else rows[:, 0] * robustness / 100


def _alike(accuracies: FloatArray, pairs: npt.NDArray[np.int64]) -> FloatArray:
    """Robustness of each pair of adjacent tasks, percent; shape (..., pairs) for (..., tasks)."""
    alike: FloatArray = 100 - np.abs(accuracies[..., pairs[0]] - accuracies[..., pairs[1]])
    return alike


def lmentry_difference(candidate: SystemCounts, baseline: SystemCounts, metric: Metric) -> LMentryDifference:
    """The difference between two systems that answered the same examples.

    Raises:
        DataError: they did not.
    """
    tasks = sorted(candidate.tasks)  # the order of the units must not depend on that of the files
    refusal = DataError("the runs did not answer the same LMentry tasks", cure="compare runs of the same tasks")
    if tasks != sorted(baseline.tasks):
        raise refusal
    own, other = (_rows(system, tasks) for system in (candidate, baseline))
    if (np.isnan(own) != np.isnan(other)).any():
        raise refusal
    answered = {task for task in tasks if candidate.counts[task].answered}
    adjacent = [pair for kind in ADJACENT.values() for pair in kind.values() if answered >= set(pair)]
    pairs = np.array([[tasks.index(task) for task in pair] for pair in adjacent], dtype=np.int64).reshape(-1, 2).T
    return LMentryDifference(metric, own, other, pairs)


def _rows(system: SystemCounts, tasks: Sequence[str]) -> FloatArray:
    breakdown = system.aspects().breakdown
    for aspect in _BY_TASK:
        if alone := sorted(set(breakdown[aspect]) - set(tasks)):
            cure = "compare runs that answered it too"
            raise DataError(f"{alone[0]} has robustness and no accuracy", place="LMentry", cure=cure)
    rows: list[list[float | None]] = [[system.accuracy(task) for task in tasks]]
    rows += [[breakdown[aspect].get(task) for task in tasks] for aspect in _BY_TASK]
    return np.array(rows, dtype=np.float64)
