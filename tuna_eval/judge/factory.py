"""Which judge, and how to make it, from what a user writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuna_eval.errors import ConfigError
from tuna_eval.judge.engine_judge import EngineComparer
from tuna_eval.judge.likelihood import LikelihoodComparer, LikelihoodRules
from tuna_eval.judge.pairwise import PROTOCOLS, JudgingProtocol, open_protocol
from tuna_eval.judge.protocols import BOTH_ORDERS, Comparer, Order, VerdictRules
from tuna_eval.llm.engine import Engine
from tuna_eval.llm.factory import EngineOptions, choose_engine, open_batch_engine, open_engine
from tuna_eval.llm.hosted import hosted_address, key_variable, require_key
from tuna_eval.llm.models import display_name
from tuna_eval.llm.prices import Price, effective_price

LIKELIHOOD = "likelihood:"  # before the model of a likelihood judge
ORDERS: Mapping[str, tuple[Order, ...]] = {
    "default": (),
    "both": BOTH_ORDERS,
    "candidate-first": ("candidate-first",),
    "baseline-first": ("baseline-first",),
}


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """What a user may choose about a judge.

    Attributes:
        judge: "likelihood:MODEL", the name of a model that a server offers, or a model to load here.
        protocol: key of `PROTOCOLS`; "likelihood" goes with a likelihood judge alone.
        parser: one of the protocol's; "" for its default.
        orders: key of `ORDERS`.
        upstream: folder with FastChat's prompts; None for the project's own wording.
        repeats: judgments of each pair in the same order.
        temperature, max_new_tokens: None for the protocol's.
        engine: kind of engine, or "auto": a server if `base_url` is given or the model has a list price.
        base_url: root of the judge's API.
        tokenizer: of the model behind it: a server then scores token ids, which cannot be misread as text can.
        api: further options of `ApiOptions`, by its names.
        batch_folder: use the Batch API and keep its state here; None asks live.
        announce: is told in one line how the batches stand.
    """

    judge: str
    protocol: str = "pairwise-v2"
    parser: str = ""
    orders: str = "default"
    upstream: Path | None = None
    repeats: int = 1
    temperature: float | None = None
    max_new_tokens: int | None = None
    engine: str = "auto"
    base_url: str | None = None
    tokenizer: str | None = None
    api: Mapping[str, Any] = field(default_factory=dict)
    batch_folder: Path | None = None
    announce: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class OpenJudge:
    """A judge ready to be asked.

    Attributes:
        comparer: the judge.
        rules: how its judgments are read and combined.
        engine: that it uses; to be closed.
        price: of the judge, where it is known.
        key_env: environment variable without which the judge does not answer; "" if none is known to be needed.
    """

    comparer: Comparer
    rules: VerdictRules
    engine: Engine
    price: Price | None
    key_env: str = ""

    def require_key(self) -> None:
        """Refuses, before anything is sent, a judge whose key is missing.

        Raises:
            ConfigError: it is.
        """
        require_judge_key(self.key_env)


def require_judge_key(variable: str) -> None:
    """Raises a ConfigError if an environment variable is named that holds no key."""
    require_key(variable, whose="the judge", option="--judge-base-url")


def open_judge_engine(options: JudgeOptions, asked: EngineOptions) -> Engine:
    """The judge's engine, live or by the Batch API."""
    if options.batch_folder is None:
        return open_engine(asked)
    return open_batch_engine(asked, options.batch_folder, options.announce)


def describe_protocols() -> dict[str, str]:
    """What each protocol asks for, with its parsers and orders, the default first, in the words of the options."""
    named = {frozenset(orders): name for name, orders in ORDERS.items() if orders}
    found = {}
    for name, rules in PROTOCOLS.items():
        orders = ", ".join(named[frozenset(each)] for each in rules.orders)
        found[name] = f"{rules.what}; parsers {', '.join(rules.parsers)}; orders {orders}"
    return found | {"likelihood": f"with a judge {LIKELIHOOD}MODEL: the more probable verdict; no parser; orders both"}


def open_rules(options: JudgeOptions) -> VerdictRules:
    """How the judgments are read and combined; enough to read stored replies anew.

    Raises:
        ConfigError: the protocol, the parser or the orders are not known, or do not go with a likelihood judge.
        DataError: the upstream prompts are not there.
    """
    return _likelihood_rules(options) if _is_likelihood(options) else _protocol(options)


