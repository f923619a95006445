"""What `tuna-eval gate` and `tuna-eval baseline` do with their parsed options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tuna_eval.baselines import (
    Baseline,
    baseline_folders,
    baseline_names,
    read_baseline,
    set_baseline,
    state_of,
)
from tuna_eval.commands.data import print_text
from tuna_eval.disk import appending
from tuna_eval.errors import ConfigError, StoreError, TunaError
from tuna_eval.report.gate import GateOptions, GateReport, check_gate_options, gate
from tuna_eval.report.gate_formats import FORMATS, REFUSALS, as_markdown, refusal_as_markdown
from tuna_eval.report.gate_runs import Wanted, pair_runs
from tuna_eval.report.runs import StoredRun, complete_runs, newest_of_each_suite, unfinished_runs


def gate_command(options: argparse.Namespace) -> int:
    """`tuna-eval gate`: 0 if the candidate passes, 1 if not.

    Raises:
        TunaError: the runs are refused; the formats that programs read say so too.
    """
    try:
        report = _gated(options)
    except TunaError as error:
        if options.format in REFUSALS:
            print_text(REFUSALS[options.format](error).rstrip("\n"))
        if options.format == "github":
            _summarise(refusal_as_markdown(error))
        raise
    print_text(FORMATS[options.format](report).rstrip("\n"))
    if options.format == "github":
        _summarise(as_markdown(report))
    return 0 if report.passed else 1


def _gated(options: argparse.Namespace) -> GateReport:
    chosen = gate_options(options)
    candidates = complete_runs(options.candidate)
    wanted = Wanted(options.suite, options.allow_missing, unfinished_runs(options.candidate))
    compared = {run.record.suite for run in candidates if wanted.has(run)}
    baselines = baseline_runs(options.baseline, options.results, compared)
    lost = _lost_suites(options, baselines)
    return gate(pair_runs(candidates, baselines, replace(wanted, lost=lost)), chosen)


def _lost_suites(options: argparse.Namespace, found: Sequence[StoredRun]) -> list[str]:
    """Benchmarks of a named baseline, not compared with, whose runs are no longer what they were."""
    if not _is_name(options.baseline, options.results):
        return []
    named = {run.suite for run in read_baseline(options.results, options.baseline).runs}
    return sorted(named - {run.record.suite for run in found})


def _summarise(text: str) -> None:
    """Adds Markdown to the summary of the job, where GitHub runs one; the verdict stands without it."""
    if file := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with appending(Path(file)) as append:
                append(text)
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


def baseline_runs(given: str, results: Path, suites: Container[str] | None = None) -> list[StoredRun]:
    """The runs that `--baseline` names: those behind a name, or those of a folder.

    Args:
        given: the name or the folder.
        results: the results folder, which knows the names.
        suites: the benchmarks that are compared (default: all); see `baseline_folders`.

    Raises:
        ConfigError: it is neither.
        DataError: a run that is compared is gone, unfinished or changed.
    """
    if not _is_name(given, results):
        return complete_runs(Path(given))
    folders = baseline_folders(results, read_baseline(results, given), suites)
    return [run for folder in folders for run in complete_runs(folder)]


def _is_name(given: str, results: Path) -> bool:
    return given in baseline_names(results) or not Path(given).is_dir()


def baseline_set_command(options: argparse.Namespace) -> int:
    """`tuna-eval baseline set`: gives runs a name, and says what it stands for now and what it no longer does."""
    newest = newest_of_each_suite(complete_runs(options.run))
    is_known = options.name in baseline_names(options.results)
    before = read_baseline(options.results, options.name).runs if is_known else ()
    baseline = set_baseline(options.results, options.name, [run.folder for run in newest])
    _show(baseline, options.results)
    if lost := sorted({run.suite for run in before} - {run.suite for run in baseline.runs}):
        print_text(f"  no longer in it: {', '.join(lost)}")
    return 0


def baseline_show_command(options: argparse.Namespace) -> int:
    """`tuna-eval baseline show`: the runs behind one name, or behind all, and what became of them."""
    names = [options.name] if options.name else baseline_names(options.results)
    for name in names:
        _show(read_baseline(options.results, name), options.results)
    if not names:
        print_text("no baseline is set: tuna-eval baseline set NAME RUN")
    return 0


def _show(baseline: Baseline, results: Path) -> None:
    times = len(baseline.earlier)
    changes = ", changed once" if times == 1 else f", changed {times} times" if times else ""
    print_text(f"{baseline.name} (set {baseline.set}{changes})")
    for run in baseline.runs:
        state = state_of(results, run)
        print_text(f"  {run.suite}: {run.model}, {run.path}" + (f" ({state})" if state else ""))
