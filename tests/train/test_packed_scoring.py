"""Packed rows give the losses and gradients of the padded forward pass, in every family."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from logits import Logits
from tiny_families import CONFIGS, VOCABULARY, instructions, tiny_model
from torch import Tensor

from tiny_models import save_tokenizer
from tuna_eval.errors import ConfigError
from tuna_train.config import RankConfig, build_config
from tuna_train.heads import LogitsBudget
from tuna_train.losses import objective, sequence_scores
from tuna_train.packing import Batch, collate
from tuna_train.scoring import PACKABLE, causal_lm, enable_packing, response_logprobs
from tuna_train.training.build import load_causal_lm


def packable(name: str = "llama") -> Any:
    model = tiny_model(name)
    enable_packing(model)
    return model


def step(model: Any, batch: Batch, budget: LogitsBudget | None = None) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients."""
    model.zero_grad()
    loss = objective(response_logprobs(model, batch, budget), batch.wanted).total
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(ours: tuple[float, dict[str, Tensor]], theirs: tuple[float, dict[str, Tensor]]) -> None:
    """The bars: loss within 1e-5, gradients within 1e-4 of their norm."""
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    assert ours[1].keys() == theirs[1].keys()
    for name, grad in theirs[1].items():
        assert (ours[1][name] - grad).norm() <= 1e-4 * grad.norm() + 1e-7, name


def test_every_packable_family_is_compared() -> None:
    assert {tiny_model(name).config.model_type for name in CONFIGS} == set(PACKABLE)


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_equals_padded(name: str) -> None:
    reference = step(tiny_model(name), collate(instructions(), packed=False))
    model = packable(name)
    for row_tokens in (10_000, 60):
        batch = collate(instructions(), packed=True, row_tokens=row_tokens)
        assert (len(batch.rows) > 1) == (row_tokens == 60)
        assert_same(step(model, batch), reference)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2"])
