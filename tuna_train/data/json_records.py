"""The objects of a JSON Lines file or of one JSON array, one at a time, with the place of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tuna_eval.disk import parse_line
from tuna_eval.errors import DataError

_CHUNK = 1 << 20  # characters read at once; an element of an array that is longer is read by doubling
_SPACE = " \t\r\n"


def read_records(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file, each with its place (`file:line`, or `file:line: record N`, counted from 1, of
    an array), whichever of the two containers they are in.

    An array is read piece by piece, so that memory does not grow with the file.

    Raises:
        DataError: the file cannot be read, is empty, or is broken; the file and the line are named.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(_CHUNK).lstrip(b"\xef\xbb\xbf").lstrip()[:1]
        if not start:
            raise DataError("the file is empty", place=str(file), cure="give a file with examples")
        yield from _array(file) if start == b"[" else _lines(file)
    except UnicodeDecodeError as fault:
        raise DataError(f"not UTF-8 text ({fault.reason})", place=str(file), cure="save it as UTF-8") from fault
    except OSError as fault:
        raise DataError(f"cannot be read ({fault.strerror})", place=str(file), cure="check the path") from fault


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                place = f"{file}:{number}"
                yield place, parse_line(line, place)


def _array(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open(encoding="utf-8-sig") as stream:
        text = _Window(stream)
        if text.next_character() != "[":  # leading white space longer than the first chunk
            raise DataError("neither JSON Lines nor a JSON array", place=str(file), cure="mend the file")
        text.skip(1)
        number = 0
        while (character := text.next_character()) != "]":
            if number and character == ",":
                text.skip(1)
                character = text.next_character()
            elif number:
                raise DataError("a comma or ] expected", place=f"{file}:{text.line}", cure="mend the file")
            place = f"{file}:{text.line}: record {number + 1}"  # a whole array may be one line
            value = text.value(file)
            if not isinstance(value, dict):
                raise DataError(f"a JSON object expected, not {value!r:.40}", place=place, cure="mend the file")
            yield place, value
            number += 1
        if not number:
            raise DataError("the array is empty", place=str(file), cure="give a file with examples")
        text.skip(1)
        if text.next_character():
            raise DataError("text after the end of the array", place=f"{file}:{text.line}", cure="mend the file")


class _Window:
    """A part of a text that is read as it is used up.

    Attributes:
        line: number of the line at the window's start.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._text, self._at, self.line = stream, "", 0, 1
        self._decoder = json.JSONDecoder()

    def next_character(self) -> str:
        """The next character that is no white space, not used up; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self.skip(1)
            if self._at < len(self._text) or not self._more(_CHUNK):
                return self._text[self._at : self._at + 1]

    def skip(self, characters: int) -> None:
        """Uses up so many characters."""
        self.line += self._text.count("\n", self._at, self._at + characters)
        self._at += characters

    def value(self, file: Path) -> Any:
        """The JSON value that starts here, used up; `file` is for the message.

        Raises:
            DataError: there is none.
        """
        size = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as fault:
                if self._more(size):
                    size *= 2
                    continue
                line = self.line + self._text.count("\n", self._at, fault.pos)
                problem = f"not valid JSON ({fault.msg})"
                raise DataError(problem, place=f"{file}:{line}", cure="mend the file") from fault
            self.skip(end - self._at)
            return value

    def _more(self, size: int) -> bool:
        more = self._stream.read(size)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)
