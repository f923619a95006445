"""A random proxy ranking model as a folder."""

from __future__ import annotations

from pathlib import Path

from tuna_train.prm.ranker import PrmSettings


def save_prm(base: Path, folder: Path, settings: PrmSettings | None = None) -> Path:
    """Saves a reward model on a base, with its tokenizer and settings, and returns the folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tuna_train.prm.model import padding_id, with_scalar_head

    tokenizer = AutoTokenizer.from_pretrained(base)
    body = AutoModelForCausalLM.from_pretrained(base)
    model = with_scalar_head(body, padding_id(tokenizer, body.config.vocab_size))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (settings or PrmSettings("alpaca", 256)).write(folder)
    return folder
