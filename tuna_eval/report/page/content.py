"""Everything that a report page shows, as JSON: what it needs at once, and the rest in chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tuna_eval
from tuna_eval.errors import ConfigError
from tuna_eval.report.data_stats import SUITE as RANKING_DATA
from tuna_eval.report.frame import Frame, Value
from tuna_eval.report.notes import note_on
from tuna_eval.report.page.chunks import Chunks
from tuna_eval.report.page.judgings import pack_judgings
from tuna_eval.report.page.pairs import pack_pair
from tuna_eval.report.page.prompts import PromptSource
from tuna_eval.report.page.samples import SampledRun, pack_suite, read_samples
from tuna_eval.report.runs import StoredRun

FILES = ("record.json", "samples.jsonl", "scores.jsonl")


def page_content(frame: Frame, title: str, data_dir: Path | None, chunks: Chunks) -> dict[str, Any]:
    """What the page knows from the start.

    Args:
        frame: with at least one run.
        title: of the page.
        data_dir: a copy of the benchmarks' data, for runs that used one.
        chunks: get everything else.

    Raises:
        ConfigError: there is no run.
        DataError, StoreError: a run's files are broken.
    """
    if not frame.runs:
        raise ConfigError("no run among these", place="RUN", cure="name results/runs/MODEL")
    by_suite: dict[str, list[int]] = {}
    suites = []
    for number, (_, suite) in enumerate(frame.runs):
        by_suite.setdefault(suite, []).append(number)
    stored = list(frame.runs.items())
    packed: dict[int, dict[str, Any]] = {}
    for suite, numbers in by_suite.items():  # one benchmark's samples in memory at a time
        source, sampled = PromptSource(data_dir), []
        for number in numbers:
            run = stored[number][1]
            sampled.append(SampledRun(number, run, read_samples(run), source.of(run.record)))
        suites.append(pack_suite(suite, sampled, chunks))
        for each in sampled:
            judgings = pack_judgings(each.run, each.samples, each.prompts, chunks)
            packed[each.number] = _run(stored[each.number][0][0].name, each.run, judgings)
    return {
        "title": title,
        "version": tuna_eval.__version__,
        "runs": [packed[number] for number in range(len(stored))],
        "suites": suites,
        # Sources and costs of ranking data have rows, but answered nothing.
        "systems": len({value.system.name for value in frame.values if value.suite != RANKING_DATA}),
        "values": [_value(value) for value in frame.values if not value.group and not _is_blank(value)],
        "pairs": _pairs([run for _, run in stored], by_suite),
    }


def _run(name: str, run: StoredRun, judgings: list[dict[str, Any]]) -> dict[str, Any]:
    record = run.record
    return {
        "name": name,
        "suite": record.suite,
        "id": record.run_id,
        "note": note_on(run),
        "judgings": judgings,
        "categories": record.results.get("categories", {}),
        "tasks": record.results.get("tasks", {}),
        "coverage": record.coverage,
        "provenance": _provenance(run),
    }


def _provenance(run: StoredRun) -> dict[str, Any]:
    """Hashes, settings and versions, as the record has them, and the hashes of the run's files."""
    record = asdict(run.record)
    kept = ("model", "suite", "version", "run_id", "started", "identity", "config", "scoring", "environment")
    found: dict[str, Any] = {key: record[key] for key in kept}
    prompts: Mapping[str, Any] = record["prompts"]
    found["prompts"] = {
        key: value["count"] if isinstance(value, dict) and "count" in value else value for key, value in prompts.items()
    }
    found["sessions"] = record["sessions"]
    found["signatures"] = record["results"].get("signatures", {})
    found["files_sha256"] = {name: _sha256(run.folder.path / name) for name in FILES}
    return found


def _sha256(file: Path) -> str:
    if not file.is_file():
        return "not stored"
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_blank(value: Value) -> bool:
    """Whether it is a text that nobody wrote; a number that is missing has a unit."""
    return value.value is None and not value.unit and not value.text


def _value(value: Value) -> dict[str, Any]:
    return {
        "system": value.system.name,
        "suite": value.suite,
        "metric": value.metric,
        "value": value.value,
        "text": value.text,
        "unit": value.unit,
        "n": value.n,
        "low": value.interval.low if value.interval else None,
        "high": value.interval.high if value.interval else None,
    }


def _pairs(runs: list[StoredRun], by_suite: Mapping[str, list[int]]) -> dict[str, Any]:
    """Every run against every other of its benchmark, by "its number-the other's"; tested against the first only."""
    found: dict[str, Any] = {}
    for numbers in by_suite.values():
        for own in numbers:
            for other in numbers:
                if own != other:
                    is_tested = other == numbers[0]
                    found[f"{own}-{other}"] = pack_pair(runs[own], runs[other], is_tested=is_tested)
    return found
