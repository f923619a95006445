"""The laws of the paired comparison: what a gate rests on."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from tuna_eval.metrics.paired import (
    MIN_UNITS,
    Comparison,
    FloatArray,
    MeanDifference,
    compare_paired,
)

SAMPLES = 20  # a unit


def of_units(candidate: FloatArray, baseline: FloatArray) -> MeanDifference:
    """Units of equal size with the given means."""
    counts = np.full(len(candidate), float(SAMPLES))
    return MeanDifference(candidate * SAMPLES, baseline * SAMPLES, counts, counts)


def two_systems(rng: np.random.Generator, units: int, drop: float = 0.0) -> MeanDifference:
    """Equally good systems with effects of their own on every unit, but for a drop of the first, in points."""
    ease = rng.uniform(20, 80, units)
    return of_units(ease - drop + rng.normal(0, 4, units), ease + rng.normal(0, 4, units))


def test_against_itself_there_is_no_difference() -> None:
    own = np.linspace(0, 100, 12)
    found = compare_paired(of_units(own, own))
    assert (found.difference, found.p_value, found.is_drop) == (0, 1, False)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (0, 0)
    assert found.detectable_drop() is None  # no spread is no certainty


def test_the_value_is_the_mean_over_all_samples_whatever_the_size_of_the_units() -> None:
    statistic = MeanDifference(np.array([3.0, 0.0]), np.array([1.0, 6.0]), np.array([3.0, 9.0]), np.array([1.0, 9.0]))
    assert statistic.reweighted(np.ones((1, 2)))[0] == pytest.approx(3 / 12 - 7 / 10)
    assert statistic.reweighted(np.array([[2.0, 0.0]]))[0] == pytest.approx(1 - 1)
    assert statistic.swapped(np.array([[True, True]]))[0] == pytest.approx(7 / 10 - 3 / 12)
    assert statistic.swapped(np.array([[True, False]]))[0] == pytest.approx(1 / 10 - 9 / 12)


def test_the_systems_can_change_places() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.normal(0, 1, 15), rng.normal(0, 1, 15)
    forth, back = compare_paired(of_units(one, other)), compare_paired(of_units(other, one))
    assert forth.difference == -back.difference
    assert forth.interval is not None
    assert back.interval is not None
    assert forth.interval.low == pytest.approx(-back.interval.high)
    assert forth.standard_error == pytest.approx(back.standard_error)


def test_the_same_seed_gives_the_same_comparison_and_another_one_another() -> None:
    statistic = two_systems(np.random.default_rng(5), 30)
    first, again, other = (compare_paired(statistic, seed=seed, resamples=999) for seed in (1, 1, 2))
    assert first == again
    assert first.interval != other.interval
    assert first.difference == other.difference


def test_the_permutation_test_is_exact_for_few_units() -> None:
    differences = np.array([-3.0, 1.0, -2.0, -5.0, 0.5, -1.0])
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in product((1, -1), repeat=6)]
    expected = np.mean(np.array(sums) <= differences.sum() + 1e-9)
    assert compare_paired(of_units(differences, 0 * differences)).p_value == expected
    drawn = compare_paired(of_units(differences, 0 * differences), resamples=60).p_value  # fewer than 2**6
    assert drawn == pytest.approx(expected, abs=0.1)


def test_few_units_say_nothing() -> None:
    found = compare_paired(of_units(np.zeros(MIN_UNITS - 1), np.full(MIN_UNITS - 1, 100.0)))
    assert found.difference == -100
    assert (found.interval, found.p_value, found.standard_error, found.is_drop) == (None, None, None, False)
    assert (found.power(50), found.detectable_drop()) == (None, None)


def test_a_unit_without_samples_changes_nothing_but_the_draws() -> None:
    nothing = MeanDifference(*(np.array([*own, 0.0]) for own in (np.ones(6), np.zeros(6), np.ones(6), np.ones(6))))
    found = compare_paired(nothing)
    assert found.difference == 1
    assert found.interval is not None
    assert math.isfinite(found.interval.low)


@pytest.mark.parametrize(("level", "resamples"), [(0.0, 10), (0.5, 10), (0.05, 0)])
def test_what_cannot_be_computed_is_refused(level: float, resamples: int) -> None:
    with pytest.raises(ValueError, match="level must be"):
        compare_paired(two_systems(np.random.default_rng(0), 6), level=level, resamples=resamples)
    with pytest.raises(ValueError, match="difference of 0 units"):
        compare_paired(MeanDifference(*(np.zeros(0),) * 4))


def simulated(units: int, drop: float, times: int, level: float = 0.05) -> list[Comparison]:
    rng = np.random.default_rng(units)
    return [compare_paired(two_systems(rng, units, drop), level=level, resamples=499, seed=i) for i in range(times)]


@pytest.mark.parametrize("units", [8, 25, 40])
def test_equal_systems_raise_as_many_alarms_as_stated_and_p_is_uniform(units: int) -> None:
    found = simulated(units, 0.0, 400)
    alarms = np.mean([each.is_drop for each in found])
    assert 0.015 < alarms < 0.085  # 5% and three standard errors
    p_values = np.array([each.p_value for each in found])
    for share in (0.1, 0.5, 0.9):
        assert np.mean(p_values <= share) == pytest.approx(share, abs=0.08)


def test_a_drop_is_caught_with_the_power_that_is_stated() -> None:
    found = simulated(40, 2.0, 300)
    caught = np.mean([each.is_drop for each in found])
    predicted = np.mean([each.power(2.0) or 0.0 for each in found])
    assert 0.4 < predicted < 0.9
    assert caught == pytest.approx(predicted, abs=0.09)
    detectable = float(np.mean([each.detectable_drop(0.8) or 0.0 for each in found]))
    assert np.mean([each.is_drop for each in simulated(40, detectable, 300)]) == pytest.approx(0.8, abs=0.08)


def test_power_and_detectable_drop_are_two_sides_of_one_thing() -> None:
    (found,) = simulated(30, 0.0, 1)
    for tolerance in (0.0, 1.0, 5.0):
        drop = found.detectable_drop(0.9, tolerance)
        assert drop is not None
        assert found.power(drop, tolerance) == pytest.approx(0.9)
    assert found.power(1e-9) == pytest.approx(0.05, abs=1e-3)
    assert (found.detectable_drop(0.9) or 0) > (found.detectable_drop(0.8) or 0)
