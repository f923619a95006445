"""The difference of two LMentry records, task by task."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, get_args

import numpy as np
import pytest

from tuna_eval.errors import DataError
from tuna_eval.schema import Score
from tuna_eval.store import read_result
from tuna_eval.tasks.base import Tally
from tuna_eval.tasks.catalog import SuiteOptions, open_suites
from tuna_eval.tasks.lmentry.paired import Metric, SystemCounts, lmentry_difference, read_counts

METRICS: tuple[Metric, ...] = get_args(Metric)


def record_of(*replies: str, tasks: tuple[str, ...] = ()) -> dict[str, Any]:
    """The results of a system that gives its replies by turns."""
    (suite,) = open_suites(["lmentry"], SuiteOptions(data="mini", tasks=tasks))
    tally = Tally()
    for task in suite.task_names():
        examples = suite.examples(task)
        answers = [example.references[0] if example.references else "no" for example in examples]
        outputs = [replies[i % len(replies)] or answer for i, answer in enumerate(answers)]  # "" is the right answer
        scored = suite.score(task, examples, outputs)
        assert isinstance(scored.scores[0], Score)
        tally.add(task, scored)
    return asdict(suite.summarise(tally))


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return [record_of("", "", "no"), record_of("", "the first word is the harbour", "yes", "no")]


def counts(record: dict[str, Any]) -> SystemCounts:
    return read_counts(record["breakdown"]["tasks"], ())


@pytest.mark.parametrize("metric", METRICS)
def test_all_tasks_together_are_the_record(records: list[dict[str, Any]], metric: Metric) -> None:
    values = [read_result(record).metrics[metric].value for record in records]
    assert None not in values
    own, other = (counts(record) for record in records)
    found = own.aspects()
    assert {"accuracy": found.accuracy, "robustness": found.robustness, "lmentry_score": found.score}[metric] == values[
        0
    ]
    statistic = lmentry_difference(own, other, metric)
    assert statistic.units == 25
    difference = float(statistic.reweighted(np.ones((1, 25)))[0])
    assert difference == pytest.approx((values[0] or 0) - (values[1] or 0), abs=1e-9 if metric == "accuracy" else 0.1)
    assert difference != 0


@pytest.mark.parametrize("metric", METRICS)
def test_swapping_all_tasks_turns_the_difference_round(records: list[dict[str, Any]], metric: Metric) -> None:
    own, other = (counts(record) for record in records)
    statistic, back = lmentry_difference(own, other, metric), lmentry_difference(other, own, metric)
    swaps = np.array([[False] * 25, [True] * 25])
    difference = float(statistic.reweighted(np.ones((1, 25)))[0])
    assert statistic.swapped(swaps) == pytest.approx([difference, -difference])
    assert back.reweighted(np.ones((1, 25))) == pytest.approx([-difference])
    assert lmentry_difference(own, own, metric).swapped(swaps) == pytest.approx([0, 0])


def test_one_swapped_task_is_the_record_with_that_task_exchanged(records: list[dict[str, Any]]) -> None:
    own, other = (counts(record) for record in records)
    task = "bigger_number"  # in an adjacent pair and among the tasks of argument order, and without subsets
    mixed = [
        SystemCounts({**mine.counts, task: theirs.counts[task]}, is_rounded=True, fixed_denominators=False)
        for mine, theirs in ((own, other), (other, own))
    ]
    swaps = np.array([[name == task for name in sorted(own.tasks)]])
    for metric in METRICS:
        expected = lmentry_difference(mixed[0], mixed[1], metric).reweighted(np.ones((1, 25)))
        assert lmentry_difference(own, other, metric).swapped(swaps) == pytest.approx(expected)


def test_weights_are_as_good_as_copies(records: list[dict[str, Any]]) -> None:
    own, other = (counts(record) for record in records)
    statistic = lmentry_difference(own, other, "accuracy")
    weights = np.zeros((1, 25))
    weights[0, sorted(own.tasks).index("bigger_number")] = 3
    expected = own.accuracy("bigger_number") - other.accuracy("bigger_number")
    assert statistic.reweighted(weights) == pytest.approx([expected])
    doubled = lmentry_difference(own, other, "lmentry_score").reweighted(np.full((1, 25), 2.0))
    assert doubled == pytest.approx(lmentry_difference(own, other, "lmentry_score").reweighted(np.ones((1, 25))))


def test_other_tasks_are_refused(records: list[dict[str, Any]]) -> None:
    few = counts(record_of("no", tasks=("bigger_number", "smaller_number")))
    with pytest.raises(DataError, match="same LMentry tasks"):
        lmentry_difference(counts(records[0]), few, "accuracy")
    alone = counts(record_of("no", tasks=("bigger_number", "more_letters_length*")))
    with pytest.raises(DataError, match="more_letters has robustness and no accuracy"):
        lmentry_difference(alone, alone, "accuracy")
    with pytest.raises(DataError, match="no LMentry counts"):
        read_counts({"bigger_number": {}}, ())
