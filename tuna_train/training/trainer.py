"""transformers' Trainer with the ranking objective: it forwards, calls the losses and logs their parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from tuna_train.config import ROW_TOKENS, Loss
from tuna_train.losses import Objective, Totals, objective
from tuna_train.packing import Batch, TokenizedInstruction
from tuna_train.scoring import causal_lm, response_logprobs
from tuna_train.training.batches import NOTHING, Collator, MicroBatch, StepLoader, StepSampler

Metrics = dict[str, float]
_PARTS = ("rank_loss", "mle", "pairs", "in_order", "met")
_HELD_OUT = ("rank_loss", "pairs", "in_order", "met", "nll", "tokens")


class RankingTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """Trains a causal language model on ranked instructions; without candidates this is supervised fine-tuning.

    A step's loss does not depend on how it is made up of micro-batches and processes: see `StepSampler`, and `Totals`,
    which every micro-batch gets for the whole step. Logged beside the loss: `rank_loss`, `mle` (nats per token), and of
    the candidate pairs `pair_accuracy` and `margins_met`, all as means since the last line.

    Args:
        model: after `enable_packing` if `packed`.
        arguments: as `build.training_arguments` makes them.
        train: the data.
        held_out: data for `evaluate`.
        loss: weights of the objective.
        packed: whether a prompt is forwarded once for all its responses.
        row_tokens: of a packed row.
        more: callbacks and the like, for `Trainer`.
    """

    # Tells the Trainer that the loss is that of the whole step already, which older versions learn from
    # `model_accepts_loss_kwargs` below alone.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        train: Sequence[TokenizedInstruction],
        held_out: Sequence[TokenizedInstruction] | None = None,
        *,
        loss: Loss,
        packed: bool = True,
        row_tokens: int = ROW_TOKENS,
        **more: Any,
    ) -> None:
        super().__init__(model, arguments, train_dataset=train, eval_dataset=held_out, **more)
        self.model_accepts_loss_kwargs = True
        self.loss, self.packed = loss, packed
        # Sharded layers gather their weights at each call, so every process must make the same number of calls:
        # one row a micro-batch, however long.
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        self.row_tokens = 2**31 if sharded else row_tokens
        self._window = self._zeros(_PARTS)
        self._window_start = 0

    def get_train_dataloader(self) -> StepLoader:
        """Micro-batches of this process, shuffled by the seed."""
        per_step = self._train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return self._loader(self.train_dataset, batch=per_step, seed=self.args.data_seed or 0)

    def _loader(self, examples: Any, *, batch: int, seed: int | None) -> StepLoader:
        sampler = StepSampler(
            len(examples),
            batch=batch,
            micro_batch=self._train_batch_size,
            rank=self.args.process_index,
            processes=self.args.world_size,
            seed=seed,
        )
        return StepLoader(sampler, Collator(examples, self.packed, self.row_tokens))

    def get_batch_samples(
        self, epoch_iterator: Iterator[MicroBatch], num_batches: int, device: torch.device
    ) -> tuple[list[MicroBatch], Totals]:
        """The micro-batches of a step, and the totals of the whole step over all processes."""
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        return batches, _totals_of(batches)

    def compute_loss(
        self,
        model: Any,
        inputs: MicroBatch,
        return_outputs: bool = False,
        num_items_in_batch: Totals | None = None,
    ) -> Tensor | tuple[Tensor, Objective]:
        """What a micro-batch adds to the objective of its step, times the processes, over which gradients are averaged.

        Args:
            model: wrapped as training needs it.
            inputs: on the model's device.
            return_outputs: whether the parts are wanted too.
            num_items_in_batch: totals of the step, by default of the micro-batch.
        """
        parts = self.objective_of(model, inputs.batch, num_items_in_batch if inputs.counts else None)
        if inputs.counts:
            self._window += self._summed(parts, inputs.totals)
        scaled = parts.total * (self.accelerator.num_processes if inputs.counts else 0)
        return (scaled, parts) if return_outputs else scaled

    def objective_of(self, model: Any, batch: Batch, totals: Totals | None) -> Objective:
        """The objective of a batch.

        Args:
            model: wrapped as training needs it.
            batch: on the model's device.
            totals: of the step that the batch belongs to; None for the batch's own.
        """
        with self.accelerator.autocast():
            logprobs = response_logprobs(model, batch)
        return objective(logprobs, batch.wanted, totals=totals, **self.loss.model_dump())

    def _summed(self, parts: Objective, totals: Totals) -> Tensor:
        """The numbers that _PARTS names. Shape (5,)."""
        pairs = totals.pairs.total()
        shares = (parts.pair_accuracy * pairs, parts.margins_met * pairs) if pairs else (0.0, 0.0)
        return self._numbers([parts.rank, parts.mle, pairs, *shares])

    def log(self, logs: Metrics, start_time: float | None = None) -> None:
        """Adds the parts of the objective to a line about training steps."""
        if "loss" in logs:
            logs = {**logs, **self._parts()}
        super().log(logs, start_time)

    def _parts(self) -> Metrics:
        """Means since the last call."""
        steps = max(1, self.state.global_step - self._window_start)
        numbers = self.accelerator.reduce(self._window, "sum").tolist()
        rank_loss, mle, pairs, in_order, met = numbers
        self._window, self._window_start = self._zeros(_PARTS), self.state.global_step
        parts = {"mle": mle / steps} if self.loss.mle_weight else {}
        return {**parts, **({"rank_loss": rank_loss / steps} if pairs else {}), **_of_pairs(pairs, in_order, met)}

    def train(self, resume_from_checkpoint: str | None = None, **more: Any) -> Any:
        """See `Trainer.train`; a checkpoint continues the same trajectory."""
        if resume_from_checkpoint:
            self._window_start = int(resume_from_checkpoint.rpartition("-")[2])
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **more)

    def evaluate(
        self,
        eval_dataset: Sequence[TokenizedInstruction] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Metrics:
        """Measures held-out data.

        Args:
            eval_dataset: by default the one given at the start.
            ignore_keys: not used; transformers passes it.
            metric_key_prefix: before each name.

        Returns:
            `rank_loss` by the reduction of `loss`, `pair_accuracy` and `margins_met` where there are pairs, and `nll`,
            nats per token of the original responses, where there are such.
        """
        examples = self.eval_dataset if eval_dataset is None else eval_dataset
        loader = self._loader(examples, batch=self._train_batch_size * self.args.world_size, seed=None)
        was_training = self.model.training
        self.model.eval()
        sums = self._zeros(_HELD_OUT)
        totals = _totals_of(loader)
        with torch.no_grad():
            for micro_batch in loader:
                sums += self._measured(self._prepare_inputs(micro_batch), totals)
        self.model.train(was_training)
        rank_loss, pairs, in_order, met, nll, tokens = self.accelerator.reduce(sums, "sum").tolist()
        metrics = _of_pairs(pairs, in_order, met)
        if pairs:
            metrics["rank_loss"] = rank_loss
        if tokens:
            metrics["nll"] = nll / tokens
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        self.log(metrics)
        return metrics

    def _measured(self, inputs: MicroBatch, totals: Totals) -> Tensor:
        """What a micro-batch adds to the numbers that _HELD_OUT names; `totals` are those of all data. Shape (6,)."""
        wanted = inputs.batch.wanted
        with self.accelerator.autocast():
            logprobs = response_logprobs(self.model, inputs.batch)
        if not inputs.counts:
            return self._zeros(_HELD_OUT)
        settings = {**self.loss.model_dump(), "mle_weight": 0.0}  # an original response is not needed here
        rank_loss, _, *pairs = self._summed(objective(logprobs, wanted, totals=totals, **settings), inputs.totals)
        of_original = wanted.original[logprobs.response]
        nll = -logprobs.values[of_original].sum()
        return self._numbers([rank_loss, *pairs, nll, of_original.sum()])

    def _prepare_inputs(self, inputs: MicroBatch) -> MicroBatch:
        return inputs.to(self.args.device, non_blocking=True)

    def floating_point_ops(self, inputs: MicroBatch) -> int:
        """Forward and backward pass: 6 for each weight and token."""
        tokens = sum(row.ids.numel() for row in inputs.batch.rows)
        weights = sum(weight.numel() for weight in causal_lm(self.model).parameters())
        return int(6 * tokens * weights)

    def _zeros(self, names: Sequence[str]) -> Tensor:
        return torch.zeros(len(names), dtype=torch.float64, device=self.args.device)

    def _numbers(self, values: Sequence[Tensor | float]) -> Tensor:
        as_tensors = [torch.as_tensor(value, dtype=torch.float64, device=self.args.device) for value in values]
        return torch.stack([value.detach() for value in as_tensors])


def _totals_of(batches: Iterable[MicroBatch]) -> Totals:
    """Of the micro-batches of all processes."""
    from accelerate.utils import gather_object

    return sum(gather_object([sum((batch.totals for batch in batches), start=NOTHING)]), start=NOTHING)


def _of_pairs(pairs: float, in_order: float, met: float) -> Metrics:
    return {"pair_accuracy": in_order / pairs, "margins_met": met / pairs} if pairs else {}
