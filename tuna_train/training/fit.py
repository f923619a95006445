"""A training from its configuration to its checkpoint: build, measure, train, measure, save."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tuna_eval.disk import locked
from tuna_eval.errors import EngineError
from tuna_eval.llm.hf_memory import is_out_of_memory
from tuna_eval.llm.models import LocalModel, resolve_model
from tuna_eval.llm.quiet import quiet_transformers
from tuna_eval.run import Progress
from tuna_train.config import Training
from tuna_train.training.build import (
    CHECKPOINTS,
    fitting_micro_batch,
    is_main_process,
    load_causal_lm,
    processes,
    reporting_callbacks,
    training_arguments,
)
from tuna_train.training.checks import check_model, check_settings
from tuna_train.training.inputs import Inputs, loss_of, read_inputs
from tuna_train.training.record import RECORD, training_record, write_record
from tuna_train.training.resuming import claim, identity_of, last_checkpoint
from tuna_train.training.saving import save_checkpoint


def fit(config: Training, command: str, progress: Progress) -> Path:
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
        EngineError: the model cannot be loaded.
        StoreError: the output cannot be written, or another process is writing it.
    """
    check_settings(config)
    source = resolve_model(config.model)
    check_model(config, source)
    with locked(config.output, "training") if is_main_process() else nullcontext():
        if is_main_process():
            identity = identity_of(config, command, source)
            claim(config.output, identity)
        if (config.output / RECORD).is_file():
            progress.note(f"already trained: {config.output}")
            return config.output
        try:
            inputs = read_inputs(config, source, progress)
            with quiet_transformers(), out_of_memory_told(config):
                _train(config, command, source, inputs, progress)
        finally:
            progress.end()
    return config.output


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


def tell_idle_gpus(progress: Progress) -> None:
    """One process trains on one GPU; says so where there are more."""
    import torch

    if processes() == 1 and (count := torch.cuda.device_count()) > 1:
        progress.note(f"warning: one of {count} GPUs is used; torchrun --nproc_per_node {count} uses all")


def _train(config: Training, command: str, source: LocalModel, inputs: Inputs, progress: Progress) -> None:
    from transformers import PrinterCallback

    from tuna_train.training.logs import LOG, NoLastCheckpoint, TrainingLog
    from tuna_train.training.trainer import RankingTrainer

    checkpoint = last_checkpoint(config.output / CHECKPOINTS)
    micro_batch = fitting_micro_batch(config, inputs.train.mean_tokens)
    measures_first = inputs.held_out is not None and checkpoint is None
    trainer = RankingTrainer(
        load_causal_lm(config, source),
        training_arguments(config, micro_batch=micro_batch, eval_on_start=measures_first),
        inputs.train,
        inputs.held_out,
        loss=loss_of(config),
        packed=config.packing,
        row_tokens=config.row_tokens,
        callbacks=[TrainingLog(config.output / LOG, progress), NoLastCheckpoint(), *reporting_callbacks(config)],
    )
    trainer.remove_callback(PrinterCallback)
    tell_idle_gpus(progress)
    if checkpoint:
        progress.note(f"resuming at step {checkpoint.name.rpartition('-')[2]}")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if inputs.held_out is not None:
        trainer.evaluate()
    save_checkpoint(trainer, config.output, source, config.model, inputs.encoder.end_id)
    if is_main_process():
        write_record(config.output, training_record(config, command, source, inputs, trainer))
        progress.note(f"model: {config.output}")
