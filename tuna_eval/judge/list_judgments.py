"""Ranking many examples: what is asked, what is answered, and the interface of everything that answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from tuna_eval.judge.protocols import Confidence
from tuna_eval.schema import JSON

ListState = Literal["ranked", "unparsable", "refused", "api_error"]


@dataclass(frozen=True, slots=True)
class ListAsk:
    """One ranking that is wanted.

    Attributes:
        id: of the example.
        instruction, input: as a user would write them; an empty input is none.
        responses: to rank, at least two.
        shown: their positions in the order that the judge sees them in.
        repeat: 0 for the first ranking of this example, 1 for the second, and so on.
        attempt: 0; 1 when the reply to the first attempt could not be read.
    """

    id: str
    instruction: str
    input: str
    responses: tuple[str, ...]
    shown: tuple[int, ...]
    repeat: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ListJudgment:
    """What a judge said about the responses of one example, once.

    Attributes:
        id, shown, repeat, attempt: of the ask.
        state: only "ranked" has ranks.
        ranks: competition rank of each response, in the order of the call; None for one that was left out.
        scores: of each response, likewise; None where the judge states none.
        confidence: how plainly the ranking was spelled.
        duplicates: groups of responses that the judge calls duplicates, as positions in the call.
        reply: the judge's raw text, from which everything above can be read anew.
        finish_reason, served_model, prompt_tokens, completion_tokens, batched: as for a `Judgment`.
    """

    id: str
    shown: tuple[int, ...]
    repeat: int
    attempt: int
    state: ListState
    ranks: tuple[int | None, ...] | None = None
    scores: tuple[float | None, ...] | None = None
    confidence: Confidence = "high"
    duplicates: tuple[tuple[int, ...], ...] = ()
    reply: str = ""
    finish_reason: str = ""
    served_model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    batched: bool = False


class ListRanker(Protocol):
    """A judge that ranks the responses of many examples at once."""

    @property
    def name(self) -> str:
        """What tables call the judge."""
        ...

    def fingerprint(self) -> Mapping[str, JSON]:
        """As for a `Comparer`."""
        ...

    @property
    def signature(self) -> str:
        """How replies are asked for and read; it travels with every ranking."""
        ...

    def rank_all(self, asks: Iterable[ListAsk]) -> Iterator[ListJudgment]:
        """Makes every judgment asked for exactly once and yields each as soon as it is there, in any order.

        Raises:
            EngineError: the judge fails for good. What was yielded before is valid.
        """
        ...

    def reread(self, judgment: ListJudgment) -> ListJudgment:
        """A stored judgment with its reply read anew; one that never had a reply stays as it is."""
        ...
