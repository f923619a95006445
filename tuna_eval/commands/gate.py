"""What `tuna-eval gate` and `tuna-eval baseline` do with their parsed options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tuna_eval.baselines import Baseline, baseline_folders, baseline_names, read_baseline, set_baseline
from tuna_eval.commands.data import print_text
from tuna_eval.disk import appending
from tuna_eval.errors import ConfigError, StoreError
from tuna_eval.report.gate import GateOptions, GateReport, check_gate_options, gate
from tuna_eval.report.gate_formats import FORMATS, as_markdown
from tuna_eval.report.gate_runs import Wanted, pair_runs
from tuna_eval.report.runs import StoredRun, complete_runs, newest_of_each_suite, unfinished_runs


def gate_command(options: argparse.Namespace) -> int:
    """`tuna-eval gate`: 0 if the candidate passes, 1 if not."""
    chosen = gate_options(options)
    candidates = complete_runs(options.candidate)
    wanted = Wanted(options.suite, options.allow_missing, unfinished_runs(options.candidate))
    report = gate(pair_runs(candidates, baseline_runs(options.baseline, options.results), wanted), chosen)
    print_text(FORMATS[options.format](report).rstrip("\n"))
    if options.format == "github":
        _summarise(report)
    return 0 if report.passed else 1


def _summarise(report: GateReport) -> None:
    """Adds the table to the summary of the job, where GitHub runs one; the verdict stands without it."""
    if file := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with appending(Path(file)) as append:
                append(as_markdown(report))
        except StoreError as error:
            sys.stderr.write(f"warning: no summary of the job: {error}\n")


def gate_options(options: argparse.Namespace) -> GateOptions:
    """The gate's options among all that were given, checked."""
    chosen = GateOptions(
        max_drop=_max_drop(options.max_drop),
        level=options.level,
        power=options.power,
        seed=options.seed,
        flips=options.flips,
    )
    check_gate_options(chosen)
    return chosen


def _max_drop(words: Sequence[str]) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for word in words:
        suite, _, points = word.partition("=")
        if suite in found:
            raise ConfigError(f"{suite} has two drops", place="--max-drop", cure="give one for each benchmark")
        try:
            found[suite] = float(points)
        except ValueError as error:
            cure = "write SUITE=POINTS, such as superni=1"
            raise ConfigError(f"{word!r} names no drop", place="--max-drop", cure=cure) from error
    return found


def baseline_runs(given: str, results: Path) -> list[StoredRun]:
    """The runs that `--baseline` names: those behind a name, or those of a folder.

    Raises:
        ConfigError: it is neither.
        DataError: a run is gone, unfinished or changed.
    """
    if given not in baseline_names(results) and Path(given).is_dir():
        return complete_runs(Path(given))
    folders = baseline_folders(results, read_baseline(results, given))
    return [run for folder in folders for run in complete_runs(folder)]


def baseline_set_command(options: argparse.Namespace) -> int:
    """`tuna-eval baseline set`: gives runs a name."""
    newest = newest_of_each_suite(complete_runs(options.run))
    _show(set_baseline(options.results, options.name, [run.folder for run in newest]))
    return 0


def baseline_show_command(options: argparse.Namespace) -> int:
    """`tuna-eval baseline show`: the runs behind one name, or behind all."""
    names = [options.name] if options.name else baseline_names(options.results)
    for name in names:
        _show(read_baseline(options.results, name))
    if not names:
        print_text("no baseline is set: tuna-eval baseline set NAME RUN")
    return 0


def _show(baseline: Baseline) -> None:
    changes = f", changed {len(baseline.earlier)} times" if baseline.earlier else ""
    print_text(f"{baseline.name} (set {baseline.set}{changes})")
    for run in baseline.runs:
        print_text(f"  {run.suite}: {run.model}, {run.path}")
