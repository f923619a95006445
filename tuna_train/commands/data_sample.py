"""What `tuna-train data sample` and `tuna-train data teacher` do with their parsed options."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

from tuna_eval.commands.data import print_text
from tuna_eval.commands.run import engine_options, prompt_format
from tuna_eval.console import SECONDS_BETWEEN_LINES, ConsoleProgress
from tuna_eval.errors import ConfigError
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.engine import Engine
from tuna_eval.llm.estimate import Estimate
from tuna_eval.llm.factory import EngineOptions, choose_engine, open_engine
from tuna_eval.llm.hosted import hosted_address, key_variable, require_key
from tuna_eval.llm.models import display_name
from tuna_eval.llm.prices import Price, effective_price
from tuna_eval.llm.prompts import choose_format
from tuna_eval.schema import JSON
from tuna_train.data import teacher
from tuna_train.data.diversity import Policy
from tuna_train.data.drawn import Drawn, count_drawn, estimate_drawing
from tuna_train.data.ranked import RankedExample
from tuna_train.data.replies import ReplyLog, Totals
from tuna_train.data.sample import DrawSettings, Sampler
from tuna_train.data.stage import Selection, Source, StageOutput

HOTTEST = 2.0  # temperature that servers of OpenAI's protocol take

Finish = Callable[[RankedExample], RankedExample]


def sample_command(options: argparse.Namespace) -> int:
    """`tuna-train data sample`: diverse responses of a model to instructions."""
    policy = Policy(options.policy, options.tau, options.trials)
    return _draw(options, "sample", policy, {}, lambda example: example)


def teacher_command(options: argparse.Namespace) -> int:
    """`tuna-train data teacher`: responses ranked by a teacher's probability of them."""
    teacher.check_beta(options.beta)
    for beta in options.betas:
        teacher.check_beta(beta)
    if options.model is None:
        return _rerank(options)
    ranking: dict[str, JSON] = {"beta": options.beta, "rank_cut": not options.leave_out_cut}

    def finish(example: RankedExample) -> RankedExample:
        return teacher.rank(example, options.beta, rank_cut=not options.leave_out_cut)

    code = 0
    if options.given:
        _score(options, ranking, finish)
    else:
        code = _draw(options, teacher.STAGE, Policy("none", trials=1), ranking, finish)
    if options.betas and not options.dry_run:
        _tell_reranked(options.out, options)
    return code


def _rerank(options: argparse.Namespace) -> int:
    if not options.betas or options.out:
        raise ConfigError(
            "without a model nothing can be drawn, only ranked anew",
            place="--model",
            cure="name a model and --out, or give --betas alone to rank stored responses anew",
        )
    _tell_reranked(options.input, options)
    return 0


def _tell_reranked(file: Path, options: argparse.Namespace) -> None:
    progress = ConsoleProgress()
    for beta, written in teacher.rerank(file, options.betas, rank_cut=not options.leave_out_cut).items():
        progress.note(f"ranked with beta {beta:g}: {written}")


def _source(options: argparse.Namespace) -> Source:
    if options.out is None:
        raise ConfigError("no output", place="--out", cure="give --out FILE")
    return Source(options.input, options.read_as, Selection.parse(options.limit, options.shard))


def _asked(options: argparse.Namespace, logprobs: bool) -> EngineOptions:
    """The engine; a model of the price list is asked at its own address, as a judge is."""
    asked = engine_options(options)
    asked = replace(asked, base_url=hosted_address(asked.model, asked.kind, asked.base_url))
    asked = replace(asked, kind=choose_engine(asked).kind)
    if asked.kind == "api":
        wanted = {"logprobs": True} if logprobs else {}
        asked = replace(asked, api={**asked.api, **wanted, "on_failure": "yield"})
    return asked


def _require_key(asked: EngineOptions) -> None:
    require_key(key_variable(asked.base_url, asked.api), whose=f"the model {asked.model}", option="--base-url")


def _draw(options: argparse.Namespace, stage: str, policy: Policy, ranking: dict[str, JSON], finish: Finish) -> int:
    progress, source = ConsoleProgress(), _source(options)
    asked = _asked(options, logprobs=stage == teacher.STAGE)
    if asked.kind.startswith("lm_eval"):
        cure = "use --engine vllm, hf or api"
        raise ConfigError(
            "lm-eval's classes take one seed a call, and each draw needs its own", place="--engine", cure=cure
        )
    engine = open_engine(asked)
    try:
        settings = _settings(options, stage, policy, engine)
        identity = {**settings.identity(engine), **ranking, "shard": options.shard}
        output = StageOutput(options.out, identity)
        output.check()
        total, earlier = source.count(), _earlier(output)
        price = effective_price(asked.model, options.price_per_million_input, options.price_per_million_output)
        if isinstance(engine, ApiEngine):
            estimate = estimate_drawing(*_pending(source, output), engine, settings, price, earlier)
            _tell_cost(estimate, settings, progress)
        elif options.dry_run:
            progress.note("this model is run here and costs nothing")
        if options.dry_run:
            return 0
        _require_key(asked)
        engine = _with_what_is_left(engine, asked, price, earlier)
        with output.opened():
            sampler = Sampler(engine, settings, output, progress, finish)
            spending = _Spending(price, progress)
            sampler.run(source.read(), total, spending)
            spending.tell(sampler.log.totals)
        return 0 if _tell_end(engine, output, settings, options, progress).candidates else 1
    finally:
        engine.close()


