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


@pytest.mark.parametrize(("module", "command"), [("tuna_eval", "run"), ("tuna_train", "nll")])
def test_help_imports_next_to_nothing(module: str, command: str) -> None:
    code = (
        f"import sys, {module}.cli\n"
        f"try:\n    {module}.cli.main(['{command}', '--help'])\n"
        "except SystemExit:\n    print('loaded:', *sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.rpartition("loaded:")[2].split())
    assert loaded.isdisjoint(HEAVY)
