"""What the judgments of an example come to, and what those of all examples do."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tuna_eval.disk import replacing
from tuna_eval.judge.list_judgments import ListJudgment
from tuna_eval.judge.protocols import Confidence, levels_to_ranks
from tuna_eval.judge.report import JudgeUsage
from tuna_eval.judge.self_consistency import consensus
from tuna_eval.llm.prices import Price
from tuna_eval.schema import JSON
from tuna_train.data.ranked import RankedExample

# Of an example. "failed": the judge could not be asked; "alone": fewer than two candidates; "open": not asked yet.
STATES = ("ranked", "unparsable", "refused", "failed", "alone", "open")
ASKED_AGAIN = ("failed", "open")  # by the next run
DROPPABLE = (*STATES[1:], "low-confidence")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the judgments of an example come to.

    Attributes:
        state: one of `STATES`.
        ranks: of each candidate; None for one that the judge left out.
        scores: of each candidate, where all that have a rank have one and no rank contradicts it; None otherwise.
        confidence: "low" if any of the rankings deserves a second look.
        tau: agreement of the rankings in different orders, see `Consensus`.
        judgments: those that the ranks come from.
        duplicates: whether the judge called candidates duplicates.
        retried: whether a reply could not be read and was asked for again.
    """

    state: str
    ranks: tuple[int | None, ...]
    scores: tuple[float | None, ...] | None = None
    confidence: Confidence = "high"
    tau: float | None = None
    judgments: tuple[ListJudgment, ...] = ()
    duplicates: bool = False
    retried: bool = False

    @property
    def has_ties(self) -> bool:
        """Whether two candidates share a rank."""
        known = [rank for rank in self.ranks if rank is not None]
        return len(set(known)) < len(known)


def outcome_of(example: RankedExample, judgments: Sequence[ListJudgment]) -> Outcome:
    """What the judgments of an example come to.

    Of each repeat the first ranking counts; those of several repeats are combined by mean rank. A candidate that every
    judgment left out has the rank of one with the same text, if there is one; none otherwise.

    Args:
        example: whose candidates were ranked.
        judgments: of it, by repeat and attempt.
    """
    count = len(example.candidates)
    by_repeat: dict[int, ListJudgment] = {}
    for judgment in judgments:
        if judgment.state == "ranked":
            by_repeat.setdefault(judgment.repeat, judgment)
    usable = tuple(by_repeat.values())
    retried = any(judgment.attempt for judgment in judgments)
    if not usable:
        return Outcome(_state(count, judgments), (None,) * count, retried=retried)
    combined = consensus([j.ranks for j in usable if j.ranks is not None])
    twins = _twins(combined.ranks, [candidate.text.strip() for candidate in example.candidates])
    scores = _mean_scores(usable, combined.ranks)
    return Outcome(
        "ranked",
        levels_to_ranks([combined.ranks[twin] for twin in twins]),
        scores and tuple(scores[twin] for twin in twins),
        "low" if any(j.confidence == "low" for j in usable) else "high",
        combined.tau,
        usable,
        duplicates=any(j.duplicates for j in usable),
        retried=retried,
    )


def _state(count: int, judgments: Sequence[ListJudgment]) -> str:
    if count < 2:
        return "alone"
    said = {judgment.state for judgment in judgments}
    for state in ("unparsable", "refused"):
        if state in said:
            return state
    return "failed" if said else "open"


def _twins(ranks: Sequence[int | None], texts: Sequence[str]) -> list[int]:
    """Of each candidate itself; of one without a rank, the best that has its text and a rank, if there is one."""
    ranked = sorted((rank, place) for place, rank in enumerate(ranks) if rank is not None)
    best: dict[str, int] = {}
    for _, place in ranked:
        best.setdefault(texts[place], place)
    return [place if rank is not None else best.get(texts[place], place) for place, rank in enumerate(ranks)]


