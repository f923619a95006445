"""Random models of a few thousand weights, saved as Hugging Face folders with a tokenizer trained on the spot."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

VOCABULARY = 320
BOS, EOS, PAD, END_OF_TURN = "<s>", "</s>", "<pad>", "<|im_end|>"
CORPUS = [
    "Definition: given a sentence, write the word that comes after the longest word of it.",
    "Positive Example 1 - Input: the cat sat on the mat. Output: sat.",
    "Now complete the following example - Input: what is the capital of France? Output: Paris.",
    "user assistant instruction response zero one two three four five six seven eight nine ten",
]
# Writes BOS itself, as the templates of Llama and Gemma do.
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@cache
def _trained() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS, END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return str(tokenizer.to_str())


def save_tokenizer(folder: Path, *, single: str = "$A", has_template: bool = False) -> Any:
    """Saves a byte-level BPE tokenizer of 320 tokens.

    Args:
        folder: where to.
        single: what a text becomes: "<s> $A" adds BOS, "$A </s>" is T5's.
        has_template: whether it has a chat template, which writes BOS.
    """
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(_trained())
    tokens = [(token, backend.token_to_id(token)) for token in (BOS, EOS)]
    backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=tokens)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS, eos_token=EOS, pad_token=PAD)
    tokenizer.add_special_tokens({"additional_special_tokens": [END_OF_TURN]})
    if has_template:
        tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def _config(family: str) -> Any:
    import transformers

    ids: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    wide = {**ids, **size, "initializer_range": 0.5}  # the default range makes every token equally likely
    match family:
        case "llama":
            return transformers.LlamaConfig(**wide, num_key_value_heads=2, max_position_embeddings=512)
        case "gpt2":
            return transformers.GPT2Config(
                **ids, n_embd=32, n_layer=2, n_head=4, n_positions=512, initializer_range=0.5
            )
        case "gpt_neox":
            return transformers.GPTNeoXConfig(**wide, max_position_embeddings=512)
        case "qwen2":
            return transformers.Qwen2Config(**wide, num_key_value_heads=2, max_position_embeddings=512)
        case "gemma3":  # layers of both kinds, and a window shorter than the prompts
            return transformers.Gemma3TextConfig(
                **wide, num_key_value_heads=2, head_dim=8, sliding_window=16, max_position_embeddings=512,
                layer_types=["sliding_attention", "full_attention"], query_pre_attn_scalar=8,
            )  # fmt: skip
        case "bloom":
            return transformers.BloomConfig(**ids, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.5)
        case "mamba":
            return transformers.MambaConfig(
                **ids, hidden_size=32, num_hidden_layers=2, state_size=8, initializer_range=0.5
            )
        case "t5":
            return transformers.T5Config(
                **ids, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, initializer_factor=3.0,
                decoder_start_token_id=0, tie_word_embeddings=False,
            )  # fmt: skip
    raise ValueError(family)


def save_model(
    folder: Path, family: str = "llama", *, single: str | None = None, has_template: bool = False, seed: int = 0
) -> Path:
    """Saves a random model of a family with its tokenizer and returns the folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    auto = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = auto.from_config(_config(family))
    if family == "t5":
        model.lm_head.weight.data *= 0.01  # logits in the thousands would leave float32 no decimals
    model.save_pretrained(folder)
    save_tokenizer(folder, single=single or ("$A </s>" if family == "t5" else "$A"), has_template=has_template)
    return folder


def save_adapter(folder: Path, base: Path, *, named: str | None = None, seed: int = 1) -> Path:
    """Saves a LoRA adapter over a model, with random weights large enough to change what it says.

    Args:
        folder: where to.
        base: the model.
        named: how the adapter calls its base; by default the absolute path.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    targets = ["q_proj", "v_proj", "down_proj"]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM"))
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:  # zero at the start of training
                torch.nn.init.normal_(weight, std=0.5)
    adapted.peft_config["default"].base_model_name_or_path = named or str(base)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder
