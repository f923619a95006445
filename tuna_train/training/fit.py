"""A training from its configuration to its checkpoint: build, measure, train, measure, save."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna_eval.disk import locked
from tuna_eval.errors import EngineError
from tuna_eval.llm.hf_memory import is_out_of_memory
from tuna_eval.llm.models import LocalModel, resolve_model
from tuna_eval.llm.quiet import quiet_transformers
from tuna_eval.run import Progress
from tuna_eval.schema import JSON
from tuna_train.config import Training, Tuning
from tuna_train.training.build import (
    CHECKPOINTS,
    fitting_micro_batch,
    is_main_process,
    load_causal_lm,
    processes,
    training_arguments,
)
from tuna_train.training.checks import check_model, check_settings
from tuna_train.training.inputs import Inputs, forward_tokens, loss_of, read_inputs, tell_shared_files
from tuna_train.training.record import RECORD, training_record, write_record
from tuna_train.training.resuming import claim, identity_of, last_checkpoint
from tuna_train.training.saving import save_checkpoint, stop_at

if TYPE_CHECKING:
    from tuna_train.training.gating import TrainingGate


def fit(config: Tuning, command: str, progress: Progress) -> Path:
    """Trains as a configuration says and saves the checkpoint; every process of a launch calls it.

    A run that was killed goes on from its last checkpoint; one that is done is left as it is.

    Args:
        config: `SftConfig` or `RankConfig`.
        command: its name, for records.
        progress: the user's terminal.

    Returns:
        The output folder.

    Raises:
        ConfigError: see `checks`; or the output holds something else.
        DataError: a data file, or a record in it, cannot be used.
        EngineError: the model cannot be loaded, or memory or the numbers do not suffice for the training.
        GateFailedError: a checkpoint or the finished model fails its gate, and `gate.on_failure` is stop.
        StoreError: the output cannot be written, or another process is writing it.
    """
    check_settings(config)
    source = resolve_model(config.model)
    check_model(config, source)
    gate = gate_for(config, progress)  # what is wrong with it is told before the data are read

    def train() -> None:
        _train(config, command, source, read_inputs(config, source, progress), gate, progress)

    return once(config, lambda: identity_of(config, command, source), train, progress)


def gate_for(config: Tuning, progress: Progress) -> TrainingGate | None:
    """The callback behind `gate`, if that is set.

    Raises:
        ConfigError, DataError, StoreError: see `gating.gate_of`.
    """
    if config.gate is None:
        return None
    from tuna_train.training.gating import gate_of  # transformers takes seconds

    return gate_of(config, config.gate, progress.note)


def gate_finished(gate: TrainingGate | None, trainer: Any) -> dict[str, JSON]:
    """Gates the finished model, if a gate is set, and gives what the record says of all verdicts.

    Raises:
        GateFailedError: see `TrainingGate.gate_finished`.
    """
    if gate is None:
        return {}
    gate.gate_finished(trainer.state.global_step)
    return {"gates": gate.summary()}


def once(
    config: Training, identity: Callable[[], dict[str, JSON]], train: Callable[[], None], progress: Progress
) -> Path:
    """Trains in an output folder that is this run's alone, unless that is done already.

    Args:
        config: of the training, after `check_settings`.
        identity: see `resuming.identity_of`; the main process alone reads the weights for it.
        train: reads the data, trains, saves, and writes the record.
        progress: the user's terminal.

    Returns:
        The output folder.

    Raises:
        ConfigError: the folder holds something else.
        EngineError: memory does not suffice.
        StoreError: it cannot be written, or another process is writing it.
    """
    with locked(config.output, "training") if is_main_process() else nullcontext():
        if is_main_process():
            claim(config.output, identity())
        if (config.output / RECORD).is_file():
            progress.note(f"already trained: {config.output}")
            return config.output
        tell_shared_files(config, progress)
        try:
            with quiet_transformers(), out_of_memory_told(config):
                train()
        finally:
            progress.end()
    return config.output


def run_trainer(trainer: Any, checkpoint: Path | None, progress: Progress) -> None:
    """Trains from a checkpoint or from the start, and measures the held-out data at the end if there are any.

    Args:
        trainer: of transformers, with `logs.callbacks_of`.
        checkpoint: see `resuming.last_checkpoint`.
        progress: the user's terminal.

    Raises:
        EngineError: see `logs.TrainingLog`.
    """
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    _tell_idle_gpus(progress)
    if checkpoint:
        progress.note(f"resuming at step {checkpoint.name.rpartition('-')[2]}")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.eval_dataset is not None:
        trainer.evaluate()


@contextmanager
def out_of_memory_told(config: Training) -> Iterator[None]:
    """Turns an exhausted memory into one line.

    Raises:
        EngineError: instead of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise EngineError(
            "the training does not fit in memory",
            place=f"model: {config.model}",
            cure="set micro_batch=1, gradient_checkpointing=true, lora.rank=16 or, with torchrun, fsdp=true; "
            "run again to resume",
        ) from error


def _tell_idle_gpus(progress: Progress) -> None:
    """One process trains on one GPU; says so where there are more."""
    import torch

    if processes() == 1 and (count := torch.cuda.device_count()) > 1:
        progress.note(f"warning: one of {count} GPUs is used; torchrun --nproc_per_node {count} uses all")


def _train(
    config: Tuning,
    command: str,
    source: LocalModel,
    inputs: Inputs,
    gate: TrainingGate | None,
    progress: Progress,
) -> None:
    from tuna_train.scoring import causal_lm
    from tuna_train.training.logs import callbacks_of
    from tuna_train.training.trainer import RankingTrainer

    checkpoint = last_checkpoint(config.output / CHECKPOINTS)
    micro_batch = fitting_micro_batch(config, forward_tokens(inputs.train, packed=config.packing))
    measures_first = inputs.held_out is not None and checkpoint is None
    model = load_causal_lm(config, source)
    stop_at(causal_lm(model), inputs.encoder.end_id)  # its checkpoints too
    trainer = RankingTrainer(
        model,
        training_arguments(config, micro_batch=micro_batch, eval_on_start=measures_first),
        inputs.train,
        inputs.held_out,
        loss=loss_of(config),
        packed=config.packing,
        row_tokens=config.row_tokens,
        callbacks=[*callbacks_of(config, progress, source), *([gate] if gate else [])],
    )
    run_trainer(trainer, checkpoint, progress)
    save_checkpoint(trainer, config.output, source, config.model, inputs.encoder.end_id)
    gated = gate_finished(gate, trainer)
    if is_main_process():
        write_record(config.output, {**training_record(config, command, source, inputs, trainer), **gated})
        progress.note(f"model: {config.output}")
