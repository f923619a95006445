"""The output of a stage that asks a model: it grows line by line, resumes after a crash, and knows what it is made of.

Beside OUT.jsonl stands the folder OUT.jsonl.stage with record.json (what the output is made of), the stage's journal of
replies, and a lock. The examples in the output are those of the input in input order, up to some place; what was paid
for and is not in it yet is in the journal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tuna_eval.disk import appending, drop_torn_line, locked, parse_line, read_lines, replacing
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.provenance import environment
from tuna_eval.schema import JSON, SCHEMA_VERSION
from tuna_train.data.formats import read_examples
from tuna_train.data.ranked import RankedExample, from_json, to_line

# Key in the provenance of an example that a stage wrote without having all replies: why. The next run asks again.
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which examples of a file are meant.

    Attributes:
        limit: only so many from the beginning of the file; None is all.
        shard, shards: of those every `shards`-th, beginning with number `shard`, counted from 1.
    """

    limit: int | None = None
    shard: int = 1
    shards: int = 1

    @classmethod
    def parse(cls, limit: int | None, shard: str | None) -> Selection:
        """From the options --limit N and --shard I/N.

        Raises:
            ConfigError: not of this form, or I is not in 1..N.
        """
        if limit is not None and limit < 1:
            raise ConfigError(f"{limit} examples", place="--limit", cure="give 1 or more")
        if shard is None:
            return cls(limit)
        found = re.fullmatch(r"(\d+)/(\d+)", shard)
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            raise ConfigError(f"{shard!r} is no share", place="--shard", cure="write 1/4 to 4/4 for four shares")
        return cls(limit, number, count)

    def of(self, examples: Iterable[RankedExample]) -> Iterator[RankedExample]:
        """The examples that are meant, in the same order."""
        return islice(islice(examples, self.limit), self.shard - 1, None, self.shards)


def distinct(examples: Iterable[RankedExample], place: str) -> Iterator[RankedExample]:
    """The examples, as they come, if each has an id of its own and there is one at all.

    Raises:
        DataError: two have the same id, or there are none; `place` says where.
    """
    ids = set()
    for total, example in enumerate(examples, 1):
        ids.add(example.id)
        if len(ids) < total:
            cure = f"give each an id of its own: tuna-train data mix {place} --out NEW does"
            raise DataError(f"two examples have the id {example.id!r}", place=place, cure=cure)
        yield example
    if not ids:
        raise DataError("there are no examples", place=place, cure="check the file, --limit and --shard")


@dataclass(frozen=True, slots=True)
class Source:
    """The examples of a file that are meant, read as often as they are needed.

    Attributes:
        file: of a format of `formats.FORMATS`.
        format: its name, or "auto".
        selection: which of them.
    """

    file: Path
    format: str
    selection: Selection

    def read(self) -> Iterator[RankedExample]:
        """They, in file order.

        Raises:
            DataError: the file is broken, two examples have the same id, or there are none.
        """
        return distinct(self.selection.of(read_examples(self.file, format=self.format)), str(self.file))

    def count(self) -> int:
        """Their number; raises what `read` does."""
        return sum(1 for _ in self.read())


@dataclass(frozen=True, slots=True)
class Done:
    """What an output holds of its input.

    Attributes:
        ids: of the examples that are finished.
        failed: the examples, as the input has them, that it holds without all replies; see `FAILED`.
    """

    ids: frozenset[str]
    failed: tuple[RankedExample, ...] = ()


