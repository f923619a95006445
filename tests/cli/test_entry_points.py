"""The console scripts exist, and answer at once."""

from __future__ import annotations

import signal
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


def test_a_terminated_command_cleans_up(tmp_path: Path) -> None:
    package = tmp_path / "slow"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "command.py").write_text(
        "import tempfile, time\n"
        "def wait(options):\n"
        f"    with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}, prefix='scratch'):\n"
        "        print('waiting', flush=True)\n"
        "        time.sleep(60)\n"
    )
    code = (
        "import argparse, sys\n"
        "from tuna_eval.commands.entry import answer\n"
        "sys.exit(answer(argparse.Namespace(command='command.wait'), 'slow'))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    assert list(tmp_path.glob("scratch*"))
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert told == "slow: terminated; run the same command again to resume\n"
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("scratch*"))
