"""The gate's rule, its tolerances, and the order in which it tells of tasks and samples."""

from __future__ import annotations

import numpy as np
import pytest

from tuna_eval.errors import ConfigError
from tuna_eval.metrics.paired import FloatArray
from tuna_eval.report.gate import GateOptions, SuiteVerdict, shared_level, suite_verdict, tolerances
from tuna_eval.report.gate_formats import as_github, as_json, as_junit, as_markdown, as_text
from tuna_eval.report.gate_samples import Measured, PairedScores, TaskScores, mean_difference

SUITES = ["lmentry", "superni_0shot", "superni_2shot"]


def scores(differences: FloatArray, samples: int = 4, unit: str = "task") -> PairedScores:
    """Tasks whose samples all differ by as much."""
    ids = tuple(map(str, range(samples)))
    tasks = {
        f"task{i:03}": TaskScores(ids, np.full(samples, 50.0 + value), np.full(samples, 50.0))
        for i, value in enumerate(differences)
    }
    value = 50 + float(differences.mean())
    return PairedScores("superni_0shot", unit, (Measured("rougeL", value, 50.0, mean_difference(tasks, unit)),), tasks)


def verdict(differences: FloatArray, tolerance: float = 0.0, **options: int) -> SuiteVerdict:
    return suite_verdict(scores(differences), GateOptions(**options), 0.05, tolerance)


def test_the_gate_fails_only_beyond_the_tolerance_and_beyond_chance() -> None:
    noise = np.random.default_rng(0).normal(0, 1, 40)
    noise -= noise.mean()
    assert not verdict(noise - 3).passed
    assert verdict(noise - 3, tolerance=3.5).passed
    assert verdict(noise - 0.05).passed  # a drop that chance explains
    assert verdict(noise + 3).passed
    assert verdict(noise[:4] - 50).passed  # four tasks say nothing
    assert "too few" in verdict(noise[:4] - 50).reason


def one_of(count: int, samples: int) -> PairedScores:
    """Tasks of which number 7 fell by 15 points."""
    rng = np.random.default_rng(2)
    tasks = {}
    for i in range(count):
        before = rng.uniform(0, 100, samples)
        tasks[f"task{i:02}"] = TaskScores(
            tuple(map(str, range(samples))), before + rng.normal(-15 if i == 7 else 0, 20, samples), before
        )
    values = [
        float(np.mean([getattr(own, side).mean() for own in tasks.values()])) for side in ("candidate", "baseline")
    ]
    measured = Measured("rougeL", values[0], values[1], mean_difference(tasks, "task"))
    return PairedScores("superni_0shot", "task", (measured,), tasks)


def test_tasks_come_with_the_least_likely_drop_first_and_holm_decides_who_fell() -> None:
    found = suite_verdict(one_of(30, 60), GateOptions(), 0.05, 0.0)
    assert found.fallen == ("task07",)
    assert found.tasks[0].task == "task07"
    assert [task.p_value for task in found.tasks] == sorted(task.p_value for task in found.tasks)
    assert all(task.p_value <= task.p_holm <= 1 for task in found.tasks)


def test_a_task_of_a_full_benchmark_can_fall_at_a_strict_level() -> None:
    """--level 0.01, shared by two benchmarks: Holm's correction over 119 tasks asks for p <= 0.000042."""
    assert suite_verdict(one_of(119, 100), GateOptions(level=0.01), shared_level(0.01, 2), 0.0).fallen == ("task07",)


def test_samples_are_the_units_where_there_are_no_tasks_to_speak_of() -> None:
    few = suite_verdict(scores(np.array([-1.0, 1.0]), samples=30, unit="sample"), GateOptions(), 0.05, 0.0)
    assert (few.unit, few.units) == ("sample", 60)
    assert few.change.interval is not None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [0, 0, 0]),
        ({"superni": 1.0}, [0, 1, 1]),
        ({"superni": 1.0, "superni_2shot": 2.0, "lmentry": 0.5}, [0.5, 1, 2]),
    ],
)
def test_the_more_exact_name_wins(given: dict[str, float], expected: list[float]) -> None:
    assert list(tolerances(given, SUITES).values()) == expected


def test_benchmarks_share_the_level() -> None:
    assert shared_level(0.05, 1) == 0.05
    assert 1 - (1 - shared_level(0.05, 3)) ** 3 == pytest.approx(0.05)


@pytest.mark.parametrize("name", ["superni_1shot", "super", "vicuna_qa", ""])
def test_a_tolerance_for_what_is_not_compared_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not compared"):
        tolerances({name: 1.0}, SUITES)


def test_every_format_tells_of_a_benchmark_that_was_left_out() -> None:
    from tuna_eval.report.gate import GateReport

    found = verdict(np.full(12, -2.0))
    report = GateReport("a|b", "c", False, 0.05, 0, 9999, (found,), {"vicuna_qa": "not judged"})
    for text in (as_text, as_github, as_json, as_junit, as_markdown):
        assert "vicuna_qa" in text(report)
        assert "not judged" in text(report)
    assert "a\\|b" in as_markdown(report)
    assert "which all agree" in as_text(report)
