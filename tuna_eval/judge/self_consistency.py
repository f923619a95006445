"""The same responses ranked several times, in several orders: what is shown when, and what the rankings come to."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from tuna_eval.judge.agreement import kendall_tau
from tuna_eval.judge.protocols import levels_to_ranks

_TRIES = 20  # for an order that was not shown before; two responses have only two


def shown_order(id: str, count: int, draw: int, seed: int, *, shuffle: bool) -> tuple[int, ...]:
    """The order that responses are shown in: positions in the call, the first one shown first.

    The same arguments give the same order; different draws give different ones as far as there are enough.

    Args:
        id: of the example.
        count: number of responses.
        draw: 0 for the first time they are shown, and so on.
        seed: of all orders.
        shuffle: whether the first order is random too, rather than that of the call.
    """
    rng = random.Random(f"{seed}:{id}:{count}")
    found: list[tuple[int, ...]] = [] if shuffle else [tuple(range(count))]
    while len(found) <= draw:
        for _ in range(_TRIES):
            order = tuple(rng.sample(range(count), count))
            if order not in found:
                break
        found.append(order)
    return found[draw]


@dataclass(frozen=True, slots=True)
class Consensus:
    """What several rankings of the same responses come to.

    Attributes:
        ranks: competition ranks by the mean of the responses' places, which is Borda's count; None for a response that
            no ranking has.
        tau: Kendall's tau-b between two of the rankings, mean over all pairs of them; None for fewer than two, or where
            ties leave none.
    """

    ranks: tuple[int | None, ...]
    tau: float | None


def consensus(rankings: Sequence[Sequence[int | None]]) -> Consensus:
    """Combines competition ranks of the same responses, in the same order.

    Responses that are tied take the mean of the places that they share. A response that some rankings leave out has the
    mean of the others.

    Raises:
        ValueError: no ranking, or unequal numbers of responses.
    """
    if not rankings:
        raise ValueError("a consensus needs a ranking")
    places = [_shared_places(ranks) for ranks in rankings]
    means: list[float | None] = []
    for each in zip(*places, strict=True):
        known = [place for place in each if place is not None]
        means.append(math.fsum(known) / len(known) if known else None)
    return Consensus(levels_to_ranks(means), _mean_tau(places))


def _shared_places(ranks: Sequence[int | None]) -> list[float | None]:
    return [None if rank is None else rank + (ranks.count(rank) - 1) / 2 for rank in ranks]


def _mean_tau(places: Sequence[Sequence[float | None]]) -> float | None:
    taus = []
    for one, other in combinations(places, 2):
        both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
        tau = kendall_tau([a for a, _ in both], [b for _, b in both]).value
        if tau is not None:
            taus.append(tau)
    return math.fsum(taus) / len(taus) if taus else None
