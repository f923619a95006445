"""What `tuna-train data rank` does with its parsed options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tuna_eval.commands.data import print_text
from tuna_eval.commands.judge import judge_api
from tuna_eval.console import ConsoleProgress
from tuna_eval.errors import ConfigError
from tuna_eval.judge.factory import JudgeOptions
from tuna_eval.judge.list_judgments import ListAsk
from tuna_eval.judge.listwise import EngineRanker, RankerAdapter, shown_responses
from tuna_eval.judge.protocols import Ranking
from tuna_eval.judge.ranker_factory import OpenRanker, open_ranker
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.batch_engine import BatchEngine
from tuna_eval.llm.estimate import estimate_cost, token_counter
from tuna_eval.llm.prices import Price
from tuna_train.data.contextual import Orders, RankingRun
from tuna_train.data.costs import RANKING_REPLY_TOKENS
from tuna_train.data.ranked import Candidate, RankedExample
from tuna_train.data.ranking_report import ASKED_AGAIN, RankingReport, cost_of
from tuna_train.data.stage import Selection, Source, StageOutput

if TYPE_CHECKING:
    from tuna_train.prm.ranker import PrmRanker

PRM = "prm:"  # before the folder of a proxy ranking model


def rank_command(options: argparse.Namespace) -> int:
    """`tuna-train data rank`: a judge, a likelihood or a proxy ranking model orders the candidates of every example."""
    progress = ConsoleProgress()
    if options.orders < 1:
        raise ConfigError(f"--orders {options.orders} ranks nothing", cure="give 1 or more")
    opened = _open(options, progress)
    try:
        run, output = _run(options, opened, progress)
        if spent := _spent_under_a_cap(options, run, opened.price):
            opened.close()
            opened = _open(options, progress, spent=spent)
            run, output = _run(options, opened, progress)
        if not options.reparse and (options.dry_run or opened.price is not None):
            _tell_cost(run, opened, progress)
        if options.dry_run:
            return 0
        if not options.reparse:
            opened.require_key()
        report = run.run(ask=not options.reparse, drop=options.drop)
    finally:
        opened.close()
    for line in report_lines(report):
        progress.note(line)
    progress.note(f"written: {output.file}")
    if options.json:
        print_text(json.dumps(report.as_json()))
    lacks_replies = any(report.states[state] for state in ASKED_AGAIN if state not in options.drop)
    return 1 if lacks_replies or not report.states["ranked"] else 0


def _run(options: argparse.Namespace, opened: OpenRanker, progress: ConsoleProgress) -> tuple[RankingRun, StageOutput]:
    source = Source(options.input, options.read_as, Selection.parse(options.limit, options.shard))
    orders = Orders(options.orders, options.shuffle, options.seed)
    identity = {"stage": "rank", "ranker": dict(opened.ranker.fingerprint()), **orders.identity()}
    output = StageOutput(options.out, {**identity, "shard": options.shard})
    output.check()
    return RankingRun(source.read, opened.ranker, output, orders, progress, opened.price), output


def _open(options: argparse.Namespace, progress: ConsoleProgress, spent: float = 0.0) -> OpenRanker:
    if options.ranker.startswith(PRM):
        return _open_prm(options)
    api = judge_api(options)
    if spent:
        api["spent"] = spent
    judge = JudgeOptions(
        judge=options.ranker,
        parser=options.parser,
        temperature=options.judge_temperature,
        max_new_tokens=options.judge_max_new_tokens,
        engine=options.judge_engine,
        base_url=options.judge_base_url,
        tokenizer=options.judge_tokenizer,
        api=api,
        batch_folder=options.out.with_name(f"{options.out.name}.stage") / "batches" if options.batch else None,
        announce=progress.note,
    )
    return open_ranker(judge, options.ranking_prompt)


def _open_prm(options: argparse.Namespace) -> OpenRanker:
    """A proxy ranking model; what it would not heed is refused."""
    from tuna_train.prm.ranker import open_prm

    given = {
        "--judge-engine": options.judge_engine != "auto",
        "--judge-base-url": options.judge_base_url is not None,
        "--judge-temperature": options.judge_temperature is not None,
        "--judge-max-new-tokens": options.judge_max_new_tokens is not None,
        "--parser": bool(options.parser),
        "--ranking-prompt": options.ranking_prompt is not None,
        "--batch": options.batch,
        **{f"--judge-{name.replace('_', '-')}": True for name in judge_api(options)},
    }
    if ignored := next((name for name, is_given in given.items() if is_given), ""):
        raise ConfigError("a proxy ranking model writes nothing", place=ignored, cure="leave it out")
    ranker = open_prm(options.ranker.removeprefix(PRM), options.prm_device)
    return OpenRanker(RankerAdapter(ranker, partial(_rank_by_prm, ranker)))


def _rank_by_prm(ranker: PrmRanker, asks: Sequence[ListAsk]) -> Iterator[tuple[int, Ranking | str]]:
    shown = (tuple(Candidate(text) for text in shown_responses(ask)) for ask in asks)
    examples = (
        RankedExample(ask.id, ask.instruction, ask.input, candidates=c) for ask, c in zip(asks, shown, strict=True)
    )
    for place, found in enumerate(ranker.rank_all(examples)):
        yield place, found.reply if found.order is None else found


def _spent_under_a_cap(options: argparse.Namespace, run: RankingRun, price: Price | None) -> float:
    """US dollars that earlier sessions have spent of a cap; 0 without one."""
    return (cost_of(run.usage, price) or 0.0) if options.judge_max_cost is not None else 0.0


def _tell_cost(run: RankingRun, opened: OpenRanker, progress: ConsoleProgress) -> None:
    ranker, engine, due = opened.ranker, opened.engine, run.count_due()
    if not due:
        progress.note("nothing is left to ask")
        return
    if not isinstance(engine, ApiEngine | BatchEngine):
        progress.note(f"{due} rankings to go; this ranker is computed here and costs nothing")
        return
    if not isinstance(ranker, EngineRanker):
        progress.note(f"{due} rankings to go, each a comparison of all pairs in both orders")
        return
    limit = ranker.max_new_tokens
    found = estimate_cost(
        ranker.prompts(run.due()),
        limit,
        token_counter(ranker.name, is_chat=True, encoder=engine.encoder),
        price=opened.price,
        mean_reply_tokens=min(RANKING_REPLY_TOKENS, limit),
    )
    line = f"{found.requests} requests, {found.prompt_tokens} prompt tokens ({found.basis})"
    if found.max_cost is None:
        progress.note(f"{line}; no price known: --judge-price-per-million-input and -output tell the cost")
        return
    expected = f"about ${found.expected_cost:.2f}, " if found.expected_cost is not None else ""
    most = f"at most ${found.max_cost:.2f} if every reply used up its limit"
    progress.note(f"{line}: {expected}{most}; replies that cannot be read are asked for once more")


def report_lines(report: RankingReport) -> Iterator[str]:
    """What a ranking came to, for the user."""
    states, total = report.states, sum(report.states.values())
    lacking = ", ".join(f"{count} {state}" for state, count in states.items() if count and state != "ranked")
    yield f"{states['ranked']} of {total} examples ranked{f' ({lacking})' if lacking else ''} by {report.judge}"
    yield (
        f"of these {report.low_confidence} with low confidence, {report.ties} with ties, {report.duplicates} with "
        f"duplicates, {report.left_out} with a candidate left out; {report.retried} were asked again"
    )
    if report.order_agreement is not None:
        yield f"agreement between orders: Kendall's tau {report.order_agreement:.3f} over {report.agreements} examples"
    if report.dropped:
        yield f"{report.dropped} examples are left out, as asked"
    if count := sum(states[state] for state in ASKED_AGAIN):
        yield f"{count} have no reply (the journal says why): run the same command again to ask for them"
    used = report.usage
    if len(used.served_models) > 1:
        yield f"warning: several models answered as the judge: {', '.join(sorted(used.served_models))}"
    cost = "" if report.cost is None else f", ${report.cost:.4f}"
    without = f" ({report.failures} more requests failed)" if report.failures else ""
    tokens = f"{used.prompt_tokens} + {used.completion_tokens} tokens"
    yield f"{used.judgments - report.failures} replies{without}, {tokens}{cost} ({report.signature})"
