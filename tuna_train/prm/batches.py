"""Scores of many instructions' candidates: batches of like length, each candidate once, the order of the call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuna_eval.llm.hf_memory import in_halves
from tuna_train.config import ROW_TOKENS
from tuna_train.packing import TokenizedInstruction, collate
from tuna_train.prm.model import response_scores
from tuna_train.scoring import causal_lm


@dataclass(frozen=True)
class BatchPlan:
    """How much goes through the model at once; no score depends on it but for rounding.

    Attributes:
        packed: whether prompts are forwarded once for all their candidates.
        row_tokens: most tokens of a forward pass, padding included; a longer instruction goes alone.
        instructions: most instructions of a forward pass; None for no limit.
    """

    packed: bool
    row_tokens: int = ROW_TOKENS
    instructions: int | None = None

    def split(self, instructions: Sequence[TokenizedInstruction]) -> Iterator[list[int]]:
        """Batches of places, each place once; instructions of like length stand together, the longest first."""
        widths = [len(i.prompt) + max(map(len, i.candidates)) for i in instructions]
        batch: list[int] = []
        filled = 0
        for place in sorted(range(len(instructions)), key=lambda place: -widths[place]):
            instruction = instructions[place]
            widest = widths[batch[0]] if batch else widths[place]
            need = instruction.tokens if self.packed else widest * len(instruction.candidates)
            if batch and (filled + need > self.row_tokens or len(batch) == self.instructions):
                yield batch
                batch, filled = [], 0
                need = instruction.tokens if self.packed else widths[place] * len(instruction.candidates)
            batch.append(place)
            filled += need
        if batch:
            yield batch


def candidate_scores(
    model: Any, instructions: Sequence[TokenizedInstruction], plan: BatchPlan
) -> list[tuple[float, ...]]:
    """The score of every candidate, in the order of the call.

    Equal candidates of an instruction have one score to the last bit, and so has a candidate wherever it stands.

    Args:
        model: a reward model, prepared for packing if the plan packs.
        instructions: at least one candidate each; ranks and originals are not read.
        plan: how much goes through at once.

    Raises:
        EngineError: memory does not suffice for a single instruction.
    """
    import torch

    inner = causal_lm(model)
    distinct = [sorted({tuple(c) for c in i.candidates}) for i in instructions]
    bare = [
        replace(i, candidates=unique, ranks=[0] * len(unique), original=None)
        for i, unique in zip(instructions, distinct, strict=True)
    ]
    found: dict[int, dict[tuple[int, ...], float]] = {}

    def run(places: Sequence[int]) -> None:
        batch = collate([bare[place] for place in places], packed=plan.packed, row_tokens=plan.row_tokens)
        with torch.inference_mode():
            scores = iter(response_scores(model, batch.to(inner.device)).tolist())
        for place in places:
            found[place] = {candidate: next(scores) for candidate in distinct[place]}

    training = model.training
    model.eval()
    for places in plan.split(bare):
        in_halves(run, places, inner.name_or_path or "the proxy ranking model")
    model.train(training)
    return [tuple(found[n][tuple(c)] for c in i.candidates) for n, i in enumerate(instructions)]
