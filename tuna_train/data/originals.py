"""What becomes of the response that an instruction came with, and of responses that occur twice.

Whether the released training data has the original response as one more candidate, and with which score, its code does
not say (README: "we add the original Alpaca data ... for regularization"); so it is a choice here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from tuna_eval.errors import DataError
from tuna_train.data.ranked import Candidate, RankedExample, competition_ranks, rank_by_score

OriginalPolicy = Literal["keep", "target", "best", "worst", "score"]
ORIGINAL_POLICIES: dict[OriginalPolicy, str] = {
    "keep": "as the input has it",
    "target": "what MLE imitates, and no candidate (Eq. 6)",
    "best": "also a candidate, above all others",
    "worst": "also a candidate, below all others",
    "score": "also a candidate, ranked by --original-score",
}
assert tuple(ORIGINAL_POLICIES) == get_args(OriginalPolicy)


def with_original(example: RankedExample, policy: OriginalPolicy, score: float | None = None) -> RankedExample:
    """The example with its original response as a candidate, or without it among the candidates.

    A candidate with the original's text is the original. An example without an original stays as it is.

    Args:
        example: its candidates are ranked, or not.
        policy: a key of `ORIGINAL_POLICIES`.
        score: for the policy "score", on the scale of the candidates' scores.

    Raises:
        DataError: policy "score" and a ranked candidate without a score.
    """
    if policy == "keep" or example.original is None:
        return example
    same = [c for c in example.candidates if _is_same(c.text, example.original)]
    others = [c for c in example.candidates if not _is_same(c.text, example.original)]
    if policy == "target":
        return replace(example, candidates=_closed(others))
    own = same[0] if same else Candidate(example.original, source="original")
    if policy == "score":
        if any(c.rank is not None and c.score is None for c in others):
            raise DataError(
                "its candidates have ranks but no scores to compare with",
                place=f"example {example.id}",
                cure="use --original-as best, worst or target",
            )
        return replace(example, candidates=rank_by_score([*others, replace(own, score=score)]))
    ranked = sum(c.rank is not None for c in others)
    own = replace(own, score=None, rank=0 if policy == "best" else ranked)
    shift = 1 if policy == "best" else 0
    moved = [c if c.rank is None else replace(c, rank=c.rank + shift) for c in _closed(others)]
    return replace(example, candidates=(*moved, own))


def distinct_candidates(example: RankedExample) -> RankedExample:
    """The example with one candidate of each text, white space around it aside: the best, in its place."""
    best: dict[str, Candidate] = {}
    for candidate in example.candidates:
        known = best.get(candidate.text.strip())
        if known is None or _place(candidate) < _place(known):
            best[candidate.text.strip()] = candidate
    kept = [c for c in example.candidates if best[c.text.strip()] is c]
    return example if len(kept) == len(example.candidates) else replace(example, candidates=_closed(kept))


def _closed(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates with ranks that have no gaps but those of ties; their order stays."""
    ranks = iter(competition_ranks([-c.rank for c in candidates if c.rank is not None]))
    return tuple(c if c.rank is None else replace(c, rank=next(ranks)) for c in candidates)


def _is_same(first: str, second: str) -> bool:
    return first.strip() == second.strip()


def _place(candidate: Candidate) -> float:
    return float("inf") if candidate.rank is None else candidate.rank
