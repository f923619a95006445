"""The gate's docs: a workflow that is valid YAML, and commands that exist, with options that they take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuna_eval.cli import main, parser

DOCS = Path(__file__).resolve().parents[2] / "docs"
FILE = DOCS / "github-actions.yml"
VARIABLES = {"CHECKPOINT": "model", "RESULTS": "results", "GITHUB_RUN_ID": "1"}


def steps() -> list[dict[str, Any]]:
    (job,) = yaml.safe_load(FILE.read_text(encoding="utf-8"))["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


def commands() -> list[list[str]]:
    """Every tuna-eval command of the workflow, those in its comments included, and of the page, as the shell has it."""
    lines = [line for step in steps() for line in step.get("run", "").splitlines()]
    lines += [line.lstrip("# ") for line in FILE.read_text(encoding="utf-8").splitlines() if line.startswith("#   ")]
    lines += (DOCS / "gate.md").read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines:
        if line.startswith("tuna-eval "):
            text = re.sub(r"\$(\w+)", lambda match: VARIABLES[match[1]], re.split(r"\s+(?:>|\|\|)", line)[0])
            found.append(shlex.split(text)[1:])
    return found


def test_the_workflow_evaluates_and_gates() -> None:
    assert {words[0] for words in commands()} == {"run", "gate", "baseline", "watch"}
    workflow = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert set(workflow) == {"name", True, "permissions", "concurrency", "jobs"}  # YAML reads "on" as true
    assert all("uses" in step or "run" in step for step in steps())
    (gate,) = (step for step in steps() if step.get("name") == "Gate")
    assert "if" not in gate  # its exit code is that of the job
    assert "||" not in gate["run"]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_its_commands_are_understood(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = parser().parse_args(words)
    assert options.command
    with pytest.raises(SystemExit) as ended:
        main([words[0], "--help"])
    assert ended.value.code == 0
    assert f"usage: tuna-eval {words[0]}" in capsys.readouterr().out


def test_no_input_of_the_workflow_reaches_a_shell_as_code() -> None:
    assert not any("${{" in step.get("run", "") for step in steps())
