"""What the tests of drawing share: instructions, a server whose replies depend on the seed, the command line."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai_faults import Call
from openai_server import OpenAIServer
from tuna_train.cli import main
from tuna_train.data.ranked import RankedExample, read_ranked

ROOT = Path(__file__).resolve().parents[3]
REPLIES = [
    f"{colour} is what I would say about {thing}" for colour in ("red", "blue") for thing in ("tea", "rain", "it")
]


def instructions(count: int) -> list[RankedExample]:
    return [
        RankedExample(f"e{i}", f"Say something about {i}.", "" if i % 3 else "with care", "Yes.") for i in range(count)
    ]


def write_alpaca(file: Path, count: int) -> Path:
    rows = [
        {"id": e.id, "instruction": e.instruction, "input": e.input, "output": e.original} for e in instructions(count)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


class SeedServer(OpenAIServer):
    """Replies to a seed, and counts its answers by prompt and seed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.drawn: Counter[tuple[str, int]] = Counter()

    def answer(self, call: Call) -> dict[str, Any]:
        if call.route == "completions" and not call.body.get("echo"):
            with self.lock:
                self.drawn[call.prompt, call.body["seed"]] += 1
        return super().answer(call)

    def _complete(self, prompt: str, body: Mapping[str, Any]) -> tuple[str, str]:
        if body.get("echo"):
            return "", "stop"
        seed = int(body["seed"])
        text, finish = REPLIES[seed % len(REPLIES)] + f" {seed % 7}", "stop"
        return (text[:20], "length") if body["max_tokens"] < 10 else (text, finish)


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def tuna_train(*words: object, check: bool = True) -> Ended:
    """The command line in this process: a start of Python for each call would take most of the time."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    assert not check or code == 0, err.getvalue()
    return Ended(code, out.getvalue(), err.getvalue())


def read(file: Path) -> list[RankedExample]:
    return list(read_ranked(file))
