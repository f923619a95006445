"""Ranking any number of responses to one instruction: by a judge that writes, or by any `Ranker`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.judge.asking import Asking, account
from tuna_eval.judge.likelihood import LikelihoodComparer
from tuna_eval.judge.list_judgments import ListAsk, ListJudgment
from tuna_eval.judge.listwise_parsers import PARSERS
from tuna_eval.judge.listwise_templates import RankingTemplate
from tuna_eval.judge.parsers import is_refusal
from tuna_eval.judge.protocols import Judgment, Ranker, Ranking, levels_to_ranks
from tuna_eval.judge.templates import JudgePrompt, templates_sha256
from tuna_eval.llm.engine import Engine, SamplingParams
from tuna_eval.llm.prompts import PLAIN, choose_format
from tuna_eval.schema import JSON, Completion, Prompt

ATTEMPTS = 2  # a reply that cannot be read is asked for once more, with another seed
CHUNK = 1024  # asks of a round, see `Asking`; each holds all its responses
TEMPERATURE, MAX_TOKENS = 0.0, 2048  # Tuna, Section 3.1; the released script


@dataclass(frozen=True, slots=True)
class ListwiseProtocol:
    """Contextual ranking (Tuna, Section 2.3 and Table 9): prompt and parser.

    Attributes:
        template: the prompt.
        parser: key of `listwise_parsers.PARSERS`.
        wording: "own", or "given" for a user's file.

    Raises:
        ConfigError: no such parser.
    """

    template: RankingTemplate
    parser: str = "tolerant"
    wording: str = "own"

    def __post_init__(self) -> None:
        if self.parser not in PARSERS:
            raise ConfigError(f"no parser {self.parser!r} of rankings", cure=f"use one of {', '.join(PARSERS)}")

    @property
    def prompts_sha256(self) -> str:
        """Hash of the prompt's texts: 64 hex digits."""
        return templates_sha256({"general": JudgePrompt(self.template.system, self.template.user)})

    @property
    def signature(self) -> str:
        """What travels with every ranking."""
        prompts = self.prompts_sha256[:12]
        return f"ranker:contextual|wording:{self.wording}|prompts:{prompts}|parser:{self.parser}"

    def prompt(self, ask: ListAsk) -> JudgePrompt:
        """What the judge is asked."""
        return self.template.render(ask.instruction, ask.input, shown_responses(ask))

    def read(self, judgment: ListJudgment) -> ListJudgment:
        """The judgment with its reply read. Never raises, and never makes a ranking of a text that has none."""
        plain = replace(judgment, ranks=None, scores=None, confidence="high", duplicates=())
        if judgment.finish_reason in ("content_filter", "refusal"):
            return replace(plain, state="refused")
        shown, is_cut = judgment.shown, judgment.finish_reason == "length"
        reading = PARSERS[self.parser](judgment.reply, len(shown))
        if reading is None or (is_cut and reading.confidence == "low"):
            refused = reading is None and is_refusal(judgment.reply) and not is_cut
            return replace(plain, state="refused" if refused else "unparsable")
        groups = [tuple(sorted(shown[i] for i in group if i < len(shown))) for group in reading.duplicates]
        return replace(
            plain,
            state="ranked",
            ranks=_as_called(reading.ranks, shown),
            scores=None if set(reading.scores) == {None} else _as_called(reading.scores, shown),
            confidence=reading.confidence,
            duplicates=tuple(group for group in groups if len(group) > 1),
        )


def _as_called(values: Sequence[Any], shown: Sequence[int]) -> tuple[Any, ...]:
    """Values in the order shown, as values in the order of the call."""
    placed = dict(zip(shown, values, strict=True))
    return tuple(placed[place] for place in range(len(shown)))


