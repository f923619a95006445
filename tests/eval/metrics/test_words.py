"""ROUGE beyond a-z: words of every script are seen, ASCII scores stay, and the signature says which it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuna_eval.metrics.rouge import ROUGE_IMPLEMENTATIONS, rouge_l_of_pairs, rouge_signatures
from tuna_eval.metrics.signature import are_comparable
from tuna_eval.metrics.words import visible_words


def score(first: str, second: str, engine: str = "auto") -> float:
    (found,) = rouge_l_of_pairs([(first, second)], tokenizer="unicode", engine=engine)
    return found


@pytest.mark.parametrize("engine", ROUGE_IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("first", "second", "f1"),
    [
        ("Привет, большой мир", "привет мир", 0.8),  # 2 of 3 and 2 of 2
        ("東京は", "東京", 0.8),  # ideographs are words each
        ("größer als", "grösser als", 1.0),  # case folding makes ss of ß
        ("größer als", "groser als", 0.5),
        ("naïve café", "naive cafe", 0.0),
        ("ＦＵＬＬ width", "full width", 1.0),
        ("हिन्दी भाषा", "हिन्दी", 2 / 3),  # vowel signs belong to their word
        ("👍 good", "👍 bad", 0.5),
        ("👍🏽", "👍🏽", 1.0),
        ("สวัสดี", "สวัสดี", 1.0),
        ("… — „“", "… — „“", 0.0),  # punctuation is no word
    ],
)
def test_words_of_every_script_count(first: str, second: str, f1: float, engine: str) -> None:
    assert score(first, second, engine) == score(second, first, engine) == pytest.approx(f1, abs=1e-12)


@given(st.text(st.characters(max_codepoint=127)), st.text(st.characters(max_codepoint=127)))
def test_ascii_scores_are_those_of_rouge_score(first: str, second: str) -> None:
    assert score(first, second) == rouge_l_of_pairs([(first, second)])[0]


@given(st.text())
def test_what_is_rewritten_is_ascii_and_stays_when_rewritten_again(text: str) -> None:
    found = visible_words(text)
    assert found.isascii()
    assert visible_words(found) == found


def test_the_signature_tells_the_tokenizer() -> None:
    plain, unicode = rouge_signatures()["rougeL"], rouge_signatures(tokenizer="unicode")["rougeL"]
    assert "tok:unicode" in unicode
    assert not are_comparable(plain, unicode)
