from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuna_eval.metrics.exact_match import EXACT_MATCH_SIGNATURE
from tuna_eval.metrics.rouge import rouge_signatures
from tuna_eval.metrics.signature import are_comparable, comparable_part, signature

words = st.text(st.characters(exclude_characters="|:", codec="utf-8"), min_size=1)


def test_parts_stand_in_the_order_given() -> None:
    made = signature("rougeL", {"stem": "yes", "refs": "max"}, implementation="rouge-score-rs 0.2.1")
    assert made == "rougeL|stem:yes|refs:max|impl:rouge-score-rs 0.2.1|v1"
    assert EXACT_MATCH_SIGNATURE == "exact_match|norm:lower,punct,space|refs:max|v1"


@given(words, st.dictionaries(words.filter(lambda name: name != "impl"), words), words, words)
def test_the_implementation_is_a_note_and_everything_else_is_not(
    metric: str, settings: dict[str, str], first: str, second: str
) -> None:
    made = signature(metric, settings, implementation=first)
    assert comparable_part(made) == signature(metric, settings)
    assert are_comparable(made, signature(metric, settings, implementation=second))
    assert not are_comparable(made, signature(metric, {**settings, "more": "x" + settings.get("more", "")}))
    assert not are_comparable(made, signature(metric + "'", settings, implementation=first))
    assert not are_comparable(made, signature(metric, settings, implementation=first, version=2))


@pytest.mark.parametrize(
    ("metric", "settings"), [("a|b", {}), ("a", {"x": "1|2"}), ("a", {"x:y": "1"}), ("a", {"impl": "mine"})]
)
def test_parts_that_could_not_be_told_apart_are_refused(metric: str, settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must not"):
        signature(metric, settings)


def test_rouge_compares_across_engines_but_not_across_stemming() -> None:
    native, ours = rouge_signatures(engine="rouge-score-rs")["rougeL"], rouge_signatures(engine="python")["rougeL"]
    assert native != ours
    assert are_comparable(native, ours)
    assert not are_comparable(ours, rouge_signatures(engine="python", stemmer=False)["rougeL"])
    assert not are_comparable(ours, rouge_signatures(engine="python")["rouge1"])
