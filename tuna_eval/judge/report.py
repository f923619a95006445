"""Everything that is said about a judged benchmark: counts, significance, biases, use. Verdicts are read one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tuna_eval.judge.agreement import RepeatAgreement, repeat_agreement
from tuna_eval.judge.bias import (
    FirstPreference,
    FlipRate,
    LengthBin,
    LengthControlled,
    first_preference,
    flip_rate,
    length_controlled_win_rate,
    longer_preference,
    win_rate_by_length,
)
from tuna_eval.judge.list_judgments import ListJudgment
from tuna_eval.judge.protocols import BOTH_ORDERS, Judgment, Order, Question, Verdict
from tuna_eval.judge.significance import NetWins, net_wins
from tuna_eval.judge.verdicts import Tally, tally, tally_by_category
from tuna_eval.metrics.stats import Share


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the two answers to a question are, in characters."""

    candidate: int
    baseline: int


@dataclass(frozen=True, slots=True)
class BiasReport:
    """What the verdicts owe to the judge rather than to the answers.

    Attributes:
        flips, first: over the questions judged in both orders; None where the protocol judges in one order only.
        longer: how often the longer answer wins.
        by_length: the verdicts by length difference.
        length_controlled: the win rate at equal length.
        repeats: whether the judge says the same when asked again; None where nothing was asked twice.
    """

    flips: FlipRate | None
    first: FirstPreference | None
    longer: Share
    by_length: tuple[LengthBin, ...]
    length_controlled: LengthControlled
    repeats: RepeatAgreement | None


@dataclass(frozen=True, slots=True)
class JudgingReport:
    """What the verdicts of a benchmark come to.

    Attributes:
        tally: of all questions.
        categories: of each category.
        significance: wins less losses.
        bias: see `BiasReport`.
        low_confidence: number of judgments whose verdict deserves a second look.
        cut: number of judgments for which an answer had to be cut.
    """

    tally: Tally
    categories: Mapping[str, Tally]
    significance: NetWins
    bias: BiasReport
    low_confidence: int
    cut: int


def report(
    verdicts: Iterable[Verdict], questions: Sequence[Question], lengths: Mapping[str, Lengths], orders: Sequence[Order]
) -> JudgingReport:
    """Reads verdicts one by one and keeps of each no more than its states and the lengths of its answers.

    Args:
        verdicts: at most one per question.
        questions: all that were asked, those without a verdict included.
        lengths: of the answers, by question.
        orders: the orders that were combined.
    """
    notes = _Notes(orders)
    kept = [notes.enter(verdict) for verdict in verdicts]
    states = [verdict.state for verdict in kept]
    candidate = [lengths[verdict.id].candidate for verdict in kept]
    baseline = [lengths[verdict.id].baseline for verdict in kept]
    in_orders = notes.in_orders
    is_both = set(orders) == set(BOTH_ORDERS)
    return JudgingReport(
        tally=tally(kept, len(questions)),
        categories=tally_by_category(kept, questions),
        significance=net_wins(states),
        bias=BiasReport(
            flips=flip_rate(*(in_orders[order] for order in BOTH_ORDERS)) if is_both else None,
            first=first_preference(*(in_orders[order] for order in BOTH_ORDERS)) if is_both else None,
            longer=longer_preference(states, candidate, baseline),
            by_length=win_rate_by_length(states, candidate, baseline),
            length_controlled=length_controlled_win_rate(states, candidate, baseline),
            repeats=repeat_agreement(notes.repeats) if notes.repeats else None,
        ),
        low_confidence=notes.low_confidence,
        cut=notes.cut,
    )


@dataclass
class _Notes:
    """What is kept of judgments when their verdict has been counted."""

    orders: Sequence[Order]
    in_orders: dict[Order, list[str]] = field(default_factory=lambda: {order: [] for order in BOTH_ORDERS})
    repeats: list[list[str]] = field(default_factory=list)
    low_confidence: int = 0
    cut: int = 0

    def enter(self, verdict: Verdict) -> Verdict:
        """Notes what the judgments say; the verdict comes back without them."""
        for order in self.orders:
            made = [judgment for judgment in verdict.judgments if judgment.order == order]
            self.in_orders[order] += [judgment.state for judgment in made if judgment.repeat == 0]
            if len(made) > 1:
                self.repeats.append([judgment.state for judgment in made])
            self.low_confidence += sum(judgment.confidence == "low" for judgment in made)
            self.cut += sum(judgment.cut_tokens > 0 for judgment in made)
        return replace(verdict, judgments=())


@dataclass
class JudgeUsage:
    """What a judge was asked and what it used, replies that were later replaced included.

    Attributes:
        judgments: number of replies.
        prompt_tokens, completion_tokens: sums of what is known.
        uncounted: replies whose tokens nobody told, such as failures.
        served_models: number of replies by the model that the server named.
    """

    judgments: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    served_models: dict[str, int] = field(default_factory=dict)

    def enter(self, judgment: Judgment | ListJudgment) -> None:
        """Adds one reply."""
        self.judgments += 1
        counts = judgment.prompt_tokens, judgment.completion_tokens
        self.uncounted += None in counts
        self.prompt_tokens += counts[0] or 0
        self.completion_tokens += counts[1] or 0
        if judgment.served_model:
            self.served_models[judgment.served_model] = self.served_models.get(judgment.served_model, 0) + 1
