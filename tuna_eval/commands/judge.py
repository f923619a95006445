"""What `tuna-eval judge` does with its parsed options, and how `run` and `score` come by a judge's word."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tuna_eval.commands.data import bring_data
from tuna_eval.commands.run import engine_options, print_json, run_suites, score_predictions
from tuna_eval.console import ConsoleProgress, show_judged, show_results, show_runs
from tuna_eval.datasets import resolve
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.judge.factory import LIKELIHOOD, JudgeOptions, OpenJudge, open_judge, open_rules
from tuna_eval.judge.judgment_log import JudgmentLog
from tuna_eval.judge.protocols import Question
from tuna_eval.judging.cost import estimate_judging
from tuna_eval.judging.folder import JudgingFolder, stored_choices
from tuna_eval.judging.judged_runs import SUITE, judged_result, reviewed_result, store_judged
from tuna_eval.judging.judging import Judged, Match, judge, judging_folder
from tuna_eval.judging.reparse import (
    changes_of_reading,
    check_agreement,
    describe_kappa,
    reparse,
    store_agreement,
)
from tuna_eval.judging.reviews import Answers, check_reviews, choices_for, is_model_file, read_answers, read_reviews
from tuna_eval.llm.factory import API_OPTIONS, choose_engine, open_engine
from tuna_eval.run import Progress
from tuna_eval.schema import RunRecord
from tuna_eval.store import RunFolder
from tuna_eval.tasks.catalog import suite_names
from tuna_eval.tasks.vicuna import VicunaQA, read_questions

DEFAULT_PROTOCOL = "pairwise-v2"
JUDGE_API = {f"judge_{name}": name for name in API_OPTIONS if name != "logprobs"}


def run_command(options: argparse.Namespace) -> int:
    """`tuna-eval run`: the suites asked for, and the judging of Vicuna QA if there are a judge and a baseline."""
    progress = ConsoleProgress()
    baseline = _check_judging(options)
    finished = run_suites(options, progress)
    show_runs(finished, progress)
    results = {each.record.suite: each.scoring.result for each in finished}
    if options.judge and SUITE in results:
        (own,) = (each for each in finished if each.record.suite == SUITE)
        baseline = baseline or _answers_of_model(options, progress)
        folder, questions = RunFolder(own.folder), questions_of(own.record, options)
        judged = judge_run(folder, questions, baseline, options, progress)
        if judged is not None:
            results[SUITE] = judged_result(judged, baseline.name)
            store_judged(folder, results[SUITE])
            show_judged(judged, results[SUITE], f"{own.record.model} against {baseline.name}", progress)
    if options.json:
        print_json(results)
    return 0


def _check_judging(options: argparse.Namespace) -> Answers | None:
    """Refuses, before anything is answered, what would end the judging; the baseline's answers if they are stored."""
    if bool(options.judge) != bool(options.baseline):
        raise ConfigError("a judge needs a baseline, and a baseline a judge", cure="give both --judge and --baseline")
    if not options.judge:
        for name in ("batch", "dry_run"):
            if getattr(options, name):
                raise ConfigError(f"--{name.replace('_', '-')} is about judging", cure="give --judge and --baseline")
        return None
    if SUITE not in suite_names(options.suite):
        raise ConfigError(f"--judge judges {SUITE} alone", place="--suite", cure=f"add {SUITE}, or leave --judge out")
    opened = open_judge(judge_options(options, options.output))
    opened.engine.close()
    if not options.dry_run:
        opened.require_key()
    place = Path(options.baseline)
    if (place / "samples.jsonl").is_file() or (place.is_file() and not is_model_file(place)):
        return read_answers(place)
    if not _may_be_model(options.baseline):
        cure = "give a run's folder (results/runs/MODEL/vicuna_qa/ID), a file of answers, or a model"
        raise DataError("no answers here", place=f"--baseline {options.baseline}", cure=cure)
    if options.dry_run:
        cure = "let it answer first (tuna-eval run), and give its run's folder as --baseline"
        raise ConfigError("a dry run asks no baseline", place=f"--baseline {options.baseline}", cure=cure)
    asked = engine_options(_as_baseline(options))
    open_engine(replace(asked, kind=choose_engine(asked).kind)).close()
    return None


def _may_be_model(name: str) -> bool:
    """Whether what holds no answers may be a model: its file or folder, a name, or the hub's ORG/NAME."""
    place = Path(name)
    if place.is_file():
        return True
    if place.is_dir():
        return any((place / file).is_file() for file in ("config.json", "adapter_config.json"))
    if place.is_absolute() or name.startswith(("./", "../", "~")) or name.count("/") > 1:
        return False
    return place.suffix not in (".json", ".jsonl", ".gguf") and ("/" not in name or not place.parent.exists())


