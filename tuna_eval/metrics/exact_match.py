"""Exact match as Super-NaturalInstructions defines it (Tk-Instruct, `src/compute_metrics.py`)."""

from __future__ import annotations

import string
from collections.abc import Sequence

from tuna_eval.metrics.signature import signature

EXACT_MATCH_SIGNATURE = signature("exact_match", {"norm": "lower,punct,space", "refs": "max"})

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """The text in lower case, without ASCII punctuation, runs of white space as one space; articles stay."""
    return " ".join(text.lower().translate(_WITHOUT_PUNCTUATION).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1.0 if the normalized prediction equals a normalized reference, else 0.0. Two empty texts are equal.

    Raises:
        ValueError: no references.
    """
    if not references:
        raise ValueError("exact_match needs at least one reference")
    answer = normalize_answer(prediction)
    return float(any(normalize_answer(reference) == answer for reference in references))
