"""The console scripts exist, and answer at once."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tuna_eval.cli import parser

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


def answered(folder: Path, body: str) -> list[str]:
    """Words of a process in which a command with this body is called as both command lines call theirs."""
    (folder / "broken").mkdir()
    (folder / "broken/__init__.py").touch()
    (folder / "broken/command.py").write_text(f"def run(options):\n    {body}\n    return 0\n")
    code = (
        f"import argparse, sys; sys.path.insert(0, {str(folder)!r})\n"
        "from tuna_eval.commands.entry import answer\n"
        "sys.exit(answer(argparse.Namespace(command='command.run'), 'broken'))"
    )
    return [sys.executable, "-c", code]


def test_a_fault_of_the_program_is_no_verdict(tmp_path: Path) -> None:
    """Python's own exit code for an exception is 1, which says that a gate failed."""
    result = subprocess.run(answered(tmp_path, "{}['x']"), capture_output=True, text=True, check=False)
    assert result.returncode == 3
    assert result.stderr.startswith("Traceback")
    assert result.stderr.endswith("KeyError: 'x'\n")


@pytest.mark.parametrize("body", ["print('x')", "print('x' * 100_000)"], ids=["at the end", "in between"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_a_full_disk_refuses_is_no_verdict(tmp_path: Path, body: str, unbuffered: str) -> None:
    words, environment = answered(tmp_path, body), {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        result = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment)
        assert result.returncode == 3
        assert result.stderr.endswith("No space left on device\n")
        both = subprocess.run(words, stdout=full, stderr=full, check=False, env=environment)
        assert both.returncode == 3


def test_a_command_without_an_output_ends_as_it_does_with_one(tmp_path: Path) -> None:
    for stream in ("stdout", "stderr"):
        folder = tmp_path / stream
        folder.mkdir()
        words = answered(folder, "pass")
        words[2] = f"import sys; sys.{stream} = None\n{words[2]}"
        assert subprocess.run(words, check=False).returncode == 0


RUN = ("run", "--model", "demo")
GATE = ("gate", "RUN", "--baseline", "RUN")


@pytest.mark.parametrize(
    ("command", "option", "first", "second", "default"),
    [
        (RUN, "--suite", ["superni"], ["lmentry", "vicuna_qa"], ["all"]),
        (RUN, "--shots", [2], [0], [0, 2]),
        (RUN, "--tasks", ["a*", "b"], ["c"], []),
        (RUN, "--engine-arg", ["a=1"], ["b=2"], []),
        (RUN, "--lmentry-scoring", ["rounding"], ["denominators"], ["official"]),
        (("score", "--suite", "lmentry", "--predictions", "FILE"), "--tasks", ["a"], ["b"], []),
        (("ls", "tasks"), "--tasks", ["a"], ["b"], []),
        (("watch", "DIR", "--baseline", "main"), "--suite", ["superni"], ["lmentry"], ["all"]),
        (("watch", "DIR", "--baseline", "main"), "--max-drop", ["superni=1"], ["lmentry=1"], []),
        (GATE, "--suite", ["superni"], ["lmentry"], []),
        (GATE, "--max-drop", ["superni=1"], ["lmentry=1"], []),
    ],
)
def test_a_list_that_is_given_twice_is_one_list(
    command: tuple[str, ...], option: str, first: list[object], second: list[object], default: list[object]
) -> None:
    def given(*lists: list[object]) -> object:
        words = [word for own in lists for word in (option, *map(str, own))]
        return getattr(parser().parse_args([*command, *words]), option.removeprefix("--").replace("-", "_"))

    assert given(first, second) == [*first, *second]
    assert given(default, second) == [*default, *second] if default else given(second) == second
    assert given() == default


def test_no_list_of_these_commands_forgets_what_it_was_given_before() -> None:
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    for name in ("run", "score", "judge", "gate", "watch", "report", "ls"):
        for action in commands.choices[name]._actions:
            if action.nargs == "+" and action.option_strings:
                assert not isinstance(action, argparse._StoreAction), f"{name} {action.option_strings}"
