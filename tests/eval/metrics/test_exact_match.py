from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuna_eval.metrics.exact_match import exact_match, normalize_answer


def test_golden_values_of_the_official_code(shared: Path) -> None:
    lines = (shared / "golden/superni_metrics.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [record for record in map(json.loads, lines) if record["kind"] == "pair"]
    assert len(pairs) >= 29
    for record in pairs:
        assert normalize_answer(record["prediction"]) == record["normalized_prediction"]
        assert exact_match(record["prediction"], record["references"]) == record["exact_match"], record


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("U.S.A.", "usa", 1.0),
        ("1,000", "1000", 1.0),
        ("e-mail", "e mail", 0.0),  # punctuation is deleted, not replaced by a space
        ("the end", "end", 0.0),  # articles stay
        (" two\n\twords ", "two words", 1.0),
        ("“yes”", "yes", 0.0),  # only ASCII punctuation
        ("", "...", 1.0),
    ],
)
def test_hand_worked(prediction: str, reference: str, expected: float) -> None:
    assert exact_match(prediction, [reference]) == expected
    assert exact_match(prediction, ["something else", reference]) == expected


@given(st.text())
def test_a_text_equals_itself_and_its_normal_form_has_no_spare_space(text: str) -> None:
    once = normalize_answer(text)
    assert exact_match(text, [text]) == 1.0
    assert "  " not in once
    assert once == once.strip()


def test_no_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        exact_match("a", [])
