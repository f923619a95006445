"""The training of a proxy ranking model from its configuration to its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna_eval.disk import as_store_error
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.models import LocalModel, resolve_model
from tuna_eval.run import Progress
from tuna_train.config import PrmConfig
from tuna_train.prm.ranker import PrmSettings
from tuna_train.training.build import (
    CHECKPOINTS,
    fitting_micro_batch,
    is_main_process,
    load_start,
    training_arguments,
    with_new_adapter,
)
from tuna_train.training.checks import check_model, check_settings
from tuna_train.training.fit import once, run_trainer
from tuna_train.training.inputs import Inputs, encode_files, encoder_of, forward_tokens, inputs_of
from tuna_train.training.record import training_record, write_record
from tuna_train.training.resuming import identity_of, last_checkpoint
from tuna_train.training.saving import copy_tokenizer, whole_weights

if TYPE_CHECKING:
    from tuna_train.prm.trainer import PrmTrainer

COMMAND = "prm"


def fit_prm(config: PrmConfig, progress: Progress) -> Path:
    """Trains a proxy ranking model and saves it; every process of a launch calls it.

    A run that was killed goes on from its last checkpoint; one that is done is left as it is.

    Args:
        config: of `tuna-train prm`.
        progress: the user's terminal.

    Returns:
        The output folder: a sequence classifier of transformers with one label, its adapters merged.

    Raises:
        ConfigError, DataError, EngineError, StoreError: as `fit.fit`.
    """
    _check_adapters(config)
    check_settings(config)
    source = resolve_model(config.model)
    check_model(config, source)

    def train() -> None:
        _train(config, source, _read(config, source, progress), progress)

    return once(config, lambda: identity_of(config, COMMAND, source), train, progress)


def _check_adapters(config: PrmConfig) -> None:
    if config.lora is None:
        return
    if config.lora.quantize != "none":
        problem = f"a scalar head on {config.lora.quantize} weights is not supported"
        raise ConfigError(problem, place="lora.quantize", cure="set lora.quantize=none")
    if config.fsdp or config.deepspeed:
        cure = "start with torchrun and neither fsdp nor deepspeed, or set lora=null"
        raise ConfigError("adapters of a sharded model cannot be merged", place="lora", cure=cure)


def _read(config: PrmConfig, source: LocalModel, progress: Progress) -> Inputs:
    encoder = encoder_of(config, source)
    train = encode_files(config.data, encoder, "pairs", progress, limit=config.limit)
    held_out = encode_files(config.eval_data, encoder, "pairs", progress) if config.eval_data else None
    for encoded, place in ((train, "data"), (held_out, "eval_data")):
        if encoded is not None and not encoded.examples.ordered:
            problem = "no instruction has candidates of different ranks"
            raise DataError(problem, place=place, cure="rank them with tuna-train data rank")
    return inputs_of(encoder, train, held_out)


def load_prm_start(config: PrmConfig, source: LocalModel) -> Any:
    """The model that training starts from: the base's body, a new head, and adapters if the configuration wants them.

    Adapters that the base has are merged into it.

    Args:
        config: of `tuna-train prm`.
        source: the base.

    Raises:
        ConfigError: no scalar head fits the base, or it cannot be packed.
        EngineError: the weights cannot be read.
    """
    from tuna_train.prm.model import padding_id, prepare_packing, with_scalar_head

    body = load_start(config.model_copy(update={"lora": None}), source)
    pad_id = padding_id(HFEncoder.of(source).tokenizer, body.config.vocab_size)
    model = with_scalar_head(body, pad_id, seed=config.seed)
    if config.lora:
        model = with_new_adapter(model, config.lora, config.seed, task="SEQ_CLS").train()
    if config.packing:
        prepare_packing(model)
    return model


def _train(config: PrmConfig, source: LocalModel, inputs: Inputs, progress: Progress) -> None:
    from tuna_train.prm.trainer import PrmTrainer
    from tuna_train.training.logs import callbacks_of

    checkpoint = last_checkpoint(config.output / CHECKPOINTS)
    measures_first = inputs.held_out is not None and checkpoint is None
    micro_batch = fitting_micro_batch(config, forward_tokens(inputs.train, packed=config.packing))
    trainer = PrmTrainer(
        load_prm_start(config, source),
        training_arguments(config, micro_batch=micro_batch, eval_on_start=measures_first),
        inputs.train,
        inputs.held_out,
        loss=config.loss,
        margin=config.margin,
        packed=config.packing,
        row_tokens=config.row_tokens,
        callbacks=callbacks_of(config, progress),
    )
    run_trainer(trainer, checkpoint, progress)
    _save(trainer, config.output, source, PrmSettings(inputs.encoder.format, config.max_length))
    if is_main_process():
        record = training_record(config, COMMAND, source, inputs, trainer)
        write_record(config.output, {**record, "pipeline": "text-classification"})
        _tell(record, progress)
        progress.note(f"proxy ranking model: {config.output}")


def _save(trainer: PrmTrainer, folder: Path, source: LocalModel, settings: PrmSettings) -> None:
    """An ordinary sequence classifier with its tokenizer; every process calls it, the main one writes."""
    weights: dict[str, Any] | None = whole_weights(trainer)
    if not trainer.args.should_save:
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "peft_config"):
        model, weights = model.merge_and_unload(), None
    model.set_attn_implementation("sdpa")
    model.config.use_cache = True  # the Trainer has switched it off
    with as_store_error(folder):
        model.save_pretrained(str(folder), state_dict=weights)
        copy_tokenizer(source, folder)
    settings.write(folder)


def _tell(record: Mapping[str, Any], progress: Progress) -> None:
    before, after = record["held_out"]["before"], record["held_out"]["after"]
    for name, value in after.items():
        first = f"{before[name]:.3f} -> " if name in before else ""
        progress.note(f"held-out {name.replace('_', ' ')}: {first}{value:.3f}")
