"""The journal of a ranking: every reply as it came. Nine bytes a reply are held in memory, the texts stay on disk."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from tuna_eval.disk import appending, drop_torn_line, json_line, parse_line
from tuna_eval.errors import DataError
from tuna_eval.judge.line_index import LineIndex, whole_lines
from tuna_eval.judge.list_judgments import ListJudgment
from tuna_eval.judge.report import JudgeUsage
from tuna_train.data.ranked import RankedExample

Reread = Callable[[ListJudgment], ListJudgment]


class ExampleIndex:
    """Which examples are to be ranked.

    Args:
        examples: read once; each has an id of its own.

    Attributes:
        fewest: candidates of the example that has the fewest, among those that can be ranked; 0 without one.
    """

    def __init__(self, examples: Iterable[RankedExample]) -> None:
        self._rows: dict[str, int] = {}
        self._hashes, self._is_rankable = array("Q"), bytearray()
        self.fewest = 0
        for row, example in enumerate(examples):
            self._rows[example.id] = row
            self._hashes.append(_hash(example))
            self._is_rankable.append(is_rankable(example))
            if is_rankable(example):
                self.fewest = min(len(example.candidates), self.fewest or len(example.candidates))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rankable(self) -> list[int]:
        """The rows of the examples that can be ranked."""
        return [row for row, flag in enumerate(self._is_rankable) if flag]

    def row(self, id: str) -> int | None:
        """Place of an example; None for one that is not meant."""
        return self._rows.get(id)

    def digest(self, row: int) -> str:
        """Of what is ranked: 16 hex digits."""
        return _digits(self._hashes[row])


def is_rankable(example: RankedExample) -> bool:
    """Whether there is anything to order."""
    return len(example.candidates) > 1


def _hash(example: RankedExample) -> int:
    parts = [example.instruction, example.input, *(candidate.text for candidate in example.candidates)]
    whole = "".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(whole).digest()[:8])


def _digits(hash: int) -> str:
    return f"{hash:016x}"


class Origin:
    """Whether what an output and its journal hold was made from these examples.

    An output is written anew as a whole: made from fewer examples it would shrink, made from others it would be lost.

    Args:
        examples: that the output is about to be made from.
    """

    def __init__(self, examples: ExampleIndex) -> None:
        self._examples = examples
        self._is_same, self._is_changed = bytearray(len(examples)), bytearray(len(examples))
        self._absent: str | None = None

    def enter_example(self, example: RankedExample) -> None:
        """Adds one that the output holds."""
        self.enter(example.id, _digits(_hash(example)))

    def enter(self, id: str, digest: str) -> bool:
        """Adds what was made of an example whose texts had this digest; whether it has it still."""
        row = self._examples.row(id)
        if row is None:
            self._absent = id if self._absent is None else self._absent
            return False
        is_same = digest == self._examples.digest(row)
        (self._is_same if is_same else self._is_changed)[row] = True
        return is_same

    def check(self, output: Path) -> None:
        """Some examples may have changed since, but none may be gone, and most must be the same.

        Raises:
            DataError: they are not.
        """
        cure = "give the whole input that it was made from, or choose another --out"
        if self._absent is not None:
            problem = f"was made from more or other examples, such as {self._absent!r}, which would be lost"
            raise DataError(problem, place=str(output), cure=cure)
        changed = sum(self._is_changed[row] and not same for row, same in enumerate(self._is_same))
        if changed > sum(self._is_same):
            raise DataError(f"was made from other texts: {changed} examples differ", place=str(output), cure=cure)


class RankingLog:
    """Judgments on disk. Of the same example, repeat and attempt the newest line counts.

    Args:
        file: need not exist yet.
        examples: whose judgments they are; one of an example whose texts have changed counts as not made.
        reread: reads a stored reply as today's parser does.

    Attributes:
        usage: of everything in the file, after `read`.
        failures: how many of its judgments are requests that failed for good, after `read`.
        origin: what the file was made from, after `read`.
    """

    def __init__(self, file: Path, examples: ExampleIndex, reread: Reread) -> None:
        self.file, self._examples, self._reread = file, examples, reread
        self._clear()

    def _clear(self) -> None:
        self.usage, self.failures = JudgeUsage(), 0
        self.origin = Origin(self._examples)
        self._index: LineIndex[tuple[int, int]] = LineIndex(len(self._examples))
        self._unreadable: dict[tuple[int, int], bytearray] = {}

    def read(self, *, repair: bool = False) -> None:
        """Reads the file anew. A line torn by a crash is passed over.

        Args:
            repair: drop the torn line from the file; for the one process that may write.

        Raises:
            DataError: a line is no judgment.
            StoreError: the torn line cannot be dropped.
        """
        self._clear()
        if not self.file.exists():
            return
        if repair:
            drop_torn_line(self.file)
        with self.file.open("rb") as stream:
            for number, offset, line in whole_lines(stream):
                judgment, digest = _parsed(line, f"{self.file}:{number}")
                self._count(judgment)
                is_same, row = self.origin.enter(judgment.id, digest), self._examples.row(judgment.id)
                if is_same and row is not None:
                    self._enter(row, self._reread(judgment), offset)

    def is_due(self, row: int | None, repeat: int, attempt: int) -> bool:
        """Whether this judgment is wanted now: the first one, or the next where the one before could not be read."""
        if row is None or self._index.is_made((repeat, attempt), row):
            return False
        return attempt == 0 or self._is_unreadable(row, repeat, attempt - 1)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO | None]:
        """The file for `of`; None if nothing was ever asked."""
        if not self.file.exists():
            yield None
            return
        with self.file.open("rb") as stream:
            yield stream

    def of(self, id: str, stream: BinaryIO | None) -> list[ListJudgment]:
        """The judgments of an example, read anew, failed ones included, by repeat and attempt.

        Args:
            id: of the example.
            stream: from `opened`.
        """
        row = self._examples.row(id)
        if row is None or stream is None:
            return []
        made = [self._reread(_parsed(line, str(self.file))[0]) for line in self._index.lines(row, stream)]
        return sorted(made, key=lambda judgment: (judgment.repeat, judgment.attempt))

    @contextmanager
    def appender(self) -> Iterator[Callable[[ListJudgment], None]]:
        """A function that appends one judgment and hands it to the operating system before it returns."""
        with appending(self.file) as append:
            offset = self.file.stat().st_size

            def enter(judgment: ListJudgment) -> None:
                nonlocal offset
                row = self._examples.row(judgment.id)
                if row is None:
                    raise ValueError(f"a judgment of example {judgment.id!r}, which was not asked")
                line = json_line(asdict(judgment) | {"texts_sha256": self._examples.digest(row)})
                append(line)
                self._count(judgment)
                self._enter(row, judgment, offset)
                offset += len(line)  # ASCII

            yield enter

    def _count(self, judgment: ListJudgment) -> None:
        self.usage.enter(judgment)
        self.failures += judgment.state == "api_error"

    def _enter(self, row: int, judgment: ListJudgment, offset: int) -> None:
        column = judgment.repeat, judgment.attempt
        self._index.enter(column, row, offset, is_failed=judgment.state == "api_error")
        if column not in self._unreadable:
            self._unreadable[column] = bytearray(len(self._examples))
        self._unreadable[column][row] = judgment.state == "unparsable"

    def _is_unreadable(self, row: int, repeat: int, attempt: int) -> bool:
        flags = self._unreadable.get((repeat, attempt))
        return flags is not None and bool(flags[row])


def _parsed(line: bytes, place: str) -> tuple[ListJudgment, str]:
    """A judgment and the digest of the texts that it is of."""
    values: dict[str, Any] = parse_line(line, place)
    values.pop("schema_version", None)
    digest = str(values.pop("texts_sha256", ""))
    try:
        for name in ("shown", "ranks", "scores"):
            values[name] = None if values[name] is None else tuple(values[name])
        values["duplicates"] = tuple(map(tuple, values["duplicates"]))
        return ListJudgment(**values), digest
    except (TypeError, KeyError) as fault:
        raise DataError("not a judgment", place=place, cure="mend or remove the line") from fault
