"""The samples whose score fell furthest, with what the models said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tuna_eval.disk import read_lines
from tuna_eval.errors import DataError
from tuna_eval.report.gate_runs import RunPair
from tuna_eval.report.gate_samples import TaskScores
from tuna_eval.report.runs import StoredRun


@dataclass(frozen=True, slots=True)
class Flip:
    """A sample whose score fell.

    Attributes:
        task, id: the sample.
        candidate_score, baseline_score: on the deciding metric, in its unit.
        candidate_output, baseline_output: what the models said; None where only scores are stored.
    """

    task: str
    id: str
    candidate_score: float
    baseline_score: float
    candidate_output: str | None
    baseline_output: str | None


def worst_flips(pair: RunPair, tasks: Mapping[str, TaskScores], count: int) -> tuple[Flip, ...]:
    """The samples whose score fell most; of equal falls one of each task in turn, the task that fell most first."""
    fallen: list[tuple[float, int, float, str, str, float, float]] = []
    for task, scores in tasks.items():
        changes = scores.candidate - scores.baseline
        overall = float(np.mean(scores.differences)) if scores.differences.size else 0.0
        order = np.argsort(changes, kind="stable")[: min(count, int((changes < 0).sum()))]
        for turn, place in enumerate(order):
            values = float(scores.candidate[place]), float(scores.baseline[place])
            fallen.append((round(float(changes[place]), 6), turn, overall, task, scores.ids[place], *values))
    worst = sorted(fallen)[:count]
    wanted = {(task, id) for *_, task, id, _, _ in worst}
    own, other = (_outputs(run, wanted) for run in (pair.candidate, pair.baseline))
    return tuple(
        Flip(task, id, score, before, own.get((task, id)), other.get((task, id)))
        for *_, task, id, score, before in worst
    )


def _outputs(run: StoredRun, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    if not wanted:
        return {}
    found: dict[tuple[str, str], str] = {}
    for line in read_lines(run.folder.samples_file):
        task, id, output = (line.get(name) for name in ("task", "id", "output"))
        if not (isinstance(task, str) and isinstance(id, str) and isinstance(output, str)):
            problem = f'a line without "task", "id" or "output": {json.dumps(line):.60}'
            cure = "remove the line, and run the same command again"
            raise DataError(problem, place=str(run.folder.samples_file), cure=cure)
        if (task, id) in wanted:
            found[task, id] = output
    return found
