"""Any OpenAI-compatible server as an engine: completions and chat, bounded retries, concurrency, a spend cap."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import cached_property, partial
from typing import Any, TypeVar

from tuna_eval.errors import EngineError
from tuna_eval.llm.api_client import ApiClient
from tuna_eval.llm.api_errors import ContentFilterError, RequestError, TokenLimitNameError, address
from tuna_eval.llm.api_options import MAX_FAILURES_IN_A_ROW, ApiOptions
from tuna_eval.llm.api_replies import read_chat, read_completion, read_score, read_score_of_ids
from tuna_eval.llm.engine import ChatRenderer, SamplingParams, TextEncoder, unrendered
from tuna_eval.llm.estimate import token_counter
from tuna_eval.llm.in_flight import Ask, InFlight
from tuna_eval.llm.spending import Ledger, SpendCapError, Usage, WorstCase
from tuna_eval.schema import JSON, Completion, ContinuationRequest, ContinuationScore, Prompt

R = TypeVar("R")
PROTOCOL_VERSION = 1  # raised when the same options come to mean other requests
_SCORE_CURE = "this server may not score given text (echo, max_tokens 0): use vLLM's server, or --engine vllm or hf"


class ApiEngine:
    """Asks a server that speaks OpenAI's protocol.

    The key is read from the environment when the first request is made, and is kept nowhere else. Requests carry
    `options.concurrency` prompts at a time, fewer where the server's rate limits ask for it; replies are yielded as
    they arrive. A failure that outlives its retries ends the call with one `EngineError`, after the replies that were
    under way, unless `options.on_failure` makes it a completion.

    Under `options.max_cost` a request is sent only if its worst case (its prompt and all the new tokens it may bring)
    fits beside what is spent and what those under way may cost; otherwise it waits for them. When nothing is under way
    and it still does not fit, the call ends with an `EngineError`.

    Args:
        options: the server, the model and the limits.
        encoder: the model's tokenizer, where it is at hand: prompts can be counted, and completions mode sends ids.
        chat_template: renders one user turn for completions mode; chat mode leaves that to the server.
    """

    name = "api"

    def __init__(
        self,
        options: ApiOptions,
        encoder: TextEncoder | None = None,
        chat_template: ChatRenderer | None = None,
    ) -> None:
        self.options = options
        self.encoder = encoder
        self._chat_template = chat_template
        self._ledger = Ledger(options)
        self._limit_name = "max_tokens"
        self._failures_in_a_row = 0

    @property
    def chat(self) -> ChatRenderer | None:
        """See `Engine.chat`: the text itself in chat mode, where the server applies its template."""
        return unrendered if self.options.mode == "chat" else self._chat_template

    @property
    def usage(self) -> Usage:
        """Tokens, requests and costs of this engine so far."""
        return self._ledger.usage

    @property
    def served_models(self) -> frozenset[str]:
        """The names of the models that answered, as the server gave them; they may be more exact than the one asked."""
        return frozenset(self._ledger.served_models)

    def max_prompt_tokens(self, max_new_tokens: int) -> int | None:
        """See `Engine.max_prompt_tokens`."""
        length = self.options.context_length
        return None if length is None else length - max_new_tokens

    def fingerprint(self) -> Mapping[str, JSON]:
        """See `Engine.fingerprint`."""
        options = self.options
        return {
            "engine": self.name,
            "protocol": PROTOCOL_VERSION,
            "server": address(options.base_url).partition("://")[2],
            "model": options.model,
            "mode": options.mode,
            "system": options.system,
            "logprobs": options.logprobs,
            "revision": options.revision,
            "token_ids": self._sends_ids,
            "tokenizer_sha256": options.tokenizer_sha256 if self._sends_ids else "",
        }

    def load(self) -> None:
        """Nothing to load: the server has the model."""

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
        """See `Engine.generate`. A reply that the server's content filter withholds finishes with "content_filter" or
        "refusal"; log-probabilities are summed if `options.logprobs` and the server gives them.

        Raises:
            EngineError: the server fails for good, or the spend cap is reached.
        """

        async def ask(client: ApiClient, index: int) -> Completion:
            try:
                reply = await self._complete(client, index, prompts[index], params)
            except RequestError as failure:
                return self._failed(index, failure)
            self._failures_in_a_row = 0
            return reply

        return self._stream(len(prompts), ask)

    def score(self, requests: Sequence[ContinuationRequest]) -> Iterator[ContinuationScore]:
        """See `Engine.score`. Needs /completions with echo and logprobs, which vLLM's server has.

        A token across the end of the prompt counts to the continuation.

        Raises:
            EngineError: chat mode, a server that cannot score, or one that fails for good.
        """
        if self.options.mode == "chat":
            raise EngineError(
                "a chat endpoint cannot score given text",
                place=address(self.options.base_url),
                cure="use the completions mode of a server with echo and logprobs, or --engine vllm or hf",
            )

        async def ask(client: ApiClient, index: int) -> ContinuationScore:
            return await self._score(client, index, requests[index])

        return self._stream(len(requests), ask)

    def close(self) -> None:
        """Nothing to free: each call opens its connections and closes them."""

    @property
    def _sends_ids(self) -> bool:
        return self.options.mode == "completions" and self.encoder is not None and self.options.send_token_ids

    def _stream(self, count: int, ask: Callable[[ApiClient, int], Awaitable[R]]) -> Iterator[R]:
        options = self.options

        @asynccontextmanager
        async def session() -> AsyncIterator[Ask[R]]:
            async with ApiClient(options, self._ledger) as client:

                async def ask_once(index: int) -> R:
                    try:
                        return await ask(client, index)
                    except EngineError:  # ends the call: what waits for room under the cap is not to be sent any more
                        client.stop_issuing()
                        raise

                yield ask_once

        done = 0
        try:
            with closing(iter(InFlight(session, count, options.concurrency, options.timeout))) as results:
                for result in results:
                    done += 1
                    yield result
        except SpendCapError as stop:
            raise EngineError(f"{stop.problem}; {done} of {count} done", place=stop.place, cure=stop.cure) from None

    @cached_property
    def _count(self) -> Callable[[Prompt], int]:
        """Prompt tokens, rather too many than too few."""
        options = self.options
        counter = token_counter(
            options.model, is_chat=options.mode == "chat", encoder=self.encoder, system=options.system
        )
        if counter.is_exact or self.encoder is not None:
            return counter.count
        # Beyond ASCII a token has fewer characters than English has, but never less than a byte.
        return lambda prompt: counter.count(prompt) + _bytes_beyond_ascii(options.system + prompt.system + prompt.text)

    def _worst_case(self, prompt: Prompt, max_new_tokens: int) -> WorstCase:
        return WorstCase(self._count(prompt) if self.options.max_cost is not None else 0, max_new_tokens)

    async def _complete(self, client: ApiClient, index: int, prompt: Prompt, params: SamplingParams) -> Completion:
        read = partial(read_chat if self.options.mode == "chat" else read_completion, index=index)
        most = self._worst_case(prompt, params.max_new_tokens)
        try:
            try:
                return await client.request(self.request_body(prompt, params, self._limit_name), read, most)
            except TokenLimitNameError:
                # Newer OpenAI models know the limit under another name only; asked once, remembered for all prompts.
                self._limit_name = "max_completion_tokens"
                return await client.request(self.request_body(prompt, params, self._limit_name), read, most)
        except ContentFilterError:
            return Completion(index, "", None, "content_filter", None, None)

    def _failed(self, index: int, failure: RequestError) -> Completion:
        """A request that failed for good as a completion.

        Raises:
            EngineError: failures are to be raised, or this one is the last of too many in a row.
        """
        self._failures_in_a_row += 1
        if self.options.on_failure == "raise":
            raise failure
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            count = f"{self._failures_in_a_row} requests in a row failed for good"
            raise EngineError(f"{count}, the last one: {failure.problem}", place=failure.place, cure=failure.cure)
        return Completion(index, failure.problem, None, "error", None, None)

    def request_body(self, prompt: Prompt, params: SamplingParams, limit_name: str) -> dict[str, Any]:
        """The body of the request for one completion; chats name their token limit `limit_name`."""
        greedy = params.temperature == 0
        body: dict[str, Any] = {
            "model": self.options.model,
            "temperature": params.temperature,
            "top_p": 1.0 if greedy else params.top_p,
            "seed": params.of(prompt).seed,
        }
        if params.stop:
            body["stop"] = list(params.stop)
        if self.options.mode == "completions":
            body |= {"prompt": self._prompt(prompt), "max_tokens": params.max_new_tokens}
            return body | ({"logprobs": 1} if self.options.logprobs else {})
        system = prompt.system or self.options.system
        turns = [{"role": "system", "content": system}] if system else []
        body |= {"messages": [*turns, {"role": "user", "content": prompt.text}]}
        body[limit_name] = params.max_new_tokens
        return body | ({"logprobs": True} if self.options.logprobs else {})

    def _prompt(self, prompt: Prompt) -> str | list[int]:
        return self.encoder.encode(prompt) if self.encoder is not None and self._sends_ids else prompt.text

    async def _score(self, client: ApiClient, index: int, request: ContinuationRequest) -> ContinuationScore:
        prompt, continuation = request.prompt, request.continuation
        whole = Prompt(prompt.text + continuation, prompt.has_special_tokens)
        place = address(self.options.base_url)
        sent = self._prompt(whole)
        body = {"model": self.options.model, "prompt": sent, "max_tokens": 0, "echo": True, "logprobs": 1}
        most = self._worst_case(whole, 0)
        if isinstance(sent, str):
            read = partial(read_score, index=index, prompt=prompt.text, continuation=continuation, place=place)
            return await client.request(body, read, most, _SCORE_CURE)
        start = _common_prefix(self._prompt(prompt), sent)
        read_ids = partial(read_score_of_ids, index=index, ids=sent, start=start, place=place)
        return await client.request(body, read_ids, most, _SCORE_CURE)


def _common_prefix(prompt: str | list[int], whole: list[int]) -> int:
    """Number of tokens that the prompt alone and the prompt with its continuation share."""
    pairs = enumerate(zip(prompt, whole, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(prompt), len(whole)))


def _bytes_beyond_ascii(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass")) - len(text)
