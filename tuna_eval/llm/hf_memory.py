"""How much a transformers model takes at once, and what happens when that was too much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tuna_eval.errors import EngineError
from tuna_eval.llm.batching import BatchLimits

if TYPE_CHECKING:
    import torch

# On a CPU, copying the keys and values of more rows costs more than their company saves: 37 tokens per CPU second with
# 16 rows, 30 with 32 (135 M weights, float32, 64 Super-NI prompts). The GPU's bound is an estimate.
CPU_ROWS, GPU_ROWS = 16, 256

Item = TypeVar("Item")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU (where torch has no class of its own for it)."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def batch_limits(model: Any, batch_size: int | None, *, logits: bool = False) -> BatchLimits:
    """The batch that fits in the memory that is free now; `batch_size` rows of any length if that is given.

    Counts, per token, the keys and values of all layers, the widest activations of one layer, and with `logits` those
    of the whole vocabulary; half of the free memory is left for copies and for other processes.
    """
    if batch_size is not None:
        return BatchLimits(batch_size, 1 << 62)
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or config.hidden_size // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    keys_and_values = 2 * config.num_hidden_layers * kv_heads * head_size
    activations = 16 * config.hidden_size  # attention's tensors, and a feed-forward layer 4 to 8 times as wide
    per_token = (2 * keys_and_values + activations) * model.dtype.itemsize
    if logits:
        per_token += config.vocab_size * (
            model.dtype.itemsize + 2 * 4
        )  # and in float32 once as they are and once normalised
    tokens = _free_bytes(model.device) // 2 // per_token
    return BatchLimits(CPU_ROWS if model.device.type == "cpu" else GPU_ROWS, max(1, tokens))


def _free_bytes(device: torch.device) -> int:
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)  # counts the page cache, which reading the weights has just filled


def in_halves(run: Callable[[Sequence[Item]], None], items: Sequence[Item], place: str) -> None:
    """Runs a batch; if memory runs out, its halves one after the other, and so on down to single items.

    Raises:
        EngineError: memory does not suffice for a single item.
    """
    try:
        run(items)
        return
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if not is_out_of_memory(error):
            raise
        if len(items) == 1:
            raise EngineError(
                "out of memory with a single prompt", place=place, cure="use --dtype bfloat16 or a smaller --max-length"
            ) from error
    _release_memory()  # outside the handler: the error's traceback holds the batch's tensors
    middle = len(items) // 2
    in_halves(run, items[:middle], place)
    in_halves(run, items[middle:], place)


def _release_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
