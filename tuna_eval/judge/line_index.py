"""Where each judgment stands in a file that only grows. Eight bytes a judgment are held, the replies stay on disk."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterator
from typing import BinaryIO, Generic, TypeVar

_NOT_MADE = -1

C = TypeVar("C", bound=Hashable)


class LineIndex(Generic[C]):
    """Byte offsets by row (of what is judged) and column (which judgment of it); the newest line counts.

    Args:
        rows: number of rows.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        # A judgment that failed is stored as the complement of its offset less one.
        self._offsets: dict[C, array[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._offsets)

    def enter(self, column: C, row: int, offset: int, *, is_failed: bool) -> None:
        """Notes a line."""
        if column not in self._offsets:
            self._offsets[column] = array("q", [_NOT_MADE]) * self._rows
        self._offsets[column][row] = -offset - 2 if is_failed else offset

    def is_made(self, column: C, row: int) -> bool:
        """Whether a judgment is there and did not fail."""
        offsets = self._offsets.get(column)
        return offsets is not None and offsets[row] >= 0

    def lines(self, row: int, stream: BinaryIO) -> Iterator[bytes]:
        """The lines of a row, failed ones included."""
        for offsets in self._offsets.values():
            offset = offsets[row]
            if offset != _NOT_MADE:
                stream.seek(offset if offset >= 0 else -offset - 2)
                yield stream.readline()


def whole_lines(stream: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Number, offset and bytes of each line; what stands after the last newline is a write that a crash interrupted."""
    offset = 0
    for number, line in enumerate(stream, 1):
        if line.strip() and line.endswith(b"\n"):
            yield number, offset, line
        offset += len(line)
