"""What each figure shows, as plain values: panels of lines, bars by category, points of length and win rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuna_eval.disk import read_lines
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.report.frame import Frame, System, Value
from tuna_eval.report.layouts import layout_named


@dataclass(frozen=True, slots=True)
class Point:
    """A number where it stands, with its 95% interval; `low` and `high` are the number itself where there is none."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """Points that belong together, from left to right."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: of the panel; "" for none.
        y_label: of its y axis.
        lines: what is drawn.
        ticks: names of the places on the x axis, where it is no scale.
    """

    title: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[str, ...] = ()


# The panels of Figures 2 and 3: label of the y axis, then (label of the line, suite, metric).
_PANELS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("ROUGE-L", (("0-shot", "superni_0shot", "rougeL"), ("2-shot", "superni_2shot", "rougeL"))),
    ("LMentry score", (("LMentry", "lmentry", "lmentry_score"),)),
    ("Rate (%)", (("win", "vicuna_qa", "win"), ("lose", "vicuna_qa", "lose"), ("tie", "vicuna_qa", "tie"))),
)


def metric_panels(frame: Frame, positions: Mapping[System, float], *, is_even: bool) -> list[Panel]:
    """A panel for each benchmark that was measured, over training step, data size or lambda (Figures 2 and 3).

    Args:
        frame: the systems.
        positions: where each stands on the x axis; those without a place are left out.
        is_even: whether the places are drawn at equal distances, as Figure 2 does for lambda.

    Raises:
        DataError: nothing can be drawn.
    """
    places = sorted(set(positions.values()))
    on_axis = {place: float(i) if is_even else place for i, place in enumerate(places)}
    ticks = tuple(f"{place:g}" for place in places) if is_even else ()
    panels = []
    for y_label, wanted in _PANELS:
        lines = []
        for label, suite, metric in wanted:
            found = [(on_axis[x], _in_percent(frame, system, suite, metric)) for system, x in positions.items()]
            points = sorted((_point(x, value) for x, value in found if value is not None), key=lambda p: p.x)
            if points:
                lines.append(Line(label, tuple(points)))
        if lines:
            panels.append(Panel("", y_label, tuple(lines), ticks))
    if not panels:
        raise DataError(
            "none of the runs has a score to draw", cure="name runs of superni, lmentry or judged vicuna_qa"
        )
    return panels


def _in_percent(frame: Frame, system: System, suite: str, metric: str) -> Value | None:
    """A value that is there; counts of wins, losses and ties are shares of the questions with a verdict."""
    value = frame.get(system, suite, metric)
    if value is None or value.value is None:
        return None
    if value.unit != "count":
        return value
    share = 100 * value.value / value.n if value.n else None
    return None if share is None else Value(system, suite, metric, share, "percent", n=value.n)


def _point(x: float, value: Value) -> Point:
    y = value.value or 0.0
    low, high = (value.interval.low, value.interval.high) if value.interval else (y, y)
    return Point(x, y, low, high)


def category_panels(frame: Frame) -> list[Panel]:
    """A panel for each suite with categories; a line is a system, its points the categories in order.

    Raises:
        DataError: nothing has categories.
    """
    columns = layout_named("categories", frame).columns
    panels = []
    for suite in dict.fromkeys(column.suite for column in columns):
        own = [column for column in columns if column.suite == suite]
        lines = []
        for system in frame.systems:
            found = [frame.get(system, suite, column.metric, column.group) for column in own]
            points = [_point(i, value) for i, value in enumerate(found) if value and value.value is not None]
            if points:
                lines.append(Line(system.name, tuple(points)))
        ticks = tuple(column.group.replace("_", " ") for column in own)
        if lines:
            y_label = "Win rate (%)" if suite == "vicuna_qa" else "Score (%)"
            panels.append(Panel(own[0].head, y_label, tuple(lines), ticks))
    if not panels:
        raise DataError("none of the runs has categories", cure="name runs of superni or judged vicuna_qa")
    return panels


def length_panel(frame: Frame) -> Panel:
    """Mean length of the answers against the win rate: does a judge like what is long?

    Raises:
        DataError: no run of Vicuna QA is judged.
    """
    lines = []
    for (system, suite), run in frame.runs.items():
        value = frame.get(system, suite, "win_rate") if suite == "vicuna_qa" else None
        if value is not None and value.value is not None:
            lengths = [len(str(line["output"])) for line in read_lines(run.folder.samples_file)]
            if lengths:
                lines.append(Line(system.name, (_point(sum(lengths) / len(lengths), value),)))
    if not lines:
        raise DataError("no judged answers", cure="name runs of vicuna_qa, and judge them first (tuna-eval judge)")
    return Panel("", "Win rate (%)", tuple(lines))


def places(frame: Frame, given: Sequence[float]) -> dict[System, float]:
    """Where each system stands on the x axis.

    Args:
        frame: its `positions` are those written as NAME=X:RUN.
        given: --x, one for each system in order; empty if not given.

    Raises:
        ConfigError: a system has no place, or the numbers do not fit the systems.
    """
    systems = list(dict.fromkeys(system for system, _ in frame.runs))
    if given and len(given) != len(systems):
        names = ", ".join(system.name for system in systems)
        raise ConfigError(
            f"{len(given)} places for {len(systems)} systems ({names})", place="--x", cure="give one each"
        )
    if given:
        return dict(zip(systems, given, strict=True))
    if missing := [system.name for system in systems if system not in frame.positions]:
        cure = "write NAME=X:RUN for each, or give --x"
        raise ConfigError(f"{missing[0]} has no place on the x axis", place="RUN", cure=cure)
    return {system: frame.positions[system] for system in systems}
