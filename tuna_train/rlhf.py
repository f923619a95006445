"""The RLHF baseline: a policy tuned by TRL's RLOO or GRPO with a proxy ranking model's scores as reward (Table 10)."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.models import LocalModel, resolve_model
from tuna_eval.llm.prompts import PLAIN
from tuna_eval.run import Progress
from tuna_eval.schema import JSON
from tuna_train.config import RlConfig
from tuna_train.data.encode import EncodedExamples, ExampleEncoder, Responses
from tuna_train.data.ranked import RankedExample
from tuna_train.places import KEYS, naming
from tuna_train.prm.ranker import PrmRanker, open_prm
from tuna_train.rewards import Reward
from tuna_train.training.build import (
    CHECKPOINTS,
    is_main_process,
    load_start,
    local_rank,
    training_arguments,
)
from tuna_train.training.checks import check_model, check_settings
from tuna_train.training.fit import gate_finished, gate_for, once, run_trainer
from tuna_train.training.inputs import EncodedFiles, Inputs, encoder_of, inputs_of, read_by_file
from tuna_train.training.record import finite, training_record, write_record
from tuna_train.training.resuming import identity_of, last_checkpoint
from tuna_train.training.saving import save_checkpoint

if TYPE_CHECKING:
    from tuna_train.training.gating import TrainingGate

COMMAND = "rl"
_TOLD = ("reward", "kl", "completions/mean_length", "completions/clipped_ratio")
_NOTHING = Responses((), (), None, ())


def fit_rl(config: RlConfig, progress: Progress) -> Path:
    """Tunes a policy and saves it; every process of a launch calls it.

    A run that was killed goes on from its last checkpoint; one that is done is left as it is. Nothing is sent to
    anybody: TRL's telemetry is switched off for the process.

    Args:
        config: of `tuna-train rl`.
        progress: the user's terminal.

    Returns:
        The output folder, a checkpoint like those of the other trainings.

    Raises:
        ConfigError, DataError, EngineError, StoreError: as `fit.fit`; also a reward that is no proxy ranking model.
    """
    _refuse_telemetry()
    _require_trl()
    check_settings(config)
    with naming({**KEYS, "--model": "reward"}):
        ranker = open_prm(config.reward, _device())
    source = resolve_model(config.model)
    check_model(config, source)
    if source.adapter and not config.lora:
        # TRL reads the policy that KL is measured from in the base's folder, where the adapter is not.
        cure = "merge the adapter into its base first, or set lora.rank to go on with it"
        raise ConfigError(
            "the start is an adapter, which full fine-tuning cannot measure KL from", place="model", cure=cure
        )

    gate = gate_for(config, progress)  # what is wrong with it is told before anything is read

    def train() -> None:
        tasks = _read(config, source, progress)
        with warnings.catch_warnings():
            # That vLLM is newer than TRL knows: it is not used here.
            warnings.filterwarnings("ignore", message="TRL currently supports vLLM")
            _train(config, source, ranker, tasks, gate, progress)

    def identity() -> dict[str, JSON]:
        return {**identity_of(config, COMMAND, source), "reward": dict(ranker.fingerprint())}

    return once(config, identity, train, progress)


def _device() -> str | None:
    """Every process of a machine scores on the GPU that it trains on."""
    import torch

    return f"cuda:{local_rank()}" if torch.cuda.is_available() else None


def _require_trl() -> None:
    for package in ("trl", "datasets"):
        if importlib.util.find_spec(package) is None:
            cure = "pip install 'tuna-llm[train]'"
            raise ConfigError(f"the package {package} is not installed", place=f"tuna-train {COMMAND}", cure=cure)


def _refuse_telemetry() -> None:
    """The hub's client reads the environment when it is first imported, which may have been before."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True


@dataclass(frozen=True)
class _Tasks:
    """The instructions, rendered and tokenised."""

    inputs: Inputs
    train: list[dict[str, Any]]
    held_out: list[dict[str, Any]] | None


def _read(config: RlConfig, source: LocalModel, progress: Progress) -> _Tasks:
    encoder = encoder_of(config, source)
    train, encoded = _encode(config, config.data, config.limit, encoder, progress)
    if len(train) < config.batch_size:  # TRL drops a step that is not whole, and here there is no other
        problem = f"{config.batch_size}, and the data hold {len(train)} instructions"
        raise DataError(problem, place="batch_size", cure=f"set batch_size={len(train)} or less, or give more data")
    held_out, measured = None, None
    if config.eval_data:
        held_out, measured = _encode(config, config.eval_data, None, encoder, progress)
    return _Tasks(inputs_of(encoder, encoded, measured), train, held_out)


def _encode(
    config: RlConfig, files: Sequence[Path], limit: int | None, encoder: ExampleEncoder, progress: Progress
) -> tuple[list[dict[str, Any]], EncodedFiles]:
    """Rows as TRL wants them, and the prompts' tokens; an instruction that leaves too little room is left out."""
    room = config.max_length - config.max_new_tokens
    rows: list[dict[str, Any]] = []
    encoded = EncodedExamples()
    counts = [0] * len(files)
    too_long = 0
    for number, (name, example) in read_by_file(files, limit):
        ids = encoder.tokenizer.encode(encoder.prompt(example))
        if len(ids) > room:
            too_long += 1
            continue
        row = prompt_row(example, encoder)
        if not rows:
            _check_tokens(row["prompt"], ids, encoder)
        rows.append(row)
        encoded.add(name, ids, [], _NOTHING)
        counts[number] += 1
    names = ", ".join(file.name for file in files)
    if not rows:
        problem = f"no prompt has at most {room} tokens" if too_long else "holds no example"
        raise DataError(problem, place=names, cure="raise max_length, or name another file")
    left_out = f", {too_long} left out: prompts over {room} tokens" if too_long else ""
    progress.note(f"{names}: {len(rows)} instructions{left_out}")
    return rows, EncodedFiles(encoded, tuple(counts))


