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
        examples: read once.

    Raises:
        DataError: there are none, or two have the same id.
    """

    def __init__(self, examples: Iterable[RankedExample]) -> None:
        self._rows: dict[str, int] = {}
        self._hashes, self._is_rankable = array("Q"), bytearray()
        for row, example in enumerate(examples):
            if self._rows.setdefault(example.id, row) != row:
                raise DataError(f"two examples have the id {example.id!r}", cure="give each an id of its own")
            self._hashes.append(_hash(example))
            self._is_rankable.append(is_rankable(example))
        if not self._rows:
            raise DataError("there are no examples", cure="give a file with examples")

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
        return f"{self._hashes[row]:016x}"


def is_rankable(example: RankedExample) -> bool:
    """Whether there is anything to order."""
    return len(example.candidates) > 1


def _hash(example: RankedExample) -> int:
    parts = [example.instruction, example.input, *(candidate.text for candidate in example.candidates)]
    whole = "".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(whole).digest()[:8])


class RankingLog:
    """Judgments on disk. Of the same example, repeat and attempt the newest line counts.

    Args:
        file: need not exist yet.
        examples: whose judgments they are; one of an example whose texts have changed counts as not made.
        reread: reads a stored reply as today's parser does.
    """

    def __init__(self, file: Path, examples: ExampleIndex, reread: Reread) -> None:
        self.file, self._examples, self._reread = file, examples, reread
        self._clear()

    def _clear(self) -> None:
        self.usage = JudgeUsage()
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
                self.usage.enter(judgment)
                row = self._examples.row(judgment.id)
                if row is not None and digest == self._examples.digest(row):
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
                self.usage.enter(judgment)
                self._enter(row, judgment, offset)
                offset += len(line)  # ASCII

            yield enter

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