def _as_baseline(options: argparse.Namespace) -> argparse.Namespace:
    """The options of a run in which the baseline answers."""
    changes = {"model": options.baseline, "name": None, "suite": [SUITE], "tokenizer": None}
    return argparse.Namespace(**{**vars(options), **changes})


def _answers_of_model(options: argparse.Namespace, progress: ConsoleProgress) -> Answers:
    """The answers of a model that is the baseline and is asked now."""
    (finished,) = run_suites(_as_baseline(options), progress)
    return read_answers(finished.folder)


def judge_command(options: argparse.Namespace) -> int:
    """`tuna-eval judge`: compares a run's answers with a baseline's, or reads stored replies anew."""
    progress = ConsoleProgress()
    folder = RunFolder(options.run)
    record = folder.read_record()
    if record is None or record.suite != SUITE:
        raise DataError("no run of Vicuna QA here", place=str(options.run), cure="give results/runs/MODEL/vicuna_qa/ID")
    questions = questions_of(record, options)
    if options.agreement:
        check_agreement(options.agreement)
    if options.reparse:
        finished, baseline_name = _read_anew(questions, options, progress)
    else:
        if not options.judge or not options.baseline:
            raise ConfigError("a judging needs a judge and a baseline", cure="give --judge and --baseline")
        baseline = read_answers(Path(options.baseline))
        judged = judge_run(folder, questions, baseline, options, progress)
        if judged is None:  # a dry run
            return 0
        finished, baseline_name = judged, baseline.name
    result = judged_result(finished, baseline_name)
    store_judged(folder, result)
    show_judged(finished, result, f"{record.model} against {baseline_name}", progress)
    if options.agreement:
        kappa = store_agreement(finished.folder, options.agreement)
        progress.note(f"agreement with {options.agreement.name}: {describe_kappa(kappa)}")
    if options.json:
        print_json({SUITE: result})
    return 0


def _read_anew(questions: Sequence[Question], options: argparse.Namespace, progress: Progress) -> tuple[Judged, str]:
    """A stored judging, read as before where the options say nothing else, and its baseline's name."""
    place: Path = options.run / "judged" / options.reparse
    folder, chosen = JudgingFolder(place), JudgeOptions("", options.protocol or DEFAULT_PROTOCOL, options.parser)
    if not folder.has_record():  # and `reparse` says so
        return reparse(place, questions, open_rules(chosen)), ""
    record, stored = folder.read_record(), stored_choices(place)
    orders = options.orders
    if options.protocol in ("", stored.protocol):
        orders = stored.orders if orders == "default" else orders
        chosen = replace(chosen, protocol=stored.protocol, parser=options.parser or stored.parser)
    # The prompts' wording stays what the replies were made with.
    rules = open_rules(replace(chosen, orders=orders))
    if changes := changes_of_reading(str(record["signature"]), rules.signature):
        progress.note(f"read with {changes}")
    return reparse(place, questions, rules), str(record.get("given", {}).get("baseline", ""))


def _open_with_what_is_left(match: Match, options: JudgeOptions, folder: RunFolder) -> OpenJudge:
    """The judge; what earlier sessions of this judging have spent is part of its allowance."""
    opened = open_judge(options)
    if options.api.get("max_cost") is None or opened.price is None:
        return opened
    log = JudgmentLog(judging_folder(folder.path, match, opened.comparer).judgments_file, match.answered)
    log.read(repair=False)
    price = opened.price.batch_price() if options.batch_folder else opened.price
    spent = price.cost(log.usage.prompt_tokens, log.usage.completion_tokens)
    if not spent:
        return opened
    opened.engine.close()
    return open_judge(replace(options, api={**options.api, "spent": spent}))


def judge_run(
    folder: RunFolder,
    questions: Sequence[Question],
    baseline: Answers,
    options: argparse.Namespace,
    progress: Progress,
) -> Judged | None:
    """Judges the answers of a run against a baseline's; None if only the cost was to be told."""
    match = Match(questions, read_answers(folder.path).texts, baseline.texts)
    opened = _open_with_what_is_left(match, judge_options(options, folder.path, progress), folder)
    try:
        if agreement := getattr(options, "agreement", None):
            check_agreement(agreement, match)
        if options.dry_run or opened.price is not None:
            _tell_cost(match, opened, folder, progress)
        if options.dry_run:
            return None
        opened.require_key()
        given = {"baseline": baseline.name}
        price = opened.price.batch_price() if opened.price and options.batch else opened.price
        return judge(match, opened.comparer, opened.rules, folder.path, progress, price=price, given=given)
    finally:
        opened.engine.close()


