"""What `tuna-eval data` and `tuna-eval ls` do with their parsed options, and how a run comes by its data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tuna_eval import datasets
from tuna_eval.console import ConsoleProgress
from tuna_eval.judge.factory import describe_protocols
from tuna_eval.llm.factory import ENGINES
from tuna_eval.llm.prompts import FORMATS
from tuna_eval.manifests import load_manifest, manifests
from tuna_eval.tasks.catalog import SUITES
from tuna_eval.tasks.lmentry.scoring import REPAIRS


def ls_command(options: argparse.Namespace) -> int:
    """`tuna-eval ls`: what can be run, one name a line behind its heading."""
    sections: dict[str, list[str]] = {}
    if options.what in (None, "suites"):
        sections["suites"] = list(SUITES)
    if options.what in (None, "engines"):
        sections["engines"] = ["auto: vllm if it is installed, else hf", *(f"{k}: {v}" for k, v in ENGINES.items())]
    if options.what in (None, "formats"):
        sections["formats"] = ["auto: chat if the model has a chat template, else alpaca", *FORMATS]
    if options.what in (None, "protocols"):
        rows = [f"{name}: {what}" for name, what in describe_protocols().items()]
        sections["protocols"] = [*rows, "the first parser and the first orders are the default"]
    if options.what in (None, "lmentry-scoring"):
        sections["lmentry-scoring"] = [
            "official: as the official code scores, oddities included",
            "strict: all of these",
            *(f"{name}: {what}" for name, what in REPAIRS.items()),
        ]
    if options.what in (None, "tasks"):
        sections |= {f"tasks of {name}": _task_rows(name, options) for name in SUITES}
    for heading, rows in sections.items():
        print_text(f"{heading}:")
        for row in rows:
            print_text(f"  {row}")
    return 0


def _task_rows(name: str, options: argparse.Namespace) -> list[str]:
    """The tasks of a benchmark, and which of them the data at hand does not have."""
    is_fetched = options.data == "mini" or options.data_dir
    benchmark = SUITES[name]
    if options.data_dir and not datasets.has_copy(benchmark.data, options.data_dir):
        return [f"none in {options.data_dir}"]
    folder = (
        datasets.resolve(benchmark.data, options.data, options.data_dir)
        if is_fetched
        else datasets.cached(load_manifest(benchmark.data))
    )
    return [
        task if benchmark.file(folder, task).is_file() else f"{task} (not fetched)" for task in benchmark.tasks(folder)
    ]


def data_command(options: argparse.Namespace) -> int:
    """`tuna-eval data list|fetch|verify`."""
    chosen = [load_manifest(name) for name in options.names] or list(manifests())
    if options.action == "list":
        for row in datasets.listing():
            if row.manifest in chosen:
                print_text(f"{row.manifest.name}: {row.manifest.title}")
                print_text(f"  files    {row.present} of {len(row.manifest.files)} in {row.folder}")
                print_text(f"  sample   {'built in (--data mini)' if row.has_mini else 'none'}")
                print_text(f"  upstream {row.manifest.upstream} at {row.manifest.commit}")
                print_text(f"  licence  {row.manifest.licence}")
                print_text(f"  cite     {' '.join(row.manifest.citation.split())}")
                if row.manifest.note:
                    print_text(f"  note     {' '.join(row.manifest.note.split())}")
        return 0
    is_complete = True
    for manifest in chosen:
        report = (
            datasets.fetch(manifest, _FetchProgress(ConsoleProgress()))
            if options.action == "fetch"
            else datasets.verify(manifest)
        )
        is_complete &= report.is_complete
        counts = (
            (report.ok, "good"),
            (report.missing, "missing"),
            (report.changed, "changed"),
            (report.unlocked, "unlocked"),
        )
        states = ", ".join(f"{len(files)} {state}" for files, state in counts)
        print_text(f"{manifest.name}: {states}, in {report.folder}")
        for path in report.changed:
            print_text(f"  changed: {path}")
    return 0 if is_complete else 2


def bring_data(names: Sequence[str], options: argparse.Namespace, progress: ConsoleProgress) -> None:
    """Fetches the official data of the suites that are not in the cache yet, unless other data is named."""
    if options.data == "mini" or options.data_dir:
        return
    wanted = {SUITES[name].data for name in names}
    for row in datasets.listing():
        if row.manifest.name in wanted and row.present < len(row.manifest.files):
            progress.note(f"fetching {row.manifest.title} ({row.manifest.licence}) once, to {row.folder}")
            datasets.fetch(row.manifest, _FetchProgress(progress))


class _FetchProgress:
    """Shows a download: one line a file."""

    def __init__(self, progress: ConsoleProgress) -> None:
        self._progress = progress
        self._files = -1

    def __call__(self, state: datasets.Progress) -> None:
        if state.files_done != self._files:
            self._files = state.files_done
            self._progress.note(f"{state.files_done} of {state.files_total} files; {state.path}")


def print_text(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(f"{text}\n")
