"""Random causal models of a few thousand weights, one of each family that can be packed, and batches for them."""

from __future__ import annotations

from typing import Any

import torch

from tuna_train.packing import TokenizedInstruction

VOCABULARY = 64
WINDOW = 7  # shorter than the sequences
_IDS = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_WIDE = {**_IDS, **_SIZE, "initializer_range": 0.2, "max_position_embeddings": 256}
_GROUPED = {**_WIDE, "num_key_value_heads": 2}
_MIXED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_GEMMA = {**_GROUPED, **_MIXED, "head_dim": 8, "query_pre_attn_scalar": 8}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {**_GROUPED, "tie_word_embeddings": False}),
    "llama-tied": ("LlamaConfig", {**_GROUPED, "tie_word_embeddings": True}),
    "mistral": ("MistralConfig", {**_GROUPED, "sliding_window": WINDOW}),
    "qwen2": ("Qwen2Config", {**_GROUPED, **_MIXED, "use_sliding_window": True}),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 8}),
    "gemma": ("GemmaConfig", {**_GROUPED, "head_dim": 8}),
    "gemma2": ("Gemma2Config", {**_GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma3": ("Gemma3TextConfig", _GEMMA),
    "gpt_neox": ("GPTNeoXConfig", {**_WIDE, "rotary_pct": 0.25}),
    "olmo2": ("Olmo2Config", _GROUPED),
    "phi3": ("Phi3Config", {**_GROUPED, "sliding_window": WINDOW}),
    "smollm3": ("SmolLM3Config", {**_GROUPED, "no_rope_layers": [1, 0]}),
    "starcoder2": ("Starcoder2Config", {**_GROUPED, "sliding_window": WINDOW}),
}


def tiny_model(name: str = "llama", *, attention: str | None = None) -> Any:
    """A random model in training mode, without dropout.

    Args:
        name: a key of CONFIGS.
        attention: implementation; by default eager for soft-capped attention, which SDPA has not, else SDPA.
    """
    import transformers

    kind, options = CONFIGS[name]
    config = getattr(transformers, kind)(**options)
    for dropout in ("residual_dropout", "embedding_dropout", "attention_dropout", "resid_pdrop", "embd_pdrop"):
        if hasattr(config, dropout):
            setattr(config, dropout, 0.0)
    chosen = attention or ("eager" if name == "gemma2" else "sdpa")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=chosen)
    return model.train()


def instructions(seed: int = 0) -> list[TokenizedInstruction]:
    """Four instructions: several numbers of candidates, one-token candidates, ties, a duplicate, an extra original."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(length: int) -> list[int]:
        return torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()

    twice = [*tokens(6), 2]
    return [
        TokenizedInstruction("a", tokens(9), [[*tokens(n), 2] for n in (4, 11, 2)], [0, 1, 2], 1),
        TokenizedInstruction("b", tokens(3), [[2], [*tokens(19), 2], twice, twice], [3, 0, 1, 1], 0),
        TokenizedInstruction("c", tokens(12), [[*tokens(5), 2], [*tokens(3), 2]], [1, 0], [*tokens(8), 2]),
        TokenizedInstruction("d", tokens(1), original=[*tokens(4), 2]),
    ]
