"""The LM head applied in chunks: log-probabilities of given tokens without the logits of the whole batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import log_softmax

CACHED = 2**20  # numbers at a time that several passes go over; 4 MiB in float32


@dataclass(frozen=True)
class LogitsBudget:
    """How many logits exist at a time, counted in numbers; 2**27 of them take 512 MiB in float32.

    Attributes:
        chunk: computed together, in the forward and in the backward pass.
        kept: carried from the forward to the backward pass; those of the other chunks are computed a second time,
            which costs one matrix product more on top of three. Soft-capped logits are never kept, and none are where
            no gradient is wanted.
    """

    chunk: int = 2**25
    kept: int = 2**27


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    budget: LogitsBudget | None = None,
) -> Tensor:
    """log softmax(hidden · weightᵀ + bias) at the targets.

    Under autocast the matrix products run in its type; the softmax runs in float32 or wider.

    Args:
        hidden: states that predict the targets. Shape (tokens, width).
        weight: of the LM head. Shape (vocabulary, width).
        targets: token ids. Shape (tokens,).
        bias: of the LM head. Shape (vocabulary,).
        softcap: c of Gemma's soft-capped logits, c · tanh(logits / c).
        budget: bounds memory; it does not change the numbers but for rounding.

    Returns:
        Nats, float32 or wider. Shape (tokens,).
    """
    budget = budget or LogitsBudget()
    if not torch.is_grad_enabled():  # inside the function below it never is
        budget = replace(budget, kept=0)
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    with torch.autocast(device, enabled=False):
        out: Tensor = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
            hidden.to(dtype),
            weight.to(dtype),
            None if bias is None else bias.to(dtype),
            targets,
            softcap,
            budget,
        )
    return out


class _TokenLogprobs(torch.autograd.Function):
    """The gradient of log p(y) with respect to the logits is onehot(y) - p: it takes no more memory than they do."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        cap: float | None,
        budget: LogitsBudget,
    ) -> Tensor:
        rows = max(1, budget.chunk // len(weight))
        # The slope of the soft cap needs the logits themselves, which are not kept.
        room = budget.kept if any(ctx.needs_input_grad) and cap is None else 0
        wide = _wide(weight)
        kept: list[Tensor] = []
        out = torch.empty(len(hidden), dtype=wide, device=hidden.device)
        for start in range(0, len(hidden), rows):
            chunk = slice(start, start + rows)
            logprobs = _log_softmax_(_logits(hidden[chunk], weight, bias, cap))
            out[chunk] = logprobs.gather(1, targets[chunk, None])[:, 0]
            room -= logprobs.numel()
            if room >= 0:
                kept.append(logprobs)
            del logprobs  # else it lives while the next chunk is computed
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.rows, ctx.cap, ctx.kept = rows, cap, kept
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        wide = _wide(weight)  # sums over chunks of half precision would lose too much
        hidden_grad = torch.empty_like(hidden) if needs_hidden else None
        weight_grad = torch.zeros_like(weight, dtype=wide) if needs_weight else None
        bias_grad = torch.zeros(len(weight), dtype=wide, device=weight.device) if needs_bias else None
        # What is kept is overwritten: a second backward pass finds nothing kept and computes it anew.
        kept, ctx.kept = ctx.kept[::-1], []
        for start in range(0, len(hidden), ctx.rows):
            chunk = slice(start, start + ctx.rows)
            logits = None if kept else _logits(hidden[chunk], weight, bias, ctx.cap)
            slope = None if ctx.cap is None else 1 - (logits / ctx.cap) ** 2
            wide_grad = _logits_grad_(
                kept.pop() if logits is None else _log_softmax_(logits), targets[chunk], grad[chunk]
            )
            if slope is not None:
                wide_grad.mul_(slope)
            logits_grad = wide_grad.to(weight.dtype)
            if hidden_grad is not None:
                torch.mm(logits_grad, weight, out=hidden_grad[chunk])
            if weight_grad is not None:
                _add_product(weight_grad, logits_grad, hidden[chunk])
            if bias_grad is not None:
                bias_grad += logits_grad.sum(0, dtype=wide)
            del logits, slope, wide_grad, logits_grad
        narrow = [None if total is None else total.to(weight.dtype) for total in (weight_grad, bias_grad)]
        return hidden_grad, *narrow, None, None, None


def _wide(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, cap: float | None) -> Tensor:
    logits = hidden @ weight.T if bias is None else torch.addmm(bias, hidden, weight.T)
    return logits if cap is None else logits.to(_wide(weight)).div_(cap).tanh_().mul_(cap)


def _rows_in_cache(numbers: Tensor) -> int:
    """How many rows a processor's cache holds from one pass over them to the next; all of them on other devices."""
    return max(1, CACHED // numbers.shape[1]) if numbers.device.type == "cpu" else len(numbers)


def _log_softmax_(logits: Tensor) -> Tensor:
    """Log-softmax in float32 or wider; on a processor it is written over the logits if they are as wide."""
    wide = _wide(logits)
    if logits.dtype != wide or logits.device.type != "cpu":
        return log_softmax(logits, 1, dtype=wide)
    for rows in torch.split(logits, _rows_in_cache(logits)):
        rows.copy_(log_softmax(rows, 1))
    return logits


def _logits_grad_(logprobs: Tensor, targets: Tensor, grad: Tensor) -> Tensor:
    """Gradient at the logits, written over their log-softmax."""
    at_once = _rows_in_cache(logprobs)
    for rows, weights in zip(torch.split(logprobs, at_once), torch.split(grad[:, None], at_once), strict=True):
        rows.exp_().mul_(-weights)
    return logprobs.scatter_add_(1, targets[:, None], grad[:, None])


def _add_product(total: Tensor, logits_grad: Tensor, hidden: Tensor) -> None:
    if total.dtype == hidden.dtype:
        total.addmm_(logits_grad.T, hidden)
    else:
        total += logits_grad.T @ hidden
