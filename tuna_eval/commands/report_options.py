"""The grammar of `tuna-eval table`, `plot` and `trend`; imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

RUN = "results/runs/MODEL (the newest run of each suite), .../SUITE/ID, or NAME=RUN to name it"
LAYOUTS = "main (Table 1), combinations (3), prm (8), rlhf (10), bertscore (11), human (2), cost (6), lengths (4)"
_FORMATS = ["markdown", "latex", "csv", "html"]


def add_report_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the three commands."""
    _add_table(commands.add_parser("table", help="runs side by side, as in the paper's tables"))
    _add_plot(commands.add_parser("plot", help="runs as a figure: PDF, SVG or PNG"))
    _add_trend(commands.add_parser("trend", help="a series of checkpoints, in the order of their steps"))


def _add_table(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command="commands.report.table_command")
    add = command.add_argument
    add("runs", nargs="*", metavar="RUN", help=f"{RUN}; or a file of human scores or data statistics")
    add("--layout", default="main", metavar="NAME", help=f"{LAYOUTS}, or categories (default: main)")
    add("--format", default="markdown", choices=_FORMATS, help="default: markdown")
    add("--baseline-row", default="", metavar="NAME", help="the row that differences in parentheses refer to")
    add("--with-paper", action="store_true", help="put the published rows above")
    add("--standalone", action="store_true", help="LaTeX that compiles alone")
    add("--out", type=Path, metavar="FILE", help="write the table here (default: standard output)")


def _add_plot(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command="commands.report.plot_command")
    add = command.add_argument
    add("runs", nargs="+", metavar="RUN", help=f"{RUN}; NAME=X:RUN says where it stands on the x axis")
    figures = ["lambda", "data-size", "categories", "radar", "trend", "length-win"]
    add("--figure", required=True, choices=figures, help="lambda and data-size are the paper's Figures 2 and 3")
    value = "lambda or data size of each RUN's model, in order"
    add("--x", nargs="+", action="extend", type=float, default=[], metavar="X", help=value)
    add("--out", type=Path, required=True, metavar="FILE", help="ends in .pdf, .svg or .png")


def _add_trend(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command="commands.report.trend_command")
    add = command.add_argument
    add("runs", nargs="+", metavar="RUN", help=f"{RUN}; NAME=STEP:RUN says its training step")
    add("--format", default="markdown", choices=[*_FORMATS, "json"], help="default: markdown")
    add("--baseline-row", default="", metavar="NAME", help="the checkpoint that differences in parentheses refer to")
    add("--plot", type=Path, metavar="FILE", help="draw it too: .pdf, .svg or .png")
    add("--out", type=Path, metavar="FILE", help="write the table here (default: standard output)")
