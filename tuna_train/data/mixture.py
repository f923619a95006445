"""Mixtures of ranked data: slices of files one after another, with the original responses where they are wanted.

Table 3's mixtures are slices and concatenations: mix-Tuna-52K is the first 13K contextual and the last 39K
probabilistic examples; mix-Tuna-104K the first 13K of GPT-4's contextual ranking, the last 39K of the PRM's and all 52K
probabilistic ones (Section 3.4, appendices C and D).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from tuna_eval.errors import ConfigError
from tuna_eval.schema import JSON
from tuna_train.data.contamination import Overlap
from tuna_train.data.export import responses_of
from tuna_train.data.formats import read_examples
from tuna_train.data.originals import OriginalPolicy, distinct_candidates, with_original
from tuna_train.data.ranked import RankedExample

Deduplication = Literal["no", "within", "across"]
DEDUPLICATIONS: tuple[Deduplication, ...] = get_args(Deduplication)
_SLICED = re.compile(r"(?P<file>.+)@(?P<start>-?\d+)?:(?P<stop>-?\d+)?")


@dataclass(frozen=True, slots=True)
class Input:
    """A file and which of its examples are taken: those of the Python slice [start:stop]."""

    file: Path
    start: int | None = None
    stop: int | None = None

    @property
    def slice(self) -> str:
        """As users write it."""
        return f"{'' if self.start is None else self.start}:{'' if self.stop is None else self.stop}"


def parse_input(word: str, first: int | None = None, last: int | None = None) -> Input:
    """FILE or FILE@START:STOP, whose numbers count examples as Python slices do.

    Args:
        word: as the user wrote it.
        first, last: what is taken of a file without a slice of its own: its first or its last so many examples.

    Raises:
        ConfigError: a number below 1, or both of them.
    """
    for name, number in (("--first", first), ("--last", last)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} {number} leaves nothing", cure="give 1 or more")
    if first is not None and last is not None:
        raise ConfigError("--first and --last exclude each other", cure="write FILE@START:STOP")
    if found := _SLICED.fullmatch(word):
        start, stop = (None if found[side] is None else int(found[side]) for side in ("start", "stop"))
        return Input(Path(found["file"]), start, stop)
    return Input(Path(word), None if last is None else -last, first)


@dataclass(frozen=True, slots=True)
class MixOptions:
    """What is done with the examples of all inputs.

    Attributes:
        original_as: what becomes of the original responses; see `OriginalPolicy`.
        original_score: the score of an original that is ranked by it; None for the other policies.
        every_response: each response becomes an example of its own to imitate, without candidates (Alpaca-Mul).
        deduplicate: "within" keeps the first example of an input file with the same instruction and input, "across"
            the first of all files; mix-Tuna-104K has its instructions twice on purpose.
        distinct: of candidates with the same text only the best is kept.
        candidates: only examples with exactly so many ranked candidates are kept; None for any number.
        shuffle: the order is random, by `seed`; otherwise inputs follow one another.
    """

    original_as: OriginalPolicy = "keep"
    original_score: float | None = None
    every_response: bool = False
    deduplicate: Deduplication = "no"
    distinct: bool = False
    candidates: int | None = None
    shuffle: bool = False
    seed: int = 0


@dataclass
class Mixed:
    """What became of the examples, filled as they are read.

    Attributes:
        inputs: for each input counts of examples: "read", "in slice", "used", and what dropped or changed the others.
        contaminated: the id of each example that was dropped for its overlap, and the overlap.
    """

    inputs: list[Counter[str]] = field(default_factory=list)
    contaminated: list[tuple[str, Overlap]] = field(default_factory=list)


Screening = Callable[[RankedExample], Overlap | None]


def mix(
    inputs: Sequence[Input],
    options: MixOptions,
    mixed: Mixed,
    *,
    screen: Screening | None = None,
    originals: Mapping[bytes, str] | None = None,
) -> Iterator[RankedExample]:
    """The examples of a mixture, input after input, each with its input and position in its provenance.

    Args:
        inputs: read one after another, a file with a negative slice twice.
        options: see there; `shuffle` is the writer's business.
        mixed: is filled.
        screen: finds overlap with evaluation prompts; such examples are dropped.
        originals: by `content_key`, for examples without an original response.

    Raises:
        DataError: an input cannot be read, or an original is to be ranked by its score among candidates without.
    """
    across: set[bytes] = set()
    ids: set[str] = set()
    for input in inputs:
        counts = Counter[str]()
        mixed.inputs.append(counts)
        seen = across if options.deduplicate == "across" else set()
        for position, example in _slice(input, counts):
            counts["in slice"] += 1
            if options.deduplicate != "no" and _is_repeated(example, seen):
                counts["dropped: same instruction and input"] += 1
                continue
            if screen and (overlap := screen(example)):
                counts["dropped: overlaps evaluation prompts"] += 1
                mixed.contaminated.append((example.id, overlap))
                continue
            for made in _prepare(example, options, originals or {}, counts):
                counts["used"] += 1
                yield _labelled(made, input.file.name, position, ids)


def _is_repeated(example: RankedExample, seen: set[bytes]) -> bool:
    key = content_key(example)
    is_repeated = key in seen
    seen.add(key)
    return is_repeated


def content_key(example: RankedExample) -> bytes:
    """The same for examples whose instruction and input differ in nothing but case, spaces and compatible forms."""
    parts = (unicodedata.normalize("NFKC", text).casefold().split() for text in (example.instruction, example.input))
    text = "\0".join(" ".join(words) for words in parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def read_originals(file: Path) -> dict[bytes, str]:
    """The original responses of a file's examples, by `content_key`; of repeated ones the first."""
    found: dict[bytes, str] = {}
    for example in read_examples(file):
        if example.original is not None:
            found.setdefault(content_key(example), example.original)
    return found


