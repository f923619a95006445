"""How sure a mean, a share or a difference is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuna_eval.schema import Interval

# Draws held in memory at once: 8 MiB of indices and 8 MiB of values, whatever the size of the sample.
_DRAWS_AT_ONCE = 1 << 20


def bootstrap_interval(
    values: Sequence[float], *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap interval of the mean (Efron & Tibshirani 1993, ch. 13), computed by scipy.

    Args:
        values: one number per sample, in any unit; the interval has the same.
        resamples: number of samples drawn with replacement.
        confidence: share of the bootstrap distribution inside the interval, in (0, 1).
        seed: the same values with the same seed give the same interval.

    Returns:
        None for fewer than two values, about whose mean nothing can be said.

    Raises:
        ValueError: a value is not finite, `resamples` < 1, or `confidence` outside (0, 1).
    """
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        raise ValueError(f"values must be finite, got {sample[~np.isfinite(sample)][0]}")
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"resamples must be >= 1 and confidence in (0, 1), got {resamples} and {confidence}")
    if sample.size < 2:
        return None
    from scipy.stats import bootstrap

    found = bootstrap(
        (sample,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _DRAWS_AT_ONCE // sample.size),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high), confidence)


@dataclass(frozen=True, slots=True)
class Share:
    """How often one of two things happened, tested against a fair coin.

    Attributes:
        value: count / n, in 0..1; None without a trial, as are the next two.
        interval: exact interval of Clopper and Pearson (1934).
        p_value: exact two-sided binomial test of value = 1/2; of wins against losses it is the sign test.
        count, n: how often it happened, and the number of trials.
    """

    value: float | None
    interval: Interval | None
    p_value: float | None
    count: int
    n: int


def exact_share(count: int, n: int, *, confidence: float = 0.95) -> Share:
    """The share of `count` in `n` independent trials, computed by scipy's `binomtest`.

    Raises:
        ValueError: not 0 <= `count` <= `n`, or `confidence` outside (0, 1).
    """
    if not 0 <= count <= n or not 0 < confidence < 1:
        raise ValueError(f"need 0 <= count <= n and confidence in (0, 1), got {count}, {n} and {confidence}")
    if n == 0:
        return Share(None, None, None, 0, 0)
    from scipy.stats import binomtest

    found = binomtest(count, n)
    ends = found.proportion_ci(confidence, method="exact")
    return Share(count / n, Interval(float(ends.low), float(ends.high), confidence), float(found.pvalue), count, n)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean difference of two paired samples.

    Attributes:
        value: mean of first - second, in the unit of the samples; None without a pair.
        p_value: two-sided, of the hypothesis that each pair might as well be swapped; None for fewer than two pairs.
        n: number of pairs.
    """

    value: float | None
    p_value: float | None
    n: int


def paired_permutation(
    first: Sequence[float], second: Sequence[float], *, resamples: int = 9999, seed: int = 0
) -> PairedDifference:
    """Paired permutation test of the mean difference (Fisher 1935, sec. 21), computed by scipy.

    Args:
        first, second: one number per item, the same items in the same order.
        resamples: number of random swappings, > 0; the test is exact where all 2**n swappings are no more than these.
        seed: the same values with the same seed give the same p-value.

    Raises:
        ValueError: samples of unequal length, a value that is not finite, or `resamples` < 1.
    """
    if len(first) != len(second) or resamples < 1:
        raise ValueError(f"need pairs and resamples >= 1, got {len(first)} and {len(second)} values, {resamples}")
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if not np.isfinite(differences).all():
        raise ValueError("the values of both samples must be finite")
    value = float(differences.mean()) if differences.size else None
    if differences.size < 2:
        return PairedDifference(value, None, differences.size)
    from scipy.stats import permutation_test

    scale = float(np.abs(differences).max()) or 1.0
    found = permutation_test(
        (differences,),
        # Rounded, because equal means of thirds differ in the last bit, and scipy's tolerance is none at a mean of 0.
        lambda swapped, axis: np.round(np.mean(swapped, axis=axis) / scale, 12),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        # scipy holds some 120 bytes per value drawn here, eight times what its bootstrap does.
        batch=max(1, _DRAWS_AT_ONCE // (8 * differences.size)),
        rng=np.random.default_rng(seed),
    )
    return PairedDifference(value, float(found.pvalue), differences.size)


def mean_proportion_interval(
    groups: Sequence[tuple[int, int]], *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap interval of the unweighted mean of proportions, percent.

    Resampling a group of zeros and ones with replacement gives a binomial number of ones, so nothing but counts is
    needed. The groups themselves are not resampled.

    Args:
        groups: successes and size of each group, sizes at least 1.
        resamples, confidence, seed: as in `bootstrap_interval`.

    Returns:
        None for fewer than two samples in all, and where every group is all successes or all failures: resampling then
        changes nothing, which is no sign of certainty.
    """
    if sum(size for _, size in groups) < 2 or all(ones in (0, size) for ones, size in groups):
        return None
    successes, sizes = np.asarray(groups).T
    drawn = np.random.default_rng(seed).binomial(sizes, successes / sizes, size=(resamples, len(sizes)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile((100 * drawn / sizes).mean(axis=1), [tail, 100 - tail])
    return Interval(float(low), float(high), confidence)
