"""Training on the CPU: what one forward pass frees stays with the process for the next, until the optimizer's turn.

The C library gives each large block back to the system as soon as it is freed, and the next one comes anew, page by
page: without these settings, that is a twelfth of the time of a ranking step of `make bench-train`.
"""

from __future__ import annotations

import ctypes
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# Parameters of glibc's mallopt(3): a block of the mapped size or more is the system's again when it is freed, and so is
# the free end of the heap beyond the trimmed size. Chunks of logits are smaller in float32, see `heads.LogitsBudget`.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIMMED, MAPPED = 2**30, 2**28


def keep_freed_memory() -> bool:
    """Lets this process keep freed blocks below the mapped size.

    Returns:
        Whether the C library can: glibc is the one that does, and old versions of it refuse so large a size.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # In this order: a trimmed size alone would end glibc's own adaptation of the mapped one.
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, MAPPED) and mallopt(M_TRIM_THRESHOLD, TRIMMED))


def give_back_freed_memory() -> bool:
    """Gives all free pages back to the system, those between blocks in use as well.

    Returns:
        Whether the C library can.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return trim is not None


class HostMemory(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Keeps freed memory over the micro-batches of a step; the optimizer, whose blocks are others, starts without."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Before the first step."""
        if args.device.type == "cpu":
            keep_freed_memory()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """The gradients are there, and the states of the optimizer may not be yet."""
        if args.device.type == "cpu":
            give_back_freed_memory()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """The held-out data and the weights on their way to the disk want other blocks again."""
        if args.device.type == "cpu":
            give_back_freed_memory()
