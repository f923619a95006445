"""What each tuna-eval command does with its parsed options."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tuna_eval import datasets
from tuna_eval.console import ConsoleProgress, show_results, show_runs
from tuna_eval.errors import ConfigError
from tuna_eval.llm.factory import ENGINES, EngineOptions, choose_engine, open_engine
from tuna_eval.llm.prompts import FORMATS
from tuna_eval.manifests import load_manifest, manifests
from tuna_eval.metrics.bertscore import BertScorer
from tuna_eval.provenance import environment
from tuna_eval.run import RunSettings, run
from tuna_eval.schema import SuiteResult
from tuna_eval.scoring import score_outputs
from tuna_eval.store import RunFolder, check_writable
from tuna_eval.tasks.catalog import SUITES, SuiteOptions, open_suites, suite_names
from tuna_eval.tasks.superni_format import MAX_SOURCE_TOKENS


def run_command(options: argparse.Namespace) -> int:
    """`tuna-eval run`: every suite asked for, one after the other, with one engine."""
    progress = ConsoleProgress()
    shots = tuple(dict.fromkeys(options.shots))
    suite_options = _suite_options(options, shots=shots, max_source_tokens=options.max_source_tokens)
    names = suite_names(options.suite)
    _bring_data(names, options, progress)
    suites = open_suites(names, suite_options)
    if options.max_new_tokens is not None and options.max_new_tokens < 1:
        raise ConfigError(f"--max-new-tokens {options.max_new_tokens} is too small", cure="give 1 or more")
    check_writable(options.output)
    engine_options = _engine_options(options)
    choice = choose_engine(engine_options)
    progress.note(f"engine {choice.kind}: {choice.reason}")
    engine = open_engine(replace(engine_options, kind=choice.kind))
    settings = RunSettings(
        model=_display_name(options.model),
        output=options.output,
        format=options.format,
        truncation=options.truncation,
        max_new_tokens=options.max_new_tokens,
    )
    try:
        finished = [run(suite, engine, settings, progress) for suite in suites]
    finally:
        engine.close()
    show_runs(finished, progress)
    if options.json:
        _print_json({r.record["suite"]: r.scoring.result for r in finished})
    return 0


def score_command(options: argparse.Namespace) -> int:
    """`tuna-eval score`: the metrics of a file of predictions."""
    (name,) = suite_names([options.suite]) if options.suite != "all" else _only_one()
    progress = ConsoleProgress()
    _bring_data([name], options, progress)
    (suite,) = open_suites([name], _suite_options(options, shots=()))
    folder = None
    if options.output:
        check_writable(options.output)
        folder = RunFolder(options.output)
    scoring = score_outputs(suite, options.predictions, folder)
    for line in scoring.coverage.complaints():
        progress.note(f"warning: {line}")
    coverage = scoring.coverage.as_json()
    if folder:
        record = {
            "suite": suite.name,
            "version": suite.version,
            "status": "complete",
            "predictions": options.predictions.name,
            "config": suite.settings(),
            "environment": environment(),
            "coverage": coverage,
            "results": asdict(scoring.result),
        }
        folder.write_record(record)
        progress.note(f"scores: {folder.path}")
    show_results(
        {suite.name: scoring.result.metrics}, {suite.name: coverage}, title=options.predictions.name, progress=progress
    )
    if options.json:
        _print_json({suite.name: scoring.result})
    return 0


def _only_one() -> list[str]:
    raise ConfigError("--suite all cannot score one file", cure=f"name one of {', '.join(SUITES)}")


def ls_command(options: argparse.Namespace) -> int:
    """`tuna-eval ls`: what can be run, one name a line behind its heading."""
    sections: dict[str, list[str]] = {}
    if options.what in (None, "suites"):
        sections["suites"] = list(SUITES)
    if options.what in (None, "engines"):
        sections["engines"] = ["auto: vllm if it is installed, else hf", *(f"{k}: {v}" for k, v in ENGINES.items())]
    if options.what in (None, "formats"):
        sections["formats"] = ["auto: chat if the model has a chat template, else alpaca", *FORMATS]
    if options.what == "tasks":
        sections = {
            suite.name: list(suite.task_names())
            for suite in open_suites(list(SUITES), _suite_options(options, shots=()))
        }
    for heading, rows in sections.items():
        _print(f"{heading}:")
        for row in rows:
            _print(f"  {row}")
    return 0


def data_command(options: argparse.Namespace) -> int:
    """`tuna-eval data list|fetch|verify`."""
    chosen = [load_manifest(name) for name in options.names] or list(manifests())
    if options.action == "list":
        for row in datasets.listing():
            if row.manifest in chosen:
                _print(f"{row.manifest.name}: {row.manifest.title}")
                _print(f"  files    {row.present} of {len(row.manifest.files)} in {row.folder}")
                _print(f"  sample   {'built in (--data mini)' if row.has_mini else 'none'}")
                _print(f"  upstream {row.manifest.upstream} at {row.manifest.commit}")
                _print(f"  licence  {row.manifest.licence}")
                _print(f"  cite     {' '.join(row.manifest.citation.split())}")
                if row.manifest.note:
                    _print(f"  note     {' '.join(row.manifest.note.split())}")
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
        _print(f"{manifest.name}: {states}, in {report.folder}")
        for path in report.changed:
            _print(f"  changed: {path}")
    return 0 if is_complete else 2


def _bring_data(names: Sequence[str], options: argparse.Namespace, progress: ConsoleProgress) -> None:
    """Fetches the official data of the suites that are not in the cache yet, unless other data is named."""
    if options.data == "mini" or options.data_dir:
        return
    for row in datasets.listing():
        if row.manifest.name in names and row.present < len(row.manifest.files):
            progress.note(f"fetching {row.manifest.title} ({row.manifest.licence}) once, to {row.folder}")
            datasets.fetch(row.manifest, _FetchProgress(progress))


def _suite_options(
    options: argparse.Namespace, *, shots: tuple[int, ...], max_source_tokens: int = MAX_SOURCE_TOKENS
) -> SuiteOptions:
    return SuiteOptions(
        data=options.data,
        data_dir=options.data_dir,
        limit=options.limit,
        tasks=tuple(options.tasks),
        shots=shots,
        max_source_tokens=max_source_tokens,
        cut_at_first_period=options.cut_at_first_period,
        bert_scorer=_bert_scorer(options),
    )


def _bert_scorer(options: argparse.Namespace) -> BertScorer | None:
    if not options.bertscore:
        return None
    return BertScorer(options.bertscore_model, layer=options.bertscore_layer, rescale=options.bertscore_rescale)


def _engine_options(options: argparse.Namespace) -> EngineOptions:
    return EngineOptions(
        model=options.model,
        kind=options.engine,
        tokenizer=options.tokenizer,
        revision=options.revision,
        dtype=options.dtype,
        max_length=options.max_length,
        tensor_parallel=options.tensor_parallel,
        data_parallel=options.data_parallel,
        batch_size=options.batch_size,
        base_url=options.base_url,
        chat_api=options.chat_api,
        api={
            "concurrency": options.concurrency,
            "timeout": options.timeout,
            "max_retries": options.max_retries,
            "max_cost": options.max_cost,
            "price_per_million_input": options.price_input,
            "price_per_million_output": options.price_output,
        },
        extra=_key_values(options.engine_arg),
    )


def _key_values(words: list[str]) -> Mapping[str, str]:
    for word in words:
        if "=" not in word:
            raise ConfigError(
                f"{word!r} is not KEY=VALUE", place="--engine-arg", cure="write, for example, dtype=float32"
            )
    return dict(word.split("=", 1) for word in words)


class _FetchProgress:
    """Shows a download: one line a file."""

    def __init__(self, progress: ConsoleProgress) -> None:
        self._progress = progress
        self._files = -1

    def __call__(self, state: datasets.Progress) -> None:
        if state.files_done != self._files:
            self._files = state.files_done
            self._progress.note(f"{state.files_done} of {state.files_total} files; {state.path}")


def _display_name(model: str) -> str:
    path = Path(model)
    return path.resolve().name if path.exists() else model


def _print_json(results: Mapping[str, SuiteResult]) -> None:
    values = {name: {metric: s.value for metric, s in result.metrics.items()} for name, result in results.items()}
    _print(json.dumps(values))


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
