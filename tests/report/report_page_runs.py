"""What the tests of the report page share: real runs on the built-in sample, and a page read without a browser."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuna_eval.cli import main

MINI = Path(__file__).resolve().parents[2] / "benchmarks/mini"
HOSTILE = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>  two  spaces\n\ttab"
# Prefers whose answer is not "zebra", and says why in markup.
JUDGE = [
    {"contains": "<answer-of-A>\nzebra", "reply": f"[[B]] {HOSTILE}"},
    {"contains": "<answer-of-B>\nzebra", "reply": f"[[A]] {HOSTILE}"},
    {"reply": "[[C]]"},
]
SYSTEMS = {"steady": (6, "zebra"), "hostile": (4, HOSTILE)}


def superni_rules(right: int, wrong: str) -> list[dict[str, str]]:
    """Answers the first instances of each task of Super-NI rightly, and everything else wrongly."""
    tasks = [json.loads(file.read_text()) for file in sorted((MINI / "superni/tasks").glob("*.json"))]
    told = [each for task in tasks for each in task["Instances"][:right]]
    return [*({"contains": each["input"], "reply": each["output"][0]} for each in told), {"reply": wrong}]


def script_of(file: Path, rules: Sequence[dict[str, str]]) -> Path:
    file.write_text("".join(json.dumps(rule) + "\n" for rule in rules))
    return file


def run(results: Path, name: str, *words: object) -> Path:
    """Runs a scripted model and returns its folder."""
    right, wrong = SYSTEMS.get(name, (4, "zebra"))
    script = script_of(results / f"{name}.jsonl", superni_rules(right, wrong))
    asked = ["run", "--model", script, "--name", name, "--engine", "scripted", "--data", "mini", "--output", results]
    assert main([*map(str, asked), *map(str, words)]) == 0
    return results / "runs" / name


def make_runs(results: Path) -> list[Path]:
    """Two judged systems on all benchmarks, and one that was asked in another prompt format."""
    judge = script_of(results / "judge.jsonl", JUDGE)
    judging = ("--judge", judge, "--judge-engine", "scripted", "--baseline", MINI / "vicuna/baseline_answers.jsonl")
    places = [run(results, name, "--suite", "all", *judging) for name in SYSTEMS]
    return [*places, run(results, "plain", "--suite", "superni", "--shots", 0, "--format", "plain")]


def index_of(page: Path) -> dict[str, Any]:
    """What the page knows from the start."""
    (text,) = re.findall(r'<script type="application/json" id="index">(.*?)</script>', page.read_text(), re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


def chunk_of(page: Path, name: str) -> Any:
    """A piece that the page decodes when it needs it."""
    (text,) = re.findall(rf'data-chunk="{name}">([^<]*)<', page.read_text())
    return json.loads(zlib.decompress(base64.b64decode(text)))


def suite_of(index: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (suite for suite in index["suites"] if suite["name"] == name)
    return dict(found)