def _tell_cost(match: Match, opened: OpenJudge, folder: RunFolder, progress: Progress) -> None:
    found = estimate_judging(match, opened, folder.path)
    if found is None:
        progress.note("this judge is computed here and costs nothing")
        return
    line = f"{found.requests} requests, {found.prompt_tokens} prompt tokens ({found.basis})"
    if found.max_cost is None:
        progress.note(line)
        progress.note("the judge's price is not known: give --judge-price-per-million-input and -output")
    else:
        expected = "" if found.expected_cost is None else f"about ${found.expected_cost:.2f}, "
        most = f"at most ${found.max_cost:.2f} if every reply used up its limit"
        progress.note(f"{line}: {expected}{most}")


def judge_options(options: argparse.Namespace, folder: Path, progress: Progress | None = None) -> JudgeOptions:
    """The judge's options among all that were given."""
    if options.judge and options.judge.startswith(LIKELIHOOD) and options.protocol not in ("", "likelihood"):
        raise ConfigError(f"a likelihood judge has no protocol {options.protocol}", cure="leave --protocol out")
    return JudgeOptions(
        judge=options.judge or "",
        protocol=options.protocol or DEFAULT_PROTOCOL,
        parser=options.parser,
        orders=options.orders,
        upstream=_upstream(options),
        repeats=options.judge_repeats,
        temperature=options.judge_temperature,
        max_new_tokens=options.judge_max_new_tokens,
        engine=options.judge_engine,
        base_url=options.judge_base_url,
        tokenizer=options.judge_tokenizer,
        api=judge_api(options),
        batch_folder=folder / "judged" / "batches" if options.batch else None,
        announce=progress.note if progress else lambda _: None,
    )


def judge_api(options: argparse.Namespace) -> dict[str, Any]:
    """The options of the judge's API that were given, by the names of `ApiOptions`."""
    return {name: value for key, name in JUDGE_API.items() if (value := getattr(options, key, None)) is not None}


def _upstream(options: argparse.Namespace) -> Path | None:
    if options.judge_prompts == "own":
        return None
    return resolve("vicuna", "full", options.data_dir)


def questions_of(record: RunRecord, options: argparse.Namespace) -> list[Question]:
    """The questions that a run was asked: of the data that it names, unless other data is given."""
    data = options.data or record.config.get("data")
    if options.data_dir is None and data not in ("full", "mini"):
        raise ConfigError("the run used a copy of the data", place="--data-dir", cure="give its folder again")
    chosen: Literal["full", "mini"] = "mini" if data == "mini" and options.data_dir is None else "full"
    limit, tasks = record.config.get("limit"), record.config.get("tasks")
    suite = VicunaQA(
        resolve("vicuna", chosen, options.data_dir),
        limit=limit if isinstance(limit, int) else None,
        globs=tuple(map(str, tasks)) if isinstance(tasks, list) else (),
    )
    return suite.questions()


def score_command(options: argparse.Namespace) -> int:
    """`tuna-eval score`: the metrics of a file of predictions, or what stored reviews come to."""
    return _score_reviews(options) if options.suite == SUITE else score_predictions(options)


def _score_reviews(options: argparse.Namespace) -> int:
    progress = ConsoleProgress()
    check_reviews(options.predictions)
    for name in ("output", "limit", "tasks", "shots"):
        if getattr(options, name):
            raise ConfigError(f"--{name} has no meaning for stored reviews", cure="leave it out")
    bring_data([SUITE], options, progress)
    questions = read_questions(resolve("vicuna", options.data, options.data_dir))
    made = choices_for(options.predictions)
    protocol = options.protocol or made.protocol
    parser = options.parser or (made.parser if protocol == made.protocol else "")
    orders = made.orders if options.orders == "default" and protocol == made.protocol else options.orders
    rules = open_rules(JudgeOptions("", protocol, parser, orders, _upstream(options)))
    judgments = read_reviews(options.predictions, questions, rules)
    result = reviewed_result(judgments, questions, rules)
    asked = {question.id for question in questions}
    coverage = {
        "tasks": sum(own["coverage"].value not in (None, 0.0) for own in result.categories.values()),
        "expected_tasks": len(result.categories),
        "scored": len({judgment.id for judgment in judgments}),
        "examples": len(asked),
        "limit": None,
    }
    show_results({SUITE: result.metrics}, {SUITE: coverage}, title=options.predictions.name, progress=progress)
    if options.json:
        print_json({SUITE: result})
    return 0
