"""Batches of tokenised instructions: packed rows without padding, or the padded reference layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tuna_eval.errors import DataError
from tuna_train.attention import Layout
from tuna_train.config import ROW_TOKENS
from tuna_train.losses import UNRANKED, Targets


@dataclass(frozen=True)
class TokenizedInstruction:
    """An instruction with its responses, as token ids.

    Attributes:
        name: of the record; errors call it so.
        prompt: rendered, BOS included if the model has one.
        candidates: responses to rank, each with its end of sequence.
        ranks: of the candidates, 0 is best; see `losses.ranks_of`. Ties are legal.
        original: the response that the instruction came with: its place among the candidates, or its own token ids if
            it is none of them, or None. It alone, with no candidates, makes an example of supervised fine-tuning.
    """

    name: str
    prompt: Sequence[int]
    candidates: Sequence[Sequence[int]] = ()
    ranks: Sequence[int] = ()
    original: int | Sequence[int] | None = None

    @property
    def responses(self) -> list[Sequence[int]]:
        """The candidates, then the original response if it is none of them."""
        own = [] if self.original is None or isinstance(self.original, int) else [self.original]
        return [*self.candidates, *own]

    @property
    def tokens(self) -> int:
        """Length of the prompt and of every response."""
        return len(self.prompt) + sum(map(len, self.responses))

    @property
    def padded_tokens(self) -> int:
        """Of the lines that the padded layout has for it, each as long as the longest; see `collate`."""
        responses = self.responses
        return len(responses) * (len(self.prompt) + max(map(len, responses), default=0))


@dataclass(frozen=True)
class Row:
    """Input of one forward pass and where its response tokens are predicted.

    A padded row is a rectangle with one response a line; a packed row is one line with a layout.

    Attributes:
        ids: token ids. Shape (lines, length).
        positions: position of each token. Same shape.
        attention_mask: 1 at tokens, 0 in the padding; None in a packed row.
        layout: who sees whom; None in a padded row.
        predicting: place, in the flattened row, of the token that predicts each response token. Shape (targets,).
        targets: the response tokens. Shape (targets,).
        response: number of the response each belongs to. Shape (targets,).
    """

    ids: Tensor
    positions: Tensor
    attention_mask: Tensor | None
    layout: Layout | None
    predicting: Tensor
    targets: Tensor
    response: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Row:
        """The same row on a device."""
        present = {name: value for name, value in vars(self).items() if value is not None}
        return replace(self, **{name: value.to(device, non_blocking=non_blocking) for name, value in present.items()})


@dataclass(frozen=True)
class Batch:
    """Rows, and what the objective wants of their responses.

    Attributes:
        names: of the instructions.
        rows: each is one forward pass.
        wanted: of every response, in the order of the instructions whatever row they are in.
    """

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    wanted: Targets

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on a device."""
        rows = tuple(row.to(device, non_blocking) for row in self.rows)
        wanted = Targets(*(value.to(device, non_blocking=non_blocking) for value in vars(self.wanted).values()))
        return Batch(self.names, rows, wanted)

    @property
    def response(self) -> Tensor:
        """Number of the response of every target token, in the order of the rows. Shape (targets,)."""
        return torch.cat([row.response for row in self.rows])


def collate(instructions: Sequence[TokenizedInstruction], *, packed: bool, row_tokens: int = ROW_TOKENS) -> Batch:
    """A batch of instructions.

    Args:
        instructions: at least one; their numbers of candidates may differ.
        packed: whether a row holds each prompt once, followed by its responses; else every response has a line with
            its prompt, padded to the longest: the reference.
        row_tokens: a packed row takes further instructions up to this length; one longer than that has its own row.

    Raises:
        DataError: a record with an empty prompt or response, without any response, or whose ranks or original response
            do not fit its candidates.
    """
    if not instructions:
        raise DataError("a batch needs at least one instruction")
    for instruction in instructions:
        _check(instruction)
    first = [0]  # number of each instruction's first response
    for instruction in instructions:
        first.append(first[-1] + len(instruction.responses))
    numbered = list(zip(first, instructions, strict=False))
    rows = [_packed_row(part) for part in _fill(numbered, row_tokens)] if packed else [_padded_row(numbered)]
    return Batch(tuple(i.name for i in instructions), tuple(rows), _targets(instructions))


