"""Reading a local model's weights with transformers and PEFT: complete, quiet, or a clear error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.llm.hf_memory import is_out_of_memory
from tuna_eval.llm.models import require_language_model
from tuna_eval.llm.quiet import quiet_transformers

if TYPE_CHECKING:
    import torch

    from tuna_eval.llm.models import LocalModel

DTYPES = ("auto", "float32", "bfloat16", "float16")


def choose_device(device: str) -> torch.device:
    """The device named, or for "auto" the first GPU if there is one, else the CPU.

    Raises:
        ConfigError: torch does not know the device, or this machine has none.
    """
    import torch

    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {device!r}", place="--device", cure="use auto, cpu or cuda") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"torch sees no GPU for {device!r}", place="--device", cure="use --device cpu")
    return chosen


def choose_dtype(dtype: str, device: torch.device, model: LocalModel) -> str:
    """Name of the dtype to load: "auto" is float32 on a CPU and the checkpoint's own elsewhere."""
    if dtype != "auto":
        return dtype
    if device.type == "cpu":
        return "float32"
    own = model.config.get("dtype") or model.config.get("torch_dtype")
    return str(own) if own in DTYPES else "float32"


def attention_options(model: LocalModel) -> dict[str, str]:
    """What `from_pretrained` needs to be told: SDPA, its default, leaves out the soft cap of Gemma 2's attention."""
    return {"attn_implementation": "eager"} if model.config.get("attn_logit_softcapping") else {}


def load_model(model: LocalModel, *, dtype: str, device: torch.device) -> Any:
    """The model in evaluation mode, its adapter in place, free of the checkpoint's own decoding settings.

    Raises:
        ConfigError: it is no language model by its own account.
        EngineError: the weights cannot be read, do not fit in memory, or are not those of a language model.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    require_language_model(model)
    auto = AutoModelForSeq2SeqLM if model.is_encoder_decoder else AutoModelForCausalLM
    several = device.type == "cuda" and torch.cuda.device_count() > 1
    placement = "auto" if several and device.index in (None, 0) else {"": device}
    try:
        with quiet_transformers():
            loaded, report = auto.from_pretrained(
                str(model.folder),
                dtype=getattr(torch, dtype),
                device_map=placement,
                output_loading_info=True,
                **attention_options(model),
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise _cannot_load(model, error) from error
    if report["missing_keys"]:
        names = sorted(report["missing_keys"])
        raise EngineError(
            f"the weights lack {len(names)} tensors of a language model, {names[0]} among them",
            place=str(model.folder),
            cure="check that the save or download finished, and that the checkpoint has a language-model head",
        )
    if model.adapter is not None:
        loaded = _with_adapter(loaded, model)
    loaded.generation_config = _plain_generation_config(loaded)
    return loaded.eval()


def _with_adapter(loaded: Any, model: LocalModel) -> Any:
    """The same model with its LoRA layers in place; it keeps its class and its `generate`."""
    try:
        import peft
    except ModuleNotFoundError as error:
        raise EngineError(
            "a LoRA adapter needs the package peft", place=str(model.adapter), cure="pip install 'tuna-llm[train]'"
        ) from error
    from safetensors import SafetensorError

    try:
        with quiet_transformers():
            adapted = peft.PeftModel.from_pretrained(loaded, str(model.adapter))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise _cannot_load(model, error) from error
    if adapted.active_peft_config.is_prompt_learning:
        raise EngineError(
            f"adapters of the kind {adapted.active_peft_config.peft_type.value} are not supported",
            place=str(model.adapter),
            cure="use a LoRA adapter",
        )
    return adapted.get_base_model()


def _plain_generation_config(loaded: Any) -> Any:
    """Settings for `generate` that hold no penalty, beam or sampling default of the checkpoint.

    Otherwise transformers fills them in silently and the numbers are no longer those of plain greedy decoding.
    """
    from transformers import GenerationConfig

    return GenerationConfig(decoder_start_token_id=loaded.generation_config.decoder_start_token_id)


def _cannot_load(model: LocalModel, error: Exception) -> EngineError:
    place = str(model.adapter or model.folder)
    if is_out_of_memory(error):
        return EngineError(
            "the model does not fit in memory", place=place, cure="use --dtype bfloat16 or a larger machine"
        )
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return EngineError(
        f"transformers cannot load the model ({reason})",
        place=place,
        cure="check that the save or download finished and that the installed transformers knows the architecture",
    )
