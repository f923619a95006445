"""The complete runs in a folder: a run's own, a suite's, or a model's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tuna_eval.errors import DataError
from tuna_eval.schema import RunRecord
from tuna_eval.store import RunFolder

CURE = "give results/runs/MODEL, results/runs/MODEL/SUITE or results/runs/MODEL/SUITE/ID"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A complete run."""

    folder: RunFolder
    record: RunRecord


def complete_runs(place: Path, cure: str = CURE) -> list[StoredRun]:
    """The complete runs in a folder, the newest first; which is the one that was scored last.

    Args:
        place: results/runs/MODEL/SUITE/ID, results/runs/MODEL/SUITE or results/runs/MODEL.
        cure: what the user may give instead.

    Raises:
        DataError: there is none, or none that is complete.
        StoreError: a record is broken.
    """
    own = place / "record.json"
    patterns = ("*/record.json", "*/*/record.json")
    files = [own] if own.is_file() else sorted(file for pattern in patterns for file in place.glob(pattern))
    if not files:
        raise DataError("no run here" if place.is_dir() else "no such folder", place=str(place), cure=cure)
    runs = []
    for file in files:
        folder = RunFolder(file.parent)
        record = folder.read_record()
        if record is not None and record.status == "complete":
            runs.append(StoredRun(folder, record))
    if not runs:
        problem = "the run is not complete" if len(files) == 1 else f"none of the {len(files)} runs is complete"
        raise DataError(problem, place=str(files[0].parent), cure="run the same command again to finish it")
    return sorted(runs, key=lambda run: (str(run.record.scoring.get("finished", "")), run.record.run_id), reverse=True)


def newest_of_each_suite(runs: Iterable[StoredRun]) -> list[StoredRun]:
    """One run a suite, by name of the suite.

    Args:
        runs: the newest first.
    """
    newest: dict[str, StoredRun] = {}
    for run in runs:
        newest.setdefault(run.record.suite, run)
    return [newest[suite] for suite in sorted(newest)]
