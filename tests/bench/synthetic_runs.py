"""Full-size runs that no model made: tasks and samples as the benchmarks have them, scores of a likely spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuna_eval.metrics.paired import FloatArray
from tuna_eval.schema import RunRecord, Sample, Score, SuiteResult, Summary
from tuna_eval.store import RunFolder
from tuna_eval.tasks.base import Tally, TaskScores
from tuna_eval.tasks.lmentry.names import CORE, TASKS
from tuna_eval.tasks.lmentry.paired import read_counts

SUPERNI_TASKS = {f"task{i:03}_synthetic": 100 if i else 10 for i in range(119)}  # 11,810 instances
TEMPLATES = 3
_SMALL = {"homophones": 800, "starts_with_letter": 26, "word_containing": 26, "word_not_containing": 26}
LMENTRY_TASKS = {task: {**_SMALL, "ends_with_letter": 23}.get(task, 1000) for task in TASKS}  # a template's examples

# How far a system's mean on a task strays from the task's own difficulty, points: equally good models are not equally
# good at every task.
TASK_SPREAD = 8.0
_WORDS = ("the harbour opens at dawn", "neutral", "a small boat with a red sail", "yes, it does", "seven")


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one system by task, each 0..1. LMentry's are 0 or 1, those of one template after another's."""

    superni: Mapping[str, FloatArray]
    lmentry: Mapping[str, FloatArray]


def synthetic_pair(rng: np.random.Generator, drop: float = 0.0) -> tuple[Scores, Scores]:
    """A candidate and a baseline that are equally good, but for a drop of the candidate on Super-NI.

    Args:
        rng: every call makes other tasks' difficulties, samples and systems.
        drop: points of ROUGE-L, taken from every score, so that the true drop is exactly this.
    """
    sides: tuple[dict[str, dict[str, FloatArray]], ...] = (
        {"superni": {}, "lmentry": {}},
        {"superni": {}, "lmentry": {}},
    )
    for task, size in SUPERNI_TASKS.items():
        mean, ease = 100 * rng.beta(1.5, 2.0), rng.normal(0, 25, size)
        for side, fall in zip(sides, (drop, 0.0), strict=True):
            own = mean + ease + rng.normal(0, TASK_SPREAD) + rng.normal(0, 20, size)
            side["superni"][task] = np.clip(own, 5, 105) / 110 - fall / 100
    for task, size in LMENTRY_TASKS.items():
        hardness = rng.random(TEMPLATES * size)
        templates = np.repeat(rng.normal(0, 0.03, TEMPLATES), size)
        mean = 0.15 + 0.7 * rng.random()
        for side in sides:
            likely = mean + templates + rng.normal(0, TASK_SPREAD / 100)
            noise = rng.normal(0, 0.1, hardness.size)
            side["lmentry"][task] = (hardness + noise < likely).astype(np.float64)
    candidate, baseline = (Scores(side["superni"], side["lmentry"]) for side in sides)
    return candidate, baseline


def lmentry_breakdown(scores: Mapping[str, FloatArray]) -> dict[str, Any]:
    """The counts of a record, as `TaskBreakdown.as_json` writes them; the answer's place is that of every other id."""
    found = {}
    for task, values in scores.items():
        size = LMENTRY_TASKS[task]
        own: dict[str, Any] = {
            "templates": [
                {
                    "examples": size,
                    "certain_right": int(rows.sum()),
                    "uncertain_right": 0,
                    "certain_wrong": int(size - rows.sum()),
                    "uncertain_wrong": 0,
                    "missing": 0,
                }
                for rows in values.reshape(TEMPLATES, size)
            ]
        }
        if task in ("more_letters", "less_letters", "first_alphabetically", "rhyming_word", "homophones") or (
            task.endswith("_number")
        ):
            places = (values[0::2], values[1::2])
            own["answer_index"] = [
                {"examples": len(rows), "answered": len(rows), "right": int(rows.sum())} for rows in places
            ]
        found[task] = own
    return found


def write_runs(results: Path, model: str, scores: Scores, *, core_only: bool = False) -> Path:
    """Writes the runs of a system and returns the model's folder.

    Args:
        results: the results folder.
        model: its name.
        scores: see `synthetic_pair`.
        core_only: leave LMentry's argument-content subsets out of scores and samples: 62,703 rather than 110,703.
    """
    folder = results / "runs" / model
    tally = Tally()
    for task, values in scores.superni.items():
        tally.add(task, TaskScores([Score(task, str(i), {"rougeL": float(v)}) for i, v in enumerate(values)]))
    superni = SuiteResult(
        suite="superni_2shot",
        metrics={"rougeL": tally.summary("rougeL", tally.tasks)},
        signatures={"rougeL": "rougeL|v1"},
    )
    _write(folder / "superni_2shot" / "synthetic", model, superni, scores.superni, "rougeL")
    breakdown = lmentry_breakdown(scores.lmentry)
    found = read_counts(breakdown, ()).aspects()
    values = {"accuracy": found.accuracy, "robustness": found.robustness, "lmentry_score": found.score}
    lmentry = SuiteResult(
        suite="lmentry",
        metrics={name: Summary(value, None, 62703) for name, value in values.items()},
        signatures=dict.fromkeys(values, "lmentry|v1"),
        breakdown={"tasks": breakdown},
    )
    kept = {task: own for task, own in scores.lmentry.items() if not core_only or task in CORE}
    _write(folder / "lmentry" / "synthetic", model, lmentry, kept, "accuracy")
    return folder


def _write(place: Path, model: str, result: SuiteResult, scores: Mapping[str, FloatArray], metric: str) -> None:
    place.mkdir(parents=True)
    folder = RunFolder(place)
    folder.write_scores(
        Score(task, str(i), {metric: float(v)}) for task, values in scores.items() for i, v in enumerate(values)
    )
    with folder.appender() as append:
        for task, values in scores.items():
            outputs = (_WORDS[i % len(_WORDS)] for i in range(len(values)))
            append(
                Sample(task, str(i), "0" * 64, text, (101, 7, 2), "stop", -3.5, 200) for i, text in enumerate(outputs)
            )
    total = sum(map(len, scores.values()))
    coverage = {"tasks": len(scores), "expected_tasks": len(scores), "scored": total, "examples": total, "limit": None}
    folder.write_record(
        RunRecord(
            model=model,
            suite=result.suite,
            version="1",
            status="complete",
            started="",
            run_id="synthetic",
            coverage=coverage,
            scoring={"settings": {"repairs": []}},
            results=asdict(result),
        )
    )
