"""The one interface through which the project calls a model. Imports no engine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from tuna_eval.errors import ConfigError
from tuna_eval.schema import JSON, Completion, ContinuationRequest, ContinuationScore, Prompt


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to decode.

    Attributes:
        max_new_tokens: limit of generated tokens, >= 1.
        temperature: 0 is greedy decoding.
        top_p: nucleus mass in (0, 1]; ignored when greedy.
        seed: of the sampler, for prompts that bring none of their own; ignored when greedy.
        stop: strings that end the reply; they are not part of it.

    Raises:
        ConfigError: a temperature that is negative, infinite or not a number.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(f"a temperature of {self.temperature:g}", cure="use 0 or more")

    def of(self, prompt: Prompt) -> SamplingParams:
        """The parameters for one prompt of a call: these, with the prompt's own seed if it has one."""
        return self if prompt.seed is None else replace(self, seed=prompt.seed)


class TextEncoder(Protocol):
    """The tokenizer side of an engine: enough to count and cut prompts without loading the model."""

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt, with exactly one BOS if the model was trained with one, and no EOS
        (unless the model is an encoder-decoder, whose encoder input ends in EOS)."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens removed."""
        ...


class ChatRenderer(Protocol):
    """Renders a chat of one user turn up to where the assistant begins."""

    def __call__(self, text: str, system: str = "") -> str:
        """The prompt for a user's text and, if it is not empty, a system message before it."""
        ...


def unrendered(text: str, system: str = "") -> str:
    """The `ChatRenderer` of a server that applies its own template: the user's text as it is."""
    return text


class Engine(Protocol):
    """A model that completes and scores text.

    Constructing an engine is cheap: the model is loaded at the first `generate` or `score`, so that a finished run
    can be opened, checked and re-scored without it.
    """

    @property
    def name(self) -> str:
        """Short name of the kind: "vllm", "hf", "api", "lm_eval:hf", "scripted"."""
        ...

    @property
    def encoder(self) -> TextEncoder | None:
        """The tokenizer, or None where only the server knows it."""
        ...

    @property
    def chat(self) -> ChatRenderer | None:
        """Renders one user turn as the model's own chat prompt.

        None if the model has no chat template. Of a server that applies its own, the text comes back unchanged and
        without the system message, which the server is sent from `Prompt.system`.
        """
        ...

    def max_prompt_tokens(self, max_new_tokens: int) -> int | None:
        """Most tokens that a prompt may have if `max_new_tokens` are to follow; None if unknown."""
        ...

    def fingerprint(self) -> Mapping[str, JSON]:
        """Everything about the model and the engine that may change an output; holds no secret and no path.

        Two engines with equal fingerprints may share stored samples.
        """
        ...

    def load(self) -> None:
        """Loads the model now rather than at the first use, so that the two can be timed apart.

        Raises:
            EngineError: the model cannot be loaded.
        """
        ...

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
        """Completes every prompt exactly once and yields each reply as soon as it is there, in any order.

        Raises:
            EngineError: the model cannot be loaded, or the server fails for good. What was yielded before is valid.
        """
        ...

    def score(self, requests: Sequence[ContinuationRequest]) -> Iterator[ContinuationScore]:
        """log p(continuation | prompt) for every request, each exactly once, in any order.

        Raises:
            EngineError: as for `generate`, or the engine cannot score given text.
        """
        ...

    def close(self) -> None:
        """Frees the model. The engine may not be used afterwards."""
        ...


@runtime_checkable
class Deferred(Protocol):
    """An engine that answers hours later and can be asked everything before the first wait."""

    def submit(self, calls: Sequence[tuple[Sequence[Prompt], SamplingParams]]) -> None:
        """Hands in the prompts of calls of `generate` that will follow, and waits for none of their replies.

        Raises:
            EngineError: as for `generate`.
        """
        ...
