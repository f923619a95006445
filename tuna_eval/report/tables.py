"""A layout and a frame become a table: printed numbers, differences, the best two, footnotes. Writers typeset it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from string import ascii_lowercase

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.report.frame import Frame, System, Value, frame_of_paper
from tuna_eval.report.layouts import Column, Layout
from tuna_eval.report.notes import Comparisons, note_on
from tuna_eval.report.numbers import printed_number, printed_text
from tuna_eval.report.paper import PaperResults, PublishedTable, paper_results
from tuna_eval.report.references import References
from tuna_eval.report.rounding import MISSING, printed_difference

MEASURED_RANKS = 2  # at least so many of the best are bold where a measured row stands
_UNITS: Mapping[str, str] = {"thousands": "thousands", "dollars": "US dollars"}
BETTER_THAN_BASELINE, BETTER_THAN_ALL = "∗", "†"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        text: the number as it is printed, or "–".
        delta: difference to the baseline as it is printed, without parentheses; "" for none.
        is_top: whether it is among the best of its column.
        marks: of the footnotes that belong to it.
        number: what is printed, as a number; None if there is none.
    """

    text: str
    delta: str = ""
    is_top: bool = False
    marks: tuple[str, ...] = ()
    number: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column: its title, and what stands over it and its neighbours."""

    over: str
    title: str
    unit: str = ""  # of numbers that are printed with a sign, which a CSV file leaves out

    @property
    def name(self) -> str:
        """Both in one line."""
        return self.title if self.title.startswith(self.over) else f"{self.over} {self.title}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line; lines of one section stand together under its name, "" for none."""

    section: str
    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """A line under the table; `mark` "" is about all of it."""

    mark: str
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """What a writer typesets."""

    title: str
    label: str
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    notes: tuple[Note, ...]


def make_table(frame: Frame, layout: Layout, *, baseline: str = "", with_paper: bool = False) -> Table:
    """The table of a layout.

    Args:
        frame: the user's systems.
        layout: what stands where.
        baseline: name of the row that differences refer to ("paper:NAME" for a published one where a run has the same
            name); "" for that of the published table, if it is there.
        with_paper: whether the published rows stand above.

    Raises:
        ConfigError: no row is called so, the layout shows no differences, or the paper has no such table.
        DataError: no system has any of the numbers.
    """
    return _Builder(frame, layout, baseline, with_paper).table()


