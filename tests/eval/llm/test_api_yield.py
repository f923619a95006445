"""Failures as completions: every prompt is accounted for once, and what every request would meet is still raised."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from openai_faults import (
    CUT,
    NO_CHOICES,
    REFUSAL,
    WRONG_SHAPE,
    Call,
    Fault,
    always,
    closed_port,
    for_prompts,
    randomly,
    scripted,
)
from openai_server import OpenAIServer, echo_reply
from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import MAX_FAILURES_IN_A_ROW, ApiOptions
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.schema import Completion, Prompt

SOON = {"retry-after-ms": "5"}
FAULTS = {
    "429 with a time": Fault.status(429, SOON),
    "429": Fault.status(429),
    "500": Fault.status(500, SOON),
    "timeout": Fault.silent(3.0),
    "cut": CUT,
    "html": Fault.html(),
    "no choices": NO_CHOICES,
    "wrong shape": WRONG_SHAPE,
    "half": Fault.half_json(),
    "refusal": REFUSAL,
}


def engine(base_url: str, **options: Any) -> ApiEngine:
    defaults: dict[str, Any] = {"on_failure": "yield", "max_retries": 1, "timeout": 1.0, "concurrency": 64}
    return ApiEngine(ApiOptions(base_url, "m", **{**defaults, **options}))


def ask(asked: ApiEngine, prompts: list[str]) -> Iterator[Completion]:
    return asked.generate([Prompt(text) for text in prompts], SamplingParams())


def until_failure(asked: ApiEngine, prompts: list[str]) -> tuple[list[Completion], str]:
    """The replies before the failure, and what it says."""
    replies = []
    try:
        for reply in ask(asked, prompts):
            replies.append(reply)  # noqa: PERF402  # the stream ends in an error
    except EngineError as error:
        return replies, str(error)
    raise AssertionError("no failure was raised")


def test_under_one_fault_in_five_every_prompt_is_accounted_for_once() -> None:
    prompts = [f"prompt {i}" for i in range(300)]
    chosen = randomly(0.2, list(FAULTS.values()))
    lasting = set(prompts[::2])  # a fault of the others passes

    def program(call: Call) -> Fault | None:
        return chosen(replace(call, attempt=1)) if call.attempt == 1 or call.prompt in lasting else None

    with OpenAIServer(faults=program) as server:
        asked = engine(server.base_url)
        replies = list(ask(asked, prompts))
    assert sorted(reply.index for reply in replies) == list(range(300))
    for reply in replies:
        prompt = prompts[reply.index]
        assert server.served[prompt] == (reply.finish_reason != "error"), "a reply was lost, or paid for twice"
        if reply.finish_reason == "error":
            assert server.calls[prompt] == 2
            assert (reply.token_ids, reply.prompt_tokens, reply.completion_tokens) == (None, None, None)
            assert "\n" not in reply.text
        elif reply.finish_reason == "refusal":
            assert reply.text == "I cannot help with that."
            assert server.calls[prompt] == 1  # a refusal is paid for, and is an answer
        else:
            assert reply.text == echo_reply(prompt)
    assert 15 < sum(reply.finish_reason == "error" for reply in replies) < 40
    assert asked.usage.malformed > 10


FATAL = {
    "401": (Fault.status(401), "HTTP 401"),
    "402": (Fault.status(402), "HTTP 402 Payment Required after 1 attempt: no; add credit"),
    "403": (Fault.status(403), "HTTP 403"),
    "404": (Fault.status(404), "HTTP 404"),
    "quota": (Fault.status(429, SOON, code="insufficient_quota"), "HTTP 429 .* after 2 attempts: no; add credit"),
    "later": (Fault.status(429, {"Retry-After": "600"}), "asks to wait 600 s"),
}


@pytest.mark.parametrize(("fault", "said"), FATAL.values(), ids=FATAL)
def test_what_every_request_would_meet_is_raised_at_once(fault: Fault, said: str) -> None:
    with OpenAIServer(faults=for_prompts({"bad": fault, "good": Fault.slow(0.2)})) as server:
        prompts = ["bad", "good 1", "good 2", *["later"] * 50]
        replies, line = until_failure(engine(server.base_url, concurrency=3), prompts)
    assert re.search(said, line)
    assert {reply.index for reply in replies} >= {1, 2}
    assert all(reply.finish_reason == "stop" for reply in replies)


def test_no_server_is_raised_at_once() -> None:
    with pytest.raises(EngineError, match="connection refused after 2 attempts"):
        list(ask(engine(f"http://127.0.0.1:{closed_port()}/v1"), ["a", "b"]))
    with pytest.raises(EngineError, match="host name not found after 1 attempt"):
        list(ask(engine("http://tuna.invalid/v1", max_retries=0), ["a", "b"]))


def test_twenty_failures_in_a_row_are_a_fault_of_the_server() -> None:
    assert MAX_FAILURES_IN_A_ROW == 20
    prompts = [f"p{i}" for i in range(100)]
    with OpenAIServer(faults=always(Fault.status(500, message="down"))) as server:
        replies, line = until_failure(engine(server.base_url, concurrency=1, max_retries=0), prompts)
        assert "20 requests in a row failed for good, the last one: HTTP 500" in line
        assert line.endswith("down; check the server's log; run the same command again to resume")
        assert [reply.index for reply in replies] == list(range(19))
        assert {reply.text for reply in replies} == {"HTTP 500 Internal Server Error after 1 attempt: down"}
        assert len(server.log) == 20
    # One answer between them, and they are no longer in a row.
    faults = scripted({number: Fault.status(400) for number in range(1, 101) if number % 20})
    with OpenAIServer(faults=faults) as server:
        replies = list(ask(engine(server.base_url, concurrency=1), prompts))
    assert [reply.index for reply in replies if reply.finish_reason == "stop"] == [19, 39, 59, 79, 99]
    assert len(server.log) == 100


def test_failures_in_a_row_are_counted_over_the_calls_of_an_engine() -> None:
    with OpenAIServer(faults=always(Fault.status(400))) as server:
        asked = engine(server.base_url)
        assert len(list(ask(asked, ["p"] * 15))) == 15
        replies, line = until_failure(asked, ["p"] * 15)
    assert len(replies) == 4
    assert "20 requests in a row" in line


def test_a_prompt_that_cannot_be_sent_fails_alone_and_what_is_a_failure_is_chosen() -> None:
    with OpenAIServer() as server:
        bad, good = sorted(ask(engine(server.base_url), ["\ud83d", "good"]), key=lambda reply: reply.index)
        assert (bad.finish_reason, good.finish_reason) == ("error", "stop")
        assert "half of a surrogate pair" in bad.text
        with pytest.raises(EngineError, match="surrogate"):
            list(ask(engine(server.base_url, on_failure="raise"), ["\ud83d"]))
    with pytest.raises(ConfigError, match="'ignore'"):
        engine("http://127.0.0.1:1/v1", on_failure="ignore")


def test_a_yielded_failure_does_not_repeat_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "plain-key-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    quoting = Fault.status(400, message="x" * 150 + " you sent {authorization} and more")
    with OpenAIServer(key=key, faults=always(quoting)) as server:
        (reply,) = ask(engine(server.base_url), ["hello"])
    assert server.log[0].headers["authorization"] == f"Bearer {key}"
    assert reply.finish_reason == "error"
    assert "you sent [hidden]" in reply.text
    assert "plain-key" not in repr(reply)
