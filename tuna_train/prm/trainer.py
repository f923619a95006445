"""The ranking trainer with a scalar head: it forwards, calls the loss of scalar scores and logs its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import TrainingArguments

from tuna_train.config import ROW_TOKENS, Loss
from tuna_train.losses import Objective, Targets, Totals, bradley_terry_loss, pairs_of, ranking_loss
from tuna_train.packing import Batch, TokenizedInstruction
from tuna_train.prm.batches import BatchPlan, candidate_scores
from tuna_train.prm.held_out import compare_with_ranks
from tuna_train.prm.model import response_scores
from tuna_train.training.trainer import Metrics, RankingTrainer

LossName = Literal["ranking", "bradley_terry"]


def scalar_objective(
    scores: Tensor, targets: Targets, loss: LossName, margin: float, totals: Totals | None = None
) -> Objective:
    """The loss of scalar scores with what is logged beside it; the MLE part is 0.

    Args:
        scores: of a scalar head. Shape (responses,).
        targets: whose candidates they are.
        loss: "ranking" is `ranking_loss`, summed over pairs; "bradley_terry" is `bradley_terry_loss`.
        margin: score difference per rank; of the Bradley-Terry loss it only decides which margins are called met.
        totals: see `ranking_loss`.
    """
    pairs = pairs_of(targets)
    lead = scores.detach()[pairs.better] - scores.detach()[pairs.worse]
    if loss == "ranking":
        total = ranking_loss(scores, targets, margin, totals=totals)
    else:
        total = bradley_terry_loss(scores, targets, totals)
    return Objective(
        total=total,
        rank=total.detach(),
        mle=torch.zeros_like(total),
        pair_accuracy=(lead > 0).to(scores.dtype).mean(),
        margins_met=(lead >= margin * pairs.distance).to(scores.dtype).mean(),
    )


class PrmTrainer(RankingTrainer):
    """Trains a model with a scalar head; micro-batches, processes and the log are those of `RankingTrainer`.

    Args:
        model: see `model.with_scalar_head`; after `prepare_packing` if `packed`.
        arguments: as `build.training_arguments` makes them.
        train: instructions with ranked candidates; originals are not read.
        held_out: data for `evaluate`.
        loss: see `scalar_objective`.
        margin: see `scalar_objective`.
        packed, row_tokens, more: see `RankingTrainer`.
    """

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        train: Sequence[TokenizedInstruction],
        held_out: Sequence[TokenizedInstruction] | None = None,
        *,
        loss: LossName = "ranking",
        margin: float = 1.0,
        **more: Any,
    ) -> None:
        super().__init__(model, arguments, train, held_out, loss=Loss(margin=margin, mle_weight=0.0), **more)
        self.loss_name: LossName = loss

    def objective_of(self, model: Any, batch: Batch, totals: Totals | None) -> Objective:
        """See `RankingTrainer.objective_of`."""
        with self.accelerator.autocast():
            scores = response_scores(model, batch)
        return scalar_objective(scores, batch.wanted, self.loss_name, self.loss.margin, totals)

    def evaluate(
        self,
        eval_dataset: Sequence[TokenizedInstruction] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Metrics:
        """Measures held-out data; every process measures all of it, because sharded weights are gathered together.

        Returns:
            `pair_accuracy` and `kendall_tau`, see `HeldOut`, where there are pairs.
        """
        examples = list(self.eval_dataset if eval_dataset is None else eval_dataset)
        plan = BatchPlan(self.packed, min(self.row_tokens, ROW_TOKENS))
        with self.accelerator.autocast():
            scores = candidate_scores(self.model, examples, plan)
        found = compare_with_ranks(scores, [example.ranks for example in examples])
        named = {"pair_accuracy": found.pair_accuracy, "kendall_tau": found.kendall_tau}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in named.items() if value is not None}
        self.log(metrics)
        return metrics
