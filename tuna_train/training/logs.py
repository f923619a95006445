"""What a training tells while it runs: log.jsonl, and the progress on the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuna_eval.disk import appending, as_store_error, drop_torn_line, json_line, read_lines, replacing
from tuna_eval.errors import EngineError
from tuna_eval.llm.models import LocalModel
from tuna_eval.run import Progress
from tuna_train.config import Training
from tuna_train.training.build import is_main_process
from tuna_train.training.host_memory import HostMemory
from tuna_train.training.record import finite, settings_of
from tuna_train.training.resuming import last_checkpoint
from tuna_train.training.saving import copy_tokenizer

LOG = "log.jsonl"
TENSORBOARD = "tensorboard"
_LOSSES = ("loss", "rank_loss", "mle", "nll")
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
        if state.max_steps <= args.warmup_steps:
            steps = f"all {state.max_steps} steps are" if state.max_steps > 1 else "the only step is"
            self.progress.note(
                f"warning: {steps} warm-up, which begins at learning rate 0: set optimizer.warmup_steps=0"
            )
        self.progress.begin("training", done=state.global_step, total=state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """One step more; the last one is always logged, or a short training would leave no line.

        So is one that is saved: the means of a line that went on over a checkpoint could not be resumed.
        """
        is_saved = args.save_strategy == "steps" and state.global_step % args.save_steps == 0
        if is_saved or state.global_step >= state.max_steps:
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
        """One line more; transformers' summary of the whole run is left out.

        Raises:
            EngineError: a loss is not finite; every process of a launch sees it.
        """
        if "train_runtime" in logs:
            return
        if state.is_world_process_zero:
            with appending(self.file) as append:
                append(json_line({"step": state.global_step, **finite(logs)}))
            self.progress.note(f"step {state.global_step}: {shown(logs)}")
        _stop_unless_finite(logs, state.global_step, Path(str(args.output_dir)))

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


class TokenizerInCheckpoints(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Puts the tokenizer of the start into each checkpoint, which can then be evaluated like any model.

    The Trainer writes one too if it is given it, but it sets the model's special tokens by it as well.

    Args:
        source: what training starts from.
    """

    def __init__(self, source: LocalModel) -> None:
        self.source = source

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """The checkpoint is there.

        Raises:
            StoreError: it cannot be written.
        """
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if args.should_save:
            with as_store_error(folder):
                copy_tokenizer(self.source, folder)


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


def _stop_unless_finite(logs: Mapping[str, Any], step: int, checkpoints: Path) -> None:
    wrong = [name for name in logs if name.removeprefix("eval_") in _LOSSES and not math.isfinite(logs[name])]
    if not wrong:
        return
    checkpoint = last_checkpoint(checkpoints)
    kept = f"the last checkpoint is of step {checkpoint.name.rpartition('-')[2]}" if checkpoint else "no checkpoint"
    raise EngineError(
        f"{wrong[0].replace('eval_', 'held-out ')} is {logs[wrong[0]]:g} ({kept})",
        place=f"step {step}",
        cure="lower learning_rate, raise optimizer.warmup_steps or set precision=float32, and choose another output",
    )


def _warn_of_sharding(arguments: TrainingArguments, model: Any, progress: Progress) -> None:
    """accelerate shards on GPUs only and says nothing where it does not."""
    from torch.distributed.fsdp import FSDPModule

    if arguments.fsdp and not isinstance(model, FSDPModule):
        kind = type(model).__name__
        progress.note(f"warning: fsdp is on, but accelerate does not shard here: every process holds a whole {kind}")


def callbacks_of(config: Training, progress: Progress, source: LocalModel | None = None) -> list[TrainerCallback]:
    """What goes along with a training: the log, the terminal, where else its curves go, and the care of memory.

    transformers itself sends nothing: its `report_to` is "none".

    Args:
        config: of the training.
        progress: the user's terminal.
        source: what a model that writes starts from, whose tokenizer its checkpoints get.
    """
    callbacks = [TrainingLog(config.output / LOG, progress), NoLastCheckpoint(), HostMemory()]
    if source is not None:
        callbacks.append(TokenizerInCheckpoints(source))
    if "tensorboard" in config.report_to and is_main_process():
        callbacks.append(_tensorboard(config))
    if "wandb" in config.report_to:
        from transformers.integrations import WandbCallback

        callbacks.append(WandbCallback())
    return callbacks


def _tensorboard(config: Training) -> TrainerCallback:
    """Curves and settings for TensorBoard, in the folder TENSORBOARD of the output.

    The file's name holds the machine's name, TensorBoard's way to keep writers apart. Its content holds no path:
    transformers' own callback would write its arguments and the model's config there, which have some.
    """
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    class Curves(TensorBoardCallback):  # type: ignore[misc]  # transformers is untyped
        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.tb_writer = SummaryWriter(self.logging_dir)
            self.tb_writer.add_text("settings", json.dumps(settings_of(config)))

    curves = Curves()
    curves.logging_dir = str(config.output / TENSORBOARD)  # also for what is measured when the training has ended
    return curves
