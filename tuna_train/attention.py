"""Attention over packed rows: prompts once, each followed by its candidates, which do not see one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention

IMPLEMENTATION = "tuna_packed"
LAYOUT_ARGUMENT = "packed_layout"
PROMPT = -1


@dataclass(frozen=True)
class Piece:
    """A prompt's tokens in a row, or a candidate's. Places count from the start of the row.

    Attributes:
        start: first token.
        end: behind the last token.
        prompt: what it follows; None if it is a prompt.
    """

    start: int
    end: int
    prompt: Piece | None = None

    def __len__(self) -> int:
        return self.end - self.start

    def unseen(self, window: int | None) -> int:
        """Number of its prompt's first tokens that none of its own sees; windows count along prompt and candidate."""
        return 0 if window is None or self.prompt is None else max(0, len(self.prompt) - window + 1)


@dataclass(frozen=True)
class Layout:
    """Who sees whom in a packed row.

    A token sees those of its own instruction that stand in the prompt or in its own candidate, at its own position or
    before it, and in a layer with a sliding window those less than a window of positions away.

    Attributes:
        pieces: all tokens of the row, in order and without gaps; a prompt's candidates follow it.
        instruction: number of the instruction. Shape (tokens,).
        candidate: number of the candidate within the row, PROMPT in a prompt. Shape (tokens,).
        position: counted from the start of the prompt, and in each candidate on from the end of the prompt.
            Shape (tokens,).
    """

    pieces: tuple[Piece, ...]
    instruction: Tensor
    candidate: Tensor
    position: Tensor
    _block_masks: dict[int | None, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, lengths: Sequence[tuple[int, Sequence[int]]]) -> Layout:
        """The layout of a row from the lengths of each instruction's prompt and of its candidates, in tokens."""
        pieces: list[Piece] = []
        instruction: list[int] = []
        candidate: list[int] = []
        position: list[int] = []
        for number, (prompt, candidates) in enumerate(lengths):
            first = len(position)
            pieces.append(before := Piece(first, first + prompt))
            candidate += [PROMPT] * prompt
            position += range(prompt)
            for length in candidates:
                candidate += [len(pieces)] * length
                pieces.append(Piece(len(position), len(position) + length, before))
                position += range(prompt, prompt + length)
            instruction += [number] * (len(position) - first)
        return cls(tuple(pieces), torch.tensor(instruction), torch.tensor(candidate), torch.tensor(position))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Layout:
        """The same layout on a device."""
        instruction, candidate, position = (
            value.to(device, non_blocking=non_blocking) for value in (self.instruction, self.candidate, self.position)
        )
        return Layout(self.pieces, instruction, candidate, position)

    def sees(self, query: Tensor, key: Tensor, window: int | None) -> Tensor:
        """Whether the token at place `query` sees the one at place `key`; broadcasts."""
        candidate = self.candidate[key]
        distance = self.position[query] - self.position[key]
        seen = (self.instruction[query] == self.instruction[key]) & (distance >= 0)
        seen = seen & ((candidate == PROMPT) | (candidate == self.candidate[query]))
        return seen if window is None else seen & (distance < window)

    def mask(self, window: int | None = None) -> Tensor:
        """True where the row's token sees the column's. Shape (tokens, tokens)."""
        place = torch.arange(len(self.position), device=self.position.device)
        return self.sees(place[:, None], place[None, :], window)

    def block_mask(self, window: int | None) -> Any:
        """FlexAttention's form of the mask; built once for all layers."""
        if window not in self._block_masks:
            from torch.nn.attention.flex_attention import create_block_mask

            def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                return self.sees(query, key, window)

            tokens, device = len(self.position), str(self.position.device)
            # Compiled, or all pairs of tokens would be in memory at once.
            compiled = self.position.is_cuda
            mask = create_block_mask(sees, None, None, tokens, tokens, device=device, _compile=compiled)
            self._block_masks[window] = mask
        return self._block_masks[window]


def register() -> None:
    """Makes IMPLEMENTATION known to transformers; it may be called again."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(IMPLEMENTATION, packed_attention)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it, over one packed row; without a layout it is the ordinary masked attention.

    Args:
        module: the attention layer.
        query: shape (1, heads, tokens, width).
        key: shape (1, key heads, tokens, width).
        value: as `key`.
        attention_mask: read in the ordinary case only; True where the query sees the key.
        options: `packed_layout`, and what layers pass: `scaling`, `dropout`, `sliding_window`, `softcap`.

    Returns:
        Shape (1, tokens, heads, width), and None for the weights.
    """
    layout: Layout | None = options.pop(LAYOUT_ARGUMENT, None)
    if layout is not None and query.is_cuda:
        from transformers.integrations.flex_attention import flex_attention_forward

        blocks = layout.block_mask(options.get("sliding_window"))
        out, _ = flex_attention_forward(module, query, key, value, blocks, **options)
        return out, None
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    numbers = {name: options.get(name) for name in ("scaling", "dropout", "softcap")}
    if layout is None:
        whole = _attend(query, key, value, attention_mask, **numbers)
    else:
        whole = _attend_pieces(query, key, value, layout.pieces, options.get("sliding_window"), numbers)
    return whole.transpose(1, 2).contiguous(), None


def _attend_pieces(
    query: Tensor, key: Tensor, value: Tensor, pieces: Sequence[Piece], window: int | None, numbers: dict[str, Any]
) -> Tensor:
    """Each prompt over itself, each candidate over its prompt and itself: other candidates cost nothing."""
    lengths = [len(piece) for piece in pieces]
    # Split, not sliced: the gradient of each slice would be a tensor as long as the row.
    parts = zip(pieces, *(torch.split(whole, lengths, 2) for whole in (query, key, value)), strict=True)
    attended = []
    for piece, queries, keys, values in parts:
        before = 0
        if piece.prompt is None:
            prompt = keys, values
        else:
            unseen = piece.unseen(window)
            before = len(piece.prompt) - unseen
            keys, values = (
                torch.cat([x[:, :, unseen:], own], 2) for x, own in zip(prompt, (keys, values), strict=True)
            )
        mask = _piece_mask(len(piece), before, window, query.device)
        attended.append(_attend(queries, keys, values, mask, **numbers))
    return torch.cat(attended, 2)


def _piece_mask(tokens: int, before: int, window: int | None, device: torch.device) -> Tensor | None:
    """Mask of a piece over so many tokens before it and itself; None is causal. Shape (tokens, before + tokens)."""
    if not before and (window is None or tokens <= window):
        return None
    mask = torch.ones(tokens, before + tokens, dtype=torch.bool, device=device).tril(before)
    return mask if window is None else mask.triu(before - window + 1)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None = None,
    dropout: float | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Attention with a boolean mask; None is causal. Shapes (batch, heads, tokens, width)."""
    if softcap is None:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout or 0.0, is_causal=mask is None, scale=scaling
        )
    if mask is None:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.tanh(query @ key.transpose(2, 3) * scale / softcap) * softcap
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1, dtype=torch.float32).to(query.dtype)
    return drop(weights, dropout or 0.0) @ value
