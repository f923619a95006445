"""Log-probabilities of a batch's responses under a causal language model, packed or padded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.functional import log_softmax

from tuna_eval.errors import ConfigError
from tuna_train.attention import IMPLEMENTATION, LAYOUT_ARGUMENT, register
from tuna_train.heads import LogitsBudget, token_logprobs
from tuna_train.losses import TokenLogprobs
from tuna_train.packing import Batch, Row

# Families whose every layer is attention with rotary positions from `position_ids`, and whose logits are the LM head's,
# soft-capped where the config says so. tests/train/test_packed_scoring.py compares each with the padded forward pass.
PACKABLE = (
    "gemma",
    "gemma2",
    "gemma3_text",
    "gpt_neox",
    "llama",
    "mistral",
    "olmo2",
    "phi3",
    "qwen2",
    "qwen3",
    "smollm3",
    "starcoder2",
)
_OFF = "set `packing: off`"


def causal_lm(model: Any) -> Any:
    """The language model inside the wrappers of DDP, torch.compile and PEFT."""
    for wrapped in ("module", "_orig_mod"):
        if isinstance(inner := getattr(model, wrapped, None), nn.Module):
            return causal_lm(inner)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def enable_packing(model: nn.Module, *, lm_head: bool = True) -> None:
    """Gives a model the attention that packed rows need; ordinary calls of it work as before.

    Args:
        model: a causal language model of transformers, PEFT adapters or not; before it is wrapped for several devices.
        lm_head: whether its LM head is to be used; a model with a scalar head has none.

    Raises:
        ConfigError: the model cannot be packed.
    """
    inner = causal_lm(model)
    family = inner.config.model_type
    if family not in PACKABLE:
        problem = f"{family!r} models cannot be packed: their layers or logits are not known to allow it"
        raise ConfigError(problem, place="packing: on", cure=f"{_OFF}, or take one of {', '.join(PACKABLE)}")
    if getattr(inner.config, "use_bidirectional_attention", False):
        raise ConfigError("the model attends in both directions", place="packing: on", cure=_OFF)
    adapters = getattr(model, "peft_config", {}).values()
    if any(adapter.is_prompt_learning for adapter in adapters):
        raise ConfigError("a prompt-learning adapter puts tokens of its own before the prompt", cure=_OFF)
    if lm_head and type(inner.get_output_embeddings()) is not nn.Linear:
        head = type(inner.get_output_embeddings()).__name__
        raise ConfigError(f"the LM head is a {head}, not a plain linear layer", place="packing: on", cure=_OFF)
    register()
    inner.set_attn_implementation(IMPLEMENTATION)


def response_logprobs(model: nn.Module, batch: Batch, budget: LogitsBudget | None = None) -> TokenLogprobs:
    """Log-probability of every response token given its prompt and the tokens before it.

    Mixed precision is that of the autocast context it is called in.

    Args:
        model: a causal language model, wrapped or not; after `enable_packing` if the batch is packed.
        batch: on the model's device.
        budget: how many logits of all packed rows exist at a time.

    Raises:
        ConfigError: a packed batch, and a model that was not prepared for it.
    """
    inner = prepared_for(batch, model, by="enable_packing")
    whole = budget or LogitsBudget()
    budget = replace(whole, kept=whole.kept // len(batch.rows))  # all rows are there until the backward pass
    logits_of = inner.forward

    def forward(*_: object, **__: object) -> Tensor:
        parts = [_packed(inner, row, budget) if row.layout else _padded(logits_of, row) for row in batch.rows]
        return torch.cat(parts)

    with ending_in(forward, inner):
        return TokenLogprobs(model(), batch.response)


def prepared_for(batch: Batch, model: nn.Module, *, by: str) -> Any:
    """The language model inside the wrappers, if it can read the batch.

    Args:
        batch: packed or padded.
        model: wrapped or not.
        by: the function that prepares such a model for packed rows.

    Raises:
        ConfigError: a packed batch, and a model that was not prepared for it.
    """
    inner = causal_lm(model)
    if any(row.layout for row in batch.rows) and inner.config._attn_implementation != IMPLEMENTATION:
        raise ConfigError("the batch is packed and the model is not prepared for it", cure=f"call {by} first")
    return inner


@contextmanager
def ending_in(forward: Callable[..., Tensor], inner: nn.Module) -> Iterator[None]:
    """While this lasts, calls end in `forward`: so the hooks of wrappers gather weights and reduce gradients."""
    own = vars(inner).get("forward")
    inner.forward = forward
    try:
        yield
    finally:
        if own is None:
            del inner.forward
        else:
            inner.forward = own


def _padded(logits_of: Callable[..., Any], row: Row) -> Tensor:
    logits = logits_of(input_ids=row.ids, attention_mask=row.attention_mask, use_cache=False).logits
    logprobs = log_softmax(logits, -1, dtype=torch.promote_types(logits.dtype, torch.float32))
    return logprobs.flatten(0, 1)[row.predicting, row.targets]


def packed_states(model: Any, row: Row) -> Tensor:
    """Last hidden states of a packed row under a model that `enable_packing` prepared. Shape (1, tokens, width)."""
    states: Tensor = model.base_model(
        input_ids=row.ids,
        position_ids=row.positions,
        # A mask of four dimensions goes to the attention as it is, which spares building one nobody reads.
        attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=row.ids.device),
        use_cache=False,
        **{LAYOUT_ARGUMENT: row.layout},
    ).last_hidden_state
    return states


def _packed(model: Any, row: Row, budget: LogitsBudget | None) -> Tensor:
    hidden = packed_states(model, row)
    head = model.get_output_embeddings()
    if isinstance(head, FSDPModule):  # sharded apart from the model, and not called as a module here
        head.unshard()
    if head.weight.ndim != 2:
        cure = f"{_OFF}, or shard with FSDP2 or ZeRO stage 2"
        raise ConfigError("the LM head's weight is scattered over processes (ZeRO stage 3)", cure=cure)
    return token_logprobs(
        hidden[0, row.predicting],
        head.weight,
        row.targets,
        bias=head.bias,
        softcap=getattr(model.config, "final_logit_softcapping", None),
        budget=budget,
    )
