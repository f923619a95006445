"""Named baselines: results/baselines/<name>.json says which runs a gate measures against, and what they were."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tuna_eval.disk import locked, replacing
from tuna_eval.errors import ConfigError, DataError, StoreError
from tuna_eval.run import now
from tuna_eval.schema import SCHEMA_VERSION, RunRecord
from tuna_eval.store import RunFolder, digest

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

State = Literal["", "gone", "broken", "unfinished", "changed"]
_STATES: Mapping[State, str] = {
    "gone": "is gone",
    "broken": "has a record that cannot be read",
    "unfinished": "was begun anew and is not complete",
    "changed": "has changed since it was set",
}


@dataclass(frozen=True, slots=True)
class BaselineRun:
    """One run of a baseline.

    Attributes:
        suite, model: of its record.
        run_id: of its record; "" for predictions made elsewhere.
        path: of its folder, relative to the results folder, with slashes.
        record_sha256: of what the record says of outputs and scores, see `record_sha256`.
    """

    suite: str
    model: str
    run_id: str
    path: str
    record_sha256: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a name stands for.

    Attributes:
        name: as the user gave it.
        set: when, UTC.
        runs: one for each benchmark, by name of the benchmark.
        earlier: what the name stood for before, the latest first.
    """

    name: str
    set: str
    runs: tuple[BaselineRun, ...]
    earlier: tuple[dict[str, Any], ...] = ()


def record_sha256(record: RunRecord) -> str:
    """Hash of what a record says of outputs and scores; running the same command again does not change it."""
    return digest([record.suite, record.version, record.run_id, record.identity, record.coverage, record.results])


def set_baseline(results: Path, name: str, folders: Sequence[RunFolder]) -> Baseline:
    """Gives runs a name. The file is written whole, keeps what the name stood for before, and is left alone if equal.

    Args:
        results: the results folder, which holds the runs.
        name: letters, digits, dots, dashes and underscores.
        folders: complete runs, one of each benchmark.

    Raises:
        ConfigError: the name cannot be one, or a run is not in the results folder.
        DataError: a run is not complete.
        StoreError: the file is broken or cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a baseline", cure="use letters, digits, dots, dashes and underscores")
    runs = tuple(sorted((_entry(results, folder) for folder in folders), key=lambda run: run.suite))
    with locked(results / "baselines", "baseline"):
        before = _read(results, name)
        if before is not None and before.runs == runs:
            return before
        earlier: tuple[dict[str, Any], ...] = ()
        if before is not None:
            earlier = ({"set": before.set, "runs": [asdict(run) for run in before.runs]}, *before.earlier)
        baseline = Baseline(name, now(), runs, earlier)
        with replacing(_file(results, name)) as write:
            write(json.dumps({"schema_version": SCHEMA_VERSION, **asdict(baseline)}, indent=2) + "\n")
    return baseline


def _entry(results: Path, folder: RunFolder) -> BaselineRun:
    record = folder.read_record()
    if record is None or record.status != "complete":
        raise DataError("the run is not finished", place=str(folder.path), cure="run the same command again")
    try:
        path = folder.path.resolve().relative_to(results.resolve()).as_posix()
    except ValueError as error:
        cure = f"give a run below {results}, or the folder it is in with --results"
        raise ConfigError("the run is not in the results folder", place=str(folder.path), cure=cure) from error
    return BaselineRun(record.suite, record.model, record.run_id, path, record_sha256(record))


def read_baseline(results: Path, name: str) -> Baseline:
    """What a name stands for.

    Raises:
        ConfigError: there is no such baseline.
        StoreError: its file is broken.
    """
    found = _read(results, name) if _NAME.fullmatch(name) else None
    if found is None:
        known = ", ".join(baseline_names(results)) or "none is set"
        cure = f"give a run's folder, a model's folder, or a name that was set ({known})"
        raise ConfigError(f"no run and no baseline {name!r}", place=str(results / "baselines"), cure=cure)
    return found


def baseline_names(results: Path) -> list[str]:
    """The names that are set, in alphabetical order."""
    return sorted(file.stem for file in (results / "baselines").glob("*.json"))


def baseline_folders(results: Path, baseline: Baseline, suites: Container[str] | None = None) -> list[Path]:
    """The folders of a baseline's runs.

    Args:
        results: the results folder.
        baseline: what a name stands for.
        suites: the benchmarks that are compared; default: all. Of the others a run that is gone or no longer what it
            was is left out.

    Raises:
        DataError: a run that is compared is gone, or no longer what it was.
    """
    folders = []
    for run in baseline.runs:
        folder, state = results / run.path, state_of(results, run)
        if not state:
            folders.append(folder)
        elif suites is None or run.suite in suites:
            cure = f"bring it back, or set the baseline anew: tuna-eval baseline set {baseline.name} RUN"
            raise DataError(f"the baseline's run {_STATES[state]}", place=str(folder), cure=cure)
    return folders


def state_of(results: Path, run: BaselineRun) -> State:
    """What became of a baseline's run since the name was set; "" where it is as it was."""
    try:
        record = RunFolder(results / run.path).read_record()
    except StoreError:
        return "broken"
    if record is None:
        return "gone"
    if record.status != "complete":
        return "unfinished"
    return "" if record_sha256(record) == run.record_sha256 else "changed"


def _file(results: Path, name: str) -> Path:
    return results / "baselines" / f"{name}.json"


def _read(results: Path, name: str) -> Baseline | None:
    file = _file(results, name)
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values.pop("schema_version") != SCHEMA_VERSION:
            raise KeyError("schema_version")
        runs = tuple(BaselineRun(**run) for run in values.pop("runs"))
        return Baseline(**{**values, "runs": runs, "earlier": tuple(values["earlier"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        cure = "set the baseline anew after removing the file"
        raise StoreError(f"not a baseline of schema version {SCHEMA_VERSION}", place=str(file), cure=cure) from error
