"""What `tuna-eval table`, `plot` and `trend` do with their parsed options."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tuna_eval.commands.data import print_text
from tuna_eval.errors import ConfigError
from tuna_eval.report.figures import Panel, category_panels, length_panel, metric_panels, places
from tuna_eval.report.frame import Frame
from tuna_eval.report.human.files import write_text
from tuna_eval.report.layouts import layout_named
from tuna_eval.report.notes import incomparable
from tuna_eval.report.plots import Shape, check_output, draw
from tuna_eval.report.sources import read_frame
from tuna_eval.report.tables import Table, make_table
from tuna_eval.report.trend import Steps, training_steps, trend_json, trend_table
from tuna_eval.report.writers.latex import write_latex
from tuna_eval.report.writers.markdown import write_markdown
from tuna_eval.report.writers.plain import write_csv, write_html

X_LABELS = {"lambda": "λ", "data-size": "Number of examples"}


def table_command(options: argparse.Namespace) -> int:
    """`tuna-eval table`: runs, and published numbers, in one of the paper's layouts."""
    if not options.runs and not options.with_paper:
        raise ConfigError("nothing to show", place="RUN", cure="name runs, or give --with-paper")
    if options.standalone and options.format != "latex":
        raise ConfigError("only LaTeX stands alone", place="--standalone", cure="add --format latex")
    frame = read_frame(options.runs)
    layout = layout_named(options.layout, frame)
    table = make_table(frame, layout, baseline=options.baseline_row, with_paper=options.with_paper)
    _put_out(_written(table, options.format, standalone=options.standalone), options.out)
    return 0


def _written(table: Table, format: str, *, standalone: bool = False) -> str:
    if format == "latex":
        return write_latex(table, standalone=standalone)
    return {"markdown": write_markdown, "csv": write_csv, "html": write_html}[format](table)


def _put_out(text: str, out: Path | None) -> None:
    if out is None:
        print_text(text.rstrip("\n"))
    else:
        write_text(out, text)


def _warn(frame: Frame) -> None:
    """Says on standard error what a figure cannot show: runs in it that do not compare."""
    for line in incomparable(frame):
        sys.stderr.write(f"warning: {line}\n")


def plot_command(options: argparse.Namespace) -> int:
    """`tuna-eval plot`: one figure."""
    check_output(options.out)
    frame = read_frame(options.runs)
    _warn(frame)
    figure = options.figure
    if options.x and figure not in X_LABELS:
        raise ConfigError(f"--figure {figure} takes no --x", cure="leave it out, or write NAME=STEP:RUN for a trend")
    if figure == "length-win":
        _draw([length_panel(frame)], "points", "Mean length of an answer (characters)", options.out)
    elif figure in ("categories", "radar"):
        _draw(category_panels(frame), "bars" if figure == "categories" else "radar", "", options.out)
    elif figure == "trend":
        _draw_trend(frame, training_steps(frame), options.out)
    else:
        panels = metric_panels(frame, places(frame, options.x), is_even=figure == "lambda")
        _draw(panels, "lines", X_LABELS[figure], options.out)
    return 0


def trend_command(options: argparse.Namespace) -> int:
    """`tuna-eval trend`: a series of checkpoints as a table, and as a figure with --plot."""
    if options.plot:
        check_output(options.plot)
    frame = read_frame(options.runs)
    steps = training_steps(frame)
    if options.format == "json":
        _put_out(json.dumps(trend_json(frame, steps), indent=1), options.out)
    else:
        _put_out(_written(trend_table(frame, steps, options.baseline_row), options.format), options.out)
    if options.plot:
        _warn(frame)
        _draw_trend(frame, steps, options.plot)
    return 0


def _draw(panels: Sequence[Panel], shape: Shape, x_label: str, out: Path) -> None:
    if missing := draw(panels, shape, x_label, out):
        sys.stderr.write(f"warning: the font has no {' '.join(missing)}: boxes may stand there\n")


def _draw_trend(frame: Frame, steps: Steps, out: Path) -> None:
    label = "Order given" if steps.is_order else "Training step"
    _draw(metric_panels(frame, steps.places, is_even=steps.is_order), "lines", label, out)
