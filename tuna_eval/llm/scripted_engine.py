"""An engine with fixed replies: tests and examples run offline with it, and it runs in the product like any other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuna_eval.errors import DataError, EngineError
from tuna_eval.llm.engine import SamplingParams, TextEncoder
from tuna_eval.schema import JSON, Completion, ContinuationRequest, ContinuationScore, Prompt


@dataclass(frozen=True, slots=True)
class Rule:
    """Answers `reply` to every prompt that contains `contains`; "" is in every prompt.

    Where a rule has `samples` and the temperature is not 0, the prompt and its seed choose one of them instead.
    """

    reply: str
    contains: str = ""
    samples: tuple[str, ...] = ()

    def answer(self, prompt: Prompt, params: SamplingParams) -> str:
        """The reply to a prompt that fits."""
        if not self.samples or params.temperature == 0:
            return self.reply
        key = f"{params.of(prompt).seed}:{params.temperature}:{prompt.text}"
        return self.samples[int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) % len(self.samples)]


class ScriptedEngine:
    """Answers each prompt by the first rule that fits it.

    Args:
        rules: tried in order.
        logprob: log p(continuation | prompt) in nats; None if the script knows no probabilities.
        encoder: a tokenizer, where prompts are to be counted.
        context_length: tokens of prompt and reply together; None is unlimited.
    """

    name = "scripted"
    chat = None

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        logprob: Callable[[str, str], float] | None = None,
        encoder: TextEncoder | None = None,
        context_length: int | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.encoder = encoder
        self._logprob = logprob
        self._context_length = context_length

    def max_prompt_tokens(self, max_new_tokens: int) -> int | None:
        """See `Engine.max_prompt_tokens`."""
        return None if self._context_length is None else self._context_length - max_new_tokens

    def fingerprint(self) -> Mapping[str, JSON]:
        """See `Engine.fingerprint`."""
        script = json.dumps([[r.contains, r.reply, *([list(r.samples)] if r.samples else [])] for r in self.rules])
        return {"engine": self.name, "script_sha256": hashlib.sha256(script.encode()).hexdigest()}

    def load(self) -> None:
        """Nothing to load."""

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
        """See `Engine.generate`; the replies are as long as the script says, whatever the token limit."""
        for index, prompt in enumerate(prompts):
            reply = self._rule(prompt.text).answer(prompt, params)
            logprob = self._logprob(prompt.text, reply) if self._logprob else None
            yield Completion(index, reply, None, "stop", logprob, None)

    def score(self, requests: Sequence[ContinuationRequest]) -> Iterator[ContinuationScore]:
        """See `Engine.score`."""
        if self._logprob is None:
            raise EngineError("this script knows no probabilities", cure="give ScriptedEngine a logprob function")
        for index, request in enumerate(requests):
            value = self._logprob(request.prompt.text, request.continuation)
            yield ContinuationScore(index, value, None, None, None)

    def close(self) -> None:
        """Nothing to free."""

    def _rule(self, text: str) -> Rule:
        for rule in self.rules:
            if rule.contains in text:
                return rule
        raise EngineError(
            f"the script has no reply to {text[:60]!r}",
            cure='end it with a rule without "contains", which fits every prompt',
        )


def read_script(file: Path) -> list[Rule]:
    """Rules from JSON Lines, one {"reply": ..., "contains": ..., "samples": [...]} a line.

    Raises:
        DataError: names the file and line that is not such an object.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(
            f"the script cannot be read ({error})", place=str(file), cure="give a JSON Lines file"
        ) from error
    rules = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            rules.append(Rule(**{**values, "samples": tuple(values.get("samples", ()))}))
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(
                "not a rule", place=f"{file}:{number}", cure='write {"reply": "text", "contains": "part of the prompt"}'
            ) from error
    return rules
