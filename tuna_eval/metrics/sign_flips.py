"""Which of many groups of samples fell: a sign-flip test of each (Fisher 1935), and Holm's correction over them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuna_eval.metrics.paired import FloatArray, batches

_FLIPPINGS = 19_999  # of every group
_MOST_FLIPPINGS = (1 << 22) - 1  # of a group of which less than _FEW are as low
_FEW = 10


def drop_p_values(groups: Sequence[FloatArray], *, level: float = 0.05, seed: int = 0) -> list[float]:
    """One-sided sign-flip test of each group's mean difference: how often chance alone would give one this low.

    Exact where all differences that are not zero have one size, as those of right and wrong do: it is then McNemar's
    test in its binomial form. The others are tested by random flippings; where hardly any of them is as low, the group
    is tested anew by so many that Holm's correction can name it.

    Args:
        groups: differences candidate - baseline of each group's samples.
        level: at which Holm's correction over these groups names some; not below 2.4e-7 times their number.
        seed: the same groups with the same seed and level give the same p-values.

    Returns:
        One for each group; 1.0 where nothing differs.
    """
    from scipy.special import bdtr

    changed = [np.asarray(group)[np.nonzero(group)[0]] for group in groups]
    p_values = np.ones(len(groups))
    drawn = []
    for place, values in enumerate(changed):
        if np.ptp(np.abs(values)) < 1e-12 if values.size else True:
            p_values[place] = float(bdtr((values > 0).sum(), values.size, 0.5)) if values.size else 1.0
        else:
            drawn.append(place)
    if drawn:
        p_values[drawn] = _flip_tests([changed[place] for place in drawn], _FLIPPINGS, np.random.default_rng([seed, 2]))
    few = [place for place in drawn if p_values[place] * (_FLIPPINGS + 1) <= _FEW]
    needed = min(_MOST_FLIPPINGS, math.ceil(_FEW * len(groups) / level))
    if few and needed > _FLIPPINGS:  # drawn anew: those that chose the group would count twice
        p_values[few] = _flip_tests([changed[place] for place in few], needed, np.random.default_rng([seed, 3]))
    return [float(p) for p in p_values]


def _flip_tests(groups: Sequence[FloatArray], resamples: int, rng: np.random.Generator) -> FloatArray:
    """Shares of flippings, the same for all groups, with a sum as low as that of the differences; shape (groups,)."""
    differences = np.zeros((len(groups), max(values.size for values in groups)), dtype=np.float32)
    for row, values in zip(differences, groups, strict=True):
        row[: values.size] = values
    bounds = differences.sum(axis=1) + 1e-4 * np.abs(differences).max(axis=1)  # float32 is enough to compare sums
    as_low = np.zeros(len(differences))
    for draws in batches(resamples, differences.shape[1]):
        signs = 2 * rng.integers(0, 2, (draws, differences.shape[1]), dtype=np.int8) - 1
        as_low += (signs.astype(np.float32) @ differences.T <= bounds).sum(axis=0)
    return (as_low + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979): rejecting those <= a makes a wrong one with probability <= a.

    Args:
        p_values: in any order, each in 0..1.

    Returns:
        In the same order; never lower than the p-value itself, and at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, (len(p_values) - rank) * p_values[place])
        adjusted[place] = min(1.0, highest)
    return [float(p) for p in adjusted]
