"""A series of checkpoints: which training step each is of, and its scores in that order."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.report.frame import Frame, System
from tuna_eval.report.layouts import BENCHMARKS, Layout
from tuna_eval.report.runs import StoredRun
from tuna_eval.report.tables import Note, Table, make_table

_STEP = re.compile(r"(?:^|[^a-z])(?:checkpoint|step)[-_]?(\d+)(?!\d)", re.IGNORECASE)
STATE = "trainer_state.json"  # which transformers' Trainer writes into each checkpoint


@dataclass(frozen=True, slots=True)
class Steps:
    """Where the checkpoints stand on the axis of training.

    Attributes:
        places: by system, ascending.
        is_order: whether the places are only the order in which the runs were given.
    """

    places: Mapping[System, float]
    is_order: bool


def training_steps(frame: Frame) -> Steps:
    """The step of each checkpoint: as given (NAME=X:RUN), from its name ("checkpoint-500"), or from the state that
    the trainer left in the folder around the run; where one of them tells none, the order given.

    Raises:
        ConfigError: a system is no run, but a file of human scores or data statistics.
        DataError: two checkpoints are of one step.
    """
    systems = list(dict.fromkeys(system for system, _ in frame.runs))
    if strangers := [system.name for system in frame.systems if system not in systems]:
        problem = f"{strangers[0]} is no run, and has no place in a series of checkpoints"
        raise ConfigError(problem, place="RUN", cure="name runs alone")
    if not systems:
        raise ConfigError("no run to show", place="RUN", cure="name the runs of a series of checkpoints")
    found = {system: _step(frame, system) for system in systems}
    known = {system: step for system, step in found.items() if step is not None}
    if len(known) < len(systems):
        return Steps({system: float(i) for i, system in enumerate(systems, 1)}, is_order=True)
    by_step: dict[float, System] = {}
    for system, step in known.items():
        if step in by_step:
            problem = f"{by_step[step].name} and {system.name} are both of step {step:g}"
            raise DataError(problem, cure="name one of them, or write NAME=STEP:RUN")
        by_step[step] = system
    return Steps({by_step[step]: step for step in sorted(by_step)}, is_order=False)


def _step(frame: Frame, system: System) -> float | None:
    if system in frame.positions:
        return frame.positions[system]
    runs = [run for (own, _), run in frame.runs.items() if own == system]
    for name in (system.name, *(run.record.model for run in runs)):
        if match := _STEP.search(name):
            return float(match[1])
    return next((step for run in runs if (step := _trainer_step(run)) is not None), None)


def _trainer_step(run: StoredRun) -> float | None:
    """The step that the trainer's state tells, where the run lies inside its checkpoint.

    Raises:
        DataError: the state is broken.
    """
    path: Path = run.folder.path.resolve()
    file = next((parent / STATE for parent in path.parents if (parent / STATE).is_file()), None)
    if file is None:
        return None
    try:
        return float(json.loads(file.read_text(encoding="utf-8"))["global_step"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError("no global_step here", place=str(file), cure="write NAME=STEP:RUN instead") from error


def trend_table(frame: Frame, steps: Steps, baseline: str = "") -> Table:
    """The scores of the paper's Table 1, one row a checkpoint; benchmarks that nobody ran are left out.

    Args:
        frame: the runs.
        steps: their order.
        baseline: see `make_table`.

    Raises:
        ConfigError, DataError: see `make_table`.
    """
    order: Sequence[System] = list(steps.places)
    values = sorted(frame.values, key=lambda value: order.index(value.system))
    own = replace(frame, values=tuple(values))
    columns = tuple(c for c in BENCHMARKS if any(frame.get(system, c.suite, c.metric) for system in order))
    table = make_table(own, Layout("Scores by training step", columns, None, label="Step"), baseline=baseline)
    names = {system.name: _label(system, step, is_order=steps.is_order) for system, step in steps.places.items()}
    notes = table.notes
    if steps.is_order:
        notes = (*notes, Note("", "No training step is known for all of them; they stand in the order given."))
    return replace(table, rows=tuple(replace(row, label=names[row.label]) for row in table.rows), notes=notes)


def _label(system: System, step: float, *, is_order: bool) -> str:
    if is_order:
        return f"{step:g}: {system.name}"
    return f"{step:g}" if _STEP.search(system.name) else f"{step:g}: {system.name}"


def trend_json(frame: Frame, steps: Steps) -> list[dict[str, Any]]:
    """Every metric of every checkpoint, unrounded and with its provenance, in the order of the steps.

    Args:
        frame: the runs.
        steps: their order; "step" is None where it is only that.
    """
    table = frame.to_pandas().drop(columns=["origin", "position"])
    places = {system.name: place for system, place in steps.places.items()}
    order = table["system"].map(places)
    table.insert(0, "step", None if steps.is_order else order)
    table = table.loc[order.sort_values(kind="stable").index]
    return [
        {str(k): v for k, v in line.items()}
        for line in table.astype(object).where(table.notna(), None).to_dict("records")
    ]
