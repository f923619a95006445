"""From a configuration to the objects of a training: transformers' arguments, the model, where its curves go."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.llm.hf_loading import attention_options, load_model
from tuna_eval.llm.models import TRAINING_CHECKPOINTS, LocalModel, resolve_model
from tuna_eval.llm.quiet import quiet_transformers
from tuna_train.config import Lora, Training, Tuning

if TYPE_CHECKING:
    from transformers import TrainingArguments

GATE_SECONDS = 24 * 3600  # that the other processes of a training wait for a checkpoint's evaluation
CHECKPOINTS = TRAINING_CHECKPOINTS  # folder inside the output: what a killed run goes on from


def processes() -> int:
    """How many processes train together; torchrun says it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Number of this process on its machine; torchrun says it."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main_process() -> bool:
    """Whether this process writes the files and speaks to the user."""
    return int(os.environ.get("RANK", "0")) == 0


def precision(config: Training) -> str:
    """What the computation runs in: "float32", "bfloat16" or "float16"; the weights that learn stay float32."""
    import torch

    if config.precision != "auto":
        return config.precision
    return "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"


def share(config: Training) -> int:
    """Instructions of an optimizer step that each process sees.

    Raises:
        ConfigError: the batch cannot be shared out evenly.
    """
    count, rest = divmod(config.batch_size, processes())
    if rest:
        problem = f"{config.batch_size} instructions cannot be shared by {processes()} processes"
        raise ConfigError(problem, place="batch_size", cure=f"use a multiple of {processes()}")
    if config.micro_batch and count % config.micro_batch:
        fitting = ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
        problem = f"{count} instructions a step and process are no multiple of {config.micro_batch}"
        raise ConfigError(problem, place="micro_batch", cure=f"use one of {fitting}, or another batch_size")
    return count


def fitting_micro_batch(config: Training, tokens: float) -> int:
    """Instructions of a forward pass: what the configuration says, or as many as fill a row and divide the step.

    Args:
        config: whose `micro_batch` wins.
        tokens: mean of an instruction in a forward pass, see `inputs.forward_tokens`.

    Raises:
        ConfigError: see `share`.
    """
    count = share(config)
    if config.micro_batch:
        return config.micro_batch
    return max(n for n in range(1, count + 1) if count % n == 0 and (n == 1 or n * tokens <= config.row_tokens))


def training_arguments(config: Training, *, micro_batch: int | None = None, **more: Any) -> TrainingArguments:
    """The configuration as transformers' arguments.

    Checkpoints to resume from go to the folder CHECKPOINTS of the output. Nothing is printed, reported or sent by
    transformers itself: see `logs.callbacks_of`.

    Args:
        config: of any training command.
        micro_batch: instructions of a forward pass and process; by default the configuration's, or the whole share.
        more: further arguments, which win.

    Raises:
        ConfigError: see `share`.
    """
    import torch
    from transformers import TrainingArguments

    count = share(config)
    size = micro_batch or config.micro_batch or count
    optimizer, chosen = config.optimizer, precision(config)
    schedules = {"constant": "constant_with_warmup"}
    values: dict[str, Any] = {
        "output_dir": str(config.output / CHECKPOINTS),
        "per_device_train_batch_size": size,
        "per_device_eval_batch_size": size,
        "gradient_accumulation_steps": count // size,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": schedules.get(optimizer.schedule, optimizer.schedule),
        "warmup_steps": optimizer.warmup_steps,
        "weight_decay": optimizer.weight_decay,
        "adam_beta1": optimizer.betas[0],
        "adam_beta2": optimizer.betas[1],
        "max_grad_norm": optimizer.max_grad_norm,
        "num_train_epochs": config.epochs,
        # Processes wait for one another as long as the first one evaluates.
        **({"ddp_timeout": GATE_SECONDS} if isinstance(config, Tuning) and config.gate else {}),
        "max_steps": config.max_steps or -1,
        "bf16": chosen == "bfloat16",
        "fp16": chosen == "float16",
        "use_cpu": not torch.cuda.is_available(),
        "seed": config.seed,
        "data_seed": config.seed,
        "save_strategy": "steps" if config.save_steps else "no",
        "save_steps": config.save_steps or 500,
        "save_total_limit": config.keep_checkpoints,
        "logging_steps": config.logging_steps,
        "logging_nan_inf_filter": False,  # a loss that is no number must be seen
        "report_to": "none",
        "log_level": "error",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "ddp_find_unused_parameters": False,
        **_sharding(config),
        **_checkpointing(config),
        **more,
    }
    arguments = TrainingArguments(**values)
    if arguments.n_gpu > 1:  # one process would copy the model to every GPU at each step; torchrun is the way
        arguments._n_gpu = 1
    return arguments