def open_judge(options: JudgeOptions) -> OpenJudge:
    """The judge that was asked for; no model is loaded and nothing is sent yet.

    Raises:
        ConfigError: an option is out of range, unknown or does not fit the judge.
        DataError: the upstream prompts are not there.
    """
    check_ranges(options)
    if options.protocol == "likelihood" and not options.judge.startswith(LIKELIHOOD):
        cure = f"write --judge {LIKELIHOOD}{options.judge or 'MODEL'}"
        raise ConfigError("only a likelihood judge has this protocol", place="--protocol likelihood", cure=cure)
    if options.judge.startswith(LIKELIHOOD):
        return _open_likelihood(options)
    protocol = _protocol(options)
    engine_options = judge_engine_options(options, options.judge)
    engine = open_judge_engine(options, engine_options)
    try:
        comparer = EngineComparer(
            engine,
            protocol,
            repeats=options.repeats,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            name=display_name(options.judge),
        )
        price = judge_price(options, options.judge) if engine_options.base_url else None
    except BaseException:
        engine.close()
        raise
    return OpenJudge(comparer, protocol, engine, price, key_variable(engine_options.base_url, options.api))


def _open_likelihood(options: JudgeOptions) -> OpenJudge:
    rules = _likelihood_rules(options)
    if options.repeats > 1:
        raise ConfigError("a likelihood judge never changes its mind", place="--judge-repeats", cure="leave it out")
    model = options.judge.removeprefix(LIKELIHOOD)
    engine_options = judge_engine_options(options, model)
    engine = open_engine(engine_options)
    try:
        comparer = LikelihoodComparer(engine, rules, name=LIKELIHOOD + display_name(model))
        price = judge_price(options, model) if engine_options.base_url else None
    except BaseException:
        engine.close()
        raise
    return OpenJudge(comparer, rules, engine, price)


def _is_likelihood(options: JudgeOptions) -> bool:
    return options.judge.startswith(LIKELIHOOD) or options.protocol == "likelihood"


def _likelihood_rules(options: JudgeOptions) -> LikelihoodRules:
    """Refuses what a judge that writes nothing would ignore."""
    given = {
        "--orders": options.orders != "default",
        "--parser": bool(options.parser),
        "--batch": options.batch_folder is not None,
        "--judge-temperature": options.temperature is not None,
        "--judge-max-new-tokens": options.max_new_tokens is not None,
    }
    if ignored := next((name for name, is_given in given.items() if is_given), ""):
        raise ConfigError("a likelihood judge writes nothing and sees both orders", place=ignored, cure="leave it out")
    return LikelihoodRules()


def _protocol(options: JudgeOptions) -> JudgingProtocol:
    if options.orders not in ORDERS:
        raise ConfigError(
            f"unknown orders {options.orders!r}", place="--orders", cure=f"use one of {', '.join(ORDERS)}"
        )
    return open_protocol(
        options.protocol, parser=options.parser, orders=ORDERS[options.orders], upstream=options.upstream
    )


def check_ranges(options: JudgeOptions) -> None:
    """Raises a ConfigError for a number that is out of range."""
    if options.repeats < 1:
        raise ConfigError(f"--judge-repeats {options.repeats} asks nothing", cure="give 1 or more")
    temperature, limit = options.temperature, options.max_new_tokens
    if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError("no temperature", place=f"--judge-temperature {temperature:g}", cure="give 0 or more")
    if limit is not None and limit < 1:
        raise ConfigError(
            "leaves no room for a verdict", place=f"--judge-max-new-tokens {limit}", cure="give 1 or more"
        )


def judge_engine_options(options: JudgeOptions, model: str) -> EngineOptions:
    """The engine of a judge: a server's chat endpoint for one that writes, failures of single requests yielded."""
    base_url = hosted_address(model, options.engine, options.base_url)
    api = {**options.api, "on_failure": "yield"} if base_url else options.api
    writes = base_url is not None and not options.judge.startswith(LIKELIHOOD)
    asked = EngineOptions(
        model=model, kind=options.engine, tokenizer=options.tokenizer, base_url=base_url, chat_api=writes, api=api
    )
    return replace(asked, kind=choose_engine(asked).kind)


def judge_price(options: JudgeOptions, model: str) -> Price | None:
    """What the judge costs by the options or the price list; None if that is not known."""
    api = options.api
    return effective_price(model, api.get("price_per_million_input"), api.get("price_per_million_output"))