def prompt_row(example: RankedExample, encoder: ExampleEncoder) -> dict[str, Any]:
    """An instruction as a row of TRL's data: the prompt, and what the reward reads.

    TRL tokenises a text with the tokenizer's own special tokens, and renders a conversation by itself: so chat prompts
    go as conversations, or they would begin with two BOS.
    """
    prompt: Any = encoder.prompt(example).text
    if encoder.format == "chat":
        prompt = [{"role": "user", "content": PLAIN.render(example.instruction, example.input).strip()}]
    return {"prompt": prompt, "id": example.id, "instruction": example.instruction, "input": example.input}


def _check_tokens(prompt: Any, ids: Sequence[int], encoder: ExampleEncoder) -> None:
    """TRL tokenises by itself: it must come to what evaluation gives the model."""
    tokenizer = encoder.tokenizer.tokenizer
    if isinstance(prompt, str):
        own = tokenizer(text=[prompt])["input_ids"][0]
    else:
        own = tokenizer.apply_chat_template([prompt], add_generation_prompt=True, tokenize=True, return_dict=True)
        own = own["input_ids"][0]
    if list(own) != list(ids):
        problem = f"TRL makes {len(own)} tokens of the first prompt, evaluation {len(ids)}"
        raise ConfigError(problem, place="model", cure="let the tokenizer add no special token but BOS")


def rl_arguments(config: RlConfig, **more: Any) -> Any:
    """The configuration as TRL's arguments: what all trainings share, and what RLOO and GRPO have in common.

    Args:
        config: of `tuna-train rl`.
        more: further arguments, which win.

    Raises:
        ConfigError: see `build.share`.
    """
    from transformers import TrainingArguments
    from trl import GRPOConfig, RLOOConfig

    instructions = config.micro_batch or 1
    shared = training_arguments(config, micro_batch=instructions)
    values = {field.name: getattr(shared, field.name) for field in fields(TrainingArguments) if field.init}
    responses = instructions * config.samples
    values |= {
        "per_device_train_batch_size": responses,
        "per_device_eval_batch_size": responses,
        "num_generations": config.samples,
        "max_completion_length": config.max_new_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "beta": config.kl_coefficient,
        "epsilon": config.clip,
        "num_iterations": config.iterations,
        **more,
    }
    return (RLOOConfig if config.algorithm == "rloo" else GRPOConfig)(**values)


def _train(
    config: RlConfig,
    source: LocalModel,
    ranker: PrmRanker,
    tasks: _Tasks,
    gate: TrainingGate | None,
    progress: Progress,
) -> None:
    from tuna_train.training.logs import callbacks_of

    checkpoint = last_checkpoint(config.output / CHECKPOINTS)
    arguments = rl_arguments(config, eval_on_start=bool(config.eval_data) and checkpoint is None)
    callbacks = [*callbacks_of(config, progress, source), *([gate] if gate else [])]
    trainer = _trainer(config, source, ranker, tasks, arguments, callbacks=callbacks)
    run_trainer(trainer, checkpoint, progress)
    _drop_reference(trainer)
    save_checkpoint(trainer, config.output, source, config.model, tasks.inputs.encoder.end_id)
    gated = gate_finished(gate, trainer)
    if is_main_process():
        write_record(config.output, {**_rl_record(config, source, ranker, tasks, trainer), **gated})
        progress.note(f"model: {config.output}")


def _drop_reference(trainer: Any) -> None:
    """TRL keeps the adapter that KL is measured from beside the one that learns; it is not to be saved."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")


def _trainer(
    config: RlConfig, source: LocalModel, ranker: PrmRanker, tasks: _Tasks, arguments: Any, **more: Any
) -> Any:
    from datasets import Dataset
    from trl import GRPOTrainer, RLOOTrainer

    encoder = tasks.inputs.encoder
    ends = encoder.tokenizer.stop_ids | {encoder.end_id}
    model = load_start(config, source)
    model.generation_config.eos_token_id = sorted(ends)
    return (RLOOTrainer if config.algorithm == "rloo" else GRPOTrainer)(
        model=model,
        reward_funcs=Reward(ranker, ends, config.unfinished_reward),
        args=arguments,
        train_dataset=Dataset.from_list(tasks.train),
        eval_dataset=Dataset.from_list(tasks.held_out) if tasks.held_out else None,
        processing_class=encoder.tokenizer.tokenizer,
        **more,
    )


def _rl_record(
    config: RlConfig, source: LocalModel, ranker: PrmRanker, tasks: _Tasks, trainer: Any
) -> Mapping[str, Any]:
    record: dict[str, Any] = {**training_record(config, COMMAND, source, tasks.inputs, trainer)}
    # A step that goes over the same responses again has no new ones to tell of.
    lines = [finite(line) for line in trainer.state.log_history if "reward" in line]
    told = {name: [lines[0][name], lines[-1][name]] for name in _TOLD} if lines else {}
    held_out = {
        when: {name: value for name, value in measured.items() if name in _TOLD}
        for when, measured in record["held_out"].items()
    }
    settings = {**record["settings"], "reward": ranker.name}
    reward = dict(ranker.fingerprint())
    losses = {**record["losses"], **told}
    return {**record, "settings": settings, "reward": reward, "losses": losses, "held_out": held_out}