def _slice(input: Input, counts: Counter[str]) -> Iterator[tuple[int, RankedExample]]:
    """The examples of a slice with their positions; memory does not grow with the file."""
    is_negative = any(end is not None and end < 0 for end in (input.start, input.stop))
    length = sum(1 for _ in read_examples(input.file)) if is_negative else None
    start, stop = input.start or 0, input.stop
    if length is not None:
        start, stop, _ = slice(input.start, input.stop).indices(length)
    for position, example in enumerate(read_examples(input.file, dropped=counts)):
        if stop is not None and position >= stop:
            return
        counts["read"] += 1
        if position >= start:
            yield position, example


def _prepare(
    example: RankedExample, options: MixOptions, originals: Mapping[bytes, str], counts: Counter[str]
) -> list[RankedExample]:
    """The examples that an example becomes: mostly itself, none if it is dropped."""
    if example.original is None and originals:
        example = replace(example, original=originals.get(content_key(example)))
    if example.original is None:
        counts["without an original response"] += 1
    if options.distinct:
        kept = distinct_candidates(example)
        counts["candidates dropped: same text"] += len(example.candidates) - len(kept.candidates)
        example = kept
    example = with_original(example, options.original_as, options.original_score)
    if options.candidates is not None and len(example.ranked) != options.candidates:
        counts["dropped: another number of ranked candidates"] += 1
        return []
    if not options.every_response:
        return [example]
    return [
        replace(example, id=f"{example.id}/{number}", original=text, candidates=())
        for number, text in enumerate(responses_of(example, "all"))
    ]


def _labelled(example: RankedExample, name: str, position: int, ids: set[str]) -> RankedExample:
    """The example with an id that is unique in the mixture, and its origin."""
    id, number = example.id, 2
    while id in ids:
        id, number = f"{example.id}-{number}", number + 1
    ids.add(id)
    origin: dict[str, JSON] = {"input": name, "position": position}
    if id != example.id:
        origin["id"] = example.id
    before = example.provenance.get("mixture", [])
    history: list[JSON] = [*before, origin] if isinstance(before, list) else [before, origin]
    return replace(example, id=id, provenance={**example.provenance, "mixture": history})
