"""What judging is about, as frozen values, and the two interfaces of everything that judges."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

from tuna_eval.schema import JSON

# Seen from the candidate. The first three enter a rate; the others only lower the coverage.
State = Literal["win", "lose", "tie", "unparsable", "refused", "api_error"]

# Whose answer the judge is shown first.
Order = Literal["candidate-first", "baseline-first"]
BOTH_ORDERS: Final[tuple[Order, ...]] = get_args(Order)

# "low": a verdict was read, but from a spelling or in a place that deserves a second look.
Confidence = Literal["high", "low"]


@dataclass(frozen=True, slots=True)
class Question:
    """What both systems were asked.

    Attributes:
        id: unique within the benchmark.
        category: decides which prompt the judge gets ("math", "coding", "writing", ...).
        text: the question as the systems saw it.
        reference: a good answer for the judge to compare with; None if the benchmark has none.
    """

    id: str
    category: str
    text: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one question, as texts."""

    question: Question
    candidate: str
    baseline: str


@dataclass(frozen=True, slots=True)
class Ask:
    """One judgment that is wanted.

    Attributes:
        pair: what to judge.
        order: whose answer to show first.
        repeat: 0 for the first judgment of this pair in this order, 1 for the second ask, and so on.
    """

    pair: Pair
    order: Order
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Judgment:
    """What a judge said about one pair, once.

    Attributes:
        id: of the question.
        order: whose answer was shown first.
        repeat: 0 for the first judgment of this pair in this order, 1 for the second ask, and so on.
        state: what it means for the candidate.
        scores: of the candidate and of the baseline, whatever the order; None where the protocol has no scores or
            none could be read.
        confidence: how plainly the verdict was spelled.
        reply: the judge's raw text, from which everything above can be read anew.
        finish_reason: why the reply ended, as the server said; "" if not known.
        served_model: the model that the server says answered; "" if not known.
        prompt_tokens, completion_tokens: as the server counted; None if not known.
        batched: whether the Batch API answered, which costs less.
        cut_tokens: tokens of the two answers that the judge was not shown, for want of room.
    """

    id: str
    order: Order
    repeat: int
    state: State
    scores: tuple[float, float] | None = None
    confidence: Confidence = "high"
    reply: str = ""
    finish_reason: str = ""
    served_model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cut_tokens: int = 0
    batched: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judgments of one question come to.

    Attributes:
        id, category: of the question.
        state: combined as the protocol says.
        judgments: all of them, repeats included.
    """

    id: str
    category: str
    state: State
    judgments: tuple[Judgment, ...]


def levels_to_ranks(levels: Sequence[float | None]) -> tuple[int | None, ...]:
    """Competition ranks: of each level the number of lower ones, so that ties leave the next ranks free; None stays."""
    known = sorted(level for level in levels if level is not None)
    return tuple(None if level is None else bisect_left(known, level) for level in levels)


@dataclass(frozen=True, slots=True)
class Ranking:
    """An order of the responses to one instruction.

    Attributes:
        order: positions of the responses in the call, best first, each at most once, ties in the order of the call;
            None if none could be read.
        scores: one per response, in the order of the call; None where the ranker gives none.
        confidence: how plainly the order was spelled.
        reply: the raw text; "" for a ranker that writes none.
        ranks: of each response, in the order of the call: 0 for the best, equal for ties, which leave the next ranks
            free; None for a response that was left out. Given by the order where a ranker has no ties; None with it.
    """

    order: tuple[int, ...] | None
    scores: tuple[float, ...] | None = None
    confidence: Confidence = "high"
    reply: str = ""
    ranks: tuple[int | None, ...] | None = None

    def __post_init__(self) -> None:
        if self.ranks is None and self.order is not None:
            object.__setattr__(self, "ranks", tuple(self.order.index(place) for place in range(len(self.order))))


class VerdictRules(Protocol):
    """How judgments are read and become verdicts: a `JudgingProtocol`, or the rules of the likelihood judge."""

    @property
    def signature(self) -> str:
        """What travels with every number: two tallies compare only if their signatures are equal."""
        ...

    @property
    def orders(self) -> tuple[Order, ...]:
        """The orders each pair is judged in."""
        ...

    def check(self, question: Question) -> None:
        """Raises a DataError for a question that cannot be judged."""
        ...

    def combine(self, judgments: Sequence[Judgment]) -> State:
        """The verdict of one question from its judgments, one in each order."""
        ...

    def reread(self, judgment: Judgment, question: Question) -> Judgment:
        """A stored judgment with its reply read anew; one that never had a reply stays as it is."""
        ...


class Comparer(Protocol):
    """A judge of pairs."""

    @property
    def name(self) -> str:
        """What tables call the judge."""
        ...

    def fingerprint(self) -> Mapping[str, JSON]:
        """Everything that may change a judgment: model, prompts, parameters; no secret and no path."""
        ...

    @property
    def repeats(self) -> int:
        """How often each pair is to be judged in the same order."""
        ...

    def compare(self, asks: Iterable[Ask]) -> Iterator[Judgment]:
        """Makes every judgment asked for exactly once and yields each as soon as it is there, in any order.

        The asks are read as they are needed, so that any number of them takes the memory of a few thousand. A judgment
        that could not be had is yielded too, so that all are accounted for: its state is "api_error", its reply the
        reason.

        Raises:
            EngineError: the judge fails for good. What was yielded before is valid.
        """
        ...


class Ranker(Protocol):
    """A judge of any number of responses to one instruction."""

    @property
    def name(self) -> str:
        """What tables call the judge."""
        ...

    def fingerprint(self) -> Mapping[str, JSON]:
        """As for a `Comparer`."""
        ...

    def rank(self, instruction: str, responses: Sequence[str]) -> Ranking:
        """Orders the responses, at least two.

        Raises:
            EngineError: the judge does not answer.
        """
        ...
