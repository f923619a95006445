"""How vLLM is asked to decode and to score."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

from tuna_eval.llm.engine import SamplingParams


def decoding_params(row: Sequence[int], params: SamplingParams, stop_ids: Collection[int]) -> Any:
    """`vllm.SamplingParams` that return the chosen tokens with their log-probabilities, once, at the end.

    When sampling, the seed is made of `params.seed` and the prompt's ids: it depends neither on the other prompts
    of the call nor on their order, so a resumed run draws what an uninterrupted one would have drawn.

    Args:
        row: token ids of the prompt.
        params: how to decode.
        stop_ids: every id that ends a reply.
    """
    from vllm.sampling_params import RequestOutputKind
    from vllm.sampling_params import SamplingParams as VllmSamplingParams

    is_greedy = params.temperature == 0
    return VllmSamplingParams(
        temperature=params.temperature,
        top_p=1.0 if is_greedy else params.top_p,
        seed=None if is_greedy else _row_seed(row, params.seed),
        max_tokens=params.max_new_tokens,
        stop=list(params.stop),
        stop_token_ids=sorted(stop_ids),
        detokenize=bool(params.stop),  # only stop strings need the text while it grows
        logprobs=0,  # of the chosen token alone, before temperature
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def scoring_params() -> Any:
    """`vllm.SamplingParams` that return the log-probability and the rank of every token of the prompt."""
    from vllm.sampling_params import RequestOutputKind
    from vllm.sampling_params import SamplingParams as VllmSamplingParams

    return VllmSamplingParams(
        temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
    )


def _row_seed(row: Sequence[int], seed: int) -> int:
    digest = hashlib.sha256(f"{seed}:{list(row)}".encode()).digest()
    return int.from_bytes(digest[:7])
