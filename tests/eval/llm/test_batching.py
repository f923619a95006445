"""Batches hold every sequence once, keep to their limits, and put together what shares a beginning."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tuna_eval.llm.batching import MIN_SHARED_TOKENS, BatchLimits, common_prefix, plan_batches, shared_prefix

sequences = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=60), max_size=30)


@given(sequences, st.integers(1, 8), st.integers(1, 400), st.booleans())
def test_every_sequence_is_in_one_batch_and_no_batch_is_too_large(
    rows: list[list[int]], most: int, tokens: int, share: bool
) -> None:
    batches = plan_batches(rows, BatchLimits(most, tokens), new_tokens=5, share_prefixes=share)
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    for batch in batches:
        assert len(batch) <= most
        assert len(batch) == 1 or len(batch) * (max(len(rows[i]) for i in batch) + 5) <= tokens


def test_batches_are_of_like_length_and_size_longest_first() -> None:
    rows = [[0] * length for length in (5, 40, 7, 39, 6)]
    assert plan_batches(rows, BatchLimits(4, 10**6)) == [[1, 3, 2], [4, 0]]


def test_a_large_family_gets_its_own_batches_although_lengths_mix() -> None:
    head = list(range(10, 210))
    family = [head + [1] * n for n in (1, 30, 2, 60, 3, 90, 4, 120, 5, 150, 6, 180)]
    strangers = [[i + 500] * (200 + 15 * i) for i in range(12)]
    rows = [row for pair in zip(family, strangers, strict=True) for row in pair]
    batches = plan_batches(rows, BatchLimits(6, 10**6), share_prefixes=True)
    assert sorted({i % 2 for i in batch} == {0} for batch in batches) == [False, False, True, True]
    assert all(len({i % 2 for i in batch}) == 1 for batch in batches)
    mixed = plan_batches(rows, BatchLimits(6, 10**6))
    assert {0, 1} in [{i % 2 for i in batch} for batch in mixed]


def test_a_small_saving_is_not_worth_a_batch_of_its_own() -> None:
    rows = [[*range(40), n] for n in range(4)] + [[99] * 45 for _ in range(4)]
    assert len(plan_batches(rows, BatchLimits(8, 10**6), share_prefixes=True)) == 1


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=50), min_size=2, max_size=6), st.integers(0, 60))
def test_the_shared_prefix_is_that_of_all_pairs_and_leaves_a_token_each(tails: list[list[int]], length: int) -> None:
    rows = [[7] * length + tail for tail in tails]
    pairs = min(common_prefix(a, b) for a in rows for b in rows)
    expected = min(pairs, min(map(len, rows)) - 1)
    assert shared_prefix(rows) == (expected if expected >= MIN_SHARED_TOKENS else 0)
