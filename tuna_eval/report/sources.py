"""What RUN may be on the command line: a run's folder, a model's folder, or a file of human scores or data statistics.

Before a "=" stands what tables call it, and where a figure needs an axis, before a ":" where it stands on it:
NAME=RUN, 0.1:RUN, NAME=0.1:RUN.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.report.data_stats import read_data_stats
from tuna_eval.report.frame import Frame, Provenance, System, Value, frame_of_runs
from tuna_eval.report.human.files import read_json
from tuna_eval.report.runs import StoredRun, complete_runs, newest_of_each_suite

_POSITION = re.compile(r"(-?\d+(?:\.\d*)?(?:e[-+]?\d+)?):(.+)", re.IGNORECASE)
_CURE = "give results/runs/MODEL, results/runs/MODEL/SUITE/ID, or a file of human scores or data statistics"


@dataclass(frozen=True, slots=True)
class Named:
    """One RUN of the command line.

    Attributes:
        name: what tables call it; "" if it says so itself.
        position: where it stands on a figure's axis; None if that was not told.
        path: the folder or file.
    """

    name: str
    position: float | None
    path: Path


def parse_word(word: str) -> Named:
    """NAME=X:PATH, of which only PATH must be there. A path that exists is taken as it is.

    Raises:
        ConfigError: the name before the "=" or the path behind it is empty.
    """
    if Path(word).exists():
        return Named("", None, Path(word))
    name, equals, rest = word.partition("=")
    if not equals:
        name, rest = "", word
    elif not name.strip() or not rest:
        raise ConfigError(f"{word!r} has no name or no path", cure="write NAME=RUN")
    match = None if Path(rest).exists() else _POSITION.fullmatch(rest)
    if match:
        return Named(name, float(match[1]), Path(match[2]))
    return Named(name, None, Path(rest))


def read_frame(words: Sequence[str]) -> Frame:
    """All values behind the RUNs of a command line.

    Raises:
        ConfigError: two runs of a suite have one name, or a file is given one.
        DataError: a path holds no complete run and is no file of scores.
        StoreError: a record is broken.
    """
    runs: dict[tuple[System, str], StoredRun] = {}
    positions: dict[System, float] = {}
    values: list[Value] = []
    for named in map(parse_word, words):
        if named.path.is_file():
            if named.name or named.position is not None:
                problem = "a file of scores names its systems itself"
                raise ConfigError(problem, place=str(named.path), cure="leave out what stands before it")
            values += _read_file(named)
            continue
        for found in newest_of_each_suite(complete_runs(named.path, _CURE)):
            system = System(named.name or found.record.model or named.path.name, "run")
            key = system, found.record.suite
            if key in runs and runs[key].folder.path.resolve() != found.folder.path.resolve():
                raise ConfigError(
                    f"two runs of {key[1]} are called {system.name!r}", place=str(named.path), cure="write NAME=RUN"
                )
            runs[key] = found
            if named.position is not None:
                positions[system] = named.position
    # A model's runs may come in several words; its values stand together where its name came first.
    order = list(dict.fromkeys(system for system, _ in runs))
    sorted_runs = sorted(((key[0], found) for key, found in runs.items()), key=lambda pair: order.index(pair[0]))
    return frame_of_runs(sorted_runs, positions).joined(Frame(tuple(values)))


def _read_file(named: Named) -> list[Value]:
    """Human scores (`tuna-eval human score --out`) or statistics of ranking data (`tuna-train data stats`).

    Raises:
        DataError: the file is neither.
    """
    content = read_json(named.path, _CURE)
    if isinstance(content, dict) and isinstance(content.get("systems"), list):
        return _human_values(content, named)
    if isinstance(content, dict) and {"lengths_by_rank", "cost"} & content.keys():
        return read_data_stats(content, named.path)
    raise DataError("neither human scores nor data statistics", place=str(named.path), cure=_CURE)


def _human_values(content: dict[str, Any], named: Named) -> list[Value]:
    """Points by system, and which others it beats with p < 0.01."""
    try:
        return [
            Value(
                System(str(row["system"]), "file"),
                "human",
                "points",
                float(row["points"]),
                "points",
                better_than=tuple(map(str, row["better_than"])),
                provenance=Provenance(place=named.path.name),
            )
            for row in content["systems"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("not human scores", place=str(named.path), cure="write them with human score --out") from error
