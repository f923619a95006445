"""Which instructions stand in which forward pass: the same steps however many processes and micro-batches make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tuna_train.losses import Totals
from tuna_train.packing import Batch, TokenizedInstruction, collate

NOTHING = Totals(0, Counter(), 0)


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass of one process gets.

    Attributes:
        batch: the instructions.
        totals: what they add to the totals of their step.
        counts: False for a batch that only keeps a process in step with others that have one instruction more.
    """

    batch: Batch
    totals: Totals
    counts: bool

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MicroBatch:
        """The same on a device."""
        return replace(self, batch=self.batch.to(device, non_blocking))


class StepSampler(Sampler[list[int]]):
    """Places of the instructions of each micro-batch of one process.

    Every `batch` instructions of the shuffled order are a step; each step is cut into micro-batches, which the
    processes take in turns. So neither the number of processes nor the micro-batch changes what a step holds. Every
    process has the same number of micro-batches: one that has nothing left gets a filler, written as ~place.

    Args:
        size: instructions in the data.
        batch: instructions of a step, of all processes.
        micro_batch: instructions of a forward pass.
        rank: number of this process.
        processes: how many there are; `batch` is a multiple of `processes` times `micro_batch`.
        seed: of the order; None for the order of the data.
    """

    def __init__(
        self, size: int, *, batch: int, micro_batch: int, rank: int = 0, processes: int = 1, seed: int | None = None
    ) -> None:
        self.size, self.batch, self.micro_batch, self.seed = size, batch, micro_batch, seed
        self.rank, self.processes = rank, processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of this pass over the data; transformers and accelerate call it."""
        self.epoch = epoch

    def order(self) -> list[int]:
        """Places of all instructions in the order of this pass."""
        if self.seed is None:
            return list(range(self.size))
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        return [int(place) for place in torch.randperm(self.size, generator=generator)]

    def __len__(self) -> int:
        return sum(self._micro_batches(count) for count in self._steps())

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order()
        for number, count in enumerate(self._steps()):
            step = order[number * self.batch : number * self.batch + count]
            for turn in range(self._micro_batches(count)):
                first = (turn * self.processes + self.rank) * self.micro_batch
                yield step[first : first + self.micro_batch] or [~step[0]]

    def _steps(self) -> list[int]:
        """Instructions of each step; the last one may have fewer."""
        whole, rest = divmod(self.size, self.batch)
        return [self.batch] * whole + [rest] * (rest > 0)

    def _micro_batches(self, instructions: int) -> int:
        return -(-instructions // (self.micro_batch * self.processes))


@dataclass(frozen=True)
class Collator:
    """Makes micro-batches of places.

    Attributes:
        examples: the data.
        packed: see `packing.collate`.
        row_tokens: see `packing.collate`.
    """

    examples: Sequence[TokenizedInstruction]
    packed: bool
    row_tokens: int

    def __call__(self, places: Sequence[int]) -> MicroBatch:
        """The micro-batch at places as `StepSampler` writes them."""
        counts = places[0] >= 0
        instructions = [self.examples[place if place >= 0 else ~place] for place in places]
        batch = collate(instructions, packed=self.packed, row_tokens=self.row_tokens)
        return MicroBatch(batch, batch.wanted.totals() if counts else NOTHING, counts)


class _Places(Dataset[int]):
    """Stands where a DataLoader wants the data: the collator looks the instructions up by itself."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: int) -> int:
        return place


class StepLoader(DataLoader[Any]):
    """A DataLoader that tells its sampler which pass over the data it is."""

    def __init__(self, sampler: StepSampler, collator: Callable[[Sequence[int]], MicroBatch]) -> None:
        super().__init__(_Places(sampler.size), batch_sampler=sampler, collate_fn=collator)

    def set_epoch(self, epoch: int) -> None:
        """See `StepSampler.set_epoch`."""
        sampler = self.batch_sampler
        assert isinstance(sampler, StepSampler)
        sampler.set_epoch(epoch)
