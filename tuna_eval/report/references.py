"""Which row the numbers of another refer to: for its differences, and for its rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tuna_eval.report.frame import System
from tuna_eval.report.notes import Comparisons
from tuna_eval.report.paper import PublishedTable


@dataclass(frozen=True, slots=True)
class References:
    """The rows of one table that others are measured against.

    Attributes:
        named: the row that the user named; None for none.
        published: the paper's table, if its rows are there.
        having: the systems with a number to show, by suite, in the order of the rows.
        compare: whether two of them compare.
    """

    named: System | None
    published: PublishedTable | None
    having: Mapping[str, tuple[System, ...]]
    compare: Comparisons

    def of_difference(self, system: System, suite: str) -> System | None:
        """The row that a system's differences refer to; None for none.

        That is the row the user named. Without one, it is that of the paper's table, beside which it stands. Published
        rows keep the paper's where the named row has no number that compares with theirs.
        """
        base = self.named
        if base is None or (system.origin == "paper" and self._keeps_its_own(system, base, suite)):
            base = self._of_the_paper(system)
        return None if base == system else base

    def _keeps_its_own(self, system: System, named: System, suite: str) -> bool:
        return named == self._baseline_of_the_paper() or not self._compares(system, named, suite)

    def _baseline_of_the_paper(self) -> System | None:
        name = self.published.compared_to if self.published else ""
        return System(name, "paper") if name else None

    def _of_the_paper(self, system: System) -> System | None:
        is_left_out = self.published and system.origin == "paper" and system.name in self.published.not_compared
        return None if is_left_out else self._baseline_of_the_paper()

    def _compares(self, system: System, other: System, suite: str) -> bool:
        return other in self.having.get(suite, ()) and not self.compare.between(system, other, suite)

    def of_rank(self, system: System, suite: str) -> System | None:
        """The row that a system must compare with to be ranked: the one that the user named, else the first published
        row, else the first. What the paper or people ranked together stays ranked among itself where it does not
        compare with that row.
        """
        having = self.having.get(suite, ())
        chosen = self.named if self.named in having else self._first_published(suite) or next(iter(having), None)
        if chosen and system.origin not in ("run", chosen.origin) and not self._compares(system, chosen, suite):
            return next((each for each in having if each.origin == system.origin), None)
        return chosen

    def _first_published(self, suite: str) -> System | None:
        return next((each for each in self.having.get(suite, ()) if each.origin == "paper"), None)

    def all_of(self, system: System, suite: str) -> list[System]:
        """All rows beside which a reader may put a system's numbers."""
        found = self.of_difference(system, suite), self.of_rank(system, suite), self._first_published(suite)
        return [each for each in dict.fromkeys(found) if each is not None]