def _sharding(config: Training) -> dict[str, Any]:
    if config.deepspeed:
        return {"deepspeed": str(config.deepspeed)}
    if not config.fsdp:
        return {}
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "reshard_after_forward": True,
            "state_dict_type": "SHARDED_STATE_DICT",
            "activation_checkpointing": config.gradient_checkpointing,
        },
    }


def _checkpointing(config: Training) -> dict[str, Any]:
    """FSDP has a checkpointing of its own. The newer versions of transformers call it activation checkpointing."""
    if not config.gradient_checkpointing or config.fsdp:
        return {}
    from transformers import TrainingArguments

    known = {field.name for field in fields(TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def load_causal_lm(config: Training, source: LocalModel | None = None) -> Any:
    """The model that training starts from, on the CPU, in training mode, with adapters if the configuration wants them.

    Args:
        config: names the model; its `packing` gives it the attention of packed rows.
        source: the resolved model, if it is at hand.

    Raises:
        ConfigError: no such model, it cannot be packed, or its adapters do not fit the configuration.
        EngineError: the weights cannot be read.
    """
    from tuna_train.scoring import enable_packing

    model = load_start(config, source or resolve_model(config.model))
    if config.packing:
        enable_packing(model)
    return model


def load_start(config: Training, source: LocalModel) -> Any:
    """`load_causal_lm` without packing.

    A start that has adapters goes on with them if the configuration wants adapters, else they are merged.
    """
    import torch
    from transformers import GenerationConfig

    # Only weights that learn need float32 in mixed precision; FSDP wants one type for all.
    dtype = precision(config) if config.lora and not config.fsdp else "float32"
    if config.lora and config.lora.quantize != "none":
        model = _load_quantized(source, config.lora, dtype)
    else:
        model = load_model(replace(source, adapter=None), dtype=dtype, device=torch.device("cpu"))
    if (source.folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(str(source.folder))
    if source.adapter:
        model = _with_own_adapter(model, source.adapter, config.lora)
    elif config.lora:
        model = with_new_adapter(model, config.lora, config.seed)
    return model.train()


def _load_quantized(source: LocalModel, lora: Lora, dtype: str) -> Any:
    import torch
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=lora.quantize == "4bit",
        load_in_8bit=lora.quantize == "8bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(
            str(source.folder),
            quantization_config=quantization,
            dtype=getattr(torch, dtype),
            device_map={"": local_rank()},
            **attention_options(source),
        )
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def with_new_adapter(model: Any, lora: Lora, seed: int, task: str = "CAUSAL_LM") -> Any:
    """The model with fresh adapters for one of PEFT's tasks.

    Raises:
        ConfigError: none can be placed on the layers named.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules,
        task_type=task,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            return get_peft_model(model, settings)
        except ValueError as fault:
            problem = " ".join(str(fault).split())[:160]
            cure = "name layers of the model, or all-linear"
            raise ConfigError(
                f"no adapter can be placed ({problem})", place="lora.target_modules", cure=cure
            ) from fault


def _with_own_adapter(model: Any, adapter: Path, lora: Lora | None) -> Any:
    from peft import PeftModel
    from safetensors import SafetensorError

    try:
        with quiet_transformers():
            adapted = PeftModel.from_pretrained(model, str(adapter), is_trainable=lora is not None)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as fault:
        reason = f"{type(fault).__name__}: {' '.join(str(fault).split())[:160]}"
        raise EngineError(f"the adapter cannot be loaded ({reason})", place=str(adapter)) from fault
    if lora is None:
        return adapted.merge_and_unload().requires_grad_(True)
    own = adapted.peft_config["default"]
    for name, wanted, found in (("rank", lora.rank, own.r), ("alpha", lora.alpha, own.lora_alpha)):
        if wanted != found:
            problem = f"{wanted:g}, and the adapter that training starts from has {found:g}"
            raise ConfigError(
                problem, place=f"lora.{name}", cure=f"set lora.{name}={found:g}, or lora=null to merge it"
            )
    return adapted
