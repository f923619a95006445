"""A server that enforces its rate limits: they are kept to, used up, and in nobody's way where there is room."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest

from openai_faults import Fault, scripted
from openai_limits import RateLimit
from openai_server import OpenAIServer
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.schema import Prompt


@dataclass(frozen=True)
class Measured:
    refused: int
    max_in_flight: int
    seconds: float


def ask(limit: RateLimit, count: int, *, max_new_tokens: int = 8, latency: float = 0.02, **options: Any) -> Measured:
    prompts = [Prompt(f"prompt {i}") for i in range(count)]
    with OpenAIServer(limit=limit, latency=latency) as server:
        engine = ApiEngine(ApiOptions(server.base_url, "m", **{"concurrency": 16, "max_retries": 3, **options}))
        started = time.monotonic()
        replies = list(engine.generate(prompts, SamplingParams(max_new_tokens=max_new_tokens)))
        seconds = time.monotonic() - started
    assert sorted(reply.index for reply in replies) == list(range(count))
    assert set(server.served.values()) == {1}
    return Measured(limit.refused, server.max_in_flight, seconds)


@pytest.mark.parametrize("is_steady", [True, False], ids=["steady", "window"])
def test_a_limit_is_not_run_into_and_is_used_up(is_steady: bool) -> None:
    measured = ask(RateLimit(40, 0.7, is_steady=is_steady), 100)
    assert measured.refused <= 15  # 30 and more without the limiter; a busy machine delays what the limiter reads
    assert measured.seconds > 1.0  # 40 at once, then 40 in 0.7 s


@pytest.mark.parametrize("is_steady", [True, False], ids=["steady", "window"])
def test_a_limit_of_tokens_is_kept_like_one_of_requests(is_steady: bool) -> None:
    # A request of 3 + 57 tokens; the estimate, of the whole body, is higher, so the limit is not quite used up.
    measured = ask(RateLimit(10_000, 1.0, is_steady=is_steady, tokens=2400), 80, max_new_tokens=57)
    assert measured.refused <= 15  # 31 and 32 without the limiter
    assert measured.seconds > 0.9


def test_a_limit_below_the_concurrency_is_met_once() -> None:
    measured = ask(RateLimit(10, 0.5, is_steady=False), 40, concurrency=32, max_retries=6)
    assert measured.refused <= 22 + 15  # 58 without the limiter; the first 32 go before any reply can tell


def test_limits_that_leave_room_hold_nothing_back() -> None:
    measured = ask(RateLimit(100_000, 60.0, is_steady=True, tokens=10_000_000), 384, latency=0.1, concurrency=64)
    assert measured.refused == 0
    assert measured.max_in_flight > 32


def test_a_retry_after_is_a_word_to_all_requests() -> None:
    fault = Fault.status(429, {"Retry-After": "1"})
    with OpenAIServer(faults=scripted({1: fault}), latency=0.05) as server:
        engine = ApiEngine(ApiOptions(server.base_url, "m", concurrency=2, max_retries=1))
        stream = engine.generate([Prompt(f"prompt {i}") for i in range(8)], SamplingParams())
        next(stream)  # was under way
        started = time.monotonic()
        next(stream)
        assert time.monotonic() - started > 0.8
        assert len(list(stream)) == 6
    assert len(server.log) == 9
