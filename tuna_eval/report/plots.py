"""Figures by matplotlib: vector output, readable in print at column width, safe for colour-blind readers.

The same values give the same file: no date, no random ids. Lines differ by colour, marker and dash.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuna_eval.disk import replacing
from tuna_eval.errors import ConfigError
from tuna_eval.report.figures import Line, Panel
from tuna_eval.store import refuse_run_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), "Color Universal Design"; yellow last, for it is weak on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "os^DvPX*"
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
HATCHES = ("", "//", "..", "xx", "--", "\\\\", "oo", "++")
FORMATS = ("pdf", "svg", "png")
COLUMN_WIDTH = 3.3  # inches: one column of a two-column paper
FONT_SIZE = 8.0  # points, nothing is smaller
STYLE: Any = {
    "font.size": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE,
    "ytick.labelsize": FONT_SIZE,
    "legend.fontsize": FONT_SIZE,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # fonts are embedded as TrueType: text can be searched
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "tuna",
    "text.parse_math": False,  # a dollar in a name is a dollar
}

_GLYPH = re.compile(r"Glyph (\d+) .*missing from")

Shape = Literal["lines", "bars", "radar", "points"]


def draw(panels: Sequence[Panel], shape: Shape, x_label: str, out: Path) -> str:
    """Draws panels one below the other and writes the figure.

    Args:
        panels: what is drawn.
        shape: "lines" over a common x axis, "bars" or "radar" over categories, "points" with names.
        x_label: of the x axis; "" for none.
        out: .pdf, .svg or .png; an old file stays until the new one is whole.

    Returns:
        The characters that the font lacks, which a reader may see as boxes; "" if there are none.

    Raises:
        ConfigError: another kind of file, more lines than can be told apart, or matplotlib is missing.
        StoreError: the file cannot be written.
    """
    check_output(out)
    if (most := max(len(panel.lines) for panel in panels)) > len(PALETTE):
        raise ConfigError(f"{most} systems cannot be told apart in one figure", cure=f"name at most {len(PALETTE)}")
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=_size(panels, shape), layout="constrained")
        kind = {"projection": "polar"} if shape == "radar" else {}
        grid = figure.subplots(nrows=len(panels), squeeze=False, sharex=shape == "lines", subplot_kw=kind)
        axes = [row[0] for row in grid]
        for panel, own in zip(panels, axes, strict=True):
            {"lines": _lines, "bars": _bars, "radar": _radar, "points": _points}[shape](own, panel)
        if x_label and shape in ("lines", "points"):
            axes[-1].set_xlabel(x_label)
        content, missing = _bytes(figure, out.suffix[1:].lower())
        with replacing(out) as write:
            write(content)
    return missing


def check_output(out: Path) -> None:
    """Refuses a kind of file that cannot be drawn, before anything is read.

    Raises:
        ConfigError: the suffix is none of .pdf, .svg and .png, or it would lie in the folder of a run.
    """
    refuse_run_folder(out)
    if out.suffix[1:].lower() not in FORMATS:
        raise ConfigError(f"{out.name!r} is no kind of figure", place="--out", cure="end it in .pdf, .svg or .png")


@contextmanager
def _style() -> Iterator[None]:
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise ConfigError("figures need matplotlib", cure="pip install 'tuna-llm[report]'") from error
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's matplotlibrc says
        mpl.rcParams.update(STYLE)
        yield


def _size(panels: Sequence[Panel], shape: Shape) -> tuple[float, float]:
    """Width and height in inches."""
    if shape == "bars":
        bars = sum(len(panel.ticks) * (len(panel.lines) * 0.13 + 0.08) + 0.7 for panel in panels)
        return 2 * COLUMN_WIDTH, max(2.0, bars)
    if shape == "radar":
        return 1.6 * COLUMN_WIDTH, 4.2 * len(panels)
    return COLUMN_WIDTH, max(2.4, 1.5 * len(panels) + 0.4)


def _bytes(figure: Figure, kind: str) -> tuple[bytes, str]:
    """The file, without a date, and the characters that the font lacks; each is one of many warnings otherwise."""
    metadata: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}[kind]
    out = io.BytesIO()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        figure.savefig(out, format=kind, metadata=metadata, dpi=300)
    missing = set()
    for each in told:
        if glyph := _GLYPH.match(str(each.message)):
            missing.add(chr(int(glyph[1])))
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return out.getvalue(), "".join(sorted(missing))


def _labels(panel: Panel) -> list[str]:
    """Given to a legend one by one, or it leaves out names that begin with an underscore."""
    return [line.label for line in panel.lines]


def _is_flat(panel: Panel) -> bool:
    """Whether all numbers, which are percentages, are 0: matplotlib would draw an axis of a few hundredths."""
    return all(point.y == point.low == point.high == 0 for line in panel.lines for point in line.points)


def _error_bars(points: Line) -> list[list[float]]:
    """Distances down and up to the ends of the intervals."""
    return [[max(0.0, p.y - p.low) for p in points.points], [max(0.0, p.high - p.y) for p in points.points]]


def _with_intervals(axes: Axes, panel: Panel, *, joined: bool) -> list[Any]:
    """Draws every system's points with their intervals, as a line or apart; what the legend names."""
    drawn = []
    for i, line in enumerate(panel.lines):
        shape = axes.errorbar(
            [p.x for p in line.points],
            [p.y for p in line.points],
            yerr=_error_bars(line),
            color=PALETTE[i],
            marker=MARKERS[i],
            linestyle=DASHES[i] if joined else "none",
            elinewidth=0.6,
            capsize=1.5,
        )
        drawn.append(shape)
    axes.set_ylabel(panel.y_label)
    if _is_flat(panel):
        axes.set_ylim(0, 100)
    return drawn