def _check(instruction: TokenizedInstruction) -> None:
    place = f"record {instruction.name}"
    if not instruction.prompt:
        raise DataError("has an empty prompt", place=place, cure="render it with a prompt format")
    if not instruction.responses:
        raise DataError("has no response", place=place, cure="leave it out")
    for number, response in enumerate(instruction.responses):
        if not response:
            cure = "raise the length limit or leave the record out"
            raise DataError(f"response {number} has no token left beside the prompt", place=place, cure=cure)
    counts = len(instruction.candidates), len(instruction.ranks)
    if counts[0] != counts[1] or any(rank < 0 for rank in instruction.ranks):
        problem = f"has {counts[0]} candidates and the ranks {list(instruction.ranks)}"
        raise DataError(problem, place=place, cure="give one rank from 0 for each candidate")
    if isinstance(instruction.original, int) and not 0 <= instruction.original < counts[0]:
        problem = f"the original response is candidate {instruction.original} of {counts[0]}"
        raise DataError(problem, place=place, cure="count candidates from 0")


def _targets(instructions: Sequence[TokenizedInstruction]) -> Targets:
    numbers: list[int] = []
    ranks: list[int] = []
    originals: list[bool] = []
    lengths: list[int] = []
    for number, instruction in enumerate(instructions):
        count, extra = len(instruction.responses), len(instruction.responses) - len(instruction.candidates)
        original = count - 1 if extra else instruction.original
        numbers += [number] * count
        ranks += [*instruction.ranks, *[UNRANKED] * extra]
        originals += [place == original for place in range(count)]
        lengths += map(len, instruction.responses)
    return Targets(torch.tensor(numbers), torch.tensor(ranks), torch.tensor(originals), torch.tensor(lengths))


Numbered = tuple[int, TokenizedInstruction]
"""An instruction and the number of its first response in the batch."""


def _fill(instructions: Sequence[Numbered], row_tokens: int) -> list[list[Numbered]]:
    """Rows of at most `row_tokens`, filled first-fit from the longest instruction to the shortest."""
    rows: list[list[Numbered]] = []
    room: list[int] = []
    for numbered in sorted(instructions, key=lambda n: -n[1].tokens):
        need = numbered[1].tokens
        place = next((i for i, free in enumerate(room) if free >= need), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(max(row_tokens, need))
        rows[place].append(numbered)
        room[place] -= need
    return [sorted(row, key=lambda n: n[0]) for row in rows]


def _packed_row(instructions: Sequence[Numbered]) -> Row:
    ids: list[int] = []
    predicting: list[int] = []
    targets: list[int] = []
    response: list[int] = []
    for first, instruction in instructions:
        ids += instruction.prompt
        last_of_prompt = len(ids) - 1
        for number, tokens in enumerate(instruction.responses, first):
            predicting += [last_of_prompt, *range(len(ids), len(ids) + len(tokens) - 1)]
            ids += tokens
            targets += tokens
            response += [number] * len(tokens)
    layout = Layout.of([(len(i.prompt), [len(r) for r in i.responses]) for _, i in instructions])
    return Row(
        ids=torch.tensor([ids]),
        positions=layout.position[None],
        attention_mask=None,
        layout=layout,
        predicting=torch.tensor(predicting),
        targets=torch.tensor(targets),
        response=torch.tensor(response),
    )


def _padded_row(instructions: Sequence[Numbered]) -> Row:
    lines = [(i.prompt, r) for _, i in instructions for r in i.responses]
    length = max(len(prompt) + len(response) for prompt, response in lines)
    ids = torch.zeros(len(lines), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    predicting, targets, numbers = [], [], []
    for number, (prompt, response) in enumerate(lines):
        end = len(prompt) + len(response)
        ids[number, :end] = torch.tensor([*prompt, *response])
        mask[number, :end] = 1
        predicting.append(torch.arange(len(prompt) - 1, end - 1) + number * length)
        targets.append(torch.tensor(list(response)))
        numbers.append(torch.full((len(response),), number))
    return Row(
        ids=ids,
        positions=torch.arange(length).expand(len(lines), length),
        attention_mask=mask,
        layout=None,
        predicting=torch.cat(predicting),
        targets=torch.cat(targets),
        response=torch.cat(numbers),
    )
