"""A judge that writes its verdict: any engine, asked as a judging protocol says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tuna_eval.judge.asking import Asking, account
from tuna_eval.judge.pairwise import JudgingProtocol
from tuna_eval.judge.protocols import Ask, Judgment
from tuna_eval.judge.templates import templates_sha256
from tuna_eval.llm.engine import Engine, SamplingParams
from tuna_eval.llm.prompts import choose_format
from tuna_eval.schema import JSON, Completion, Prompt

CHUNK = 8192  # asks of a round, see `Asking`


class EngineComparer:
    """Asks a model to compare answers and reads its replies.

    Args:
        engine: the judge.
        protocol: prompts and parser.
        repeats: how often each pair is to be judged in the same order, >= 1; repeat k samples with seed k.
        max_new_tokens: limit of the reply, tokens; None for the protocol's.
        temperature: of the judge; None for the protocol's.
        format: prompt format, or "auto" for the judge's chat template if it has one. Chats have a system message.
        name: what tables call the judge; "" for the engine's model.

    Raises:
        ConfigError: a temperature that is negative, infinite or not a number.
    """

    def __init__(
        self,
        engine: Engine,
        protocol: JudgingProtocol,
        repeats: int = 1,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        *,
        format: str = "auto",
        name: str = "",
    ) -> None:
        self.engine, self.protocol, self.repeats = engine, protocol, repeats
        self.max_new_tokens = protocol.rules.max_tokens if max_new_tokens is None else max_new_tokens
        self.temperature = protocol.rules.temperature if temperature is None else temperature
        self._params = SamplingParams(self.max_new_tokens, self.temperature)
        self._format, self._name = format, name

    @property
    def name(self) -> str:
        """See `Comparer.name`."""
        model = self.engine.fingerprint().get("model")
        return self._name or (model if isinstance(model, str) and model else self.engine.name)

    def fingerprint(self) -> Mapping[str, JSON]:
        """See `Comparer.fingerprint`. Neither orders nor repeats nor parser: they say which judgments are wanted and
        what they mean, but change none."""
        return {
            "judge": "engine",
            "engine": dict(self.engine.fingerprint()),
            "protocol": self.protocol.name,
            "prompts_sha256": templates_sha256(self.protocol.templates),
            "format": choose_format(self._format, self.engine),
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
        }

    def prompts(self, asks: Sequence[Ask]) -> Sequence[Prompt]:
        """What would be sent, each prompt rendered when it is looked at."""
        return self._asking.prompts(asks)

    def compare(self, asks: Iterable[Ask]) -> Iterator[Judgment]:
        """See `Comparer.compare`. A prompt that is too long for the judge is not sent: its judgment is an "api_error".

        An engine that answers hours later (`Deferred`) is handed all asks, of all repeats, before the first wait.

        Raises:
            ConfigError: the judge's context cannot hold a reply as long as the limit says.
            DataError: a question lacks the reference answer that its prompt needs.
            EngineError: the judge fails for good.
        """
        for ask, reply in self._asking.replies(asks):
            if isinstance(reply, str):
                yield Judgment(ask.pair.question.id, ask.order, ask.repeat, "api_error", reply=reply)
            else:
                yield self._judgment(ask, reply)

    @property
    def _asking(self) -> Asking[Ask]:
        return Asking(
            self.engine,
            texts=lambda ask: self.protocol.prompt(ask.pair, ask.order),
            seed=lambda ask: ask.repeat,
            params=self._params,
            format=self._format,
            chunk=CHUNK,
        )

    def _judgment(self, ask: Ask, reply: Completion) -> Judgment:
        question = ask.pair.question
        if reply.finish_reason == "error":
            return Judgment(question.id, ask.order, ask.repeat, "api_error", **account(reply))
        found = self.protocol.read(reply.text, question, ask.order, reply.finish_reason)
        outcome = (found.state, found.scores, found.confidence)
        return Judgment(question.id, ask.order, ask.repeat, *outcome, **account(reply))
