"""What each tuna-eval command does with its parsed options."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from tuna_eval.commands.data import bring_data, print_text
from tuna_eval.console import ConsoleProgress, show_results
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.factory import API_OPTIONS, EngineOptions, choose_engine, open_engine
from tuna_eval.llm.models import display_name, trained_format
from tuna_eval.manifests import load_manifest
from tuna_eval.metrics.bertscore import BertScorer
from tuna_eval.run import FinishedRun, RunSettings, now, plan, run, scoring_facts
from tuna_eval.schema import JSON, RunRecord, SuiteResult
from tuna_eval.scoring import score_outputs
from tuna_eval.store import RunFolder, check_writable
from tuna_eval.tasks.base import Suite
from tuna_eval.tasks.catalog import SUITES, SuiteOptions, check_options, open_suites, suite_names
from tuna_eval.tasks.superni_format import MAX_SOURCE_TOKENS

SUPERNI = "superni"
NOT_RECORDED = {
    "command",
    "output",
    "json",
    "data_dir",
    "base_url",
    "tokenizer",
    "model",
    "predictions",
    "api_key_env",
    "engine_arg",
    "bertscore_model",
    # how answers are judged is told by the judging's own record
    *("baseline", "judge", "protocol", "orders", "parser", "batch", "dry_run"),
}


def prompt_format(options: argparse.Namespace, progress: ConsoleProgress) -> str:
    """The format asked for; for "auto" that of the model's own training, where tuna-train has recorded one."""
    trained = trained_format(options.model) if options.format == "auto" else None
    if trained:
        progress.note(f"format {trained}: as {display_name(options.model)} was trained")
    return trained or str(options.format)


def wanted_suites(options: argparse.Namespace, progress: ConsoleProgress) -> list[Suite]:
    """The suites asked for, their data fetched."""
    names, suite_options = _asked_for(options)
    bring_data(names, options, progress)
    return open_suites(names, suite_options)


def _asked_for(options: argparse.Namespace) -> tuple[list[str], SuiteOptions]:
    return suite_names(options.suite), _suite_options(options, shots=tuple(dict.fromkeys(options.shots)))


def run_suites(options: argparse.Namespace, progress: ConsoleProgress) -> list[FinishedRun]:
    """Every suite asked for, one after the other, with one engine."""
    names, suite_options = _asked_for(options)
    if options.max_new_tokens is not None and options.max_new_tokens < 1:
        raise ConfigError(f"--max-new-tokens {options.max_new_tokens} is too small", cure="give 1 or more")
    check_writable(options.output)
    asked = engine_options(options)
    choice = choose_engine(asked)
    progress.note(f"engine {choice.kind}: {choice.reason}")
    engine = open_engine(replace(asked, kind=choice.kind))
    bring_data(names, options, progress)
    suites = open_suites(names, suite_options)
    settings = RunSettings(
        model=options.name or display_name(options.model),
        output=options.output,
        format=prompt_format(options, progress),
        truncation=options.truncation,
        max_new_tokens=options.max_new_tokens,
        given=_given(options),
    )
    try:
        if engine.encoder is None:
            progress.note("no tokenizer at hand: prompt lengths are not checked (--tokenizer names one)")
        plans = [plan(suite, engine, settings) for suite in suites]  # broken data is found before any prompt is sent
        return [run(each, engine, progress) for each in plans]
    finally:
        engine.close()


def score_predictions(options: argparse.Namespace) -> int:
    """The metrics of a file of predictions."""
    (name,) = suite_names([options.suite]) if options.suite != "all" else _only_one()
    if options.shots and name != SUPERNI:
        raise ConfigError(f"{name} has no --shots", cure=f"leave it out; it is of {SUPERNI} alone")
    progress = ConsoleProgress()
    options = _as_the_run(options, name)
    suite_options = _suite_options(options, shots=tuple(options.shots))
    if not options.predictions.is_file():
        raise DataError(
            "no such file", place=str(options.predictions), cure="give JSON Lines of {task, id, prediction}"
        )
    folder = RunFolder(options.output) if options.output else None
    if folder:
        check_writable(folder.path)
        _refuse_run(folder)
    bring_data([name], options, progress)
    (suite,) = open_suites([name], suite_options)
    started_at, started = now(), time.perf_counter()
    scoring = score_outputs(suite, options.predictions, folder)
    for line in scoring.coverage.complaints():
        progress.note(f"warning: {line}")
    coverage = scoring.coverage.as_json()
    if folder:
        record = RunRecord(
            model="",
            suite=suite.name,
            version=suite.version,
            status="complete",
            started=started_at,
            config={**_given(options), **suite.settings()},
            scoring=scoring_facts(suite, time.perf_counter() - started),
            coverage=coverage,
            results=asdict(scoring.result),
        )
        folder.write_record(record)
        progress.note(f"scores: {folder.path}")
    show_results(
        {suite.name: scoring.result.metrics}, {suite.name: coverage}, title=options.predictions.name, progress=progress
    )
    if options.json:
        print_json({suite.name: scoring.result})
    return 0


