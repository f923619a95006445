"""Which sequences go through a model together: those that share a beginning, else those of like length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIN_SHARED_TOKENS = 32  # a shorter beginning costs as much in bookkeeping as it saves
MIN_SAVED_TOKENS = 1024  # by a family of its own; an additional batch of 40 steps costs as much on a CPU as reading 700


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much a model takes at once.

    Attributes:
        rows: most sequences in a batch, >= 1.
        tokens: most rows x (longest sequence + new tokens); a single sequence is allowed to exceed it.
    """

    rows: int
    tokens: int

    def fit(self, longest: int) -> int:
        """Number of rows of `longest` tokens that may go together, at least one."""
        return max(1, min(self.rows, self.tokens // max(1, longest)))


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of leading tokens that two sequences share."""
    for position, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return position
    return min(len(first), len(second))


def shared_prefix(sequences: Sequence[list[int]]) -> int:
    """Number of leading tokens that all sequences share, leaving each at least one of its own.

    0 if that is too little to be worth computing apart.
    """
    low, high = min(sequences), max(sequences)  # the two that differ first: all others lie between them
    shared = min(common_prefix(low, high), len(min(sequences, key=len)) - 1)
    return shared if len(sequences) > 1 and shared >= MIN_SHARED_TOKENS else 0


def plan_batches(
    sequences: Sequence[list[int]], limits: BatchLimits, *, new_tokens: int = 0, share_prefixes: bool = False
) -> list[list[int]]:
    """Splits sequences into batches: every index exactly once, the most costly batches first.

    Args:
        sequences: token ids.
        limits: size of a batch.
        new_tokens: how much each sequence may grow.
        share_prefixes: keep sequences together that share most of their tokens, as the instances of one few-shot task
            do; otherwise only length counts.
    """
    together: list[list[int]] = []
    rest: list[int] = []
    for family in _families(sequences) if share_prefixes else []:
        shared = shared_prefix([sequences[i] for i in family])
        if shared * (len(family) - 1) >= MIN_SAVED_TOKENS:
            together.append(family)
        else:
            rest.extend(family)
    if not share_prefixes:
        rest = list(range(len(sequences)))
    batches = [batch for family in (*together, rest) for batch in _split(family, sequences, limits, new_tokens)]
    return sorted(batches, key=lambda batch: -max(len(sequences[i]) for i in batch))


def _families(sequences: Sequence[list[int]]) -> list[list[int]]:
    """Groups of sequences whose neighbours in lexicographic order share at least half of their tokens."""
    families: list[list[int]] = []
    for i in sorted(range(len(sequences)), key=lambda i: sequences[i]):
        if families:
            before = sequences[families[-1][-1]]
            half = max(len(before), len(sequences[i])) / 2
            if common_prefix(before, sequences[i]) >= max(half, MIN_SHARED_TOKENS):
                families[-1].append(i)
                continue
        families.append([i])
    return families


def _split(family: list[int], sequences: Sequence[list[int]], limits: BatchLimits, new: int) -> list[list[int]]:
    """Batches of like length and nearly equal size: 33 rows at 32 a batch make 17 + 16, not 32 + 1."""
    left = sorted(family, key=lambda i: -len(sequences[i]))
    batches = []
    while left:
        fitting = limits.fit(len(sequences[left[0]]) + new)
        count = -(-len(left) // fitting)
        size = -(-len(left) // count)
        batches.append(left[:size])
        left = left[size:]
    return batches
