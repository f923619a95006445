"""The grammar of `tuna-eval gate`, `baseline` and `watch`; imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def add_gate_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_run_options: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Adds the three commands.

    Args:
        commands: those of tuna-eval.
        add_run_options: adds what `tuna-eval run` takes besides the model, its name, its judge and its baseline.
    """
    _add_gate(commands.add_parser("gate", help="fail if a model is worse than a baseline, by more than chance"))
    _add_baseline(commands.add_parser("baseline", help="give runs a name to measure against, or show the names"))
    watch = commands.add_parser("watch", help="evaluate each new checkpoint of a folder as it appears, and gate it")
    _add_watch(watch)
    add_run_options(watch)


def _add_gate(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Exit code 1 where a benchmark's metric drops by more than the tolerance and the interval of the paired "
        "difference lies below zero; 2 where the runs do not compare; 3 for a fault of the program itself."
    )
    command.set_defaults(command="commands.gate.gate_command")
    candidate = "a run's folder, or a model's (results/runs/MODEL): the newest run of each benchmark"
    command.add_argument("candidate", type=Path, metavar="CANDIDATE", help=candidate)
    _add_criterion(command)
    suites = "benchmarks to compare (default: all that the baseline has)"
    command.add_argument("--suite", nargs="+", action="extend", default=[], metavar="SUITE", help=suites)
    missing = "pass over benchmarks of the baseline that the candidate did not run"
    command.add_argument("--allow-missing", action="store_true", help=missing)
    command.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="where baselines are (default: results)"
    )
    command.add_argument(
        "--format",
        default="text",
        choices=["text", "junit", "github", "json"],
        help="github: workflow commands, and a table in the job's summary",
    )


def _add_criterion(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("gate").add_argument
    add("--baseline", required=True, metavar="RUN|NAME", help="a run's or model's folder, or a name that was set")
    add(
        "--max-drop",
        nargs="+",
        action="extend",
        default=[],
        metavar="SUITE=POINTS",
        help="drops that pass, such as superni=1 lmentry=0.5 (default: 0)",
    )
    add("--level", type=float, default=0.05, metavar="P", help="false alarms of the whole gate (0.05)")
    add("--power", type=float, default=0.8, metavar="P", help="at which the detectable drop is stated (0.8)")
    add("--seed", type=int, default=0, metavar="N", help="of the resampling (0)")
    add("--flips", type=int, default=10, metavar="N", help="samples to show, those that fell furthest (10)")


def _add_baseline(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(title="actions", required=True, metavar="ACTION")
    put = actions.add_parser("set", help="give runs a name")
    put.set_defaults(command="commands.gate.baseline_set_command")
    put.add_argument("name", metavar="NAME")
    put.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or a model's: its newest runs")
    show = actions.add_parser("show", help="the names, or the runs behind one")
    show.set_defaults(command="commands.gate.baseline_show_command")
    show.add_argument("name", nargs="?", metavar="NAME")
    for action in (put, show):
        action.add_argument(
            "--results", type=Path, default=Path("results"), metavar="DIR", help="results folder (default: results)"
        )


def _add_watch(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Evaluates each checkpoint folder that is complete and no longer written to, with the options of tuna-eval "
        "run, and gates it. What is done is kept in the results folder; a second call goes on from there."
    )
    command.set_defaults(command="commands.watch.watch_command")
    add = command.add_argument
    add("folder", type=Path, metavar="DIR", help="where training saves its checkpoints, each in a folder of its own")
    add("--once", action="store_true", help="end when all checkpoints that are there are done; 1 if one has failed")
    add("--poll", type=float, default=30.0, metavar="S", help="seconds between two looks (30)")
    add("--name", metavar="NAME", help="what tables call the models, before the checkpoint's name (default: DIR's)")
    _add_criterion(command)
