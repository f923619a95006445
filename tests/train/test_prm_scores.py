"""Scores of the scalar head: transformers' own, whatever the layout, the batch, the order and the padding token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_families import CONFIGS, instructions, tiny_model

from tuna_eval.errors import ConfigError
from tuna_train.packing import TokenizedInstruction, collate
from tuna_train.prm.batches import BatchPlan, candidate_scores
from tuna_train.prm.held_out import HeldOut, compare_with_ranks
from tuna_train.prm.model import padding_id, prepare_packing, response_scores, with_scalar_head

EOS = 2
FAMILIES = ["llama", "llama-tied", "mistral", "qwen2", "gemma3", "gpt_neox"]


def reward_model(family: str = "llama") -> Any:
    return with_scalar_head(tiny_model(family).eval(), pad_id=0)


def ranked_only() -> list[TokenizedInstruction]:
    return [replace(i, original=None) for i in instructions() if i.candidates]


@pytest.mark.parametrize("family", FAMILIES)
def test_both_layouts_have_the_scores_of_transformers(family: str) -> None:
    model = reward_model(family)
    padded = collate(instructions(), packed=False)
    row = padded.rows[0]
    with torch.no_grad():
        own = model(input_ids=row.ids, attention_mask=row.attention_mask).logits[:, 0]
        assert own.std() > 0.1
        assert torch.allclose(response_scores(model, padded), own, atol=1e-5)
        prepare_packing(model)
        several_rows = collate(instructions(), packed=True, row_tokens=40)
        assert len(several_rows.rows) > 1
        assert torch.allclose(response_scores(model, several_rows), own, atol=1e-5)


def test_stablelm_has_a_scalar_head_too() -> None:
    import transformers

    options = {**CONFIGS["llama"][1], "use_qkv_bias": True}
    base = transformers.AutoModelForCausalLM.from_config(transformers.StableLmConfig(**options))
    model = with_scalar_head(base.eval(), pad_id=0)
    batch = collate(instructions(), packed=False)
    row = batch.rows[0]
    with torch.no_grad():
        own = model(input_ids=row.ids, attention_mask=row.attention_mask).logits[:, 0]
        assert torch.allclose(response_scores(model, batch), own, atol=1e-5)


@pytest.mark.parametrize("packed", [True, False])
def test_a_batch_does_not_change_a_score(packed: bool) -> None:
    model = reward_model()
    if packed:
        prepare_packing(model)
    many = [*ranked_only(), *ranked_only()[::-1]]
    alone = [candidate_scores(model, [one], BatchPlan(packed))[0] for one in many]
    for plan in (BatchPlan(packed), BatchPlan(packed, row_tokens=50), BatchPlan(packed, instructions=2)):
        together = candidate_scores(model, many, plan)
        for first, second in zip(alone, together, strict=True):
            assert first == pytest.approx(second, abs=1e-5)


def test_the_plan_keeps_its_limits_and_forgets_nobody() -> None:
    many = ranked_only() * 3
    batches = list(BatchPlan(packed=False, row_tokens=60, instructions=2).split(many))
    assert sorted(place for batch in batches for place in batch) == list(range(len(many)))
    for batch in batches:
        widest = max(len(many[p].prompt) + max(map(len, many[p].candidates)) for p in batch)
        assert len(batch) == 1 or widest * sum(len(many[p].candidates) for p in batch) <= 60
    assert max(map(len, BatchPlan(packed=True, instructions=2).split(many))) == 2


def test_equal_candidates_have_one_score_and_places_do_not_matter() -> None:
    model = reward_model()
    prepare_packing(model)
    a, b, c = [5, 9, EOS], [7, 7, 8, 11, EOS], [4, EOS]
    one = candidate_scores(model, [TokenizedInstruction("x", [3, 4], [a, b, c, a])], BatchPlan(True))[0]
    other = candidate_scores(model, [TokenizedInstruction("x", [3, 4], [c, a, b])], BatchPlan(True))[0]
    assert one[0] == one[3]
    assert (one[2], one[0], one[1]) == other


def test_the_head_depends_on_the_seed_alone() -> None:
    first, second = (with_scalar_head(tiny_model(), 0, seed=3).score.weight for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, with_scalar_head(tiny_model(), 0, seed=4).score.weight)


class Tokenizer:
    """What `padding_id` reads of a tokenizer."""

    def __init__(self, eos: int | None, pad: int | None = None, unk: int | None = None, bos: int | None = None) -> None:
        self.eos_token_id, self.pad_token_id, self.unk_token_id, self.bos_token_id = eos, pad, unk, bos
        self.added_tokens_decoder: dict[int, str] = {} if eos is None else {eos: "</s>"}


def test_padding_is_never_the_end_of_sequence() -> None:
    assert padding_id(Tokenizer(eos=2, pad=5), 64) == 5
    assert padding_id(Tokenizer(eos=2, pad=2, unk=0, bos=1), 64) == 0  # as Llama's
    assert padding_id(Tokenizer(eos=0, pad=0, unk=0, bos=0), 64) == 1  # as StableLM's and Pythia's
    assert padding_id(Tokenizer(eos=2, bos=1), 64) == 1
    assert padding_id(Tokenizer(eos=2, pad=64, bos=1), 64) == 1  # the model has no embedding 64
    with pytest.raises(ConfigError, match="no end of sequence"):
        padding_id(Tokenizer(eos=None), 64)


def test_agreement_by_hand() -> None:
    """First: pairs 01 right, 02 right, 12 wrong: tau (2 - 1) / 3. Second: a tie of ranks is no pair. Third: equal
    scores are wrong, and their tau is 0. Mean tau: (1/3 + 0) / 2."""
    scores = [(3.0, 1.0, 2.0), (1.0, 2.0), (5.0, 5.0)]
    found = compare_with_ranks(scores, [(0, 1, 2), (0, 0), (0, 1)])
    assert found.pair_accuracy == pytest.approx(2 / 4)
    assert found.kendall_tau == pytest.approx(1 / 6)
    assert (found.pairs, found.instructions) == (4, 2)
    assert compare_with_ranks([(1.0, 2.0)], [(0, 0)]) == HeldOut(None, None, 0, 0)
