"""The chunked LM head equals the plain one, whatever is kept and however it is cut."""

from __future__ import annotations

import pytest
import torch
from logits import Logits
from torch import Tensor

from tuna_train.heads import LogitsBudget, token_logprobs

TOKENS, WIDTH, VOCABULARY = 7, 4, 11
BUDGETS = [
    LogitsBudget(),
    LogitsBudget(chunk=3 * VOCABULARY, kept=0),
    LogitsBudget(chunk=2 * VOCABULARY, kept=4 * VOCABULARY),
    LogitsBudget(chunk=1, kept=10**9),
]


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((TOKENS, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,))
    hidden, weight, bias = (torch.randn(s, generator=generator, dtype=dtype, requires_grad=True) for s in shapes)
    return hidden, weight, bias, torch.randint(VOCABULARY, (TOKENS,), generator=generator)


def plain(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, cap: float | None) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    return logits.log_softmax(1).gather(1, targets[:, None])[:, 0]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("has_bias", [False, True])
def test_equals_the_plain_head(budget: LogitsBudget, cap: float | None, has_bias: bool) -> None:
    hidden, weight, bias, targets = inputs()
    used = bias if has_bias else None
    ours = token_logprobs(hidden, weight, targets, bias=used, softcap=cap, budget=budget)
    expected = plain(hidden, weight, used, targets, cap)
    torch.testing.assert_close(ours, expected)
    upstream = torch.linspace(-1, 1, TOKENS, dtype=torch.float64)
    leaves = (hidden, weight, bias) if has_bias else (hidden, weight)
    for mine, theirs in zip(
        torch.autograd.grad(ours, leaves, upstream), torch.autograd.grad(expected, leaves, upstream), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("budget", BUDGETS[:3], ids=str)
def test_gradients(budget: LogitsBudget) -> None:
    hidden, weight, bias, targets = inputs()

    def head(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return token_logprobs(hidden, weight, targets, bias=bias, softcap=2.0, budget=budget)

    assert torch.autograd.gradcheck(head, (hidden, weight, bias))


def test_a_second_backward_pass_finds_the_same_gradient() -> None:
    hidden, weight, _, targets = inputs()
    out = token_logprobs(hidden, weight, targets, budget=BUDGETS[2]).sum()
    first, second = (torch.autograd.grad(out, (hidden, weight), retain_graph=True) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other)


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, weight, _, targets = inputs()
    frozen = weight.detach()
    token_logprobs(hidden, frozen, targets).sum().backward()
    assert frozen.grad is None
    torch.testing.assert_close(
        hidden.grad, torch.autograd.grad(plain(hidden, frozen, None, targets, None).sum(), hidden)[0]
    )


def test_under_autocast_products_are_bfloat16_and_the_softmax_is_not() -> None:
    hidden, weight, _, targets = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = token_logprobs(hidden, weight, targets)
        logits = torch.nn.functional.linear(hidden, weight)
    assert logits.dtype == torch.bfloat16
    assert ours.dtype == torch.float32
    expected = logits.float().log_softmax(1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(ours, expected)
    ours.sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


def test_no_tensor_is_larger_than_a_chunk_of_logits() -> None:
    hidden, targets = torch.randn(64, 4, requires_grad=True), torch.randint(100, (64,))
    weight = torch.randn(100, 4, requires_grad=True)
    with Logits(columns=100) as logits:
        token_logprobs(hidden, weight, targets, budget=LogitsBudget(chunk=800, kept=1600)).sum().backward()
    assert logits.largest == 800
    assert logits.held == 2400  # those kept, and those at work


def test_none_are_kept_where_no_gradient_is_wanted() -> None:
    hidden, weight, targets = torch.randn(64, 4), torch.randn(100, 4, requires_grad=True), torch.randint(100, (64,))
    for way in (torch.no_grad, torch.inference_mode):
        with way(), Logits(columns=100) as logits:
            token_logprobs(hidden, weight, targets, budget=LogitsBudget(chunk=800, kept=10**6))
        assert logits.held == 800
