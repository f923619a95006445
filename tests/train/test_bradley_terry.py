"""The Bradley-Terry loss of reward models: arithmetic by hand, gradient, laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tuna_train.losses import UNRANKED, Targets, bradley_terry_loss, pairs_of


def targets_of(ranks: list[list[int]]) -> Targets:
    """Targets of instructions whose candidates have these ranks."""
    flat = [rank for row in ranks for rank in row]
    number = [number for number, row in enumerate(ranks) for _ in row]
    none = torch.zeros(len(flat), dtype=torch.bool)
    return Targets(torch.tensor(number), torch.tensor(flat), none, torch.ones(len(flat), dtype=torch.long))


def test_by_hand() -> None:
    """First: better ahead by ln 3, so -log σ = log(1 + 1/3) = log 4/3. Second: three ranks with one score, log 2 each.

    Mean over the instructions of the mean over their pairs: (log 4/3 + log 2) / 2 = log(8/3) / 2.
    """
    scores = torch.tensor([0.0, math.log(3.0), 5.0, 5.0, 5.0], dtype=torch.float64)
    loss = bradley_terry_loss(scores, targets_of([[1, 0], [2, 0, 1]]))
    assert loss.item() == pytest.approx(math.log(8 / 3) / 2)


def test_ties_and_unranked_candidates_are_in_no_pair() -> None:
    targets = targets_of([[0, 0, 2, UNRANKED]])
    assert pairs_of(targets).better.tolist() == [0, 1]
    scores = torch.tensor([1.0, 2.0, 0.0, 9.0], requires_grad=True)
    bradley_terry_loss(scores, targets).backward()
    assert scores.grad is not None
    assert scores.grad[3] == 0
    assert scores.grad[2] == -(scores.grad[0] + scores.grad[1])


def test_an_instruction_without_pairs_counts_and_adds_nothing() -> None:
    one = bradley_terry_loss(torch.tensor([1.0, 1.0]), targets_of([[0, 1]]))
    two = bradley_terry_loss(torch.tensor([1.0, 1.0, 4.0, 7.0]), targets_of([[0, 1], [0, 0]]))
    assert two.item() == pytest.approx(one.item() / 2)


def test_gradients_are_those_of_finite_differences() -> None:
    scores = torch.tensor([0.3, -1.0, 0.2, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
    targets = targets_of([[1, 0, 1], [0, 1]])
    assert torch.autograd.gradcheck(lambda v: bradley_terry_loss(v, targets), (scores,))


def test_extreme_scores_stay_finite() -> None:
    scores = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = bradley_terry_loss(scores, targets_of([[0, 1]]))
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert scores.grad is not None
    assert scores.grad.tolist() == [-1.0, 1.0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 3)), min_size=1, max_size=4), min_size=2, max_size=4)
)
def test_batches_of_a_step_add_up(rows: list[list[tuple[float, int]]]) -> None:
    def part(some: list[list[tuple[float, int]]]) -> tuple[torch.Tensor, Targets]:
        scores = torch.tensor([score for row in some for score, _ in row], dtype=torch.float64)
        return scores, targets_of([[rank for _, rank in row] for row in some])

    first, second, whole = part(rows[:1]), part(rows[1:]), part(rows)
    totals = first[1].totals() + second[1].totals()
    parts = bradley_terry_loss(*first, totals) + bradley_terry_loss(*second, totals)
    assert parts.item() == pytest.approx(bradley_terry_loss(*whole).item())
