"""A layout and a frame become a table: printed numbers, differences, the best two, footnotes. Writers typeset it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from string import ascii_lowercase

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.report.frame import Frame, System, Value, frame_of_paper
from tuna_eval.report.layouts import Column, Layout
from tuna_eval.report.notes import Comparisons, note_on
from tuna_eval.report.paper import PaperResults, PublishedTable, paper_results
from tuna_eval.report.rounding import MISSING, printed, printed_difference, whole_percents

SHARES = ("win", "lose", "tie")
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
            name); "" shows the published differences alone.
        with_paper: whether the published rows stand above.

    Raises:
        ConfigError: no row is called so, or the paper has no such table.
        DataError: no system has any of the numbers.
    """
    return _Builder(frame, layout, baseline, with_paper).table()


class _Builder:
    """Builds one table; a class because every cell needs the frame, the baseline and the notes made so far."""

    def __init__(self, frame: Frame, layout: Layout, baseline: str, with_paper: bool) -> None:
        paper = paper_results()
        self.published = _published(paper, layout) if with_paper else None
        self.frame = frame_of_paper(paper, self.published).joined(frame) if self.published else frame
        self.layout = layout
        self.systems = [each for each in self.frame.systems if any(self._value(each, c) for c in layout.columns)]
        if not self.systems:
            wanted = ", ".join(dict.fromkeys(f"{column.metric} of {column.suite}" for column in layout.columns))
            raise DataError(f"nothing here has {wanted or 'categories'}", cure="name other runs, or another --layout")
        self.baseline = self._named(baseline) if baseline else None
        self.compare = Comparisons(self.frame, paper.setting)
        self.marks: dict[str, str] = {}

    def _value(self, system: System, column: Column) -> Value | None:
        return self.frame.get(system, column.suite, column.metric, column.group)

    def _named(self, name: str) -> System:
        """The row that a user names; a run goes before a published row."""
        fitting = [each for each in self.systems if name in (each.name, f"{each.origin}:{each.name}")]
        if not fitting:
            names = ", ".join(dict.fromkeys(each.name for each in self.systems))
            raise ConfigError(f"no row {name!r}", place="--baseline-row", cure=f"name one of {names}")
        return min(fitting, key=lambda each: each.origin == "paper")

    def _baseline_of(self, system: System) -> System | None:
        """The row that a system's differences refer to."""
        base, table = self.baseline, self.published
        if table and system.origin == "paper" and (base is None or base == System(table.compared_to, "paper")):
            is_compared = table.compared_to and system.name not in table.not_compared
            base = System(table.compared_to, "paper") if is_compared else None
        return None if base == system else base

    def table(self) -> Table:
        """All cells, then what is bold, then the notes in reading order."""
        grid = {system: [self._cell(system, column) for column in self.layout.columns] for system in self.systems}
        for number, column in enumerate(self.layout.columns):
            for system in self._best(column):
                grid[system][number] = replace(grid[system][number], is_top=True)
        has_sections = len({each.origin == "paper" for each in self.systems}) > 1
        rows = [Row(self._section(s) if has_sections else "", s.name, tuple(cells)) for s, cells in grid.items()]
        heads = [Head(column.head, column.title, _UNITS.get(column.form, "")) for column in self.layout.columns]
        notes = [Note(mark, text) for text, mark in self.marks.items()]
        if self.baseline and any(column.has_delta for column in self.layout.columns):
            notes.insert(0, Note("", f"In parentheses: difference to {self.baseline.name}."))
        if self.published:
            notes.append(Note("", self._credit()))
        if self.layout.by_category:
            heads, rows = _transposed(self.layout, heads, rows)
        return Table(self.layout.title, self.layout.label, tuple(heads), tuple(rows), tuple(notes))

    def _section(self, system: System) -> str:
        return f"Published (Table {self.layout.paper_table})" if system.origin == "paper" else "Measured"

    def _credit(self) -> str:
        source = paper_results().source
        return f"Published numbers: Table {self.layout.paper_table} of {source['title']} (arXiv {source['arxiv']})."

    def _cell(self, system: System, column: Column) -> Cell:
        value = self._value(system, column)
        shown = self._shown(system, column)
        marks = self._marks(system, column, value)
        if value is None or (shown is None and not value.text):
            return Cell(MISSING, marks=marks)
        if column.form == "text" or shown is None:
            return Cell(value.text or MISSING, marks=marks)
        text = (
            f"<${10 ** -Decimal(column.decimals)}"
            if column.form == "dollars" and shown == 0 < (value.value or 0)
            else ""
        )
        return Cell(text or _form(column, shown), self._delta(system, column, shown), marks=marks, number=shown)

    def _shown(self, system: System, column: Column) -> Decimal | None:
        """The number as it is printed. Counts of wins, losses and ties are shares, rounded together."""
        value = self._value(system, column)
        if value is None or value.value is None:
            return None
        if column.form == "share" and value.unit == "count":
            found = [self.frame.get(system, column.suite, name) for name in SHARES]
            counts = [round(each.value) if each and each.value is not None else 0 for each in found]
            return Decimal(whole_percents(counts)[SHARES.index(column.metric)]) if sum(counts) else None
        return printed(value.value, column.decimals)

    def _delta(self, system: System, column: Column, shown: Decimal) -> str:
        base = self._baseline_of(system) if column.has_delta else None
        other = self._shown(base, column) if base else None
        if base is None or other is None or self.compare.between(system, base, column.suite):
            return ""
        return printed_difference(shown, other)

    def _reference(self, suite: str) -> System | None:
        """The row that the others of a suite must compare with to be ranked: baseline, paper, or the first run."""
        columns = [column for column in self.layout.columns if column.suite == suite]
        having = [each for each in self.systems if any(self._shown(each, column) is not None for column in columns)]
        if self.baseline in having:
            return self.baseline
        return next((each for each in having if each.origin == "paper"), having[0] if having else None)

    def _best(self, column: Column) -> list[System]:
        """The systems with one of the best numbers as printed; equal ones share a rank, and the worst is never best."""
        reference = self._reference(column.suite)
        if column.better == "none" or reference is None:
            return []
        sign = 1 if column.better == "high" else -1
        numbers = {
            system: sign * shown
            for system in self.systems
            if (shown := self._shown(system, column)) is not None
            and not self.compare.between(system, reference, column.suite)
        }
        rank = {system: 1 + sum(other > own for other in numbers.values()) for system, own in numbers.items()}
        worst = min(numbers.values(), default=None)
        return [s for s, own in numbers.items() if rank[s] <= self.layout.ranks and own != worst]

    def _marks(self, system: System, column: Column, value: Value | None) -> tuple[str, ...]:
        """Signs of significance, and the letters of the footnotes, at the first column of a suite."""
        if value and value.better_than:
            return self._signs(value)
        if self._first_column(system, column.suite) is not column:
            return ()
        found = self.frame.runs.get((system, column.suite))
        texts = [note_on(found)] if found else []
        for other in (self._baseline_of(system), self._reference(column.suite)):
            if other and (said := self.compare.between(system, other, column.suite)):
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
        base = self._baseline_of(value.system)
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


def _form(column: Column, shown: Decimal) -> str:
    short = f"{shown:f}".rstrip("0").rstrip(".") if shown % 1 == 0 and "." in f"{shown:f}" else f"{shown:f}"
    forms: Mapping[str, str] = {"share": f"{shown}%", "thousands": f"{short}K", "dollars": f"${short}"}
    return forms.get(column.form, str(shown))


def _transposed(layout: Layout, heads: Sequence[Head], rows: Sequence[Row]) -> tuple[list[Head], list[Row]]:
    """Categories as rows and systems as columns."""
    turned = [Row(head.over, head.title, tuple(row.cells[number] for row in rows)) for number, head in enumerate(heads)]
    return [Head(row.section, row.label) for row in rows], turned
