"""The training objective: sequence scores, the ranking loss, MLE, and their sum.

Equations are those of the Tuna paper (EMNLP 2023); "released" names the behaviour of the code published with it. Every
function works on flat tensors: a batch holds responses in any number per instruction, and nothing is padded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

Reduction = Literal["paper", "released"]
MleOn = Literal["original", "all"]
UNRANKED = -1


class TokenLogprobs(NamedTuple):
    """Log-probabilities of response tokens, end of sequence included, prompts excluded.

    Attributes:
        values: nats. Shape (tokens,), in any order.
        response: number of the response each belongs to, from 0. Shape (tokens,).
    """

    values: Tensor
    response: Tensor


@dataclass(frozen=True)
class Totals:
    """What the loss of a step is divided by, when the step is made of several batches; they add up with `+`.

    Attributes:
        instructions: in the step.
        pairs: number of pairs of each rank distance.
        tokens: response tokens.
    """

    instructions: int
    pairs: Counter[int]
    tokens: int

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.instructions + other.instructions, self.pairs + other.pairs, self.tokens + other.tokens)


@dataclass(frozen=True)
class Targets:
    """What the objective wants of each response of a batch. All of shape (responses,).

    Attributes:
        instruction: number of the instruction it answers, from 0 without gaps.
        rank: 0 for the best candidate of its instruction; equal for ties; UNRANKED for a response in no pair.
        original: whether it is the response that the instruction came with.
        tokens: its length, end of sequence included.
    """

    instruction: Tensor
    rank: Tensor
    original: Tensor
    tokens: Tensor

    @property
    def instructions(self) -> int:
        """Number of instructions."""
        return int(self.instruction.max()) + 1 if len(self.instruction) else 0

    def totals(self) -> Totals:
        """What this batch adds to the totals of its step."""
        return Totals(self.instructions, Counter(pairs_of(self).distance.tolist()), int(self.tokens.sum()))


@dataclass(frozen=True)
class Objective:
    """The objective of a batch and its parts, each a scalar tensor.

    Attributes:
        total: rank + mle_weight · mle; the one to differentiate.
        rank: ranking loss, nats per token.
        mle: negative log-likelihood, nats per token.
        pair_accuracy: share of the pairs in which the better candidate has the higher score; NaN without pairs.
        margins_met: share of the pairs that add nothing to the ranking loss; NaN without pairs.
    """

    total: Tensor
    rank: Tensor
    mle: Tensor
    pair_accuracy: Tensor
    margins_met: Tensor


def sequence_scores(logprobs: TokenLogprobs, responses: int) -> Tensor:
    """Length-normalised log-likelihood of each response (Eq. 4), nats per token.

    Args:
        logprobs: of the tokens of all responses.
        responses: how many there are.

    Returns:
        Shape (responses,).

    Raises:
        ValueError: a response without tokens; its number is named.
    """
    length = torch.bincount(logprobs.response, minlength=responses)
    _require_tokens(length)
    total = torch.zeros(responses, dtype=logprobs.values.dtype, device=logprobs.values.device)
    return total.index_add(0, logprobs.response, logprobs.values) / length


def padded_sequence_scores(logprobs: Tensor, mask: Tensor) -> Tensor:
    """`sequence_scores` of the padded layout.

    Args:
        logprobs: nats; whatever stands in the padding is not read. Shape (batch, candidates, length).
        mask: True at response tokens. Same shape.

    Returns:
        Shape (batch, candidates).

    Raises:
        ValueError: a response without tokens; its number, counted over the batch, is named.
    """
    length = mask.sum(-1)
    _require_tokens(length.flatten())
    return torch.where(mask, logprobs, 0.0).sum(-1) / length


def _require_tokens(length: Tensor) -> None:
    empty = (length == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"response {empty[0]} of the batch has no token ({len(empty)} such in all)")


def ranks_of(scores: Tensor) -> Tensor:
    """Rank of each of an instruction's candidates: the number of candidates with a higher teacher score.

    Ties share a rank and leave the next ones free: scores 3, 2, 2, 1 have the ranks 0, 1, 1, 3.

    Args:
        scores: higher is better. Shape (candidates,).
    """
    return (scores[None, :] > scores[:, None]).sum(1)


class Pairs(NamedTuple):
    """Numbers of the better and the worse response of each pair, and their rank distance. Each of shape (pairs,)."""

    better: Tensor
    worse: Tensor
    distance: Tensor


def pairs_of(targets: Targets) -> Pairs:
    """Every pair of ranked candidates of one instruction that are no tie."""
    rank, instruction, ranked = targets.rank, targets.instruction, targets.rank != UNRANKED
    pair = (instruction[:, None] == instruction[None, :]) & ranked[:, None] & ranked[None, :]
    gaps = torch.where(pair, rank[None, :] - rank[:, None], 0)
    better, worse = (gaps > 0).nonzero(as_tuple=True)
    return Pairs(better, worse, gaps[better, worse])


def _hinges(scores: Tensor, targets: Targets, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """Hinge, rank distance and score difference (better less worse) of every pair. Each of shape (pairs,)."""
    better, worse, distance = pairs_of(targets)
    lead = scores[better] - scores[worse]
    return torch.relu(margin * distance - lead), distance, lead


def ranking_loss(
    scores: Tensor,
    targets: Targets,
    margin: float = 0.1,
    reduction: Reduction = "paper",
    totals: Totals | None = None,
) -> Tensor:
    """Hinge loss that keeps the scores of candidates in the order of their ranks (Eq. 4-5).

    A pair of ranks j < k adds max(0, v_k - v_j + margin · (k - j)); a pair of equal rank adds nothing.

    Args:
        scores: see `sequence_scores`. Shape (responses,).
        targets: whose candidates they are.
        margin: score difference required per step of rank distance, nats per token (m of the paper).
        reduction: "paper" sums over pairs and averages over instructions; "released" averages over the pairs of the
            batch that have one rank distance, and sums over the distances.
        totals: of the step, if it is made of several batches; by default of this batch.

    Returns:
        Scalar.
    """
    return _reduce(*_hinges(scores, targets, margin)[:2], reduction, totals or targets.totals())


def _reduce(hinge: Tensor, distance: Tensor, reduction: Reduction, totals: Totals) -> Tensor:
    if reduction == "paper":
        return hinge.sum() / totals.instructions
    count = torch.ones(int(max(totals.pairs, default=0)) + 1, dtype=hinge.dtype, device=hinge.device)
    for gap, pairs in totals.pairs.items():
        count[gap] = pairs
    return (hinge / count[distance]).sum()


def bradley_terry_loss(scores: Tensor, targets: Targets, totals: Totals | None = None) -> Tensor:
    """-log σ(v_j - v_k) of ranks j < k: mean over an instruction's pairs, then over instructions.

    That of reward models (Ouyang et al. 2022, Eq. 1); arguments as for `ranking_loss`. No pairs add nothing.
    """
    better, worse, _ = pairs_of(targets)
    of = targets.instruction[better]
    pairs = torch.bincount(of, minlength=targets.instructions)
    return (softplus(scores[worse] - scores[better]) / pairs[of]).sum() / (totals or targets.totals()).instructions


def mle_loss(logprobs: TokenLogprobs, targets: Targets, on: MleOn = "original", totals: Totals | None = None) -> Tensor:
    """Negative log-likelihood of the responses to imitate (Eq. 6), nats per token.

    Args:
        logprobs: of the tokens of all responses.
        targets: which response belongs where.
        on: "original" is the paper's: per-token mean of the original response, averaged over instructions. "all" is the
            released code's: mean over the tokens of all responses of the batch.
        totals: of the step, if it is made of several batches; by default of this batch.

    Returns:
        Scalar.

    Raises:
        ValueError: an instruction without exactly one original response, or a response without tokens.
    """
    totals = totals or targets.totals()
    if on == "all":
        return -logprobs.values.sum() / totals.tokens
    originals = torch.bincount(targets.instruction[targets.original], minlength=targets.instructions)
    if wrong := (originals != 1).nonzero().flatten().tolist():
        count = int(originals[wrong[0]])
        raise ValueError(f"instruction {wrong[0]} of the batch has {count} original responses, not 1")
    scores = sequence_scores(logprobs, len(targets.rank))
    return -scores[targets.original].sum() / totals.instructions


def objective(
    logprobs: TokenLogprobs,
    targets: Targets,
    margin: float = 0.1,
    mle_weight: float = 1.0,
    reduction: Reduction = "paper",
    mle_on: MleOn = "original",
    totals: Totals | None = None,
) -> Objective:
    """L = L_rank + λ · L_MLE (Section 2.2), with its parts.

    With `totals` of the whole step the objectives of its batches add up to that of one large batch.

    Args:
        logprobs: of the tokens of all responses.
        targets: what is wanted of each response.
        margin: m; Table 7 of the paper has 0.1.
        mle_weight: λ; Table 7 has 1.0. With 0 the MLE is not computed, and no original response is needed.
        reduction: see `ranking_loss`.
        mle_on: see `mle_loss`.
        totals: see `ranking_loss`.

    Raises:
        ValueError: see `sequence_scores` and `mle_loss`.
    """
    totals = totals or targets.totals()
    scores = sequence_scores(logprobs, len(targets.rank))
    hinge, distance, lead = _hinges(scores, targets, margin)
    rank = _reduce(hinge, distance, reduction, totals)
    mle = mle_loss(logprobs, targets, mle_on, totals) if mle_weight else torch.zeros_like(rank)
    return Objective(
        total=rank + mle_weight * mle,
        rank=rank.detach(),
        mle=mle.detach(),
        pair_accuracy=(lead > 0).to(scores.dtype).mean(),
        margins_met=(hinge.detach() == 0).to(scores.dtype).mean(),
    )


def teacher_score(logprob: Tensor, length: Tensor, beta: float = 1.3) -> Tensor:
    """Score by which a teacher model ranks responses: log p / |r|^beta (Eq. 3).

    Log-probabilities are negative, so a larger beta favours long responses.

    Args:
        logprob: of whole responses, nats.
        length: of the responses, tokens. Same shape.
        beta: Table 7 has 1.3.

    Raises:
        ValueError: a response without tokens; its number is named.
    """
    _require_tokens(length.flatten())
    return logprob / length.to(logprob.dtype) ** beta