class EngineRanker:
    """Asks a model to rank responses and reads its replies; both a `ListRanker` and a `Ranker`.

    Args:
        engine: the judge.
        protocol: prompt and parser.
        max_new_tokens: limit of the reply, tokens.
        temperature: of the judge.
        format: prompt format, or "auto" for the judge's chat template if it has one. Chats have a system message.
        name: what tables call the judge; "" for the engine's model.

    Raises:
        ConfigError: a temperature that is negative, infinite or not a number.
    """

    def __init__(
        self,
        engine: Engine,
        protocol: ListwiseProtocol,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        *,
        format: str = "auto",
        name: str = "",
    ) -> None:
        self.engine, self.protocol = engine, protocol
        self.max_new_tokens = MAX_TOKENS if max_new_tokens is None else max_new_tokens
        self.temperature = TEMPERATURE if temperature is None else temperature
        self._params = SamplingParams(self.max_new_tokens, self.temperature)
        self._format, self._name = format, name

    @property
    def name(self) -> str:
        """See `Ranker.name`."""
        model = self.engine.fingerprint().get("model")
        return self._name or (model if isinstance(model, str) and model else self.engine.name)

    @property
    def signature(self) -> str:
        """See `ListRanker.signature`."""
        return self.protocol.signature

    def fingerprint(self) -> Mapping[str, JSON]:
        """See `Ranker.fingerprint`. Not the parser: it says what replies mean, but changes none."""
        return {
            "judge": "engine",
            "engine": dict(self.engine.fingerprint()),
            "protocol": "contextual-ranking",
            "prompts_sha256": self.protocol.prompts_sha256,
            "format": choose_format(self._format, self.engine),
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
        }

    def prompts(self, asks: Iterable[ListAsk]) -> Iterator[Prompt]:
        """What would be sent."""
        for ask in asks:
            yield from self._asking.prompts([ask])

    def rank_all(self, asks: Iterable[ListAsk]) -> Iterator[ListJudgment]:
        """See `ListRanker.rank_all`. A prompt that is too long for the judge is not sent: it is an "api_error"."""
        for ask, reply in self._asking.replies(asks):
            blank = ListJudgment(ask.id, ask.shown, ask.repeat, ask.attempt, "api_error")
            yield replace(blank, reply=reply) if isinstance(reply, str) else self._judgment(blank, reply)

    def reread(self, judgment: ListJudgment) -> ListJudgment:
        """See `ListRanker.reread`."""
        return judgment if judgment.state == "api_error" else self.protocol.read(judgment)

    def rank(self, instruction: str, responses: Sequence[str]) -> Ranking:
        """Orders responses by one reply; a second one if the first cannot be read.

        Raises:
            EngineError: the judge does not answer.
            ValueError: fewer than two responses.
        """
        if len(responses) < 2:
            raise ValueError(f"ranking needs two responses or more, got {len(responses)}")
        shown = tuple(range(len(responses)))
        for attempt in range(ATTEMPTS):
            (made,) = self.rank_all([ListAsk("", instruction, "", tuple(responses), shown, attempt=attempt)])
            if made.state == "api_error":
                raise EngineError(made.reply)
            if made.ranks is not None:
                return _ranking(made.ranks, made)
        return Ranking(None, reply=made.reply)

    @property
    def _asking(self) -> Asking[ListAsk]:
        return Asking(
            self.engine,
            texts=self.protocol.prompt,
            seed=lambda ask: ask.repeat * ATTEMPTS + ask.attempt,
            params=self._params,
            format=self._format,
            chunk=CHUNK,
        )

    def _judgment(self, blank: ListJudgment, reply: Completion) -> ListJudgment:
        made = replace(blank, **account(reply))
        return made if reply.finish_reason == "error" else self.protocol.read(made)


def _ranking(ranks: tuple[int | None, ...], made: ListJudgment) -> Ranking:
    placed = [(rank, place) for place, rank in enumerate(ranks) if rank is not None]
    scores = tuple(score for score in made.scores or () if score is not None)
    whole = scores if len(scores) == len(ranks) else None
    return Ranking(tuple(place for _, place in sorted(placed)), whole, made.confidence, made.reply, ranks)


RankMany = Callable[[Sequence[ListAsk]], Iterable[tuple[int, Ranking | str]]]


class RankerAdapter:
    """Any `Ranker` as a `ListRanker`: its ranks and scores stand in the reply as JSON.

    Args:
        ranker: says name and fingerprint.
        rank_many: for each ask, in any order, its place and the ranking of its responses in the order shown, or why
            there is none.
    """

    def __init__(self, ranker: Ranker, rank_many: RankMany) -> None:
        self.ranker, self._rank_many = ranker, rank_many

    @property
    def name(self) -> str:
        """See `Ranker.name`."""
        return self.ranker.name

    @property
    def signature(self) -> str:
        """See `ListRanker.signature`."""
        return f"ranker:{self.ranker.fingerprint().get('judge', 'scores')}"

    def fingerprint(self) -> Mapping[str, JSON]:
        """See `Ranker.fingerprint`."""
        return self.ranker.fingerprint()

    def rank_all(self, asks: Iterable[ListAsk]) -> Iterator[ListJudgment]:
        """See `ListRanker.rank_all`."""
        rest = iter(asks)
        while chunk := list(islice(rest, CHUNK)):
            for place, found in self._rank_many(chunk):
                ask = chunk[place]
                blank = ListJudgment(ask.id, ask.shown, ask.repeat, ask.attempt, "api_error")
                yield replace(blank, reply=found) if isinstance(found, str) else _with_ranking(blank, found)

    def reread(self, judgment: ListJudgment) -> ListJudgment:
        """See `ListRanker.reread`; nothing in it depends on a parser."""
        return judgment


def by_likelihood(comparer: LikelihoodComparer) -> RankerAdapter:
    """The likelihood judge as a `ListRanker`."""

    def rank_many(asks: Sequence[ListAsk]) -> Iterator[tuple[int, Ranking | str]]:
        items = [(PLAIN.render(ask.instruction, ask.input), shown_responses(ask)) for ask in asks]
        for place, found in comparer.rank_many(items):
            yield place, found.reply if isinstance(found, Judgment) else found

    return RankerAdapter(comparer, rank_many)


def shown_responses(ask: ListAsk) -> list[str]:
    """The responses in the order that the judge sees them in."""
    return [ask.responses[place] for place in ask.shown]


def _with_ranking(blank: ListJudgment, found: Ranking) -> ListJudgment:
    if found.ranks is None:
        return replace(blank, state="unparsable", reply=found.reply)
    # Equal scores are ties, whatever the order says of them.
    ranks = found.ranks if found.scores is None else levels_to_ranks([-score for score in found.scores])
    return replace(
        blank,
        state="ranked",
        ranks=_as_called(ranks, blank.shown),
        scores=None if found.scores is None else _as_called(found.scores, blank.shown),
        confidence=found.confidence,
        reply=found.reply or json.dumps({"ranks": ranks, "scores": found.scores}),
    )
