from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuna_eval.metrics.stats import bootstrap_interval
from tuna_eval.schema import Interval


def test_nothing_is_said_about_fewer_than_two_values() -> None:
    assert bootstrap_interval([]) is None
    assert bootstrap_interval([0.5]) is None


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(3).random(200).tolist()
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_two_values_by_hand() -> None:
    # The mean of two draws from {0, 1} is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4: 95% reach both ends, 40% neither.
    assert bootstrap_interval([0.0, 1.0]) == Interval(0.0, 1.0, 0.95)
    assert bootstrap_interval([0.0, 1.0], confidence=0.4) == Interval(0.5, 0.5, 0.4)


def test_large_samples_agree_with_the_normal_approximation() -> None:
    values = np.random.default_rng(0).random(20_000)
    found = bootstrap_interval(values.tolist(), resamples=2000)
    assert found is not None
    margin = 1.959964 * values.std() / math.sqrt(values.size)
    assert found.low == pytest.approx(values.mean() - margin, abs=0.1 * margin)
    assert found.high == pytest.approx(values.mean() + margin, abs=0.1 * margin)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 100), min_size=2, max_size=40),
    st.sampled_from([2.0**-7, 4.0]),
    st.floats(0.5, 0.9),
)
def test_bounds_scaling_and_nesting(values: list[int], scale: float, confidence: float) -> None:
    found = bootstrap_interval(values, resamples=200, confidence=confidence)
    scaled = bootstrap_interval([value * scale for value in values], resamples=200, confidence=confidence)
    wider = bootstrap_interval(values, resamples=200, confidence=confidence + 0.09)
    assert found is not None
    assert scaled is not None
    assert wider is not None
    slack = 1e-9 * max(values)
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    assert (scaled.low, scaled.high) == pytest.approx((found.low * scale, found.high * scale))
    assert wider.low <= found.low + slack
    assert found.high <= wider.high + slack


def test_memory_is_bounded() -> None:
    values = np.random.default_rng(0).random(100_000).tolist()
    bootstrap_interval(values[:2])  # scipy is imported outside the measurement
    tracemalloc.start()
    try:
        bootstrap_interval(values, resamples=100)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All draws at once would be 100 resamples x 100,000 values x 16 bytes = 160 MB.
    assert peak < 40e6


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval([0.0, bad])


@pytest.mark.parametrize("wrong", [{"resamples": 0}, {"confidence": 0.0}, {"confidence": 1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="resamples must be"):
        bootstrap_interval([0.0, 1.0], **wrong)  # type: ignore[arg-type]