class StageOutput:
    """A file of examples in the making. Use within `opened`.

    Args:
        file: grows by whole lines.
        identity: everything that may change what is written; values that JSON can hold, no secret, no path.
    """

    def __init__(self, file: Path, identity: Mapping[str, JSON]) -> None:
        self.file = file
        self.folder = file.with_name(f"{file.name}.stage")
        self.journal = self.folder / "replies.jsonl"
        self._identity: dict[str, JSON] = json.loads(json.dumps(identity))

    @contextmanager
    def opened(self) -> Iterator[StageOutput]:
        """Holds the output for this process, and mends what a crash left half written.

        Raises:
            ConfigError: what is there was made with another model, other parameters, or by something else.
            StoreError: another process writes it, or it cannot be written.
        """
        self.check()
        with locked(self.folder, "output"):
            self.check()
            drop_torn_line(self.file)
            drop_torn_line(self.journal)
            if not self._record.is_file() or self._is_empty():
                content = {"schema_version": SCHEMA_VERSION, "identity": self._identity, "environment": environment()}
                with replacing(self._record) as write:
                    write(json.dumps(content, indent=2) + "\n")
            yield self

    def check(self) -> None:
        """Writes nothing.

        Raises:
            ConfigError: see `opened`.
        """
        if not self._record.is_file():
            if self.file.exists() and self.file.stat().st_size:
                problem = "holds something that this command did not write"
                raise ConfigError(problem, place=str(self.file), cure="choose another --out")
            return
        made = self._stored_identity()
        if made == self._identity or self._is_empty():
            return
        changes = "; ".join(_differences(made, self._identity))
        raise ConfigError(
            f"was made with other settings ({changes})",
            place=str(self.file),
            cure="choose another --out, or give the settings it was made with",
        )

    def done(self, examples: Iterator[RankedExample]) -> Done:
        """Takes off the examples that are in the output already.

        Raises:
            DataError: the output has others than the input at its beginning.
        """
        ids, failed = set(), []
        for number, values in enumerate(read_lines(self.file, is_growing=True), 1):
            written = from_json(values, f"{self.file}:{number}")
            example = next(examples, None)
            if example is None:
                break  # a smaller --limit than before: nothing is to do
            if (example.id, example.instruction, example.input) != (written.id, written.instruction, written.input):
                raise DataError(
                    f"holds example {written.id!r} where the input has {example.id!r}, or its text has changed",
                    place=f"{self.file}:{number}",
                    cure="give the input it was made from, or choose another --out",
                )
            made = written.provenance.get(str(self._identity.get("stage")))
            if isinstance(made, dict) and FAILED in made:
                failed.append(example)
            else:
                ids.add(written.id)
        return Done(frozenset(ids), tuple(failed))

    def replace(self, examples: Iterable[RankedExample]) -> None:
        """Puts examples in the place of those with their ids; the old file stays until the new one is whole."""
        made = {example.id: example for example in examples}
        with self.file.open("rb") as stream, replacing(self.file) as write:
            for number, line in enumerate(stream, 1):
                example = made.get(parse_line(line, f"{self.file}:{number}")["id"])
                write(line if example is None else to_line(example))

    @contextmanager
    def appender(self) -> Iterator[Callable[[Iterable[RankedExample]], None]]:
        """A function that appends examples and hands each to the operating system before the next one is asked for."""
        with appending(self.file) as append:

            def append_all(examples: Iterable[RankedExample]) -> None:
                for example in examples:
                    append(to_line(example))

            yield append_all

    @property
    def _record(self) -> Path:
        return self.folder / "record.json"

    def _is_empty(self) -> bool:
        """Whether nothing came of what was begun, such as a model that could not be loaded."""
        return not any(file.exists() and file.stat().st_size for file in (self.file, self.journal))

    def _stored_identity(self) -> dict[str, JSON]:
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            if record["schema_version"] != SCHEMA_VERSION:
                raise KeyError("schema_version")
            return dict(record["identity"])
        except (OSError, ValueError, KeyError, TypeError) as fault:
            problem = f"not a record of schema version {SCHEMA_VERSION}"
            cure = "choose another --out; the replies in the folder are kept"
            raise ConfigError(problem, place=str(self._record), cure=cure) from fault


def _differences(made: JSON, asked: JSON, name: str = "") -> Iterator[str]:
    """One clause for each value that is not the same."""
    if isinstance(made, dict) and isinstance(asked, dict):
        for key in dict.fromkeys([*made, *asked]):
            yield from _differences(made.get(key), asked.get(key), f"{name}.{key}" if name else key)
    elif made != asked:
        yield f"{name}: {json.dumps(made):.60} there, {json.dumps(asked):.60} asked"
