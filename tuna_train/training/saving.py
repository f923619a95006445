"""What a training leaves: an ordinary Hugging Face folder with its tokenizer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna_eval.disk import as_store_error
from tuna_eval.errors import EngineError
from tuna_eval.llm.models import TOKENIZER_FILES, LocalModel

if TYPE_CHECKING:
    from torch import Tensor

    from tuna_train.training.trainer import RankingTrainer

_MORE_TOKENIZER_FILES = ("merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")


def save_checkpoint(trainer: RankingTrainer, folder: Path, source: LocalModel, spec: str, end_id: int) -> None:
    """Saves the trained model as an ordinary Hugging Face folder; every process calls it, the main one writes.

    Args:
        trainer: after training.
        folder: where to.
        source: what training started from; its tokenizer is copied as it is.
        spec: how the user named it; an adapter names its base so, a folder by its full path.
        end_id: the token that ends responses, which generation has to stop at.

    Raises:
        EngineError: see `whole_weights`.
        StoreError: the folder cannot be written.
    """
    from tuna_train.scoring import causal_lm

    weights = whole_weights(trainer)
    if not trainer.args.should_save:
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    inner = causal_lm(model)
    inner.set_attn_implementation("sdpa")
    inner.config.use_cache = True  # the Trainer has switched it off
    stop_at(inner, end_id)
    for adapter in getattr(model, "peft_config", {}).values():
        adapter.base_model_name_or_path = _base_name(source, spec)
    with as_store_error(folder):
        model.save_pretrained(str(folder), state_dict=weights, **_peft_options(model))
        copy_tokenizer(source, folder)
        _share(folder)


def stop_at(model: Any, end_id: int) -> None:
    """Makes generation stop at the token that ends responses, also where the model's own end is another."""
    declared = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = _with_end(declared, end_id)


def _share(folder: Path) -> None:
    """Gives the weights the permissions of other new files; safetensors writes them for their owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o666 & ~mask)


def copy_tokenizer(source: LocalModel, folder: Path) -> None:
    """Copies the tokenizer's files as they are, so that evaluation gives the model the ids it was trained on."""
    for name in (*TOKENIZER_FILES, *_MORE_TOKENIZER_FILES):
        if (source.tokenizer_folder / name).is_file():
            shutil.copyfile(source.tokenizer_folder / name, folder / name)


def whole_weights(trainer: Any) -> dict[str, Tensor]:
    """The weights on the CPU, gathered from all processes if they are sharded; in the other processes nothing.

    Raises:
        EngineError: the last step has left a weight that is no finite number, which no loss has seen.
    """
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    model = trainer.model_wrapped
    is_sharded = isinstance(model, FSDPModule)
    whole: dict[str, Tensor] = {}
    if not is_sharded:
        whole = dict(trainer.accelerator.get_state_dict(model) or {})
    for name, weight in model.state_dict().items() if is_sharded else ():
        gathered = weight.full_tensor() if isinstance(weight, DTensor) else weight
        if trainer.args.should_save:
            whole[name] = gathered.cpu()
    for name, weight in whole.items():
        if weight.is_floating_point() and not weight.isfinite().all():
            cure = "lower learning_rate, and choose another output"
            raise EngineError(f"{name} is not finite", place=f"step {trainer.state.global_step}", cure=cure)
    return whole


def _peft_options(model: Any) -> dict[str, Any]:
    """An adapter's folder holds the adapter alone: embeddings are not trained."""
    return {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}


def _base_name(source: LocalModel, spec: str) -> str:
    """How an adapter finds its base again: a folder by its full path, an adapter's base by its folder."""
    if source.adapter is not None:
        return str(source.folder)
    path = Path(spec).expanduser()
    return str(path.resolve()) if path.exists() else spec


def _with_end(declared: int | list[int] | None, end_id: int) -> int | list[int]:
    known = [] if declared is None else declared if isinstance(declared, list) else [declared]
    if end_id in known:
        return declared if declared is not None else end_id
    return [*known, end_id] if known else end_id