def _lines(axes: Axes, panel: Panel) -> None:
    drawn = _with_intervals(axes, panel, joined=True)
    if panel.ticks:
        axes.set_xticks(range(len(panel.ticks)), panel.ticks)
    if len(panel.lines) > 1:
        axes.legend(drawn, _labels(panel), loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _bars(axes: Axes, panel: Panel) -> None:
    """Categories from top to bottom, one bar a system."""
    thickness = 0.8 / len(panel.lines)
    drawn = []
    for i, line in enumerate(panel.lines):
        shape = axes.barh(
            [p.x + (i + 0.5) * thickness - 0.4 for p in line.points],
            [p.y for p in line.points],
            height=thickness,
            xerr=_error_bars(line),
            color=PALETTE[i],
            hatch=HATCHES[i],
            edgecolor="white",
            linewidth=0.3,
            error_kw={"elinewidth": 0.6, "capsize": 1.0},
        )
        drawn.append(shape)
    axes.set_yticks(range(len(panel.ticks)), panel.ticks)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(panel.y_label)
    if _is_flat(panel):
        axes.set_xlim(0, 100)
    axes.set_title(panel.title)
    if len(panel.lines) > 1:
        axes.legend(drawn, _labels(panel), loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _radar(axes: Axes, panel: Panel) -> None:
    """Categories round the clock; a system without a number for one of them is drawn with a gap there."""
    count = len(panel.ticks)
    angles = [2 * math.pi * i / count for i in range(count)]
    drawn = []
    for i, line in enumerate(panel.lines):
        by_place = {round(p.x): p.y for p in line.points}
        heights = [by_place.get(place, math.nan) for place in range(count)]
        drawn += axes.plot(
            [*angles, angles[0]],
            [*heights, heights[0]],
            color=PALETTE[i],
            marker=MARKERS[i],
            linestyle=DASHES[i],
        )
    axes.set_xticks(angles, [label.replace(" ", "\n") for label in panel.ticks])
    for angle, text in zip(angles, axes.get_xticklabels(), strict=True):  # away from the circle
        side, height = round(math.cos(angle), 6), math.sin(angle)
        text.set_horizontalalignment("left" if side > 0 else "right" if side < 0 else "center")
        text.set_verticalalignment("bottom" if height > 0.3 else "top" if height < -0.3 else "center")
    axes.set_ylim(0, 100)
    axes.set_yticks([25, 50, 75])
    axes.tick_params(axis="x", pad=2)
    axes.set_title(f"{panel.title}: {panel.y_label.lower()}")
    below = -0.05 - 0.05 * max(len(label.split(" ")) for label in panel.ticks)  # under labels of so many lines
    axes.legend(drawn, _labels(panel), loc="upper center", bbox_to_anchor=(0.5, below), ncols=2, frameon=False)


def _points(axes: Axes, panel: Panel) -> None:
    drawn = _with_intervals(axes, panel, joined=False)
    axes.legend(drawn, _labels(panel), loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
