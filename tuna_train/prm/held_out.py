"""How well scores order held-out candidates: share of the pairs, and Kendall's tau."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tuna_eval.judge.agreement import kendall_tau


@dataclass(frozen=True)
class HeldOut:
    """Agreement of scores with ranks.

    Attributes:
        pair_accuracy: share of the pairs of unequal rank whose better candidate has the higher score; equal scores are
            wrong. None without a pair.
        kendall_tau: tau-b of an instruction's candidates, mean over the instructions; None if it has a value for none.
        pairs: number of pairs.
        instructions: number of instructions with a pair.
    """

    pair_accuracy: float | None
    kendall_tau: float | None
    pairs: int
    instructions: int


def compare_with_ranks(scores: Sequence[Sequence[float]], ranks: Sequence[Sequence[int]]) -> HeldOut:
    """Agreement of the scores of candidates with their ranks.

    A model that gives all candidates one score has a tau of 0 here, because it says nothing about their order.

    Args:
        scores: for each instruction, of its candidates; higher is better.
        ranks: of the same candidates; 0 is best, equal for ties.
    """
    right, taus, pairs = 0, [], 0
    for given, wanted in zip(scores, ranks, strict=True):
        leads = [
            better - worse
            for better, above in zip(given, wanted, strict=True)
            for worse, below in zip(given, wanted, strict=True)
            if above < below
        ]
        if not leads:
            continue
        pairs += len(leads)
        right += sum(lead > 0 for lead in leads)
        taus.append(kendall_tau(given, [-rank for rank in wanted]).value or 0.0)
    if not pairs:
        return HeldOut(None, None, 0, 0)
    return HeldOut(right / pairs, math.fsum(taus) / len(taus), pairs, len(taus))
