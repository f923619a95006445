"""The contract between the stages of the data pipeline and the trainer: an instruction and its ranked candidates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tuna_eval.disk import json_line, parse_line, replacing
from tuna_eval.errors import DataError
from tuna_eval.judge.protocols import levels_to_ranks
from tuna_eval.schema import JSON

SCHEMA = "tuna-ranked/1"
_ENVELOPE = ("schema", "schema_version", "candidates")  # keys of a line that are no field of the example


@dataclass(frozen=True, slots=True)
class Candidate:
    """A response to rank.

    Attributes:
        text: the response, without prompt and without end of sequence.
        source: the model that wrote it, or "original" for the response that the instruction came with.
        tokens: its length as the model that wrote or scored it counts, end of sequence included; None if not known.
        logprob: sum of its tokens' log-probabilities under that model, nats; None if not known.
        score: what it is ranked by, higher is better; None for a ranking without scores.
        rank: 0 for the best candidate of the example; equal for ties, which leave the next ranks free; None for a
            candidate that nobody ranked, which is in no pair.
    """

    text: str
    source: str = ""
    tokens: int | None = None
    logprob: float | None = None
    score: float | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class RankedExample:
    """An instruction, the response it came with, and candidates.

    Attributes:
        id: unique within a file.
        instruction, input: as a user would write them; an empty input is none.
        original: the response that the instruction came with, which the MLE part of the objective imitates.
        candidates: in the order they were made in; their ranks say which is better.
        provenance: what made and ranked them: models, parameters, seeds, orders shown; no secret, no path.
    """

    id: str
    instruction: str
    input: str = ""
    original: str | None = None
    candidates: tuple[Candidate, ...] = ()
    provenance: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def ranked(self) -> tuple[Candidate, ...]:
        """The candidates that have a rank, best first; ties in the order they were made in."""
        return tuple(sorted((c for c in self.candidates if c.rank is not None), key=lambda c: c.rank or 0))


def competition_ranks(scores: Sequence[float]) -> list[int]:
    """Rank of each score: the number of higher ones, so that ties share a rank and leave the next ones free.

    Args:
        scores: higher is better; none of them NaN.
    """
    return [rank for rank in levels_to_ranks([-score for score in scores]) if rank is not None]


def rank_by_score(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates with the ranks their scores give them; those without a score stay unranked."""
    scored = [c.score for c in candidates if c.score is not None]
    ranks = iter(competition_ranks(scored))
    return tuple(replace(c, rank=None if c.score is None else next(ranks)) for c in candidates)


def to_line(example: RankedExample) -> str:
    """The example as one line of JSON Lines; what is not known is left out."""
    candidates = [
        {k: v for k, v in asdict(c).items() if v not in (None, "") or k == "text"} for c in example.candidates
    ]
    return json_line({"schema": SCHEMA, **asdict(example), "candidates": candidates})


def write_ranked(file: Path, examples: Iterable[RankedExample]) -> int:
    """Writes examples as they come; the file appears when it is whole.

    Returns:
        Number of examples.

    Raises:
        StoreError: the file cannot be written.
    """
    count = 0
    with replacing(file) as write:
        for example in examples:
            write(to_line(example))
            count += 1
    return count


def read_ranked(file: Path) -> Iterator[RankedExample]:
    """The examples of a file that `write_ranked` wrote, one at a time.

    Raises:
        DataError: the file cannot be read, or a line is not such an example; file and line are named.
    """
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    place = f"{file}:{number}"
                    yield from_json(parse_line(line, place), place)
    except OSError as fault:
        raise DataError(f"cannot be read ({fault.strerror})", place=str(file), cure="check the path") from fault


def from_json(values: Mapping[str, Any], place: str) -> RankedExample:
    """The example in a parsed line.

    Args:
        values: of the line.
        place: file and line, for errors.

    Raises:
        DataError: another schema, or a field that is missing, unknown or of the wrong type.
    """
    check_schema(values, place)
    try:
        candidates = tuple(_candidate(c, place) for c in values["candidates"])
        rest = {key: value for key, value in values.items() if key not in _ENVELOPE}
        example = RankedExample(**rest, candidates=candidates)
    except (KeyError, TypeError) as fault:
        raise DataError(f"not a ranked example ({fault})", place=place) from fault
    texts = (example.id, example.instruction, example.input, example.original or "")
    if not all(isinstance(text, str) for text in texts):
        raise DataError("id, instruction, input and original must be texts", place=place)
    if not isinstance(example.provenance, dict):
        raise DataError(f"provenance is {example.provenance!r:.40}, not an object", place=place)
    return example


def check_schema(values: Mapping[str, Any], place: str) -> None:
    """Raises a DataError, whose cure names the field, if a parsed line is not of this schema."""
    if "schema" not in values:
        cure = f'write "schema": "{SCHEMA}" into every record, or convert other formats with tuna-train data convert'
        raise DataError(f"no schema, expected {SCHEMA!r}", place=place, cure=cure)
    if values["schema"] != SCHEMA:
        problem = f"schema {values['schema']!r}, expected {SCHEMA!r}"
        raise DataError(problem, place=place, cure="bring other formats into this one with tuna-train data convert")


_COUNTS = ("tokens", "rank")
_NUMBERS = {f.name for f in fields(Candidate)} - {"text", "source"}


def _candidate(values: Mapping[str, Any], place: str) -> Candidate:
    candidate = Candidate(**values)
    for name in ("text", "source"):
        if not isinstance(getattr(candidate, name), str):
            raise DataError(f"a candidate's {name} must be a text", place=place)
    for name in _NUMBERS:
        value = getattr(candidate, name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(f"a candidate's {name} is {value!r}, not a finite number", place=place)
        if name in _COUNTS and (not isinstance(value, int) or value < 0):
            raise DataError(f"a candidate's {name} is {value!r}, not a whole number from 0", place=place)
    return candidate
