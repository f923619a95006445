"""Files that survive a crash: JSON Lines that are only appended to, files replaced whole, folders with one writer."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tuna_eval.errors import DataError, StoreError
from tuna_eval.schema import SCHEMA_VERSION


@contextmanager
def locked(folder: Path, what: str = "run") -> Iterator[None]:
    """Holds a folder, created if need be, for this process.

    Args:
        folder: gets a file "lock".
        what: how the message calls what the folder holds.

    Raises:
        StoreError: another process holds it, or the folder cannot be written.
    """
    with as_store_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    with lock:
        try:
            with as_store_error(folder):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"another process is writing this {what}", place=str(folder), cure="wait for it, or stop it"
            ) from error
        yield


@contextmanager
def appending(file: Path) -> Iterator[Callable[[str], None]]:
    """A function that appends whole lines in one write and hands them to the operating system before it returns.

    Raises:
        StoreError: the file cannot be written.
    """
    with as_store_error(file):
        stream = file.open("a", encoding="utf-8")

    def append(lines: str) -> None:
        with as_store_error(file):
            stream.write(lines)
            stream.flush()

    try:
        yield append
    except BaseException:
        with suppress(OSError):  # closing flushes what a full disk has just refused
            stream.close()
        raise
    with as_store_error(file), stream:
        os.fsync(stream.fileno())


@contextmanager
def replacing(file: Path) -> Iterator[Callable[[str | bytes], object]]:
    """A function that writes into what takes the file's place at the end; the old one stays until then. Text is UTF-8.

    Raises:
        StoreError: the file cannot be written.
    """
    partial = file.with_suffix(".partial")
    with as_store_error(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = partial.open("wb")

    def write(content: str | bytes) -> None:
        with as_store_error(file):
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)

    try:
        yield write
        with as_store_error(file):
            stream.flush()
            os.fsync(stream.fileno())
            partial.replace(file)
    finally:
        with suppress(OSError):  # closing flushes what a full disk has just refused
            stream.close()
        partial.unlink(missing_ok=True)


def read_lines(file: Path, *, is_growing: bool = False) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, one at a time; nothing if there is no file.

    Args:
        file: to read.
        is_growing: pass over what stands after the last newline: a write that is under way, or that a crash tore.

    Raises:
        DataError: names the file and line that is not a JSON object.
    """
    if not file.exists():
        return
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip() and (line.endswith(b"\n") or not is_growing):
                yield parse_line(line, f"{file}:{number}")


def parse_line(line: bytes, place: str) -> dict[str, Any]:
    """One line of a JSON Lines file.

    Raises:
        DataError: names the place if the line is not a JSON object.
    """
    try:
        value = json.loads(line)
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "not UTF-8 text"
        raise DataError(f"not valid JSON ({reason})", place=place, cure="mend or remove the line") from error
    if not isinstance(value, dict):
        raise DataError(f"a JSON object expected, not {value!r:.40}", place=place, cure="mend or remove the line")
    return value


def json_line(value: Mapping[str, Any]) -> str:
    """One line of JSON in ASCII, so that no text (half a surrogate pair, U+2028) can break the file or its lines."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **value}, separators=(",", ":")) + "\n"


def drop_torn_line(file: Path) -> None:
    """Cuts what stands after the last newline: a write that a crash interrupted.

    Raises:
        StoreError: the file cannot be written.
    """
    if not file.exists():
        return
    with as_store_error(file), file.open("rb+") as stream:
        size = stream.seek(0, os.SEEK_END)
        end = size
        while end:
            start = max(0, end - 65536)
            stream.seek(start)
            newline = stream.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            stream.truncate(end)


@contextmanager
def as_store_error(path: Path) -> Iterator[None]:
    """A fault of the operating system as one line; a lock that is held stays what it is."""
    try:
        yield
    except BlockingIOError:
        raise  # a lock, not a fault
    except OSError as error:
        raise StoreError(
            f"cannot be written ({error.strerror or error})",
            place=str(path),
            cure="free some space or choose another folder with --output; what is stored is kept, run again to resume",
        ) from error
