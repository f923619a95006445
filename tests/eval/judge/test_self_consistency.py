"""Orders that are shown, and what rankings in several of them come to."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuna_eval.judge.self_consistency import consensus, shown_order


@given(st.text(max_size=5), st.integers(2, 6), st.integers(0, 9), st.booleans())
def test_orders_are_permutations_that_depend_on_seed_id_and_draw_alone(
    id: str, count: int, seed: int, shuffle: bool
) -> None:
    orders = [shown_order(id, count, draw, seed, shuffle=shuffle) for draw in range(4)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert orders == [shown_order(id, count, draw, seed, shuffle=shuffle) for draw in range(4)]
    assert shuffle or orders[0] == tuple(range(count))
    if count > 2:
        assert len(set(orders)) == 4


def test_shuffled_orders_favour_no_place() -> None:
    first = [shown_order(f"e{n}", 3, 0, 0, shuffle=True) for n in range(3000)]
    for order in permutations(range(3)):
        assert abs(first.count(order) - 500) < 6 * 20.4  # of 3,000 throws at 1/6; six standard deviations
    assert first != [shown_order(f"e{n}", 3, 0, 1, shuffle=True) for n in range(3000)]


def test_mean_ranks_and_their_agreement_by_hand() -> None:
    # Places 0,1,2 and 0,2,1: means 0, 1.5, 1.5. Of the three pairs two agree and one does not: tau = 1/3.
    found = consensus([(0, 1, 2), (0, 2, 1)])
    assert found.ranks == (0, 1, 1)
    assert found.tau == pytest.approx(1 / 3)
    # A tie for the first two places is 0.5 for each: means 0.25, 0.75, 2.
    assert consensus([(0, 0, 2), (0, 1, 2)]).ranks == (0, 1, 2)
    opposed = consensus([(0, 1, 2), (2, 1, 0)])
    assert (opposed.ranks, opposed.tau) == ((0, 0, 0), pytest.approx(-1))


def test_a_response_that_is_left_out_once_has_the_mean_of_the_other_rankings() -> None:
    found = consensus([(0, 1, None), (0, 2, 1)])
    assert found.ranks == (0, 2, 1)  # means 0, 1.5, 1
    assert found.tau == pytest.approx(1)  # of the two that both rank
    assert consensus([(0, None), (1, None)]).ranks == (0, None)
    assert consensus([(0, 1)]).tau is None
    with pytest.raises(ValueError, match="needs a ranking"):
        consensus([])


@given(st.permutations(range(5)), st.integers(1, 4))
def test_agreeing_rankings_are_their_own_consensus(ranks: list[int], times: int) -> None:
    found = consensus([ranks] * times)
    assert found.ranks == tuple(ranks)
    assert found.tau is None if times == 1 else found.tau == pytest.approx(1)