def test_padded_lines_equal_responses_scored_alone(name: str) -> None:
    """The reference itself, against one unpadded forward pass for each response."""
    model, batch = tiny_model(name), collate(instructions(), packed=False)
    scores = sequence_scores(response_logprobs(model, batch), len(batch.wanted.rank))
    expected = []
    for instruction in instructions():
        for response in instruction.responses:
            ids = torch.tensor([[*instruction.prompt, *response]])
            logprobs = model(input_ids=ids).logits[0, len(instruction.prompt) - 1 : -1].log_softmax(-1)
            expected.append(logprobs[range(len(response)), list(response)].mean())
    torch.testing.assert_close(scores, torch.stack(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt_neox"])
def test_instructions_of_a_row_do_not_see_one_another(name: str) -> None:
    model, records = packable(name), instructions()
    changed = [replace(records[0], prompt=[5] * len(records[0].prompt)), *records[1:]]
    before, after = (response_logprobs(model, collate(r, packed=True)) for r in (records, changed))
    own = before.response < len(records[0].responses)
    assert (before.values[own] - after.values[own]).abs().min() > 1e-4
    torch.testing.assert_close(after.values[~own], before.values[~own], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["mistral", "gemma3"])
def test_candidates_of_a_prompt_do_not_see_one_another(name: str) -> None:
    model, (record, *_) = packable(name), instructions()
    other = replace(record, candidates=[[7, 7, 7, 2], *record.candidates[1:]])
    before, after = (response_logprobs(model, collate([r], packed=True)) for r in (record, other))
    torch.testing.assert_close(after.values[after.response > 0], before.values[before.response > 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_gradient_checkpointing_changes_nothing(name: str, reentrant: bool) -> None:
    model, batch = packable(name), collate(instructions(), packed=True)
    expected = step(model, batch)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    assert model.is_gradient_checkpointing
    assert_same(step(model, batch), expected)


def test_a_small_budget_changes_nothing() -> None:
    model, batch = packable("gemma2"), collate(instructions(), packed=True)
    assert_same(step(model, batch, LogitsBudget(chunk=5 * VOCABULARY, kept=20 * VOCABULARY)), step(model, batch))


def test_rows_share_the_budget() -> None:
    model = packable()
    batch = collate(instructions(), packed=True, row_tokens=30)
    room = 40 * VOCABULARY
    with Logits(columns=VOCABULARY) as logits:
        response_logprobs(model, batch, LogitsBudget(chunk=VOCABULARY, kept=room)).values.sum().backward()
    assert len(batch.rows) > 2
    assert room / 2 < logits.held <= room + VOCABULARY


def test_a_soft_cap_of_attention_is_kept_when_a_model_is_loaded(tmp_path: Path) -> None:
    tiny_model("gemma2").save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    batches = [collate(instructions(), packed=packed) for packed in (False, True)]
    losses = []
    for packed, batch in zip((False, True), batches, strict=True):
        values = {"model": str(tmp_path), "data": "a.json", "output": "out", "packing": packed}
        losses.append(step(load_causal_lm(build_config(RankConfig, values, "test")), batch))
    assert_same(losses[1], losses[0])


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox"])
def test_bfloat16_autocast_trains(name: str) -> None:
    model, reference = packable(name), tiny_model(name)
    with torch.autocast("cpu", torch.bfloat16):
        packed = step(model, collate(instructions(), packed=True))
        padded = step(reference, collate(instructions(), packed=False))
    assert packed[0] == pytest.approx(padded[0], rel=0.02)
    assert all(grad.isfinite().all() for grad in packed[1].values())
    exact = step(model, collate(instructions(), packed=True))
    assert packed[0] != exact[0]


def test_ordinary_calls_of_a_prepared_model_work_as_before() -> None:
    ids = torch.tensor([[5, 6, 7, 8], [0, 0, 9, 10]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    for name in ("llama", "gemma2", "mistral"):
        plain, prepared = tiny_model(name), packable(name)
        ours, theirs = (m(input_ids=ids, attention_mask=mask).logits[mask.bool()] for m in (prepared, plain))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_saved_config_does_not_name_our_attention(tmp_path: Any) -> None:
    packable("gemma3").save_pretrained(tmp_path)
    assert "tuna" not in (tmp_path / "config.json").read_text(encoding="utf-8")


def test_a_lora_model_learns_through_its_wrapper() -> None:
    from peft import LoraConfig, get_peft_model

    def adapted() -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            options: dict[str, Any] = {"r": 2, "init_lora_weights": False, "target_modules": ["q_proj", "down_proj"]}
            return get_peft_model(tiny_model(), LoraConfig(**options, task_type="CAUSAL_LM"))

    reference, model = adapted(), adapted()
    enable_packing(model)
    expected = step(reference, collate(instructions(), packed=False))
    assert expected[1]
    assert all("lora" in name for name in expected[1])
    assert_same(step(model, collate(instructions(), packed=True)), expected)


class Wrapper(torch.nn.Module):
    """Counts the calls that go through it, as DDP does to reduce gradients."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.module(*args, **kwargs)


@pytest.mark.parametrize("packed", [True, False])
def test_a_wrapper_is_called_once_and_left_as_it_was(packed: bool) -> None:
    model = packable() if packed else tiny_model()
    wrapper, batch = Wrapper(model), collate(instructions(), packed=packed, row_tokens=60)
    direct = response_logprobs(model, batch).values
    torch.testing.assert_close(response_logprobs(wrapper, batch).values, direct)
    assert wrapper.calls == 1
    assert causal_lm(wrapper) is model
    assert "forward" not in vars(model)
    assert model(input_ids=torch.tensor([[5, 6]])).logits.shape == (1, 2, VOCABULARY)


@pytest.mark.parametrize("family", ["mamba", "bloom", "gpt2", "granite"])
def test_a_family_that_cannot_be_packed_is_refused(family: str) -> None:
    import transformers

    sizes: dict[str, Any] = {
        "mamba": {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4},
        "bloom": {"hidden_size": 16, "n_layer": 1, "n_head": 2},
        "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2},
        "granite": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    }[family]
    config = transformers.AutoConfig.for_model(
        family, **sizes, vocab_size=VOCABULARY, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(ConfigError, match=f"'{family}' models cannot be packed.*packing: off"):
        enable_packing(model)
    batch = collate(instructions(), packed=False)
    assert response_logprobs(model, batch).values.isfinite().all()  # the reference path takes any family


def test_other_obstacles_are_refused() -> None:
    from peft import PrefixTuningConfig, get_peft_model

    prefixed = get_peft_model(tiny_model(), PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"))
    with pytest.raises(ConfigError, match=r"prompt-learning.*packing: off"):
        enable_packing(prefixed)
    model = tiny_model()
    model.set_output_embeddings(torch.nn.Sequential(model.get_output_embeddings()))
    with pytest.raises(ConfigError, match=r"Sequential.*packing: off"):
        enable_packing(model)
    scattered = packable()
    scattered.lm_head.weight = torch.nn.Parameter(torch.empty(0))  # as DeepSpeed leaves it
    with pytest.raises(ConfigError, match=r"ZeRO stage 3.*packing: off"):
        response_logprobs(scattered, collate(instructions(), packed=True))
    both_ways = tiny_model("gemma3")
    both_ways.config.use_bidirectional_attention = True
    with pytest.raises(ConfigError, match=r"both directions.*packing: off"):
        enable_packing(both_ways)
    with pytest.raises(ConfigError, match="enable_packing"):
        response_logprobs(tiny_model(), collate(instructions(), packed=True))
