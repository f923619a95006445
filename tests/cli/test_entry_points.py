"""The console scripts exist, and answer at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "numpy", "rich", "yaml", "tuna_eval.run")


@pytest.mark.parametrize("script", ["tuna-eval", "tuna-train"])
def test_console_scripts_are_installed(script: str) -> None:
    program = Path(sys.executable).parent / script
    result = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert script in result.stdout


def test_help_imports_next_to_nothing() -> None:
    code = (
        "import sys, tuna_eval.cli\n"
        "try:\n    tuna_eval.cli.main(['run', '--help'])\n"
        "except SystemExit:\n    print('loaded:', *sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.rpartition("loaded:")[2].split())
    assert loaded.isdisjoint(HEAVY)


def test_the_trainer_says_that_it_is_not_there_yet() -> None:
    result = subprocess.run([sys.executable, "-m", "tuna_train.cli"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "no training command is built yet" in result.stderr
