"""Which ranker, and how to make it, from what a user writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuna_eval.errors import ConfigError
from tuna_eval.judge.factory import (
    LIKELIHOOD,
    JudgeOptions,
    check_ranges,
    judge_engine_options,
    judge_price,
    open_judge_engine,
    require_judge_key,
)
from tuna_eval.judge.likelihood import LikelihoodComparer
from tuna_eval.judge.list_judgments import ListRanker
from tuna_eval.judge.listwise import EngineRanker, ListwiseProtocol, by_likelihood
from tuna_eval.judge.listwise_templates import ranking_template
from tuna_eval.llm.engine import Engine
from tuna_eval.llm.hosted import key_variable
from tuna_eval.llm.models import display_name
from tuna_eval.llm.prices import Price


@dataclass(frozen=True, slots=True)
class OpenRanker:
    """A ranker ready to be asked.

    Attributes:
        ranker: ranks.
        engine: that it uses, to be closed; None for one without.
        price: of its tokens, where that is known.
        key_env: environment variable without which it does not answer; "" if none is known to be needed.
    """

    ranker: ListRanker
    engine: Engine | None = None
    price: Price | None = None
    key_env: str = ""

    def require_key(self) -> None:
        """Raises a ConfigError if the ranker's key is missing."""
        require_judge_key(self.key_env)

    def close(self) -> None:
        """Frees the model."""
        if self.engine is not None:
            self.engine.close()


def open_ranker(options: JudgeOptions, prompts: Path | None = None) -> OpenRanker:
    """A judge that ranks; no model is loaded and nothing is sent yet.

    Args:
        options: of the judge; "likelihood:MODEL" compares all pairs and writes nothing. Protocol, orders and repeats
            are those of pairwise judging and are not read.
        prompts: see `ranking_template`.

    Raises:
        ConfigError: an option is out of range, unknown or does not fit the judge.
        DataError: the prompts are broken.
    """
    check_ranges(options)
    is_likelihood = options.judge.startswith(LIKELIHOOD)
    model = options.judge.removeprefix(LIKELIHOOD)
    if is_likelihood:
        _refuse_what_writes(options, prompts)
    protocol = ListwiseProtocol(
        ranking_template(prompts), options.parser or "tolerant", "own" if prompts is None else "given"
    )
    asked = judge_engine_options(options, model)
    engine = open_judge_engine(options, asked)
    try:
        ranker: ListRanker
        if is_likelihood:
            ranker = by_likelihood(LikelihoodComparer(engine, name=LIKELIHOOD + display_name(model)))
        else:
            limits = (options.max_new_tokens, options.temperature)
            ranker = EngineRanker(engine, protocol, *limits, name=display_name(model))
        price = judge_price(options, model) if asked.base_url else None
    except BaseException:
        engine.close()
        raise
    if price is not None and options.batch_folder is not None:
        price = price.batch_price()
    return OpenRanker(ranker, engine, price, key_variable(asked.base_url, options.api))


def _refuse_what_writes(options: JudgeOptions, prompts: Path | None) -> None:
    given = {
        "--parser": bool(options.parser),
        "--ranking-prompt": prompts is not None,
        "--batch": options.batch_folder is not None,
        "--judge-temperature": options.temperature is not None,
        "--judge-max-new-tokens": options.max_new_tokens is not None,
    }
    if ignored := next((name for name, is_given in given.items() if is_given), ""):
        raise ConfigError("a likelihood judge writes nothing", place=ignored, cure="leave it out")
