"""lm-eval's model classes: found by name, and built under the argument names that each has for the same things."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tuna_eval.cache import file_sha256
from tuna_eval.errors import ConfigError
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.lm_eval_calls import SECRET_ARGUMENT, first_line, quiet
from tuna_eval.llm.models import LocalModel
from tuna_eval.schema import JSON

MODEL_PARAMETERS = ("pretrained", "model", "model_id", "path", "load", "engine")  # each class has its own word for it

# lm-eval's extra for kinds that begin so; the longest beginning that fits counts.
EXTRAS = {
    "hf": "hf",
    "huggingface": "hf",
    "hf-audiolm": "audiolm-qwen",
    "vllm": "vllm",
    "local-": "api",
    "openai-": "api",
    "anthropic-": "api",
    "gguf": "api",
    "ggml": "api",
    "textsynth": "api",
    "sglang-generate": "api",
    "litellm": "litellm",
    "ipex": "ipex",
    "openvino": "optimum",
    "habana": "habana",
    "onnxruntime": "onnxruntime",
    "onnxruntime-genai": "onnxruntime-genai",
    "watsonx": "ibm-watsonx-ai",
}
LIST_KINDS = "python -c 'import lm_eval.models as m; print(*m.MODEL_MAPPING)'"


def model_kinds() -> tuple[str, ...]:
    """The names of lm-eval's model classes, sorted."""
    from lm_eval.models import MODEL_MAPPING

    return tuple(sorted(MODEL_MAPPING))


def takes_messages(kind: str) -> bool:
    """Whether a kind talks to a server that takes chat messages, and only those, and applies its own template."""
    return "chat" in kind or kind.startswith("litellm")


def model_class(kind: str) -> type[Any]:
    """The class of a kind.

    Raises:
        ConfigError: lm-eval has no such kind, or what it builds on is not installed.
    """
    if kind not in model_kinds():
        near = difflib.get_close_matches(kind, model_kinds(), n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ConfigError(
            f"lm-eval has no model class {kind!r}",
            place=f"--engine lm_eval:{kind}",
            cure=f"{hint}list them: {LIST_KINDS}",
        )
    from lm_eval.api.registry import get_model

    try:
        with quiet():
            found: type[Any] = get_model(kind)
    except (ImportError, NameError) as error:  # NameError: lm-eval passes over some imports and then needs their names
        raise not_installed(kind, error) from error
    return found


def not_installed(kind: str, error: Exception) -> ConfigError:
    """What to tell a user whose environment lacks what a kind builds on."""
    beginnings = [beginning for beginning in EXTRAS if kind.startswith(beginning)]
    package = f"'lm-eval[{EXTRAS[max(beginnings, key=len)]}]'" if beginnings else getattr(error, "name", None)
    return ConfigError(
        f"lm-eval's {kind} needs a package that is not installed ({first_line(error)})",
        place=f"--engine lm_eval:{kind}",
        cure=f"pip install {package}" if package else "see lm-eval's README for what this class needs",
    )


def families(model: object) -> frozenset[str]:
    """Names of the classes that a model class, or an instance of one, descends from."""
    cls = model if isinstance(model, type) else type(model)
    return frozenset(base.__name__ for base in cls.__mro__)


def model_parameter(cls: type[Any]) -> str | None:
    """What a model class calls its model; None if it takes none (a server that holds a single one)."""
    for base in cls.__mro__:
        if "__init__" in vars(base):
            for name in inspect.signature(base).parameters:
                if name in MODEL_PARAMETERS:
                    return name
    return None


def reads_folders(kind: str) -> bool:
    """Whether a kind loads Hugging Face folders, so that its model may be a LoRA folder, a GGUF file or the demo."""
    return bool({"HFLM", "VLLM"} & families(model_class(kind)))


def local_arguments(kind: str, model: LocalModel) -> dict[str, str]:
    """What a kind that reads Hugging Face folders needs to be told of an adapter and of a tokenizer elsewhere."""
    arguments = {}
    if model.tokenizer_folder != model.folder:
        arguments["tokenizer"] = str(model.tokenizer_folder)
    if model.adapter:
        arguments["lora_local_path" if kind == "vllm" else "peft"] = str(model.adapter)
    return arguments


def constructor_arguments(
    cls: type[Any], kind: str, model: str, model_args: Mapping[str, str], encoder: HFEncoder | None
) -> dict[str, Any]:
    """What a class is built from: the user's arguments, typed as lm-eval's own command line reads them, and the model.

    Raises:
        ConfigError: the user's arguments name the model a second time.
    """
    from lm_eval.utils import handle_arg_string

    parameter = model_parameter(cls)
    if parameter in model_args:
        raise ConfigError(f"{parameter!r} is the model itself", place="--engine-arg", cure="name it with --model only")
    arguments = {name: handle_arg_string(value) for name, value in model_args.items()}
    if parameter:
        arguments[parameter] = model
    if "HFLM" in families(cls):
        if encoder:  # some subclasses have a hub tokenizer as default
            arguments.setdefault("tokenizer", str(encoder.folder))
        import torch

        arguments.setdefault(
            "device", "cuda" if torch.cuda.is_available() else "cpu"
        )  # the class takes cuda regardless
    elif kind == "local-completions":
        # A server tokenizes text as its model was trained; lm-eval's tokenizer over HTTP never adds a BOS.
        arguments.setdefault("tokenizer_backend", "huggingface" if encoder else "none")
    if arguments.get("tokenizer_backend") == "remote":
        raise ConfigError(
            "lm-eval's remote tokenizer leaves out the BOS", place="--engine-arg", cure="use tokenizer=FOLDER"
        )
    arguments.setdefault("batch_size", default_batch_size(cls))
    return arguments


def default_batch_size(cls: type[Any]) -> int | str:
    """Prompts a batch where the user leaves it to the engine."""
    if "VLLM" in families(cls):
        return "auto"
    return 8 if "HFLM" in families(cls) else 1


def public_arguments(arguments: Mapping[str, str]) -> dict[str, JSON]:
    """Arguments as they may be written into a record: no secrets, no paths (the hash of what is there instead)."""
    return {name: _public(value) for name, value in sorted(arguments.items()) if not SECRET_ARGUMENT.search(name)}


def _public(value: str) -> JSON:
    if "://" in value:  # an address may hold a password or a key
        address = urlsplit(value)
        return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    path = Path(value).expanduser()
    if not path.is_dir() and (os.sep not in value or not path.exists()):
        return value  # a word may happen to be a file's name, hardly a model folder's
    if path.is_file():
        return file_sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = "".join(f"{file.relative_to(path)} {file_sha256(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
