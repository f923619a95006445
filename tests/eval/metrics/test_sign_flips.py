"""The tests of many groups at once: what says which tasks fell."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuna_eval.metrics.sign_flips import drop_p_values, holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_holm_by_hand() -> None:
    # 0.01 * 4, 0.03 * 3, then max(0.09, 0.04 * 2) = 0.09, 0.2 * 1
    assert holm([0.04, 0.01, 0.2, 0.03]) == pytest.approx([0.09, 0.04, 0.2, 0.09])
    assert holm([]) == []


@given(P_VALUES)
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, own in zip(p_values, adjusted, strict=True):
        assert p <= own <= min(1.0, p * len(p_values)) + 1e-12
    ranked = sorted(zip(p_values, adjusted, strict=True))
    assert [own for _, own in ranked] == sorted(adjusted)


def test_right_and_wrong_are_tested_exactly() -> None:
    lost_eight_won_one = np.array([-100.0] * 8 + [100.0] + [0.0] * 40)
    assert drop_p_values([lost_eight_won_one, np.zeros(5), np.zeros(0)]) == pytest.approx([10 / 2**9, 1, 1])


def test_flips_agree_with_the_exact_test_of_all_signs() -> None:
    values = np.array([-3.0, 1.0, -2.0, -5.0, 0.5, -1.0, 0.0])
    signs = np.array(list(product((1, -1), repeat=6)))
    for own in (values, -values):
        exact = float(np.mean(signs @ own[:6] <= own.sum() + 1e-9))
        assert drop_p_values([np.ones(3), own])[1] == pytest.approx(exact, abs=0.01)
    assert drop_p_values([values], seed=1) == drop_p_values([values], seed=1)


@pytest.mark.parametrize("level", [0.05, 0.005, 0.0001])
def test_a_group_that_fell_can_be_named_however_many_there_are(level: float) -> None:
    """One of 119 groups falls by ten standard errors, which 20,000 flippings tell from none of them by 1 in 20,000."""
    rng = np.random.default_rng(4)
    groups = [rng.normal(-20.0 if place == 7 else 0.0, 20.0, 100) for place in range(119)]
    adjusted = np.array(holm(drop_p_values(groups, level=level)))
    assert np.flatnonzero(adjusted <= level).tolist() == [7]


def test_more_flippings_leave_the_other_groups_as_they_are() -> None:
    rng = np.random.default_rng(5)
    groups = [rng.normal(-20.0 if place == 7 else 0.0, 20.0, 60) for place in range(30)]
    few, many = (np.array(drop_p_values(groups, level=level)) for level in (0.1, 0.001))
    assert np.flatnonzero(few != many).tolist() == [7]
    assert many[7] < few[7]


def test_equal_groups_have_uniform_p_values() -> None:
    rng = np.random.default_rng(6)
    p_values = np.array(drop_p_values([rng.normal(0, 1, 30) for _ in range(4000)]))
    for share in (0.0005, 0.01, 0.1, 0.5):
        assert np.mean(p_values <= share) == pytest.approx(share, abs=4 * np.sqrt(share / 4000))
