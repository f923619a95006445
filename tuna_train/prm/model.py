"""The proxy ranking model: a language model whose head says one number, the score of a response to a prompt."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from tuna_eval.errors import ConfigError
from tuna_train.packing import Batch, Row
from tuna_train.scoring import PACKABLE, causal_lm, enable_packing, ending_in, packed_states, prepared_for

HEAD = "score"  # what transformers calls the head of its sequence classifiers


def with_scalar_head(language_model: Any, pad_id: int, *, seed: int = 0) -> Any:
    """A reward model on the body of a language model, whose LM head is let go.

    Args:
        language_model: a causal one of transformers; its body and config go over to the new model.
        pad_id: see `padding_id`.
        seed: of the head's weights, normal with variance 1 / (width + 1): on the normalised states of the last layer
            scores of a new head have a spread near 1 (Stiennon et al. 2020).

    Returns:
        What `AutoModelForSequenceClassification` would load, with one label.

    Raises:
        ConfigError: transformers has no such model of this family.
    """
    from transformers import AutoModelForSequenceClassification

    config = language_model.config
    config.num_labels, config.pad_token_id = 1, pad_id
    family, cure = config.model_type, "take a base of the family llama, gpt_neox, stablelm, qwen2, gemma or mistral"
    try:
        with torch.device("meta"):  # the body comes from the language model: no second one is built
            model = AutoModelForSequenceClassification.from_config(copy.deepcopy(config))
    except ValueError as error:
        raise ConfigError(f"{family!r} models have no scalar head", place="model", cure=cure) from error
    body = language_model.base_model
    if not hasattr(model, HEAD) or type(model.base_model) is not type(body):
        raise ConfigError(f"{family!r} models have a head of another kind", place="model", cure=cure)
    setattr(model, model.base_model_prefix, body)
    model.config = config  # the one that the layers read
    width = getattr(model, HEAD).in_features
    weight = torch.randn(1, width, generator=torch.Generator().manual_seed(seed)) / (width + 1) ** 0.5
    head = nn.Linear(width, 1, bias=False, device=language_model.device, dtype=language_model.dtype)
    head.weight.data.copy_(weight)
    setattr(model, HEAD, head)
    return model.train(language_model.training)


def padding_id(tokenizer: Any, vocabulary: int) -> int:
    """A token to pad with that is not the end of sequence.

    Transformers reads the score at the last token that is no padding. Every response ends in EOS, so a padding token
    that is EOS, as Llama's and StableLM's tokenizers make do with, would move the score to the token before.

    Args:
        tokenizer: of the base model.
        vocabulary: number of the model's embeddings; some tokenizers have more tokens.

    Raises:
        ConfigError: the tokenizer has no end of sequence.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        raise ConfigError("the tokenizer has no end of sequence", place="model", cure="set its eos_token")
    named = [tokenizer.pad_token_id, tokenizer.unk_token_id, *tokenizer.added_tokens_decoder, tokenizer.bos_token_id]
    return next(int(id) for id in [*named, 0, 1] if id not in (None, eos) and id < vocabulary)


def is_packable(model: Any) -> bool:
    """Whether the model takes packed rows."""
    return causal_lm(model).config.model_type in PACKABLE


def prepare_packing(model: Any) -> None:
    """`scoring.enable_packing` for a model with a scalar head."""
    enable_packing(model, lm_head=False)


def response_scores(model: nn.Module, batch: Batch) -> Tensor:
    """The score of every response of a batch, read at its last token. The head computes in its own type.

    Args:
        model: a reward model, wrapped for devices or adapters or not; after `prepare_packing` if the batch is packed.
        batch: on the model's device.

    Returns:
        Float32 or wider. Shape (responses,).

    Raises:
        ConfigError: a packed batch, and a model that was not prepared for it.
    """
    inner = prepared_for(batch, model, by="prepare_packing")

    def forward(*_: object, **__: object) -> Tensor:
        return torch.cat([_row_scores(inner, row) for row in batch.rows])

    with ending_in(forward, inner):
        scores: Tensor = model()
    numbers = torch.cat([torch.unique_consecutive(row.response) for row in batch.rows])
    return torch.empty_like(scores).index_copy(0, numbers, scores)


def _row_scores(inner: Any, row: Row) -> Tensor:
    """Of the responses of a row, in the order they stand there."""
    if row.layout:
        states = packed_states(inner, row)
        last = torch.tensor([p.end - 1 for p in row.layout.pieces if p.prompt is not None])
    else:
        states = inner.base_model(
            input_ids=row.ids, attention_mask=row.attention_mask, use_cache=False
        ).last_hidden_state
        lines, length = row.ids.shape
        assert row.attention_mask is not None  # of a padded row
        last = torch.arange(lines, device=row.ids.device) * length + row.attention_mask.sum(1) - 1
    ends = states.flatten(0, 1)[last.to(states.device)]
    head = getattr(inner, HEAD)
    with torch.autocast(states.device.type, enabled=False):
        scores: Tensor = head(ends.to(next(head.parameters()).dtype))[:, 0]
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