def _mean_scores(judgments: Sequence[ListJudgment], ranks: Sequence[int | None]) -> tuple[float | None, ...] | None:
    """Means over the judgments, if they are what the ranks are by."""
    stated = [judgment.scores for judgment in judgments if judgment.scores is not None]
    if len(stated) < len(judgments):
        return None
    means: list[float | None] = []
    for rank, each in zip(ranks, zip(*stated, strict=True), strict=True):
        known = [score for score in each if score is not None]
        if rank is not None and len(known) < len(each):
            return None
        means.append(math.fsum(known) / len(known) if rank is not None else None)
    pairs = [(r, m) for r, m in zip(ranks, means, strict=True) if r is not None and m is not None]
    is_contradicted = any(rank < other and mean < better for rank, mean in pairs for other, better in pairs)
    return None if is_contradicted else tuple(means)


def with_ranks(example: RankedExample, outcome: Outcome, told: Mapping[str, JSON]) -> RankedExample:
    """The example with the ranks and scores of its outcome in place of those it had.

    Args:
        example: as it was.
        outcome: of its judgments.
        told: of the ranking, for the provenance.
    """
    scores = outcome.scores or (None,) * len(example.candidates)
    candidates = tuple(
        replace(candidate, rank=rank, score=score)
        for candidate, rank, score in zip(example.candidates, outcome.ranks, scores, strict=True)
    )
    ranking: dict[str, JSON] = {**told, "state": outcome.state}
    if outcome.judgments:
        ranking |= {
            "confidence": outcome.confidence,
            "models": list[JSON](sorted({j.served_model for j in outcome.judgments if j.served_model})),
            "shown": [list(judgment.shown) for judgment in outcome.judgments],
            "attempts": [judgment.attempt for judgment in outcome.judgments],
        }
    if outcome.tau is not None:
        ranking["order_agreement"] = outcome.tau
    return replace(example, candidates=candidates, provenance={**example.provenance, "ranking": ranking})


@dataclass
class RankingReport:
    """Counts of examples, and what the ranking took.

    Attributes:
        judge, signature: who ranked, and how replies were asked for and read.
        states: number of examples by state, see `STATES`.
        low_confidence: of the ranked, those that deserve a second look.
        retried: whose reply was asked for again because it could not be read.
        ties: of the ranked, those with candidates that share a rank.
        duplicates: of the ranked, those where the judge called candidates duplicates.
        left_out: of the ranked, those with a candidate that has no rank.
        dropped: not written.
        agreements: number of examples that were ranked in several orders and have an agreement.
        failures: number of requests that failed for good, over all sessions; `usage` counts them among its judgments.
        usage, cost: over all sessions; cost in US dollars, None without a price.
    """

    judge: str
    signature: str
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    low_confidence: int = 0
    retried: int = 0
    ties: int = 0
    duplicates: int = 0
    left_out: int = 0
    dropped: int = 0
    failures: int = 0
    agreements: int = 0
    agreement_sum: float = 0.0
    usage: JudgeUsage = field(default_factory=JudgeUsage)
    cost: float | None = None

    @property
    def order_agreement(self) -> float | None:
        """Kendall's tau between two orders, mean over the examples; None for a single order."""
        return self.agreement_sum / self.agreements if self.agreements else None

    def enter(self, outcome: Outcome, *, is_dropped: bool) -> None:
        """Counts one example."""
        self.states[outcome.state] += 1
        self.dropped += is_dropped
        self.retried += outcome.retried
        if outcome.state != "ranked":
            return
        self.low_confidence += outcome.confidence == "low"
        self.ties += outcome.has_ties
        self.duplicates += outcome.duplicates
        self.left_out += None in outcome.ranks
        if outcome.tau is not None:
            self.agreements += 1
            self.agreement_sum += outcome.tau

    def as_json(self) -> dict[str, JSON]:
        """The report as it is stored and printed."""
        values = {key: value for key, value in asdict(self).items() if key != "agreement_sum"}
        return {"examples": sum(self.states.values()), **values, "order_agreement": self.order_agreement}


def store_report(report: RankingReport, folder: Path) -> None:
    """Writes report.json; the old one stays until the new one is whole."""
    with replacing(folder / "report.json") as write:
        write(json.dumps(report.as_json(), indent=2) + "\n")


def cost_of(usage: JudgeUsage, price: Price | None) -> float | None:
    """US dollars for what was used; None without a price."""
    return price.cost(usage.prompt_tokens, usage.completion_tokens) if price else None
