"""Planted evaluation prompts are found, whatever their case, script and place; other text never raises an alarm."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuna_eval.errors import ConfigError, DataError
from tuna_train.data.contamination import BENCHMARKS, EvaluationPrompt, PromptIndex, open_screen
from tuna_train.data.formats import read_examples
from tuna_train.data.ranked import RankedExample

ALPHABET = "abcdefgh"


def index(*texts: str, n: int = 5) -> PromptIndex:
    return PromptIndex([EvaluationPrompt("bench", str(k), text) for k, text in enumerate(texts)], n)


def overlaps(texts: PromptIndex, instruction: str, input: str = "") -> tuple[str, str, int] | None:
    found = texts.overlap(RankedExample("x", instruction, input))
    return None if found is None else (found.prompt, found.words, found.ngrams)


PROMPT = "Which planet of our solar system has the most moons?"


def test_an_ngram_is_found_wherever_it_stands() -> None:
    known = index("Something else that nobody asks here.", PROMPT)
    assert overlaps(known, f"Please answer: {PROMPT} Thank you.") == ("1", "which planet of our solar", 6)
    assert overlaps(known, "Explain.", "(PLANET of our SOLAR—system)") == ("1", "planet of our solar system", 1)
    assert overlaps(known, "planet of our", "solar system") == ("1", "planet of our solar system", 1)
    assert overlaps(known, "A planet of our solar neighbourhood has the most moons.") is None
    assert overlaps(known, "") is None


def test_no_ngram_reaches_from_one_prompt_into_the_next() -> None:
    known = index("one two three four five", "six seven eight nine ten")
    assert overlaps(known, "two three four five six") is None
    assert overlaps(known, "one two three four five") == ("0", "one two three four five", 1)


def test_short_prompts_are_found_as_a_whole_only() -> None:
    known = index("Name three primary colours.", "Yes or no?")
    assert overlaps(known, "name three primary colours") == ("0", "name three primary colours", 0)
    assert overlaps(known, "Do this.", "Name three primary colours!") == ("0", "name three primary colours", 0)
    assert overlaps(known, "Name three primary", "colours") == ("0", "name three primary colours", 0)
    assert overlaps(known, "Name three primary colours of light.") is None
    assert overlaps(known, "Yes or no?") is None  # three words are equal by chance


def test_prompts_of_eight_words_or_more_are_found_within_a_text() -> None:
    eight, seven = "Name three primary colours of the visible light.", "Name four primary colours of visible light."
    known = index(eight, seven, n=13)
    found = ("0", "name three primary colours of the visible light", 0)
    assert overlaps(known, f"A question: {eight} Explain.") == found
    assert overlaps(known, "Name three primary", "colours of the visible light in a sentence") == found
    assert overlaps(known, "Name three primary colours of the invisible light.") is None
    assert overlaps(known, f"A question: {seven} Explain.") is None
    assert overlaps(known, seven) == ("1", "name four primary colours of visible light", 0)


def test_every_script_has_words() -> None:
    known = index("東京タワーの高さは何メートルですか", "Какая планета самая большая в системе")
    assert overlaps(known, "質問：東京タワーの高さは？") == ("0", "東 京 タ ワ ー", 5)
    assert overlaps(known, "КАКАЯ ПЛАНЕТА САМАЯ БОЛЬШАЯ В…") == ("1", "какая планета самая большая в", 1)
    assert overlaps(known, "大阪城はどこですか") is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(ALPHABET), max_size=12), max_size=6),
    st.lists(st.sampled_from(ALPHABET), min_size=5, max_size=12),
)
def test_it_finds_exactly_what_comparing_all_ngrams_finds(prompts: list[list[str]], words: list[str]) -> None:
    def ngrams(text: list[str]) -> set[tuple[str, ...]]:
        return {tuple(text[k : k + 5]) for k in range(len(text) - 4)}

    theirs = set().union(*map(ngrams, prompts)) if prompts else set()
    shared = [k for k in range(len(words) - 4) if tuple(words[k : k + 5]) in theirs]
    found = overlaps(index(*map(" ".join, prompts)), " ".join(words))
    assert (found is not None) == bool(shared)
    if found:
        assert found[1:] == (" ".join(words[shared[0] : shared[0] + 5]), len(shared))
        assert tuple(words[shared[0] : shared[0] + 5]) in ngrams(prompts[int(found[0])])


def test_plants_are_found_and_disjoint_text_raises_no_alarm() -> None:
    source = random.Random(5)
    theirs, ours = ([f"{side}{k}" for k in range(900)] for side in "pq")
    prompts = [" ".join(source.choices(theirs, k=60)) for _ in range(2_000)]
    known = index(*prompts, n=13)
    planted = {n: source.randrange(2_000) for n in range(0, 1_000, 50)}
    for n in range(1_000):
        words = source.choices(ours, k=40)
        if n in planted:
            words[20:20] = prompts[planted[n]].split()[30:43]
        found = overlaps(known, " ".join(words[:30]), " ".join(words[30:]))
        assert (found[0] if found else None) == (str(planted[n]) if n in planted else None)


def test_the_built_in_sample_of_every_benchmark_is_found() -> None:
    screen = open_screen(data="mini")
    assert set(screen.benchmarks) == set(BENCHMARKS)
    assert all(count > 0 for count in screen.benchmarks.values())
    assert not screen.unchecked
    from tuna_eval.datasets import resolve

    for name, prompts in BENCHMARKS.items():
        texts = [prompt.text for prompt in prompts(resolve(name, "mini"))]
        longest = max(texts, key=len)
        examples = [RankedExample("in", "Answer this.", longest), RankedExample("out", "Whittle a spoon of birch.")]
        assert [(found.id, found.overlap.benchmark) for found in screen.find(examples)] == [("in", name)]


def test_what_is_not_at_hand_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNA_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="no benchmark's data is here"):
        open_screen()
    with pytest.raises(DataError, match="lmentry"):
        open_screen(["lmentry"])
    with pytest.raises(ConfigError, match="unknown benchmark 'mmlu'"):
        open_screen(["mmlu"], data="mini")
    with pytest.raises(ConfigError, match="3-grams are shared by chance"):
        open_screen(data="mini", n=3)


def test_the_vicuna_questions_in_real_data_and_nothing_else(shared: Path) -> None:
    """AlpacaEval's 805 instructions hold the 80 questions of Vicuna QA; compared with all of LMentry and Super-NI."""
    screen = open_screen(data_dir=shared / "benchmarks")
    assert set(screen.benchmarks) == set(BENCHMARKS)
    found = list(screen.find(read_examples(shared / "data" / "alpaca_eval_responses.jsonl")))
    assert [each.id for each in found] == [str(n) for n in range(725, 805)]
    assert {each.overlap.benchmark for each in found} == {"vicuna"}
    partial = open_screen(data_dir=shared / "benchmarks" / "superni")
    assert set(partial.unchecked) == {"lmentry", "vicuna"}
