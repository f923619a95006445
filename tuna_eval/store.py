"""Run folders: append-only samples, atomic records, one writer at a time.

results/runs/<model>/<suite>/<run id>/ holds record.json, samples.jsonl and scores.jsonl. The run id is a hash of all
that may change an output, the prompts included, so that the same command resumes its run and a changed one begins
another.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tuna_eval.disk import (
    appending,
    as_store_error,
    drop_torn_line,
    json_line,
    locked,
    parse_line,
    read_lines,
    replacing,
)
from tuna_eval.errors import ConfigError, DataError, StoreError
from tuna_eval.schema import SCHEMA_VERSION, Interval, Prompt, RunRecord, Sample, Score, SuiteResult, Summary


def digest(value: object) -> str:
    """SHA-256 of a value as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def prompt_sha256(prompt: Prompt) -> str:
    """Hash of a prompt as it is sent."""
    return digest([prompt.text, prompt.has_special_tokens, *([prompt.system] if prompt.system else [])])


def folder_name(name: str) -> str:
    """A model's name as one folder name: "meta/llama" becomes "meta--llama"."""
    return re.sub(r"[^\w.-]+", "_", name.replace("/", "--")).strip(".") or "model"


def read_result(values: Mapping[str, Any]) -> SuiteResult:
    """The results in a record."""

    def summaries(group: Mapping[str, Any]) -> dict[str, Summary]:
        return {
            name: Summary(**{**s, "interval": None if s["interval"] is None else Interval(**s["interval"])})
            for name, s in group.items()
        }

    return SuiteResult(
        suite=values["suite"],
        metrics=summaries(values["metrics"]),
        categories={name: summaries(group) for name, group in values["categories"].items()},
        tasks={name: summaries(group) for name, group in values["tasks"].items()},
        signatures=values["signatures"],
        breakdown=values["breakdown"],
    )


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

    def locked(self) -> AbstractContextManager[None]:
        """Holds the run for this process.

        Raises:
            StoreError: another process holds it, or the folder cannot be written.
        """
        return locked(self.path)

    def sampled(self) -> dict[tuple[str, str], str]:
        """Prompt hash of every stored sample by (task, id). A line torn by a crash is dropped from the file first."""
        drop_torn_line(self.samples_file)
        return {(s["task"], s["id"]): s["prompt_sha256"] for s in read_lines(self.samples_file)}

    @contextmanager
    def appender(self) -> Iterator[Callable[[Iterable[Sample]], None]]:
        """A function that appends samples in one write and hands them to the operating system before it returns."""
        with appending(self.samples_file) as append:
            yield lambda samples: append("".join(json_line(asdict(sample)) for sample in samples))

    def write_scores(self, scores: Iterable[Score]) -> None:
        """Writes scores.jsonl anew, one line a score as it comes; the old file stays until the new one is whole."""
        with replacing(self.scores_file) as write:
            for score in scores:
                write(json_line({"task": score.task, "id": score.id, **score.values}))

    def write_record(self, record: RunRecord) -> None:
        """Writes record.json; the old one stays until the new one is whole."""
        text = json.dumps({"schema_version": SCHEMA_VERSION, **asdict(record)}, indent=2)
        with replacing(self.record_file) as write:
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
            record = RunRecord(**values)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise StoreError(
                f"not a record of schema version {SCHEMA_VERSION}",
                place=str(self.record_file),
                cure="read it with the version of Tuna that wrote it, or remove it: the samples are kept",
            ) from error
        for name in ("identity", "config", "scoring", "coverage", "results"):
            if not isinstance(value := getattr(record, name), dict):
                problem = f'"{name}" of the record is {value!r:.40} and not an object'
                raise StoreError(problem, place=str(self.record_file), cure="score the run anew")
        return record


def refuse_run_folder(out: Path) -> None:
    """Keeps tables, figures and pages out of the folders of runs, whose own files they could replace.

    Args:
        out: the file that is to be written.

    Raises:
        ConfigError: it would lie in a run's folder, or in one of its judgings.
    """
    for folder in list(out.resolve().parents)[:3]:
        if RunFolder(folder).record_file.is_file():
            raise ConfigError("this is the folder of a run", place=f"--out {out}", cure="choose another place")


def check_writable(root: Path) -> None:
    """Fails early, before any model is loaded, if results cannot be written.

    Raises:
        StoreError: the folder cannot be created or written.
    """
    probe = root / f".writable-{os.getpid()}"
    with as_store_error(root):
        root.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_text("x" * 4096, encoding="ascii")
        finally:
            probe.unlink(missing_ok=True)


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
