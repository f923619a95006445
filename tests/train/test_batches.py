"""Which instructions a step holds: the same for every number of processes and every micro-batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tiny_families import instructions

from tuna_train.training.batches import NOTHING, Collator, StepLoader, StepSampler


def sampler(size: int, micro: int, accumulate: int, processes: int, rank: int = 0, seed: int | None = 3) -> StepSampler:
    batch = micro * accumulate * processes
    return StepSampler(size, batch=batch, micro_batch=micro, rank=rank, processes=processes, seed=seed)


@given(size=st.integers(1, 60), micro=st.integers(1, 4), accumulate=st.integers(1, 3), processes=st.integers(1, 3))
def test_every_instruction_is_seen_once_a_pass_in_the_step_that_one_process_would_see_it(
    size: int, micro: int, accumulate: int, processes: int
) -> None:
    batch = micro * accumulate * processes
    order = StepSampler(size, batch=batch, micro_batch=batch, seed=3).order()
    shares = [list(sampler(size, micro, accumulate, processes, rank)) for rank in range(processes)]
    assert {len(share) for share in shares} == {len(sampler(size, micro, accumulate, processes))}
    for step in range(-(-size // batch)):
        turns = slice(step * accumulate, (step + 1) * accumulate)
        seen = [place for share in shares for batch_ in share[turns] for place in batch_ if place >= 0]
        assert sorted(seen) == sorted(order[step * batch : (step + 1) * batch])


def test_each_pass_has_its_own_order_and_the_seed_decides_it() -> None:
    first = sampler(20, 4, 1, 1)
    order = list(first)
    first.set_epoch(1)
    assert list(first) != order
    first.set_epoch(0)
    assert list(first) == order
    assert list(sampler(20, 4, 1, 1, seed=4)) != order
    assert [place for part in sampler(20, 4, 1, 1, seed=None) for place in part] == list(range(20))


def test_a_process_without_instructions_gets_a_filler_that_counts_nothing() -> None:
    data = instructions()
    both = [list(sampler(3, 2, 1, 2, rank)) for rank in range(2)]
    assert len(both[0][0]) == 2
    assert len(both[1][0]) == 1
    collator = Collator(data, packed=True, row_tokens=64)
    alone = list(sampler(2, 2, 1, 2, rank=1))
    filler = collator(alone[0])
    assert alone[0][0] < 0
    assert not filler.counts
    assert filler.totals == NOTHING
    assert filler.batch.wanted.instructions == 1


def test_the_loader_hands_out_micro_batches_and_forwards_the_pass() -> None:
    data = instructions()
    loader = StepLoader(sampler(4, 2, 1, 1), Collator(data, packed=False, row_tokens=64))
    first = [batch.batch.names for batch in loader]
    assert sorted(name for names in first for name in names) == ["a", "b", "c", "d"]
    assert sum((batch.totals for batch in loader), NOTHING).instructions == 4
    orders = set()
    for epoch in range(6):
        loader.set_epoch(epoch)
        orders.add(tuple(batch.batch.names for batch in loader))
    assert len(orders) > 1
