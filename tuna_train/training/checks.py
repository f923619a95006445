"""What can be known to be wrong before a model is loaded."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

from tuna_eval.disk import as_store_error
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.models import LocalModel
from tuna_train.config import Training
from tuna_train.training.build import precision, processes, share

# Package behind a setting, and how to get it.
_PACKAGES = {
    "tensorboard": ("tensorboard", "pip install 'tuna-llm[train]'"),
    "wandb": ("wandb", "pip install wandb"),
    "deepspeed": ("deepspeed", "pip install deepspeed, or set fsdp=true"),
    "quantize": ("bitsandbytes", "pip install bitsandbytes"),
}


def check_settings(config: Training) -> None:
    """Checks what needs neither model nor data to be read.

    Raises:
        ConfigError: settings that contradict one another, this machine, the installed packages or the launch.
        DataError: a data file is not there.
        StoreError: the output cannot be written.
    """
    for file in (*config.data, *config.eval_data):
        _check_file(file)
    share(config)
    _check_precision(config)
    _check_sharding(config)
    for name in config.report_to:
        _require(name, place="report_to")
    _check_output(config.output)  # last: it makes the folder


def check_model(config: Training, source: LocalModel) -> None:
    """Checks what the model's config file tells about it.

    Raises:
        ConfigError: it is no causal language model, or cannot be packed.
    """
    import torch

    from tuna_train.scoring import PACKABLE

    require_causal(source, place="model")
    family = str(source.config.get("model_type", ""))
    if config.packing and family not in PACKABLE:
        problem = f"{family!r} models cannot be packed"
        raise ConfigError(problem, place="packing", cure=f"set packing=false, or take one of {', '.join(PACKABLE)}")
    if config.packing and source.config.get("attention_dropout") and torch.cuda.is_available():
        problem = "the packed attention of GPUs has no dropout"
        raise ConfigError(problem, place="packing", cure="set packing=false, or attention_dropout to 0 in config.json")
    if "quantization_config" in source.config:
        raise ConfigError(
            "the weights are quantized, which cannot learn",
            place="model",
            cure="start from the unquantized model, and set lora.quantize=4bit to save memory",
        )


def require_causal(source: LocalModel, place: str) -> None:
    """Refuses a model of the T5 kind.

    Raises:
        ConfigError: names the place, which says how the user named the model.
    """
    if source.is_encoder_decoder:
        problem = f"{source.config.get('model_type')!r} is an encoder-decoder"
        raise ConfigError(problem, place=place, cure="name a causal language model")


def _check_file(file: Path) -> None:
    if file.is_dir():
        raise DataError("is a folder", place=str(file), cure="name the file of examples in it")
    try:
        with file.open("rb"):
            pass
    except OSError as fault:
        raise DataError(f"cannot be read ({fault.strerror})", place=str(file), cure="check the path") from fault


def _check_output(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError("is a file", place=f"output: {folder}", cure="name a folder")
    with as_store_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")


def _check_precision(config: Training) -> None:
    import torch

    chosen = precision(config)
    if chosen == "float16" and not torch.cuda.is_available():
        raise ConfigError("float16 needs a GPU", place="precision", cure="use float32 or bfloat16")
    if chosen == "bfloat16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise ConfigError("this GPU has no bfloat16", place="precision", cure="use float16 or float32")
    if config.lora and config.lora.quantize != "none":
        if not torch.cuda.is_available():
            raise ConfigError(
                f"{config.lora.quantize} weights need a GPU", place="lora.quantize", cure="set lora.quantize=none"
            )
        _require("quantize", place="lora.quantize")


def _check_sharding(config: Training) -> None:
    if config.deepspeed:
        if config.fsdp:
            raise ConfigError("both fsdp and deepspeed are set", place="fsdp", cure="choose one of them")
        _check_file(config.deepspeed)
        if config.packing and _zero_stage(config.deepspeed) == 3:
            cure = "set packing=false, use stage 2, or set fsdp=true instead"
            raise ConfigError("ZeRO stage 3 scatters the LM head's weight", place=str(config.deepspeed), cure=cure)
        _require("deepspeed", place="deepspeed")
    if config.fsdp and processes() == 1:
        launch = "torchrun --nproc_per_node N -m tuna_train.cli rank --config ..."
        raise ConfigError("one process has nothing to shard with", place="fsdp", cure=f"start {launch}")
    if config.fsdp and config.lora and config.lora.quantize != "none":
        raise ConfigError("quantized weights cannot be sharded", place="lora.quantize", cure="set fsdp=false")


def _zero_stage(file: Path) -> object:
    """Of a DeepSpeed configuration; None if it names none."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise ConfigError(f"not JSON ({fault})", place=f"deepspeed: {file}", cure="mend the file") from fault
    zero = values.get("zero_optimization") if isinstance(values, dict) else None
    return zero.get("stage") if isinstance(zero, dict) else None


def _require(name: str, place: str) -> None:
    package, cure = _PACKAGES[name]
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"the package {package} is not installed", place=place, cure=cure)
