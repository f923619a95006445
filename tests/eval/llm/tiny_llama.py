"""A random Llama of a few thousand weights with one token a character, and what transformers itself makes of it."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

from tuna_eval.llm.engine import SamplingParams
from tuna_eval.llm.lm_eval_engine import LmEvalEngine
from tuna_eval.schema import Prompt

NEW_TOKENS = 12
TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}"


def write_tokenizer(folder: Path, single: str = "<s> $A", end_of_turn: str = "") -> None:
    """One token a printable ASCII character.

    Args:
        single: which special tokens a text gets by itself.
        end_of_turn: a character whose token becomes the end of turn that the chat template writes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    characters = ["<|im_end|>" if character == end_of_turn else character for character in string.printable[:95]]
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", "<pad>", *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("<s>", 0), ("</s>", 1), ("<pad>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<|im_end|>"] if end_of_turn else [],
        chat_template=TEMPLATE + ("<|im_end|>" if end_of_turn else ""),
    )
    fast.save_pretrained(folder)


def write_tiny_llama(folder: Path) -> None:
    """A random Llama whose tokenizer puts BOS before a text by itself."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=98,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        initializer_range=0.6,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        LlamaForCausalLM(config).save_pretrained(folder)


def hf(folder: Path, **model_args: str) -> LmEvalEngine:
    return LmEvalEngine("hf", str(folder), model_args={"dtype": "float32", **model_args}, batch_size=4, device="cpu")


def texts(engine: LmEvalEngine, prompts: Sequence[Prompt], params: SamplingParams) -> list[str]:
    replies = {c.index: c.text for c in engine.generate(prompts, params)}
    assert sorted(replies) == list(range(len(prompts)))
    return [replies[i] for i in range(len(prompts))]


def greedy(folder: Path, ids: list[int], new_tokens: int = NEW_TOKENS) -> str:
    """What transformers' own generate makes of exactly these ids."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    out = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
    )
    return str(tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True))


def character_ids(text: str) -> list[int]:
    return [3 + string.printable.index(character) for character in text]
