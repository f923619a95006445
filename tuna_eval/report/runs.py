"""The complete runs in a folder: a run's own, a suite's, or a model's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tuna_eval.errors import DataError
from tuna_eval.schema import RunRecord
from tuna_eval.store import RunFolder

CURE = "give results/runs/MODEL, results/runs/MODEL/SUITE or results/runs/MODEL/SUITE/ID"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run with its record.

    Attributes:
        folder, record: of the run.
        chosen_from: how many complete runs of the benchmark there were, of which this is the newest.
    """

    folder: RunFolder
    record: RunRecord
    chosen_from: int = 1

    @property
    def name(self) -> str:
        """The last three folders of its path: MODEL/SUITE/ID."""
        return "/".join(self.folder.path.resolve().parts[-3:])


def complete_runs(place: Path, cure: str = CURE) -> list[StoredRun]:
    """The complete runs in a folder, the newest first; which is the one that was scored last.

    Args:
        place: results/runs/MODEL/SUITE/ID, results/runs/MODEL/SUITE or results/runs/MODEL.
        cure: what the user may give instead.

    Raises:
        DataError: there is none, or none that is complete.
        StoreError: a record is broken.
    """
    files = _records(place)
    if not files:
        raise DataError("no run here" if place.is_dir() else "no such folder", place=str(place), cure=cure)
    runs = [run for run in _read(files) if run.record.status == "complete"]
    if not runs:
        problem = "the run is not complete" if len(files) == 1 else f"none of the {len(files)} runs is complete"
        raise DataError(problem, place=str(files[0].parent), cure="run the same command again to finish it")
    return sorted(runs, key=lambda run: (str(run.record.scoring.get("finished", "")), run.record.run_id), reverse=True)


def unfinished_runs(place: Path) -> list[StoredRun]:
    """The runs in a folder that were begun and are not complete, the newest first.

    Args:
        place: as for `complete_runs`.

    Raises:
        StoreError: a record is broken.
    """
    runs = [run for run in _read(_records(place)) if run.record.status != "complete"]
    return sorted(runs, key=lambda run: (run.record.started, run.record.run_id), reverse=True)


def _records(place: Path) -> list[Path]:
    own = place / "record.json"
    patterns = ("*/record.json", "*/*/record.json")
    return [own] if own.is_file() else sorted(file for pattern in patterns for file in place.glob(pattern))


def _read(files: Iterable[Path]) -> Iterator[StoredRun]:
    for file in files:
        folder = RunFolder(file.parent)
        record = folder.read_record()
        if record is not None:
            yield StoredRun(folder, record)


def newest_of_each_suite(runs: Iterable[StoredRun]) -> list[StoredRun]:
    """One run a suite, by name of the suite; it knows how many there were.

    Args:
        runs: the newest first.
    """
    by_suite: dict[str, list[StoredRun]] = {}
    for run in runs:
        by_suite.setdefault(run.record.suite, []).append(run)
    return [replace(found[0], chosen_from=len(found)) for _, found in sorted(by_suite.items())]
