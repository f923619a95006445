"""Which responses are kept and which are drawn again: the released policy to its fault, the paper's to its laws."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuna_eval.metrics.rouge import rouge_l_of_pairs
from tuna_train.data.diversity import Draw, Policy, PolicyName, Similarities, similarity_of

PAPER, RELEASED = Policy("paper"), Policy("released")
Source = Callable[[int, int], str]  # the text that slot and trial would draw


@dataclass(frozen=True)
class Outcome:
    texts: dict[Draw, str]
    kept: list[Draw]

    @property
    def responses(self) -> list[str]:
        return [self.texts[draw] for draw in self.kept]


def played(policy: Policy, slots: int, source: Source) -> Outcome:
    """Draws until all is decided, as a sampler does."""
    texts: dict[Draw, str] = {}
    known: dict[tuple[Draw, Draw], float] = {}
    similarities = Similarities(policy)
    while True:
        drawn = [sum(slot == wanted for slot, _ in texts) for wanted in range(slots)]
        choice = policy.decide(drawn, similarity_of(known))
        if not choice.missing:
            return Outcome(texts, [(slot, trial) for slot, trial in enumerate(choice.kept) if trial is not None])
        assert not set(choice.missing) & set(texts)
        texts |= {draw: source(*draw) for draw in choice.missing}
        similarities.add(known, texts, choice.missing)
        similarities.score()


def from_table(table: list[list[str]]) -> Source:
    """table[trial][slot]"""
    return lambda slot, trial: table[trial][slot]


def golden(shared: Path) -> list[dict[str, Any]]:
    return list(json.loads((shared / "golden" / "tuna_resample.json").read_text()))


def test_the_released_policy_is_that_of_the_released_code(shared: Path) -> None:
    cases = golden(shared)
    for case in cases:
        outcome = played(RELEASED, 4, from_table(case["trials"]))
        assert outcome.responses == case["trials"][case["kept_trial"]], case["name"]
        assert len(outcome.texts) == 4 * case["trials_used"], case["name"]
    assert len(cases) == 4


def test_the_paper_draws_only_the_offender_again(shared: Path) -> None:
    """On the same responses 4 draws for 4, 5 for 8 (twice), and 8 for 12 where one response comes four times."""
    counts = [len(played(PAPER, 4, from_table(case["trials"])).texts) for case in golden(shared)]
    assert counts == [4, 5, 5, 8]
    similar = golden(shared)[2]["trials"]
    # Released keeps the group with the duplicates; the paper's way exchanges the second one alone.
    assert played(PAPER, 4, from_table(similar)).responses == [similar[0][0], similar[1][1], *similar[0][2:]]


def test_after_the_last_trial_the_least_similar_of_a_slots_trials_is_kept() -> None:
    table = [
        ["a b c d e f g h i j", "a b c d e f g h i j"],
        ["-", "a b c d e f g h i x"],
        ["-", "a b c d e f g h i j k"],
    ]
    outcome = played(PAPER, 2, from_table(table))
    assert outcome.kept == [(0, 0), (1, 1)]  # F1 1.0, 0.9 and 0.952
    assert len(outcome.texts) == 4


def test_temperatures_rise_by_a_tenth() -> None:
    assert [PAPER.temperature(1.0, trial) for trial in range(3)] == [1.0, 1.1, 1.2]


@pytest.mark.parametrize("name", ["paper", "released", "none"])
def test_a_single_response_needs_a_single_draw(name: PolicyName) -> None:
    outcome = played(Policy(name), 1, lambda slot, trial: "one")
    assert (outcome.kept, len(outcome.texts)) == ([(0, 0)], 1)


def test_no_policy_keeps_every_first_draw() -> None:
    outcome = played(Policy("none"), 4, lambda slot, trial: "same")
    assert outcome.kept == [(slot, 0) for slot in range(4)]
    assert len(outcome.texts) == 4


@pytest.mark.parametrize("text", ["Привет, мир", "東京は日本の首都です", "🙂🙃", "!!!", "", "नमस्ते दुनिया"])
def test_equal_texts_are_similar_in_every_script(text: str) -> None:
    other = iter(["first other words", "second one here", "third"])
    outcome = played(PAPER, 2, lambda slot, trial: next(other) if trial else text)
    assert outcome.responses == [text, "first other words"]
    assert len(played(RELEASED, 2, lambda slot, trial: text).texts) == (2 if not text.isascii() or len(text) < 4 else 6)


WORDS = st.lists(st.sampled_from(["tea", "чай", "green", "hot", "茶"]), max_size=5).map(" ".join)
TABLES = st.integers(1, 5).flatmap(
    lambda slots: st.lists(st.lists(WORDS, min_size=slots, max_size=slots), min_size=3, max_size=3)
)


def similar(first: str, second: str) -> float:
    if first == second:
        return 1.0
    return rouge_l_of_pairs([(first, second)], tokenizer="unicode")[0]


@settings(max_examples=200, deadline=None)
@given(TABLES, st.sampled_from([0.5, 0.8]))
def test_what_is_kept_is_different_or_its_trials_are_used_up(table: list[list[str]], tau: float) -> None:
    slots = len(table[0])
    outcome = played(Policy("paper", tau=tau), slots, from_table(table))
    assert [slot for slot, _ in outcome.kept] == list(range(slots))
    trials = [sum(slot == own for slot, _ in outcome.texts) for own in range(slots)]
    for (first, a), (second, b) in combinations(outcome.kept, 2):
        if similar(table[a][first], table[b][second]) >= tau:
            assert 3 in (trials[first], trials[second])
    assert trials[0] == 1  # nothing comes before the first response


@settings(max_examples=200, deadline=None)
@given(TABLES)
def test_no_draw_is_made_that_was_not_needed(table: list[list[str]]) -> None:
    """Each draw beyond a slot's first was asked for since the last one was too similar to what was kept by then."""
    slots = len(table[0])
    outcome = played(PAPER, slots, from_table(table))
    kept_in_time = dict(outcome.kept)
    for slot, trial in outcome.texts:
        if not trial:
            continue
        rejected = table[trial - 1][slot]
        others = [
            table[own_trial][other]
            for other, own_trial in kept_in_time.items()
            if other != slot and (own_trial, other) < (trial - 1, slot)
        ]
        assert any(similar(rejected, other) >= PAPER.tau for other in others)
    assert len(outcome.texts) <= len(played(Policy("released", tau=PAPER.tau), slots, from_table(table)).texts) or any(
        not text.isascii() or not text
        for row in table
        for text in row  # which the released one cannot tell apart
    )


@settings(max_examples=100, deadline=None)
@given(TABLES)
def test_the_outcome_does_not_depend_on_which_draw_came_first(table: list[list[str]]) -> None:
    """A round that a crash cut short is finished with what is missing, and decides the same."""
    slots = len(table[0])
    whole = played(PAPER, slots, from_table(table))
    for drop in whole.texts:
        texts = {
            draw: text
            for draw, text in whole.texts.items()
            if draw[1] < drop[1] or (draw[1] == drop[1] and draw != drop)
        }
        known: dict[tuple[Draw, Draw], float] = {}
        similarities = Similarities(PAPER)
        similarities.add(known, texts, sorted(texts))
        similarities.score()
        drawn = [sum(slot == wanted for slot, _ in texts) for wanted in range(slots)]
        assert PAPER.decide(drawn, similarity_of(known)).missing == (drop,)
