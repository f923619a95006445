"""The command line, in a process of its own or in this one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tuna_eval.cli import main

ROOT = Path(__file__).resolve().parents[2]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "tuna_eval.cli", *map(str, words)]


def environment(**changes: str) -> dict[str, str]:
    """That of this process, from the checkout; no key of the machine's owner can go to a test's server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    return {**kept, "PYTHONPATH": str(ROOT), **changes}


def tuna_eval(
    *words: object, check: bool = True, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A process as a user starts one: for exit codes, kills, and what only the whole process can show."""
    result = subprocess.run(
        command(*words), capture_output=True, text=True, check=False, timeout=120, env=environment(**(env or {}))
    )
    assert not check or result.returncode == 0, result.stderr
    return result


def here(*words: object, check: bool = False, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has imported everything already."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - environment().keys():
            patch.delenv(name)
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as told:
            try:
                code = main([*map(str, words)])
            except SystemExit as end:  # argparse's way out
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
    result = subprocess.CompletedProcess([*map(str, words)], code, out.getvalue(), told.getvalue())
    assert not check or code == 0, result.stderr
    return result


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]
