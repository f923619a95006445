"""Log-probabilities of given continuations with a transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuna_eval.llm.hf_decoding import PAD, right_padded, takes
from tuna_eval.llm.quiet import quiet_transformers
from tuna_eval.schema import ContinuationScore

if TYPE_CHECKING:
    import torch


def score_batch(
    model: Any, indices: Sequence[int], prompts: Sequence[list[int]], continuations: Sequence[list[int]]
) -> list[ContinuationScore]:
    """log p(continuation | prompt) of a batch.

    Args:
        model: a causal or encoder-decoder language model.
        indices: positions of the requests in the call.
        prompts: token ids, at least one each.
        continuations: token ids, at least one each; they follow the prompt's ids as they are, as in training, whatever
            the tokenizer would have made of the joined text.
    """
    import torch
    from torch.nn.functional import cross_entropy

    with torch.inference_mode(), quiet_transformers():
        if model.config.is_encoder_decoder:
            logits = _decoder_logits(model, prompts, continuations)
            starts = [0] * len(continuations)
        else:
            logits = _causal_logits(model, prompts, continuations)
            starts = [logits.shape[1] - len(ids) for ids in continuations]
        targets = torch.zeros(logits.shape[:2], dtype=torch.long, device=logits.device)
        for row, (start, ids) in enumerate(zip(starts, continuations, strict=True)):
            targets[row, start : start + len(ids)] = torch.tensor(ids)
        # Flat, and moved nowhere: each further copy of the logits costs more than the model's layers on a CPU.
        logprobs = -cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
        hits = logits.argmax(-1) == targets
    scores = []
    for row, (index, start, ids) in enumerate(zip(indices, starts, continuations, strict=True)):
        own = slice(start, start + len(ids))
        values = tuple(logprobs[row, own].tolist())
        scores.append(ContinuationScore(index, sum(values), tuple(ids), values, bool(hits[row, own].all())))
    return scores


def _causal_logits(model: Any, prompts: Sequence[list[int]], continuations: Sequence[list[int]]) -> torch.Tensor:
    """Logits at the continuations' positions, shape (rows, longest continuation, vocabulary), in float32.

    Rows are padded at the start, so that continuations end together and only their logits are computed.
    """
    import torch

    rows = [[*p, *c[:-1]] for p, c in zip(prompts, continuations, strict=True)]
    longest, keep = max(map(len, rows)), max(map(len, continuations))
    ids = torch.tensor([[PAD] * (longest - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=model.device)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if takes(model, "position_ids"):
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    if takes(model, "logits_to_keep"):
        inputs["logits_to_keep"] = keep
    return model(**inputs).logits[:, -keep:].float()  # type: ignore[no-any-return]  # transformers is untyped


def _decoder_logits(model: Any, prompts: Sequence[list[int]], continuations: Sequence[list[int]]) -> torch.Tensor:
    """Logits of the decoder, which sees its start token and then the continuation; shape as for
    `_causal_logits`, but continuations begin together."""
    start = model.generation_config.decoder_start_token_id
    ids, mask = right_padded(prompts, model.device)
    decoder_ids, _ = right_padded([[start, *c[:-1]] for c in continuations], model.device)
    return model(  # type: ignore[no-any-return]  # transformers is untyped
        input_ids=ids, attention_mask=mask, decoder_input_ids=decoder_ids, use_cache=False
    ).logits.float()
