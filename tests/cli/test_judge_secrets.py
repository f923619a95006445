"""A key never appears: not in a log, a record, a cache, an error message or the process list."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from command_line import command, environment, here, last_line
from vicuna_runs import CANDIDATE, QUESTIONS, judge_words, only_run, run_words, script_of

from openai_batches import BatchServer
from openai_faults import CUT, NO_CHOICES, REFUSAL, WRONG_SHAPE, Call, Fault, Program
from openai_judges import longer
from openai_server import OpenAIServer

KEY = "sk-tuna-MARKED-0123456789abcdef"
PARTS = (KEY, "MARKED", KEY.encode().hex())
SOON = {"retry-after-ms": "5"}
TELLING = "you sent {authorization}"  # what a careless server says
FAULTS = [
    Fault.status(429, {"Retry-After": "0.02"}, TELLING),
    Fault.status(500, SOON, TELLING),
    Fault.html(),
    CUT,
    NO_CHOICES,
    WRONG_SHAPE,
    REFUSAL,
    Fault("body", text='{"error": {"message": "you sent {authorization}"}}'),
]


def each_once(call: Call) -> Fault | None:
    """A fault of another kind at the first attempt of one prompt after the other."""
    return FAULTS[call.number % len(FAULTS)] if call.attempt == 1 else None


@pytest.fixture
def run(tmp_path: Path) -> Path:
    here(*run_words(script_of(tmp_path / "candidate.jsonl", CANDIDATE), tmp_path / "out"))
    return only_run(tmp_path / "out")


def lists_of(pid: int) -> list[bytes]:
    """What a process list shows of a process and its threads and children."""
    found: list[bytes] = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):  # a child that has ended meanwhile is in no list
        return found
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
            found += [(task / name).read_bytes() for name in ("cmdline", "comm")]
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        found += [shown for child in children for shown in lists_of(int(child))]
    return found


def watched(words: list[object], cache: Path, key: str = KEY) -> tuple[int, str, int]:
    """Judges with a marked key; the exit code, all that was said, and the looks at the process list."""
    changes = {"OPENAI_API_KEY": key, "OPENAI_LOG": "debug", "TUNA_CACHE": str(cache)}
    with (cache.parent / "said").open("w+") as said:
        process = subprocess.Popen(command(*words), env=environment(**changes), stdout=said, stderr=said)
        looks = 0
        while process.poll() is None:
            for shown in lists_of(process.pid):
                assert all(part.encode() not in shown for part in PARTS)
                looks += 1
            time.sleep(0.02)
        said.seek(0)
        return process.returncode, said.read(), looks


def assert_nowhere(folder: Path, said: str) -> None:
    assert all(part not in said for part in PARTS), said
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.name == "judging.json" for file in files)
    for file in files:
        content = file.read_bytes()
        assert all(part.encode() not in content for part in PARTS), file


def judged(run: Path, folder: Path, server: OpenAIServer, *more: object) -> tuple[int, str]:
    (cache := folder / "cache").mkdir()
    code, said, looks = watched(judge_words(run, server.base_url, *more), cache)
    assert looks > 3
    assert any(call.headers.get("authorization") == f"Bearer {KEY}" for call in server.log)
    assert_nowhere(folder, said)
    return code, said


def test_a_judging_with_faults_shows_no_key(run: Path, tmp_path: Path) -> None:
    with OpenAIServer(longer, each_once, key=KEY) as server:
        code, said = judged(run, tmp_path, server)
    assert code == 0, said
    assert "coverage" in said
    assert server.served.total() == 2 * QUESTIONS
    assert len(server.log) > 2 * QUESTIONS


ENDS: dict[str, tuple[str | None, Program | None, str]] = {
    "refused key": ("another key", None, "HTTP 401 Unauthorized after 1 attempt: Incorrect API key provided: [hidden]"),
    "no credit": (
        None,
        lambda call: Fault.status(429, SOON, TELLING, code="insufficient_quota"),
        "you sent [hidden]; add credit to the account of the key in OPENAI_API_KEY",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_judging_that_fails_shows_no_key(run: Path, tmp_path: Path, end: str) -> None:
    key, faults, line = ENDS[end]
    with OpenAIServer(longer, faults, key=key) as server:
        code, said = judged(run, tmp_path, server, "--judge-max-retries", "1")
    assert code == 2
    assert line in last_line(said)


def test_judgments_that_failed_are_stored_without_the_key(run: Path, tmp_path: Path) -> None:
    def program(call: Call) -> Fault | None:
        return Fault.status(500, SOON, TELLING) if "moon" in call.prompt else None

    with OpenAIServer(longer, program) as server:
        code, said = judged(run, tmp_path, server, "--judge-max-retries", "1")
    assert code == 0
    assert "2 failed" in said or "1 failed" in said
    (file,) = run.rglob("judgments.jsonl")
    assert file.read_text().count("after 2 attempts: you sent [hidden]") == 2


def test_batches_show_no_key(run: Path, tmp_path: Path) -> None:
    def fate(prompt: str) -> int:
        return 500 if "moon" in prompt else 200

    with BatchServer(reply=longer, fate=fate, key=KEY) as server:
        code, _ = judged(run, tmp_path, server, "--batch")
    assert code == 0
