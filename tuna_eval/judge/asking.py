"""Asking a model many things at once: prompts rendered as they are sent, one call of the engine for each seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, Generic, TypeVar, overload

from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.judge.templates import JudgePrompt
from tuna_eval.llm.engine import Deferred, Engine, SamplingParams
from tuna_eval.llm.fitting import fits
from tuna_eval.llm.prompts import FormatName, choose_format, render
from tuna_eval.schema import Completion, Prompt

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Asking(Generic[A]):
    """How a judge's engine is asked.

    Attributes:
        engine: the judge.
        texts: what it is asked.
        seed: of the sampler, for an ask.
        params: of all asks, but for the seed.
        format: prompt format, or "auto" for the judge's chat template if it has one. Chats have a system message.
        chunk: asks that one round of calls gets. Between two rounds the last replies are waited for, so more are
            faster; an engine that tokenises beforehand holds them all, so fewer are smaller.
    """

    engine: Engine
    texts: Callable[[A], JudgePrompt]
    seed: Callable[[A], int]
    params: SamplingParams
    format: str
    chunk: int

    def prompts(self, asks: Sequence[A]) -> Sequence[Prompt]:
        """What would be sent, each prompt rendered when it is looked at."""
        return _Prompts(self, asks, choose_format(self.format, self.engine))

    def replies(self, asks: Iterable[A]) -> Iterator[tuple[A, Completion | str]]:
        """Each ask with its reply, or with the reason why it was not sent, in any order.

        An engine that answers hours later (`Deferred`) is handed all asks, of all seeds, before the first wait.

        Raises:
            ConfigError: the judge's context cannot hold a reply as long as the limit says.
            EngineError: the judge fails for good.
        """
        engine, format = self.engine, choose_format(self.format, self.engine)
        limit = engine.max_prompt_tokens(self.params.max_new_tokens)
        if limit is not None and limit <= 0:
            problem = f"beside replies of {self.params.max_new_tokens} tokens"
            raise ConfigError(
                f"the judge's context leaves no room for a prompt {problem}",
                cure="lower the limit of the judge's replies, or use a judge with a longer context",
            )
        rest = iter(asks)
        while chunk := list(islice(rest, None if isinstance(engine, Deferred) else self.chunk)):
            calls: list[tuple[list[A], SamplingParams]] = []
            chunk.sort(key=self.seed)  # stable: one call for each seed
            for seed, group in groupby(chunk, key=self.seed):
                sent = []
                for ask in group:
                    if problem := self._too_long(ask, format, limit):
                        yield ask, problem
                    else:
                        sent.append(ask)
                calls.append((sent, replace(self.params, seed=seed)))
            yield from self._calls(calls, format)

    def _calls(
        self, calls: list[tuple[list[A], SamplingParams]], format: FormatName
    ) -> Iterator[tuple[A, Completion | str]]:
        if isinstance(self.engine, Deferred):
            self.engine.submit([(_Prompts(self, sent, format), params) for sent, params in calls])
        for sent, params in calls:
            for reply in self.engine.generate(_Prompts(self, sent, format), params):
                yield sent[reply.index], reply

    def _too_long(self, ask: A, format: FormatName, limit: int | None) -> str:
        """Why a prompt does not fit; "" if it does, or if only the server can tell."""
        encoder = self.engine.encoder
        if limit is None or encoder is None:
            return ""
        prompt = self.prompt(ask, format)
        if fits(prompt, limit, encoder):
            return ""
        tokens = len(encoder.encode(prompt))
        problem = f"the judge's prompt has {tokens} tokens, and its context has room for {limit}"
        return str(EngineError(problem, cure="use a judge with a longer context, or lower the limit of its replies"))

    def prompt(self, ask: A, format: FormatName) -> Prompt:
        """The prompt of one ask."""
        texts = self.texts(ask)
        return render(texts.user, format, self.engine, system=texts.system, as_is=True)


def account(reply: Completion) -> dict[str, Any]:
    """What a judgment keeps of a completion: the text, how it ended, who answered, and what it took."""
    tokens = len(reply.token_ids) if reply.completion_tokens is None and reply.token_ids else None
    return {
        "reply": reply.text,
        "finish_reason": reply.finish_reason,
        "served_model": reply.served_model,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": tokens if reply.completion_tokens is None else reply.completion_tokens,
        "batched": reply.batched,
    }


class _Prompts(Sequence[Prompt], Generic[A]):
    """The prompts of some asks, each rendered when it is looked at: an engine that sends them one by one holds few."""

    def __init__(self, asking: Asking[A], asks: Sequence[A], format: FormatName) -> None:
        self._asking, self._asks, self._format = asking, asks, format

    def __len__(self) -> int:
        return len(self._asks)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...

    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        if isinstance(index, slice):
            return _Prompts(self._asking, self._asks[index], self._format)
        return self._asking.prompt(self._asks[index], self._format)
