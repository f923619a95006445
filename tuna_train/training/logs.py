"""What a training tells while it runs: log.jsonl, and the progress on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuna_eval.disk import appending, drop_torn_line, json_line, read_lines, replacing
from tuna_eval.run import Progress

LOG = "log.jsonl"
_SHOWN = {
    "loss": ".4f",
    "rank_loss": ".4f",
    "mle": ".4f",
    "pair_accuracy": ".1%",
    "kendall_tau": ".3f",
    "nll": ".4f",
    "margins_met": ".1%",
    "reward": ".4f",
    "kl": ".4f",
}


class TrainingLog(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Appends every logged line to a file and shows progress; in the main process only.

    A resumed run drops the lines behind its checkpoint first: it computes them again.

    Args:
        file: JSON Lines of step, epoch and what was logged.
        progress: the user's terminal.
    """

    def __init__(self, file: Path, progress: Progress) -> None:
        self.file, self.progress = file, progress

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Readies the file for the first step."""
        if not state.is_world_process_zero:
            return
        keep_lines(self.file, state.global_step)
        _warn_of_sharding(args, more.get("model"), self.progress)
        self.progress.begin("training", done=state.global_step, total=state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """One step more; the last one is always logged, or a short training would leave no line."""
        if state.global_step >= state.max_steps:
            control.should_log = True
        if state.is_world_process_zero:
            self.progress.advance()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any],
        **more: Any,
    ) -> None:
        """One line more; transformers' summary of the whole run is left out."""
        if not state.is_world_process_zero or "train_runtime" in logs:
            return
        with appending(self.file) as append:
            append(json_line({"step": state.global_step, **_finite(logs)}))
        self.progress.note(f"step {state.global_step}: {shown(logs)}")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """The last step is done."""
        if state.is_world_process_zero:
            self.progress.end()


class NoLastCheckpoint(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """The last step needs no checkpoint: the model is saved then, and a Trainer resumed there makes one step more."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Takes back what transformers' own callback has decided."""
        if state.global_step >= state.max_steps:
            control.should_save = False


def keep_lines(file: Path, step: int) -> None:
    """Drops the lines of later steps, a measurement at this step, and a line that a crash tore.

    Raises:
        DataError: the file is broken elsewhere.
        StoreError: it cannot be written.
    """
    if not file.exists():
        return
    drop_torn_line(file)
    lines = [line for line in read_lines(file) if line["step"] < step or ("loss" in line and line["step"] == step)]
    with replacing(file) as write:
        for line in lines:
            write(json_line(line))


def shown(logs: Mapping[str, Any]) -> str:
    """The measured numbers in a line."""
    parts = []
    for name, value in logs.items():
        form = _SHOWN.get(name.removeprefix("eval_"))
        if form:
            parts.append(f"{name.replace('eval_', 'held-out ').replace('_', ' ')} {value:{form}}")
    return ", ".join(parts)


def _finite(logs: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN: a number that is none becomes null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in logs.items()
    }


def _warn_of_sharding(arguments: TrainingArguments, model: Any, progress: Progress) -> None:
    """accelerate shards on GPUs only and says nothing where it does not."""
    from torch.distributed.fsdp import FSDPModule

    if arguments.fsdp and not isinstance(model, FSDPModule):
        kind = type(model).__name__
        progress.note(f"warning: fsdp is on, but accelerate does not shard here: every process holds a whole {kind}")
