"""Run folders: append-only samples, atomic records, one writer at a time.

results/runs/<model>/<suite>/<run id>/ holds record.json, samples.jsonl and scores.jsonl. The run id is a hash of all
that may change an output, the prompts included, so that the same command resumes its run and a changed one begins
another.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tuna_eval.errors import DataError, StoreError
from tuna_eval.schema import SCHEMA_VERSION, Prompt, RunRecord, Sample, Score


def digest(value: object) -> str:
    """SHA-256 of a value as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def prompt_sha256(prompt: Prompt) -> str:
    """Hash of a prompt as it is sent."""
    return digest([prompt.text, prompt.has_special_tokens])


def folder_name(name: str) -> str:
    """A model's name as one folder name: "meta/llama" becomes "meta--llama"."""
    return re.sub(r"[^\w.-]+", "_", name.replace("/", "--")).strip(".") or "model"


class RunFolder:
    """One run on disk, open for writing.

    Args:
        path: created if need be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples_file = path / "samples.jsonl"
        self.scores_file = path / "scores.jsonl"
        self.record_file = path / "record.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for this process.

        Raises:
            StoreError: another process holds it, or the folder cannot be written.
        """
        with _as_store_error(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("w")
        with lock:
            try:
                with _as_store_error(self.path):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    "another process is writing this run", place=str(self.path), cure="wait for it, or stop it"
                ) from error
            yield

    def sampled(self) -> dict[tuple[str, str], str]:
        """Prompt hash of every stored sample by (task, id). A line torn by a crash is dropped from the file first."""
        with _as_store_error(self.samples_file):
            _drop_torn_line(self.samples_file)
        return {(s["task"], s["id"]): s["prompt_sha256"] for s in read_lines(self.samples_file)}

    @contextmanager
    def appender(self) -> Iterator[Callable[[Iterable[Sample]], None]]:
        """A function that appends samples in one write and hands them to the operating system before it returns."""
        with _as_store_error(self.samples_file):
            stream = self.samples_file.open("a", encoding="utf-8")

        def append(samples: Iterable[Sample]) -> None:
            lines = "".join(_line(asdict(sample)) for sample in samples)
            with _as_store_error(self.samples_file):
                stream.write(lines)
                stream.flush()

        try:
            yield append
        except BaseException:
            with suppress(OSError):  # closing flushes what a full disk has just refused
                stream.close()
            raise
        with _as_store_error(self.samples_file), stream:
            os.fsync(stream.fileno())

    def write_scores(self, scores: Iterable[Score]) -> None:
        """Writes scores.jsonl anew, one line a score as it comes; the old file stays until the new one is whole."""
        with self._replacing(self.scores_file) as write:
            for score in scores:
                write(_line({"task": score.task, "id": score.id, **score.values}))

    def write_record(self, record: RunRecord) -> None:
        """Writes record.json; the old one stays until the new one is whole."""
        text = json.dumps({"schema_version": SCHEMA_VERSION, **asdict(record)}, indent=2)
        with self._replacing(self.record_file) as write:
            write(text + "\n")

    def read_record(self) -> RunRecord | None:
        """The record, or None if the run has none yet.

        Raises:
            StoreError: it is broken, or of another schema version.
        """
        if not self.record_file.is_file():
            return None
        try:
            values = json.loads(self.record_file.read_text(encoding="utf-8"))
            if values.pop("schema_version") != SCHEMA_VERSION:
                raise KeyError("schema_version")
            return RunRecord(**values)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise StoreError(
                f"not a record of schema version {SCHEMA_VERSION}",
                place=str(self.record_file),
                cure="read it with the version of Tuna that wrote it, or remove it: the samples are kept",
            ) from error

    @contextmanager
    def _replacing(self, file: Path) -> Iterator[Callable[[str], object]]:
        """A function that writes text into what takes the file's place at the end."""
        partial = file.with_suffix(".partial")
        with _as_store_error(file):
            self.path.mkdir(parents=True, exist_ok=True)
            stream = partial.open("w", encoding="utf-8")

        def write(text: str) -> None:
            with _as_store_error(file):
                stream.write(text)

        try:
            yield write
            with _as_store_error(file):
                stream.flush()
                os.fsync(stream.fileno())
                partial.replace(file)
        finally:
            with suppress(OSError):  # closing flushes what a full disk has just refused
                stream.close()
            partial.unlink(missing_ok=True)


def check_writable(root: Path) -> None:
    """Fails early, before any model is loaded, if results cannot be written.

    Raises:
        StoreError: the folder cannot be created or written.
    """
    probe = root / f".writable-{os.getpid()}"
    with _as_store_error(root):
        root.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_text("x" * 4096, encoding="ascii")
        finally:
            probe.unlink(missing_ok=True)


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, one at a time; nothing if there is no file.

    Raises:
        DataError: names the file and line that is not a JSON object.
    """
    if not file.exists():
        return
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
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


class LineIndex:
    """Where each task's lines stand in a JSON Lines file: sixteen bytes a line, so that a task is read by itself.

    Args:
        file: every line has a "task".
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._places: dict[str, array[int]] = {}  # byte offset and line number by turns
        offset = 0
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    task = parse_line(line, f"{file}:{number}").get("task")
                    if not isinstance(task, str):
                        raise DataError(
                            'no "task"',
                            place=f"{file}:{number}",
                            cure='write {"task", "id", "prediction"} on each line',
                        )
                    self._places.setdefault(task, array("q")).extend((offset, number))
                offset += len(line)

    @property
    def tasks(self) -> list[str]:
        """The tasks in the file, in the order of their first line."""
        return list(self._places)

    def read(self, task: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The lines of one task in file order, each behind its place (file and line)."""
        places = self._places.get(task, array("q"))
        with self.file.open("rb") as stream:
            for offset, number in zip(places[::2], places[1::2], strict=True):
                stream.seek(offset)
                place = f"{self.file}:{number}"
                yield place, parse_line(stream.readline(), place)


def _line(value: Mapping[str, Any]) -> str:
    """One line of JSON in ASCII, so that no text (half a surrogate pair, U+2028) can break the file or its lines."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **value}, separators=(",", ":")) + "\n"


def _drop_torn_line(file: Path) -> None:
    """Cuts what stands after the last newline: a write that a crash interrupted."""
    if not file.exists():
        return
    with file.open("rb+") as stream:
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
def _as_store_error(path: Path) -> Iterator[None]:
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
