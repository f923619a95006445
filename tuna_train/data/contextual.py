"""Contextual ranking (Tuna, Section 2.3): a judge orders the candidates of every example.

Killed anywhere and started again, it goes on where it was: each reply is in the journal before anything is made of it.
Only what was on its way at a kill is asked a second time. The examples are read in passes and never held together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from tuna_eval.judge.list_judgments import ListAsk, ListRanker
from tuna_eval.judge.listwise import ATTEMPTS
from tuna_eval.judge.report import JudgeUsage
from tuna_eval.judge.self_consistency import shown_order
from tuna_eval.llm.prices import Price
from tuna_eval.run import Progress
from tuna_eval.schema import JSON
from tuna_train.data.ranked import RankedExample, read_ranked, write_ranked
from tuna_train.data.ranking_log import ExampleIndex, RankingLog, is_rankable
from tuna_train.data.ranking_report import RankingReport, cost_of, outcome_of, store_report, with_ranks
from tuna_train.data.stage import StageOutput

SECONDS_BETWEEN_COSTS = 60.0  # that are told on the way
_MANY = 10  # candidates have more orders (10!) than anybody asks for

Examples = Callable[[], Iterable[RankedExample]]
Drop = Collection[str]


@dataclass(frozen=True, slots=True)
class Orders:
    """In which orders each example's candidates are shown.

    Attributes:
        count: number of rankings of each example, each in an order of its own, >= 1.
        shuffle: whether the first order is random too, rather than that of the candidates.
        seed: of the orders.
    """

    count: int = 1
    shuffle: bool = False
    seed: int = 0

    def identity(self) -> dict[str, JSON]:
        """What changes the replies that an ask gets; more rankings leave the ones there are."""
        return {"shuffle": self.shuffle, "order_seed": self.seed}

    def ask(self, example: RankedExample, repeat: int, attempt: int) -> ListAsk:
        """One ask. A second attempt shows the reverse: at temperature 0 the same prompt has the same reply."""
        texts = tuple(candidate.text for candidate in example.candidates)
        shown = shown_order(example.id, len(texts), repeat, self.seed, shuffle=self.shuffle)
        if attempt:
            shown = shown[::-1]
        return ListAsk(example.id, example.instruction, example.input, texts, shown, repeat, attempt)


class RankingRun:
    """The ranking of a file of examples.

    Args:
        examples: gives them from the beginning, as often as it is called; each has an id of its own.
        ranker: the judge.
        output: where the ranked examples go, and the journal.
        orders: what is shown.
        progress: is told how far it is.
        price: of the judge's tokens, where it is known.

    Everything but the constructor reads the examples and the journal at its first use, and raises a DataError if they
    are broken, or the output was made from more or other examples than these.
    """

    def __init__(
        self,
        examples: Examples,
        ranker: ListRanker,
        output: StageOutput,
        orders: Orders,
        progress: Progress,
        price: Price | None = None,
    ) -> None:
        self._examples, self._ranker, self._output, self._orders = examples, ranker, output, orders
        self._progress, self._price = progress, price

    @cached_property
    def _index(self) -> ExampleIndex:
        return ExampleIndex(self._examples())

    @cached_property
    def _log(self) -> RankingLog:
        log = RankingLog(self._output.journal, self._index, self._ranker.reread)
        log.read()
        if self._output.file.exists():
            for example in read_ranked(self._output.file):
                log.origin.enter_example(example)
        log.origin.check(self._output.file)
        return log

    @property
    def usage(self) -> JudgeUsage:
        """What was asked and used so far, over all sessions."""
        return self._log.usage

    def due(self, attempts: Sequence[int] = range(ATTEMPTS)) -> Iterator[ListAsk]:
        """What is to be asked now; what a reply that cannot be read will make necessary is not among it."""
        for example in self._examples():
            row = self._index.row(example.id)
            for repeat, attempt in self._slots(attempts):
                if is_rankable(example) and self._log.is_due(row, repeat, attempt):
                    yield self._orders.ask(example, repeat, attempt)

    def count_due(self, attempts: Sequence[int] = range(ATTEMPTS)) -> int:
        """Number of what `due` yields; no example is read for it."""
        slots, rows = self._slots(attempts), self._index.rankable
        return sum(self._log.is_due(row, *slot) for row in rows for slot in slots)

    def _slots(self, attempts: Sequence[int]) -> list[tuple[int, int]]:
        return [(repeat, attempt) for repeat in range(self._orders.count) for attempt in attempts]

    def run(self, *, ask: bool = True, drop: Drop = frozenset()) -> RankingReport:
        """Asks what is due, unless told not to, and writes all examples with the ranks that the replies say.

        Args:
            ask: False reads the stored replies anew and sends nothing.
            drop: states of examples that are not to be written, and "low-confidence".

        Raises:
            TunaError: judge, input or output are at fault. Replies that were there are stored.
        """
        with self._output.opened():
            self._log.read(repair=True)
            if ask:
                self._ask_all()
            report = RankingReport(signature=self._ranker.signature, judge=self._ranker.name)
            write_ranked(self._output.file, self._ranked(report, drop))
            report.usage, report.cost = self.usage, cost_of(self.usage, self._price)
            report.failures = self._log.failures
            store_report(report, self._output.folder)
        return report

    def _ask_all(self) -> None:
        total = len(self._index.rankable) * self._orders.count
        pending = self.count_due()
        self._progress.note(f"ranker {self._ranker.name}: {total} rankings, {pending} to go; journal {self._log.file}")
        fewest = self._index.fewest
        if fewest and self._orders.count > math.factorial(min(fewest, _MANY)):
            shown = f"{fewest} candidates have {math.factorial(fewest)} orders"
            self._progress.note(f"warning: {shown}: of {self._orders.count} rankings some see an order again")
        for attempt in range(ATTEMPTS):
            if pending := self.count_due([attempt]):
                if attempt:
                    self._progress.note(f"{pending} replies could not be read: asked for once more, in another order")
                self._ask(attempt, pending, total if attempt == 0 else pending)

    def _ask(self, attempt: int, pending: int, total: int) -> None:
        """Stores each judgment as it comes."""
        self._progress.begin(f"ranked by {self._ranker.name}", done=total - pending, total=total)
        told = time.monotonic()
        try:
            with self._log.appender() as append:
                for judgment in self._ranker.rank_all(self.due([attempt])):
                    append(judgment)
                    self._progress.advance()
                    if self._price is not None and time.monotonic() - told >= SECONDS_BETWEEN_COSTS:
                        told = time.monotonic()
                        self._progress.note(f"{self.usage.judgments} replies, ${cost_of(self.usage, self._price):.2f}")
        finally:
            self._progress.end()

    def _ranked(self, report: RankingReport, drop: Drop) -> Iterator[RankedExample]:
        """Every example with the ranks that its judgments say; the report counts them."""
        orders = {"orders": self._orders.count, **self._orders.identity()}
        told: dict[str, JSON] = {"ranker": self._ranker.name, "signature": self._ranker.signature, **orders}
        with self._log.opened() as stream:
            for example in self._examples():
                made = [j for j in self._log.of(example.id, stream) if j.repeat < self._orders.count]
                outcome = outcome_of(example, made)
                is_dropped = outcome.state in drop or (outcome.confidence == "low" and "low-confidence" in drop)
                report.enter(outcome, is_dropped=is_dropped)
                if not is_dropped:
                    yield with_ranks(example, outcome, told)
