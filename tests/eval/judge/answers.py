"""Questions with answers, judges whose bias is known, and a judging over HTTP."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openai_faults import Program
from openai_judges import always_first as always_first
from openai_judges import longer as longer
from openai_server import OpenAIServer
from tuna_eval.judge.engine_judge import EngineComparer
from tuna_eval.judge.pairwise import JudgingProtocol, open_protocol
from tuna_eval.judge.protocols import BOTH_ORDERS, Ask, Question
from tuna_eval.judging.judging import Judged, Match, judge
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions

MARKS = open_protocol("pairwise-v2")
REVIEW = open_protocol("review-2023")

# Written for these tests: question, a true answer, words in no order.
QUESTIONS = [
    ("What is the capital of France?", "The capital of France is Paris.", "spoon of blue the quickly under seven was"),
    ("How many legs does a spider have?", "A spider has eight legs.", "green the of window run because table nine to"),
    (
        "Why do we see lightning before we hear thunder?",
        "Light travels much faster than sound, so the flash reaches us first.",
        "cup walk slowly the and ten with purple of in",
    ),
    ("Name a fruit that is yellow.", "A banana is a yellow fruit.", "river the under clock jump is for wood no"),
    (
        "How do I boil an egg?",
        "Put the egg into boiling water and wait for eight to ten minutes.",
        "door of nineteen carpet the sing lamp to of",
    ),
    (
        "What does a doctor do?",
        "A doctor examines sick people and helps them to get well again.",
        "of the stone eat Tuesday pencil from in loud",
    ),
]


def true_or_salad() -> Match:
    """The true answers are the candidate's."""
    questions = [Question(str(i), "generic", text) for i, (text, _, _) in enumerate(QUESTIONS)]
    true = {str(i): answer for i, (_, answer, _) in enumerate(QUESTIONS)}
    salad = {str(i): answer for i, (_, _, answer) in enumerate(QUESTIONS)}
    return Match(questions, true, salad)


def swapped(match: Match) -> Match:
    return Match(match.questions, match.baseline, match.candidate)


def many(count: int) -> Match:
    """Answers of different lengths; the candidate's is the longer one in three of four questions."""
    questions = [Question(f"q{i}", ("writing", "fermi")[i % 2], f"Question number {i}?") for i in range(count)]
    candidate = {f"q{i}": "word " * (5 + i % 7 + (0 if i % 4 == 0 else 9)) for i in range(count)}
    baseline = {f"q{i}": "term " * (8 + i % 5) for i in range(count)}
    return Match(questions, candidate, baseline)


class Watched:
    """A run's progress, kept."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = self.total = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, label: str, *, done: int, total: int) -> None:
        self.done, self.total = done, total

    def advance(self) -> None:
        self.done += 1

    def end(self) -> None:
        pass


def over_http(
    match: Match,
    reply: Callable[[str], str],
    folder: Path,
    faults: Program | None = None,
    protocol: JudgingProtocol = MARKS,
    **options: Any,
) -> tuple[Judged, OpenAIServer]:
    with OpenAIServer(reply, faults, model="judge-0613") as server:
        # The address is part of the judge, and every server here has another port.
        comparer = OnePort(
            ApiEngine(ApiOptions(server.base_url, "judge", on_failure="yield", max_retries=0)), protocol, **options
        )
        return judge(match, comparer, protocol, folder, Watched()), server


class OnePort(EngineComparer):
    """The same judge whatever port the test server got."""

    def fingerprint(self) -> dict[str, Any]:
        found = dict(super().fingerprint())
        return found | {"engine": {**found["engine"], "server": "one"}}  # type: ignore[dict-item]


def record_of(judged: Judged) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((judged.folder / "judging.json").read_text())
    return found


def all_asks(match: Match) -> list[Ask]:
    return [Ask(match.pair(question), order) for question in match.questions for order in BOTH_ORDERS]


def environment() -> dict[str, str]:
    """For a process that imports what the tests import."""
    tests = Path(__file__).resolve().parents[2]
    paths = [str(tests.parent), str(tests), str(Path(__file__).parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
