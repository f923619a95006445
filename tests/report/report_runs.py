"""Records of complete runs, as the harness writes them, for what reports make of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tuna_eval.judge.significance import Counts
from tuna_eval.judge.summary import metrics_of
from tuna_eval.judge.verdicts import Tally
from tuna_eval.report.frame import Frame, System, frame_of_runs
from tuna_eval.report.runs import StoredRun
from tuna_eval.schema import JSON, Interval, RunRecord, SuiteResult, Summary
from tuna_eval.store import RunFolder

EXAMPLES = {"superni_0shot": (119, 11810), "superni_2shot": (119, 11810), "lmentry": (41, 110703), "vicuna_qa": (9, 80)}
METRICS = {"superni_0shot": "rougeL", "superni_2shot": "rougeL", "lmentry": "lmentry_score"}


def record_of(suite: str, value: float = 40.0, **changes: Any) -> RunRecord:
    """A run of all of a benchmark with one metric of a given value, made as the paper did."""
    tasks, examples = EXAMPLES[suite]
    metric = METRICS.get(suite, "rougeL")
    summary = Summary(value, Interval(value - 1, value + 1, 0.95), examples)
    result = SuiteResult(suite, {metric: summary}, signatures={metric: f"{metric}|stem:yes|impl:python|v1"})
    record = RunRecord(
        model="own",
        suite=suite,
        version="1",
        status="complete",
        started="2026-01-01T00:00:00+00:00",
        run_id="0123456789abcdef",
        identity={
            "prompts_sha256": "ab" * 32,
            "sampling": {"max_new_tokens": 128, "temperature": 0.0, "top_p": 1.0, "seed": 0, "stop": []},
        },
        config={"data": "full", "format": "alpaca", "truncation": "right"},
        scoring={"finished": "2026-01-01T00:01:00+00:00"},
        coverage=covered(tasks, tasks, examples, examples),
        results=asdict(result),
    )
    return replace(record, **changes)


def covered(tasks: int, expected: int, scored: int, examples: int, limit: int | None = None) -> dict[str, JSON]:
    return {"tasks": tasks, "expected_tasks": expected, "scored": scored, "examples": examples, "limit": limit}


def judged(win: int, lose: int, tie: int, *, judge: str = "gpt-4", unparsable: int = 0, **changes: Any) -> RunRecord:
    """A run of Vicuna QA, judged against Alpaca."""
    asked = win + lose + tie + unparsable
    metrics = metrics_of(Tally(asked, Counts(win, lose, tie), unparsable, 0, 0), None)
    judging: dict[str, JSON] = {
        "judge": judge,
        "judge_sha256": changes.pop("judge_sha256", "cd" * 32),
        "baseline": changes.pop("baseline", "Alpaca"),
        "baseline_sha256": changes.pop("baseline_sha256", "ef" * 32),
        "is_covered": unparsable <= 0.05 * asked,
    }
    result = SuiteResult(
        "vicuna_qa",
        metrics,
        {"math": metrics, "coding": metrics},
        signatures=dict.fromkeys(metrics, "review-2023|parser:tolerant|v1"),
        breakdown={"judging": judging},
    )
    return replace(record_of("vicuna_qa"), results=asdict(result), **changes)


def frame_of(**systems: list[RunRecord]) -> Frame:
    """A frame of records that lie nowhere."""
    runs = [
        (System(name, "run"), StoredRun(RunFolder(Path("nowhere")), record))
        for name, records in systems.items()
        for record in records
    ]
    return frame_of_runs(runs)


def store(folder: Path, record: RunRecord) -> Path:
    """Writes a record where a run of the harness would."""
    path = folder / "runs" / record.model / record.suite / record.run_id
    RunFolder(path).write_record(record)
    return path
