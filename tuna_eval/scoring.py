"""Outputs become scores, and scores a summary: one task in memory at a time."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from tuna_eval.errors import DataError
from tuna_eval.schema import JSON, Score, SuiteResult
from tuna_eval.store import LineIndex, RunFolder
from tuna_eval.tasks.base import Suite, Tally

LISTED = 20  # ids of a kind that a record spells out; the counts are always whole


@dataclass
class Coverage:
    """What was scored, and what was not and why. Ids are written "task id".

    Attributes:
        tasks: tasks with at least one scored example.
        expected_tasks: tasks that the whole benchmark has.
        examples: examples of the tasks that were to be scored.
        scored: examples with an output.
        missing: examples without an output.
        unknown: outputs whose task or id the data does not have.
        duplicates: outputs for an example that already had one; the first one counts.
        limit: examples a task that the user asked for, if fewer than there are; None otherwise.
        finish_reasons: how the outputs ended, where that is known.
        scored_sha256: of the task and id of each scored example, in the data's order: equal counts may be of others.
    """

    expected_tasks: int
    limit: int | None = None
    tasks: int = 0
    examples: int = 0
    scored: int = 0
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    finish_reasons: dict[str, int] = field(default_factory=dict)
    scored_sha256: str = ""

    def as_json(self) -> dict[str, JSON]:
        """Counts in full, ids up to `LISTED` of a kind."""
        values: dict[str, JSON] = {}
        for name, value in asdict(self).items():
            if isinstance(value, list):
                values[name] = {"count": len(value), "ids": value[:LISTED]}
            else:
                values[name] = value
        return values

    def complaints(self) -> list[str]:
        """One line for each kind of mismatch between outputs and data."""
        kinds = {"missing": "have no prediction", "unknown": "are not in the data", "duplicates": "are there twice"}
        lines = []
        for name, what in kinds.items():
            ids: list[str] = getattr(self, name)
            if ids:
                more = f", and {len(ids) - 5} more" if len(ids) > 5 else ""
                lines.append(f"{len(ids)} ids {what}: {', '.join(ids[:5])}{more}")
        return lines


@dataclass(frozen=True, slots=True)
class Scoring:
    """What a file of outputs comes to, and how much of the benchmark it covers."""

    result: SuiteResult
    coverage: Coverage


def score_outputs(suite: Suite, file: Path, folder: RunFolder | None) -> Scoring:
    """Scores a file of outputs and, if a folder is given, writes scores.jsonl there.

    Args:
        suite: knows the examples and the metrics.
        file: JSON Lines of {"task", "id", "prediction"} or a run's own samples.jsonl, in any order.
        folder: where the scores go.

    Raises:
        DataError: names the file and line of an output that cannot be read, or no output belongs to the data.
    """
    index = LineIndex(file)
    tally, coverage = Tally(), Coverage(expected_tasks=suite.expected_tasks(), limit=suite.limited_to())
    scores = _scores(suite, index, tally, coverage)
    first = next(scores, None)
    if first is None:
        example = coverage.unknown[0] if coverage.unknown else "it is empty"
        raise DataError(
            f"no prediction belongs to the data ({example})", place=str(file), cure="check --suite and --data-dir"
        )
    scores = chain([first], scores)
    if folder:
        folder.write_scores(scores)
    else:
        deque(scores, maxlen=0)
    return Scoring(suite.summarise(tally), coverage)


def _scores(suite: Suite, index: LineIndex, tally: Tally, coverage: Coverage) -> Iterator[Score]:
    known, scored_ids = suite.task_names(), hashlib.sha256()
    for task in index.tasks:
        if task not in known:
            coverage.unknown += [f"{task} {line.get('id')}" for _, line in index.read(task)]
    for task in known:
        examples = suite.examples(task)
        outputs = _outputs(task, {example.id for example in examples}, index, coverage)
        answered = [example for example in examples if example.id in outputs]
        coverage.examples += len(examples)
        coverage.missing += [f"{task} {example.id}" for example in examples if example.id not in outputs]
        coverage.scored += len(answered)
        coverage.tasks += bool(answered)
        for example in answered:
            scored_ids.update(f"{json.dumps([task, example.id])}\n".encode())
        scored = suite.score(task, answered, [outputs[example.id] for example in answered])
        tally.add(task, scored)
        yield from scored.scores
    coverage.scored_sha256 = scored_ids.hexdigest()


def _outputs(task: str, ids: set[str], index: LineIndex, coverage: Coverage) -> dict[str, str]:
    outputs: dict[str, str] = {}
    for place, line in index.read(task):
        id, text = _id_and_text(line, place)
        if id not in ids:
            coverage.unknown.append(f"{task} {id}")
        elif id in outputs:
            coverage.duplicates.append(f"{task} {id}")
        else:
            outputs[id] = text
            if "finish_reason" in line:
                reason = str(line["finish_reason"])
                coverage.finish_reasons[reason] = coverage.finish_reasons.get(reason, 0) + 1
    return outputs


def _id_and_text(line: Mapping[str, Any], place: str) -> tuple[str, str]:
    text = line.get("prediction", line.get("output"))
    if "id" not in line or not isinstance(text, str):
        missing = '"id"' if "id" not in line else '"prediction" that is a string'
        raise DataError(f"no {missing}", place=place, cure='write {"task", "id", "prediction"} on each line')
    return str(line["id"]), _whole_characters(text)


def _whole_characters(text: str) -> str:
    """The text with "\ufffd" for each half of a surrogate pair, which a reply cut in the middle of an emoji leaves."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
