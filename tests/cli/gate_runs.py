"""Runs on the built-in sample whose quality is chosen: a share of the instances is answered rightly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from command_line import here
from vicuna_runs import script_of

ROOT = Path(__file__).resolve().parents[2]
TASKS = sorted((ROOT / "benchmarks/mini/superni/tasks").glob("*.json"))
INSTANCES = 10  # a task


def superni_rules(right: int, wrong: str = "zebra") -> list[dict[str, str]]:
    """Answers the first instances of each task rightly and all others wrongly."""
    tasks: list[dict[str, Any]] = [json.loads(file.read_text()) for file in TASKS]
    told = [each for task in tasks for each in task["Instances"][:right]]
    return [*({"contains": each["input"], "reply": each["output"][0]} for each in told), {"reply": wrong}]


def run_words(results: Path, name: str, rules: list[dict[str, str]], *words: object) -> list[object]:
    script = script_of(results.parent / f"{name}.jsonl", rules)
    model = ["run", "--engine", "scripted", "--model", script, "--name", name, "--output", results]
    return [*model, "--data", "mini", *(words or ("--suite", "superni", "--shots", 0))]


def run(results: Path, name: str, rules: list[dict[str, str]], *words: object) -> Path:
    """Runs a benchmark (Super-NI without demonstrations by default) and returns the model's folder."""
    result = here(*run_words(results, name, rules, *words))
    assert result.returncode == 0, result.stderr
    return results / "runs" / name


def report_of(*words: object) -> dict[str, Any]:
    """What `tuna-eval gate --format json` prints, and its exit code."""
    result = here("gate", *words, "--format", "json")
    assert result.returncode in (0, 1), result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["passed"] == (result.returncode == 0)
    return found


def two_models(results: Path) -> Path:
    """Runs "good", right in nine of ten instances of each task, and "worse", right in six or seven of ten by turns."""
    run(results, "good", superni_rules(9))
    seventh = [json.loads(file.read_text())["Instances"][6]["input"] for file in TASKS[::2]]
    run(results, "worse", [*(rule for rule in superni_rules(7) if rule.get("contains") in seventh), *superni_rules(6)])
    return results
