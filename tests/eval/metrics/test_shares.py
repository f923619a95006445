from __future__ import annotations

import itertools
import math
import tracemalloc
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tuna_eval.metrics.stats import PairedDifference, Share, exact_share, paired_permutation


def test_a_share_by_hand() -> None:
    found = exact_share(5, 5)
    # All five heads or all five tails: 2 / 32. The exact lower end solves p^5 = 0.025, and nothing lies above 1.
    assert found.p_value == pytest.approx(1 / 16)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((0.025 ** (1 / 5), 1.0))
    assert (found.value, found.count, found.n) == (1.0, 5, 5)


def test_no_trial_says_nothing() -> None:
    assert exact_share(0, 0) == Share(None, None, None, 0, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_mirrors_and_its_p_value_is_the_binomial_sum(trial: tuple[int, int]) -> None:
    count, n = trial
    found, mirrored = exact_share(count, n), exact_share(n - count, n)
    assert found.p_value is not None
    assert found.interval is not None
    assert mirrored.interval is not None
    tail = sum(math.comb(n, k) for k in range(max(count, n - count), n + 1))
    assert found.p_value == pytest.approx(min(1.0, float(Fraction(2 * tail, 2**n))))
    assert 0 <= found.interval.low <= count / n <= found.interval.high <= 1
    assert found.interval.low == pytest.approx(1 - mirrored.interval.high)
    # The interval at 1 - p just touches 1/2, which is what makes it the test's own interval.
    assert (found.p_value < 0.05) == (not found.interval.low <= 0.5 <= found.interval.high)


@pytest.mark.parametrize(("count", "n", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_an_impossible_share_is_refused(count: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="need 0 <= count <= n"):
        exact_share(count, n, confidence=confidence)


def test_a_permutation_test_by_hand() -> None:
    # Differences 1, 2, 3: of the 8 signings only +++ and --- reach a sum of 6 in size.
    assert paired_permutation([2, 4, 6], [1, 2, 3]) == PairedDifference(2.0, 0.25, 3)
    # 1, 1, -1: 4 signings sum to 1 or more, 4 to -1 or less, so all 8 are as far out.
    assert paired_permutation([1, 1, 0], [0, 0, 1]) == PairedDifference(pytest.approx(1 / 3), 1.0, 3)


def test_too_few_pairs_have_no_p_value() -> None:
    assert paired_permutation([], []) == PairedDifference(None, None, 0)
    assert paired_permutation([3.0], [1.0]) == PairedDifference(2.0, None, 1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=2, max_size=9))
@example([(0, 3), (0, 4), (3, 0), (12, 8)])  # the sum is 0, and in thirds as floats sometimes one bit beside it
def test_few_pairs_are_tested_exactly(pairs: list[tuple[int, int]]) -> None:
    # Thirds, as points averaged over three annotators are; the reference counts in whole numbers.
    found = paired_permutation([a / 3 for a, _ in pairs], [b / 3 for _, b in pairs])
    mirrored = paired_permutation([b / 3 for _, b in pairs], [a / 3 for a, _ in pairs])
    differences = [a - b for a, b in pairs]
    signings = list(itertools.product([1, -1], repeat=len(pairs)))
    sums = [sum(sign * d for sign, d in zip(signs, differences, strict=True)) for signs in signings]
    assert found.p_value == pytest.approx(sum(abs(s) >= abs(sum(differences)) for s in sums) / len(sums))
    assert mirrored.p_value == pytest.approx(found.p_value)
    assert found.value is not None
    assert mirrored.value == pytest.approx(-found.value)


def test_many_pairs_are_sampled_with_a_seed() -> None:
    first, second = [1.0, 0.0, 2.0, 5.0] * 20, [0.0, 1.0, 2.0, 4.0] * 20
    found = paired_permutation(first, second)
    assert found == paired_permutation(first, second)
    # 60 differences of size 1, of which 40 are positive: the sign test's exact value.
    exact = exact_share(40, 60).p_value
    assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(0.01 * 0.99 / 9999))


def test_the_memory_of_a_permutation_test_is_bounded() -> None:
    values = [float(i % 7) for i in range(500)]
    paired_permutation([1.0, 2.0], [0.0, 0.0])  # scipy is imported outside the measurement
    tracemalloc.start()
    try:
        paired_permutation(values, [3.0] * len(values))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All swappings at once would be 9,999 resamples x 500 values x 120 bytes = 600 MB.
    assert peak < 40e6


def test_unpaired_and_unusable_values_are_refused() -> None:
    with pytest.raises(ValueError, match="need pairs"):
        paired_permutation([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="resamples >= 1"):
        paired_permutation([1.0], [1.0], resamples=0)
    with pytest.raises(ValueError, match="finite"):
        paired_permutation([1.0, math.nan], [1.0, 2.0])
