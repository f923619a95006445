"""No text takes long, whatever a model says: hypothesis, with texts made of what the patterns look for.

The fast tier runs a share; `make fuzz` sets TUNA_FUZZ=10000 and prints the slowest call of each task.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import cache
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lmentry_texts import examples, phrases, values_of

from tuna_eval.tasks.lmentry.names import CORE
from tuna_eval.tasks.lmentry.rules import Verdict
from tuna_eval.tasks.lmentry.scoring import OFFICIAL, STRICT, score_prediction

EXAMPLES = int(os.environ.get("TUNA_FUZZ", "100"))  # texts a task
LONGEST = 4000  # characters; about twice what 512 new tokens come to
LIMIT = 0.05  # seconds of processor time a call

NOISE = (
    *(" ", "  ", "\n", "\n\n", "\t", ".", ",", "'", '"', "-", "_", "…", "(", "*", "?", "1. ", "\0", "\u2028"),
    *(
        '""""""""',
        "''''",
        ".....",
        "the word ",
        "the words ",
        "the letter ",
        "the number ",
        "the sentence ",
        "answer: ",
    ),
    *(
        " is the answer",
        " is not the answer",
        "of ",
        "and ",
        "i'm sorry",
        "é",
        "ß",
        "İ",
        "日本語",
        "a",
        "ll",
        "0",
        "ten",
    ),
)


@cache
def pieces(task: str, id: str) -> tuple[str, ...]:
    """What the texts for an example are made of: its arguments, the task's sentences and their halves, and noise."""
    example = examples(task)[id]
    own = [value for value in values_of(task, example).values() if value]
    said = phrases(task, example)
    halves = chain.from_iterable((s[: len(s) // 2], s[len(s) // 2 :]) for s in said)
    return tuple(dict.fromkeys([*own, *(o * 30 for o in own), *said, *halves, *NOISE, example["input"]]))


@st.composite
def answers(draw: st.DrawFn, task: str) -> tuple[Mapping[str, Any], str]:
    """An example and a text: something, then a unit over and over, then something, or mere characters."""
    id = draw(st.sampled_from(list(examples(task))))
    piece = st.sampled_from(pieces(task, id))
    some = st.lists(piece | st.text(max_size=9) if draw(st.booleans()) else piece, max_size=4)
    head, unit, tail = "".join(draw(some)), "".join(draw(some)), "".join(draw(some))
    length = draw(st.integers(0, LONGEST))
    text = head + (unit * (length // len(unit)) if unit else "")
    return examples(task)[id], text[: LONGEST - len(tail)] + tail[:LONGEST]


def timed(call: Callable[[], Verdict]) -> tuple[Verdict, float]:
    """What a call returns, and its processor time, seconds; one over the limit has two more tries."""
    seconds: list[float] = []
    while not seconds or (seconds[-1] > LIMIT and len(seconds) < 3):
        start = time.process_time()
        verdict = call()
        seconds.append(time.process_time() - start)
    return verdict, min(seconds)


@pytest.mark.parametrize("task", CORE)
def test_no_text_takes_long(task: str) -> None:
    slowest = (0.0, "")

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(answers(task), st.sampled_from(["", " ", "\n", " \t\n "]), st.sampled_from([False, False, True]))
    def check(answer: tuple[Mapping[str, Any], str], space: str, truncate: bool) -> None:
        nonlocal slowest
        example, text = answer
        for repairs in (OFFICIAL, STRICT):
            verdict, seconds = timed(lambda: score_prediction(task, example, text, truncate, repairs))  # noqa: B023
            slowest = max(slowest, (seconds, text))
            assert verdict in {(0, 0), (0, 1), (1, 0), (1, 1)}
            assert seconds <= LIMIT, f"{seconds:.3f} s for {len(text)} characters"
            assert score_prediction(task, example, space + text + space, truncate, repairs) == verdict

    check()
    print(f"{task}: slowest call {1000 * slowest[0]:.1f} ms, for {slowest[1][:60]!r}")


SLOW_ONCE = {
    "letters that are no a-z, behind the word": "it polished " + "日本語" * 1300,
    "such letters before it": "the sentence is " + "日本語" * 1300 + " x polished",
    "one start of a sentence after another": "the sentence is " * 240 + "x polished",
    "and the end on another line": "the sentence is " * 240 + "日本\nx 日本 polished",
    "letters that fold to a-z": "the sentence is ſ " * 220 + "x polished",
}


@pytest.mark.parametrize("case", SLOW_ONCE)
def test_a_text_that_was_slow_once(case: str) -> None:
    example = {"input": "", "metadata": {"word": "polished"}}
    for repairs in (OFFICIAL, STRICT):
        score_prediction("ends_with_word", example, "polished", repairs=repairs)
        _, seconds = timed(lambda: score_prediction("ends_with_word", example, SLOW_ONCE[case], repairs=repairs))  # noqa: B023
        assert seconds <= LIMIT / 2