def _as_the_run(options: argparse.Namespace, name: str) -> argparse.Namespace:
    """The options, with the data, the shots and the selection of the run whose samples are to be scored, unless others
    are given.

    Raises:
        ConfigError: the run answered another benchmark, with other shots, or other data.
    """
    place: Path = options.predictions
    folder = RunFolder(place if place.is_dir() else place.parent)
    record = folder.read_record() if place.is_dir() or place.name == folder.samples_file.name else None
    if record is None:
        return options
    if not record.suite.startswith(name):
        raise ConfigError(f"the run answered {record.suite}", place=f"--suite {name}", cure="name its benchmark")
    made: Mapping[str, JSON] = record.config
    changes: dict[str, object] = {"predictions": folder.samples_file}
    data = "copy" if options.data_dir else options.data
    if made.get("data") == "mini" and data == "full":
        changes["data"] = "mini"
    elif (made.get("data") == "mini") != (data == "mini"):
        raise ConfigError(
            f"the run answered the data {made.get('data')!r}", place=f"--data {data}", cure="give its data"
        )
    if name == SUPERNI and made.get("shots") is not None:
        changes["shots"] = [made["shots"]]
        if options.shots and options.shots != changes["shots"]:
            raise ConfigError(
                f"the run answered {record.suite}", place=f"--shots {options.shots[0]}", cure="leave it out"
            )
    for key in ("limit", "tasks"):
        if not getattr(options, key) and made.get(key):
            changes[key] = made[key]
    return argparse.Namespace(**{**vars(options), **changes})


def _refuse_run(folder: RunFolder) -> None:
    """A run's folder keeps the run's own record and scores."""
    record = folder.read_record()
    if record is not None and record.run_id:
        raise ConfigError(
            f"the folder holds the run {record.run_id}", place=f"--output {folder.path}", cure="choose another folder"
        )


def _only_one() -> list[str]:
    raise ConfigError("--suite all cannot score one file", cure=f"name one of {', '.join(SUITES)}")


def _given(options: argparse.Namespace) -> dict[str, JSON]:
    """The settings that a record is to hold, as they were given, but for paths, addresses and what may be a secret.

    What those change is in the fingerprint of the engine and the signatures of the metrics.
    """
    given: dict[str, JSON] = {
        k: v for k, v in vars(options).items() if k not in NOT_RECORDED and not k.startswith("judge_")
    }
    given["data"] = "copy" if options.data_dir else options.data
    if given["data"] == "full":
        given["data_commits"] = {b.data: load_manifest(b.data).commit for b in SUITES.values()}
    return given


def _suite_options(options: argparse.Namespace, *, shots: tuple[int, ...]) -> SuiteOptions:
    chosen = SuiteOptions(
        data=options.data,
        data_dir=options.data_dir,
        limit=options.limit,
        tasks=tuple(options.tasks),
        shots=shots,
        max_source_tokens=getattr(options, "max_source_tokens", MAX_SOURCE_TOKENS),
        cut_at_first_period=options.cut_at_first_period,
        bert_scorer=_bert_scorer(options),
        lmentry_truncate=options.lmentry_truncate,
        lmentry_scoring=tuple(options.lmentry_scoring),
        vicuna_temperature=options.vicuna_temperature,
    )
    check_options(chosen)
    return chosen


def _bert_scorer(options: argparse.Namespace) -> BertScorer | None:
    if not options.bertscore:
        return None
    scorer = BertScorer(options.bertscore_model, layer=options.bertscore_layer, rescale=options.bertscore_rescale)
    _ = scorer.signature  # loads the encoder: one that cannot be had is told before any prompt is sent
    return scorer


def engine_options(options: argparse.Namespace) -> EngineOptions:
    """The engine's options among all that were given."""
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
        device=options.device,
        gpu_memory_utilization=options.gpu_memory_utilization,
        api={name: value for name in API_OPTIONS if (value := getattr(options, name)) is not None},
        extra=_key_values(options.engine_arg),
    )


def _key_values(words: list[str]) -> Mapping[str, str]:
    for word in words:
        if "=" not in word:
            raise ConfigError(
                f"{word!r} is not KEY=VALUE", place="--engine-arg", cure="write, for example, dtype=float32"
            )
    return dict(word.split("=", 1) for word in words)


def print_json(results: Mapping[str, SuiteResult]) -> None:
    """One JSON object on standard output: metric values by suite."""
    values = {name: {metric: s.value for metric, s in result.metrics.items()} for name, result in results.items()}
    print_text(json.dumps(values))
