"""Vicuna QA on the built-in sample: a run to judge, and what became of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from command_line import ROOT

MINI = ROOT / "benchmarks/mini/vicuna"
BASELINE = MINI / "baseline_answers.jsonl"
METRICS = ["win", "lose", "tie", "unparsable", "coverage", "win_rate", "flip_rate"]
QUESTIONS = 9
# Longer than the baseline's answers to four questions, shorter than the others.
CANDIDATE = [
    *({"contains": part, "reply": "Yes, and there is much more to say. " * 20} for part in ("moon", "storm", "piano")),
    {"contains": "bicycle", "reply": "Cities would have grown flatter and wider than they are. " * 20},
    {"reply": "A short answer."},
]


def script_of(file: Path, rules: list[dict[str, str]]) -> Path:
    file.write_text("".join(json.dumps(rule) + "\n" for rule in rules))
    return file


def run_words(script: Path, output: Path) -> list[object]:
    """`tuna-eval run` without a judge."""
    words = ["run", "--suite", "vicuna_qa", "--data", "mini", "--engine", "scripted", "--json"]
    return [*words, "--model", script, "--output", output]


def judge_words(run: Path, url: str, *more: object) -> list[object]:
    """`tuna-eval judge` with a judge that a server offers."""
    return ["judge", run, "--baseline", BASELINE, "--judge", "fake", "--judge-base-url", url, "--json", *more]


def only_run(output: Path) -> Path:
    (record,) = output.glob("runs/*/vicuna_qa/*/record.json")
    return record.parent


def record_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "record.json").read_text())
    return found


def values_of(result: subprocess.CompletedProcess[str]) -> dict[str, float | None]:
    """What --json printed."""
    assert result.returncode == 0, result.stderr
    printed: dict[str, dict[str, float | None]] = json.loads(result.stdout)
    assert list(printed) == ["vicuna_qa"]
    assert list(printed["vicuna_qa"]) == METRICS
    return printed["vicuna_qa"]


def judgings(run: Path) -> list[Path]:
    return sorted(file.parent for file in run.glob("judged/*/judging.json"))


def judging_id(result: subprocess.CompletedProcess[str]) -> str:
    """The id of the judging that a command says it has made."""
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("judging: "))
    return Path(line.removeprefix("judging: ")).name
