"""GGUF files become ordinary Hugging Face folders, once.

transformers reads GGUF but marks the result as quantized, and then neither saves nor trains it; vLLM and PEFT want a
folder. So the weights are de-quantized into a plain float32 model and kept in the cache.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.llm.quiet import quiet_transformers

CONVERSION = 1  # raised whenever the converted folder would come out differently, so that old ones are not used


def convert_gguf(file: Path, target: Path) -> Path:
    """Writes the model of a GGUF file as a Hugging Face folder in float32 and returns the folder.

    Does nothing if the folder is already there; a conversion that is interrupted leaves nothing under its name.

    Raises:
        ConfigError: the package gguf is missing.
        EngineError: the file is not a GGUF model that transformers can read.
    """
    if (target / "config.json").is_file():
        return target
    try:
        import gguf  # noqa: F401  # transformers fails late and unclearly without it
    except ModuleNotFoundError as error:
        raise ConfigError(
            "GGUF files need the package gguf", place=str(file), cure="pip install 'tuna-llm[demo]'"
        ) from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{target.name}."))
    except OSError as error:
        raise ConfigError(
            f"the cache cannot be written ({error.strerror})",
            place=str(target.parent),
            cure="set TUNA_CACHE to another folder",
        ) from error
    try:
        _write_plain_model(file, building)
        try:
            building.rename(target)
        except OSError:  # somebody else finished the same conversion first
            if not (target / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def _write_plain_model(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        with quiet_transformers():
            quantized = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(**source)
    except (OSError, ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise EngineError(
            f"not a GGUF model that transformers can read ({type(error).__name__}: {str(error)[:200]})",
            place=str(file),
            cure="check the download, or use the model's Hugging Face folder",
        ) from error
    config = quantized.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config._name_or_path = ""  # an absolute path of this machine otherwise
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    model.save_pretrained(folder)
    if _adds_bos(file):
        _prepend_bos(tokenizer)
    tokenizer.save_pretrained(folder)
    os.chmod(folder, 0o755)


def _adds_bos(file: Path) -> bool:
    """Whether the model was trained with a BOS: the file says so, or else its tokenizer kind implies it."""
    from gguf import GGUFReader

    fields = GGUFReader(str(file)).fields
    declared = fields.get("tokenizer.ggml.add_bos_token")
    if declared is not None:
        return bool(declared.contents())
    kind = fields.get("tokenizer.ggml.model")
    return kind is not None and kind.contents() == "llama"  # llama.cpp's default for SentencePiece models


def _prepend_bos(tokenizer: Any) -> None:
    """Makes the tokenizer put BOS before a text, which transformers' GGUF reader forgets."""
    from tokenizers.processors import TemplateProcessing

    if tokenizer.bos_token is None or tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]:
        return
    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