class _Builder:
    """Builds one table; a class because every cell needs the frame, the references and the notes made so far."""

    def __init__(self, frame: Frame, layout: Layout, baseline: str, with_paper: bool) -> None:
        paper = paper_results()
        published = _published(paper, layout) if with_paper else None
        self.frame = frame_of_paper(paper, published).joined(frame) if published else frame
        self.layout = layout
        self.systems = [each for each in self.frame.systems if any(self._value(each, c) for c in layout.columns)]
        if not self.systems:
            wanted = ", ".join(dict.fromkeys(f"{column.metric} of {column.suite}" for column in layout.columns))
            raise DataError(f"nothing here has {wanted or 'categories'}", cure="name other runs, or another --layout")
        self.named = self._named(baseline) if baseline else None
        self.compare = Comparisons(self.frame, paper.setting)
        self.refer = References(self.named, published, self._having(), self.compare)
        self.marks: dict[str, str] = {}
        self.bases: set[System] = set()
        self.is_ranked_apart = False

    def _value(self, system: System, column: Column) -> Value | None:
        return self.frame.get(system, column.suite, column.metric, column.group)

    def _shown(self, system: System, column: Column) -> Decimal | None:
        return printed_number(self.frame, system, column)

    def _having(self) -> dict[str, tuple[System, ...]]:
        """The systems with a number, by suite."""
        found: dict[str, list[System]] = {}
        for system in self.systems:
            for suite in {c.suite for c in self.layout.columns if self._shown(system, c) is not None}:
                found.setdefault(suite, []).append(system)
        return {suite: tuple(systems) for suite, systems in found.items()}

    def _named(self, name: str) -> System:
        """The row that a user names; a run goes before a published row."""
        if all(column.delta == "never" for column in self.layout.columns):
            raise ConfigError("this layout shows no differences", place="--baseline-row", cure="leave it out")
        fitting = [each for each in self.systems if name in (each.name, f"{each.origin}:{each.name}")]
        if not fitting:
            names = ", ".join(dict.fromkeys(each.name for each in self.systems))
            raise ConfigError(f"no row {name!r}", place="--baseline-row", cure=f"name one of {names}")
        return min(fitting, key=lambda each: each.origin == "paper")

    def table(self) -> Table:
        """All cells, then what is bold, then the notes in reading order."""
        grid = {system: [self._cell(system, column) for column in self.layout.columns] for system in self.systems}
        for number, column in enumerate(self.layout.columns):
            for system in self._best(column):
                grid[system][number] = replace(grid[system][number], is_top=True)
        has_sections = len({each.origin == "paper" for each in self.systems}) > 1
        rows = [Row(self._section(s) if has_sections else "", s.name, tuple(cells)) for s, cells in grid.items()]
        heads = [Head(column.head, column.title, _UNITS.get(column.form, "")) for column in self.layout.columns]
        if self.layout.by_category:
            heads, rows = _transposed(self.layout, heads, rows)
        return Table(self.layout.title, self.layout.label, tuple(heads), tuple(rows), tuple(self._notes()))

    def _notes(self) -> Iterator[Note]:
        if self.bases:
            yield Note("", self._differences())
        if self.is_ranked_apart:
            yield Note("", "Bold: the best of each section by itself, where the two do not compare.")
        yield from (Note(mark, text) for text, mark in self.marks.items())
        if self.refer.published:
            source = paper_results().source
            place = f"Table {self.layout.paper_table} of {source['title']} (arXiv {source['arxiv']})"
            yield Note("", f"Published numbers: {place}.")

    def _differences(self) -> str:
        """What the differences refer to: one row, or the user's and the paper's own where that does not compare."""
        first, *others = sorted(self.bases, key=lambda each: each != self.named)
        own = self._called(first)
        text = f"Differences refer to {own}"
        for other in others:
            text += f"; those of published rows to {self._called(other)}, where {own} does not compare with them"
        return f"{text}."

    def _called(self, system: System) -> str:
        """A row's name, and whose it is if two have it."""
        is_twice = sum(each.name == system.name for each in self.systems) > 1
        return f"the published {system.name}" if is_twice and system.origin == "paper" else system.name

    def _section(self, system: System) -> str:
        return f"Published (Table {self.layout.paper_table})" if system.origin == "paper" else "Measured"

    def _cell(self, system: System, column: Column) -> Cell:
        value = self._value(system, column)
        shown = self._shown(system, column)
        marks = self._marks(system, column, value)
        if value is None or (shown is None and not value.text):
            return Cell(MISSING, marks=marks)
        if column.form == "text" or shown is None:
            return Cell(value.text or MISSING, marks=marks)
        text = printed_text(column, shown, value.value or 0)
        return Cell(text, self._delta(system, column, shown), marks=marks, number=shown)

    def _delta(self, system: System, column: Column, shown: Decimal) -> str:
        base = self.refer.of_difference(system, column.suite)
        if base is None or column.delta == "never" or (column.delta == "asked" and base != self.named):
            return ""
        other = self._shown(base, column)
        if other is None or self.compare.between(system, base, column.suite):
            return ""
        self.bases.add(base)
        return printed_difference(shown, other)

    def _best(self, column: Column) -> list[System]:
        """The systems with one of the best numbers as printed; equal ones share a rank, and the worst is never best."""
        if column.better == "none":
            return []
        sign = 1 if column.better == "high" else -1
        groups: dict[System, dict[System, Decimal]] = {}
        for system in self.systems:
            shown, reference = self._shown(system, column), self.refer.of_rank(system, column.suite)
            if shown is not None and reference and not self.compare.between(system, reference, column.suite):
                groups.setdefault(reference, {})[system] = sign * shown
        found = [best for numbers in groups.values() if (best := self._best_of(numbers))]
        self.is_ranked_apart |= len(found) > 1
        return [system for best in found for system in best]

    def _best_of(self, numbers: Mapping[System, Decimal]) -> list[System]:
        """Of numbers that compare, higher is better. What stands beside a measured row is ranked in any layout."""
        is_published = all(each.origin == "paper" for each in self.systems)
        ranks = self.layout.ranks if is_published else max(self.layout.ranks, MEASURED_RANKS)
        rank = {system: 1 + sum(other > own for other in numbers.values()) for system, own in numbers.items()}
        return [s for s, own in numbers.items() if rank[s] <= ranks and own != min(numbers.values())]

    def _marks(self, system: System, column: Column, value: Value | None) -> tuple[str, ...]:
        """Signs of significance, and the letters of the footnotes, at the first column of a suite."""
        if value and value.better_than:
            return self._signs(value)
        if self._first_column(system, column.suite) is not column:
            return ()
        found = self.frame.runs.get((system, column.suite))
        texts = [note_on(found)] if found else []
        for other in self.refer.all_of(system, column.suite):
            if said := self.compare.between(system, other, column.suite):
                who = "the published numbers" if other.origin == "paper" else other.name
                texts.append(f"does not compare with {who} ({'; '.join(said)})")
        text = "; ".join(dict.fromkeys(filter(None, texts)))
        if text and self.layout.by_category:  # the mark stands at the first category alone
            text = f"{column.head}: {text}"
        return (self._mark(text),) if text else ()

    def _first_column(self, system: System, suite: str) -> Column | None:
        own = [column for column in self.layout.columns if column.suite == suite]
        return next((column for column in own if self._value(system, column)), None)

    def _mark(self, text: str) -> str:
        """The letter of a footnote; the same text has the same letter."""
        number = sum(mark[0] in ascii_lowercase for mark in self.marks.values())
        letters = ascii_lowercase[number % 26] * (1 + number // 26)
        return self.marks.setdefault(text, letters)

    def _signs(self, value: Value) -> tuple[str, ...]:
        """The paper's asterisk and dagger (Table 2). People ranked the systems of one section and no others: a sign
        claims nothing of the rest."""
        peers = [each.name for each in self.systems if each.origin == value.system.origin]
        base = self.refer.of_difference(value.system, value.suite)
        signs = []
        if base and base.origin == value.system.origin and base.name in value.better_than:
            signs.append(BETTER_THAN_BASELINE)
            self.marks[f"better than {base.name} (p < 0.01)"] = BETTER_THAN_BASELINE
        if len(peers) > 1 and set(peers) <= {value.system.name, *value.better_than}:
            signs.append(BETTER_THAN_ALL)
            scope = "" if len(peers) == len(self.systems) else " of its section"
            self.marks[f"better than all others{scope} (p < 0.01)"] = BETTER_THAN_ALL
        return tuple(signs)


def _published(paper: PaperResults, layout: Layout) -> PublishedTable:
    if layout.paper_table is None:
        raise ConfigError("the paper has no such table", place="--with-paper", cure="leave it out for this layout")
    return paper.tables[layout.paper_table]


def _transposed(layout: Layout, heads: Sequence[Head], rows: Sequence[Row]) -> tuple[list[Head], list[Row]]:
    """Categories as rows and systems as columns."""
    turned = [Row(head.over, head.title, tuple(row.cells[number] for row in rows)) for number, head in enumerate(heads)]
    return [Head(row.section, row.label) for row in rows], turned
