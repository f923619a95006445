"""A step's loss does not depend on how it is made; what is logged is what the losses say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_families import instructions, tiny_model

from tuna_train.config import Loss, RankConfig, build_config
from tuna_train.losses import objective
from tuna_train.packing import TokenizedInstruction, collate
from tuna_train.scoring import enable_packing, response_logprobs
from tuna_train.training.build import training_arguments
from tuna_train.training.trainer import RankingTrainer

RANKED = [i for seed in range(7) for i in instructions(seed) if i.candidates][:20]
FAMILIAR = ("loss", "rank_loss", "mle", "pair_accuracy", "margins_met")


def trainer_of(
    folder: Path, data: list[TokenizedInstruction], loss: Loss | None = None, **values: Any
) -> RankingTrainer:
    settings = {"batch_size": 8, "learning_rate": 1e-2, "max_steps": 5, "logging_steps": 1, **values}
    config = build_config(RankConfig, {"model": "-", "data": "-", "output": str(folder), **settings}, "test")
    model = tiny_model("llama")
    if config.packing:
        enable_packing(model)
    return RankingTrainer(
        model, training_arguments(config), data, data[:5], loss=loss or Loss(), packed=config.packing, row_tokens=200
    )


def curve(trainer: RankingTrainer) -> list[list[float]]:
    trainer.train()
    return [[line[name] for name in FAMILIAR] for line in trainer.state.log_history if "loss" in line]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    return curve(trainer_of(tmp_path_factory.mktemp("reference"), RANKED, micro_batch=8))


@pytest.mark.parametrize(
    "values",
    [
        {"micro_batch": 1},
        {"micro_batch": 2},
        {"micro_batch": 8, "packing": False},
        {"micro_batch": 4, "packing": False},
        {"micro_batch": 4, "gradient_checkpointing": True},
    ],
    ids=lambda values: ",".join(f"{key}={value}" for key, value in values.items()),
)
def test_one_loss_curve(values: dict[str, Any], reference: list[list[float]], tmp_path: Path) -> None:
    """20 instructions make steps of 8, 8 and 4: the last of a pass is smaller, and the next pass has another order."""
    found = curve(trainer_of(tmp_path, RANKED, **values))
    assert len(found) == 5
    torch.testing.assert_close(torch.tensor(found), torch.tensor(reference), atol=1e-4, rtol=0)


@pytest.mark.parametrize("loss", [Loss(reduction="released", mle_on="all"), Loss(mle_weight=0.3, margin=0.5)])
def test_other_objectives_do_not_depend_on_the_micro_batch_either(loss: Loss, tmp_path: Path) -> None:
    whole = curve(trainer_of(tmp_path / "whole", RANKED, loss, micro_batch=8, max_steps=3))
    parts = curve(trainer_of(tmp_path / "parts", RANKED, loss, micro_batch=1, max_steps=3))
    torch.testing.assert_close(torch.tensor(parts), torch.tensor(whole), atol=1e-4, rtol=0)


@pytest.mark.parametrize("reduction", ["paper", "released"])
def test_held_out_rank_loss_is_the_configured_one_of_all_data(reduction: Any, tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, RANKED, Loss(reduction=reduction, margin=0.5), micro_batch=2)
    batch = collate(RANKED[:5], packed=True)
    with torch.no_grad():
        whole = objective(response_logprobs(trainer.model, batch), batch.wanted, 0.5, 0.0, reduction)
    assert trainer.evaluate()["eval_rank_loss"] == pytest.approx(float(whole.rank), rel=1e-5)


def test_the_first_line_is_the_objective_of_the_first_step(tmp_path: Path, reference: list[list[float]]) -> None:
    trainer = trainer_of(tmp_path, RANKED)
    places = trainer.get_train_dataloader().batch_sampler.order()[:8]
    batch = collate([RANKED[place] for place in places], packed=False)
    model = tiny_model("llama")
    parts = objective(response_logprobs(model, batch), batch.wanted)
    wanted = [parts.total, parts.rank, parts.mle, parts.pair_accuracy, parts.margins_met]
    torch.testing.assert_close(torch.tensor(reference[0]), torch.stack(wanted).detach(), atol=1e-5, rtol=0)
    assert reference[0][0] == pytest.approx(reference[0][1] + reference[0][2], abs=1e-5)


def test_lines_average_the_steps_between_them(tmp_path: Path, reference: list[list[float]]) -> None:
    trainer = trainer_of(tmp_path, RANKED, logging_steps=3, max_steps=3)
    (line,) = curve(trainer)
    assert line[:3] == pytest.approx([sum(c) / 3 for c in list(zip(*reference[:3], strict=True))[:3]], abs=1e-5)


def test_fine_tuning_has_no_candidates_and_logs_no_pairs(tmp_path: Path) -> None:
    data = [TokenizedInstruction(i.name, i.prompt, original=i.responses[0]) for i in RANKED]
    trainer = trainer_of(tmp_path, data, micro_batch=2, max_steps=2)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["loss"] == pytest.approx(first["mle"], abs=1e-5)
    assert not {"rank_loss", "pair_accuracy", "margins_met"} & set(first)
    measured = trainer.evaluate()
    assert set(measured) - {"epoch"} == {"eval_nll"}


def test_held_out_figures_are_those_of_one_batch(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, RANKED, micro_batch=2)
    found = trainer.evaluate(RANKED)
    batch = collate(RANKED, packed=False)
    with torch.no_grad():
        logprobs = response_logprobs(tiny_model("llama").eval(), batch)
    parts = objective(logprobs, batch.wanted)
    of_original = batch.wanted.original[logprobs.response]
    assert found["eval_rank_loss"] == pytest.approx(parts.rank.item(), abs=1e-5)
    assert found["eval_pair_accuracy"] == pytest.approx(parts.pair_accuracy.item())
    assert found["eval_margins_met"] == pytest.approx(parts.margins_met.item())
    assert found["eval_nll"] == pytest.approx(-logprobs.values[of_original].mean().item(), abs=1e-5)
    assert trainer.model.training  # as it was before


def test_bfloat16_stays_near_and_the_weights_stay_float32(tmp_path: Path, reference: list[list[float]]) -> None:
    trainer = trainer_of(tmp_path, RANKED, precision="bfloat16", max_steps=2)
    found = curve(trainer)
    assert found[0][0] != reference[0][0]
    assert found[0][0] == pytest.approx(reference[0][0], rel=1e-2)
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}


def test_a_loss_that_is_no_number_is_seen(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, RANKED, max_steps=1)
    trainer.model.lm_head.weight.data.fill_(math.nan)
    trainer.train()
    assert math.isnan(trainer.state.log_history[0]["loss"])
