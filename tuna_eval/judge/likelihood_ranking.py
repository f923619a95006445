"""Ranking by comparing all pairs with a judge whose judgments are probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, pairwise

from tuna_eval.judge.protocols import BOTH_ORDERS, Ask, Judgment, Pair, Question, Ranking, levels_to_ranks

Compare = Callable[[Iterable[Ask]], Iterator[Judgment]]


def rank_by_pairs(
    compare: Compare, items: Sequence[tuple[str, Sequence[str]]], tolerance: float
) -> Iterator[tuple[int, Ranking | Judgment]]:
    """Orders responses by the mean probability of being better than another one, over all others and both orders.

    Equal means are ties; the confidence is "low" if the tolerance makes ties of two neighbours.

    Args:
        compare: `Comparer.compare` of a judge whose scores are probabilities.
        items: instructions with the responses to each, at least two.
        tolerance: a probability this close to 1/2 is a tie.

    Yields:
        The place of each item, as soon as its last comparison is there, and its ranking, or a judgment that could not
        be had.

    Raises:
        EngineError: as `compare`.
        ValueError: fewer than two responses.
    """
    for _, responses in items:
        if len(responses) < 2:
            raise ValueError(f"ranking needs two responses or more, got {len(responses)}")
    found: list[list[list[float]]] = [[[] for _ in responses] for _, responses in items]
    awaited = [math.perm(len(responses), 2) for _, responses in items]
    failed: dict[int, Judgment] = {}
    for judgment in compare(_asks(items)):
        item, *places = map(int, judgment.id.split())
        if judgment.scores is None:
            failed[item] = judgment
        else:
            for place, probability in zip(places, judgment.scores, strict=True):
                found[item][place].append(probability)
        awaited[item] -= 1
        if not awaited[item]:
            yield item, failed[item] if item in failed else _ranking(found[item], tolerance)


def _asks(items: Sequence[tuple[str, Sequence[str]]]) -> Iterator[Ask]:
    for item, (instruction, responses) in enumerate(items):
        for i, j in combinations(range(len(responses)), 2):
            pair = Pair(Question(f"{item} {i} {j}", "", instruction), responses[i], responses[j])
            yield from (Ask(pair, order) for order in BOTH_ORDERS)


def _ranking(probabilities: Sequence[Sequence[float]], tolerance: float) -> Ranking:
    means = tuple(math.fsum(values) / len(values) for values in probabilities)
    order = sorted(range(len(means)), key=lambda place: -means[place])
    gaps = [means[better] - means[worse] for better, worse in pairwise(order)]
    ranks = levels_to_ranks([-mean for mean in means])
    return Ranking(tuple(order), means, "high" if min(gaps) > tolerance else "low", ranks=ranks)