def _settings(options: argparse.Namespace, stage: str, policy: Policy, engine: Engine) -> DrawSettings:
    hottest = policy.hottest(options.temperature)
    if isinstance(engine, ApiEngine) and hottest > HOTTEST:
        problem = f"the last trial has a temperature of {hottest:g}, and servers take {HOTTEST:g} at most"
        raise ConfigError(problem, place="--temperature", cure="lower it, or give fewer --trials")
    return DrawSettings(
        stage=stage,
        model=options.name or display_name(options.model),
        format=choose_format(prompt_format(options, ConsoleProgress()), engine),
        responses=options.n,
        temperature=options.temperature,
        top_p=options.top_p,
        max_new_tokens=options.max_new_tokens,
        stop=tuple(options.stop),
        seed=options.seed,
        needs_logprobs=stage == teacher.STAGE,
        policy=policy,
    )


def _score(options: argparse.Namespace, ranking: dict[str, JSON], finish: Finish) -> None:
    progress, source = ConsoleProgress(), _source(options)
    asked = _asked(options, logprobs=False)
    engine = open_engine(asked)
    try:
        settings = teacher.ScoreSettings(
            model=options.name or display_name(options.model),
            format=choose_format(prompt_format(options, ConsoleProgress()), engine),
            eos=teacher.end_of_sequence(engine, options.eos),
        )
        output = StageOutput(options.out, {**settings.identity(engine), **ranking, "shard": options.shard})
        output.check()
        total = source.count()
        if options.dry_run:
            progress.note(f"{total} examples would be scored; a server charges their prompts and responses as prompts")
            return
        _require_key(asked)
        with output.opened():
            teacher.Scorer(engine, settings, output, progress, finish).run(source.read(), total)
        progress.note(f"scored and ranked: {options.out}")
    finally:
        engine.close()


def _pending(source: Source, output: StageOutput) -> tuple[Iterator[RankedExample], Counter[str]]:
    """The examples that still need draws, and how many first draws each of them has."""
    examples = source.read()
    done = output.done(examples)
    return chain(done.failed, examples), ReplyLog(output.journal).first_draws(done.ids)


def _earlier(output: StageOutput) -> Totals:
    return ReplyLog(output.journal).count()


def _with_what_is_left(engine: Engine, asked: EngineOptions, price: Price | None, earlier: Totals) -> Engine:
    """The engine; what earlier sessions of this drawing have spent is part of its allowance."""
    spent = price.cost(earlier.prompt_tokens, earlier.completion_tokens) if price else 0.0
    if asked.api.get("max_cost") is None or not spent:
        return engine
    engine.close()
    return open_engine(replace(asked, api={**asked.api, "spent": spent}))


def _tell_cost(found: Estimate, settings: DrawSettings, progress: ConsoleProgress) -> None:
    line = f"{found.requests} first draws to go, {found.prompt_tokens} prompt tokens ({found.basis})"
    if found.max_cost is None:
        progress.note(f"{line}; no price known: --price-per-million-input and -output tell the cost")
        return
    expected = "" if found.expected_cost is None else f"about ${found.expected_cost:.2f}, "
    trials = settings.policy.trials
    again = f"; drawn again up to {trials - 1} times each where they are too similar" if trials > 1 else ""
    progress.note(f"{line}: {expected}at most ${found.max_cost:.2f} if every reply used up its limit{again}")


class _Spending:
    """Says now and then what the replies took."""

    def __init__(self, price: Price | None, progress: ConsoleProgress) -> None:
        self._price, self._progress = price, progress
        self._told = time.monotonic()

    def __call__(self, totals: Totals) -> None:
        now = time.monotonic()
        if now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            self.tell(totals)

    def tell(self, totals: Totals) -> None:
        cost = f", ${self._price.cost(totals.prompt_tokens, totals.completion_tokens):.4f}" if self._price else ""
        tokens = f"{totals.prompt_tokens} + {totals.completion_tokens} tokens"
        self._progress.note(f"{totals.replies} replies, {tokens}{cost}")


def _tell_end(
    engine: Engine, output: StageOutput, settings: DrawSettings, options: argparse.Namespace, progress: ConsoleProgress
) -> Drawn:
    drawn = count_drawn(output.file, settings)
    for line in drawn.lines():
        progress.note(line)
    served = engine.served_models if isinstance(engine, ApiEngine) else frozenset()
    if len(served) > 1:
        progress.note(f"warning: several models answered: {', '.join(sorted(served))}")
    progress.note(f"written: {output.file}")
    if options.json:
        print_text(json.dumps(asdict(drawn)))
    return drawn
