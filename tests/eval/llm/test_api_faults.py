"""Every way a server can fail: repeated a bounded number of times, then one clear line without a secret."""

from __future__ import annotations

import logging
import math
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from openai_faults import (
    CUT,
    DROP,
    NO_CHOICES,
    WRONG_SHAPE,
    Call,
    Fault,
    always,
    closed_port,
    first,
    for_prompts,
    randomly,
    scripted,
)
from openai_server import OpenAIServer, echo_reply
from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.schema import Completion, Prompt

SOON = {"retry-after-ms": "5"}
KEY = "sk-proj-0123456789abcdefSECRET"
PASSING = {
    "429": Fault.status(429, SOON),
    "408": Fault.status(408, SOON),
    "500": Fault.status(500, SOON),
    "503": Fault.status(503, SOON),
    "cut": CUT,
    "drop": DROP,
    "html": Fault.html(),
    "half": Fault.half_json(),
    "none": NO_CHOICES,
    "shape": WRONG_SHAPE,
}


def ask(base_url: str, prompts: list[str], **options: Any) -> list[Completion]:
    engine = ApiEngine(ApiOptions(base_url, "m", **{"max_retries": 1, "timeout": 5.0, **options}))
    return list(engine.generate([Prompt(text) for text in prompts], SamplingParams()))


def failure(base_url: str, **options: Any) -> str:
    with pytest.raises(EngineError) as caught:
        ask(base_url, ["hello"], **options)
    line = str(caught.value)
    assert "\n" not in line
    assert base_url.rpartition("@")[2].rstrip("/") in line
    return line


def test_each_passing_fault_is_repeated_once_and_forgotten() -> None:
    def program(call: Call) -> Fault | None:
        return PASSING[call.prompt] if call.attempt == 1 else None

    for mode in ("chat", "completions"):
        with OpenAIServer(faults=program) as server:
            replies = ask(server.base_url, list(PASSING), mode=mode)
        assert {r.index: r.text for r in replies} == {i: echo_reply(p) for i, p in enumerate(PASSING)}
        assert set(server.calls.values()) == {2}


PERMANENT = {
    "rate limit": (Fault.status(429, SOON, "slow down"), "HTTP 429 Too Many Requests after 2 attempts: slow down", 2),
    "500": (Fault.status(500, SOON), "HTTP 500 Internal Server Error after 2 attempts", 2),
    "html 502": (Fault.html(502), "HTTP 502 Bad Gateway after 2 attempts: an HTML page", 2),
    "cut": (CUT, "the connection was cut before the reply was complete after 2 attempts", 2),
    "html": (Fault.html(), "an HTML page came instead of JSON in attempt 2 of 2; check --base-url", 2),
    "html as json": (Fault.html(content_type="application/json"), "an HTML page came instead of JSON", 2),
    "half": (Fault.half_json(), "a broken JSON body of 74 characters came instead of JSON in attempt 2 of 2", 2),
    "empty": (Fault("body", text=""), "an empty body came instead of JSON", 2),
    "list": (Fault("body", text="[1]"), "a JSON list came instead of an object", 2),
    "no choices": (NO_CHOICES, "a reply with no choices came in attempt 2 of 2", 2),
    "shape": (WRONG_SHAPE, "a reply without a list of choices came in attempt 2 of 2", 2),
    "200 error": (
        Fault("body", text='{"error": {"message": "no GPU left"}}'),
        "an error with status 200 came: no GPU left",
        2,
    ),
    "401": (Fault.status(401), "HTTP 401 Unauthorized after 1 attempt: no; set OPENAI_API_KEY", 1),
    "403": (Fault.status(403), "HTTP 403 Forbidden after 1 attempt: no; check that the key in OPENAI_API_KEY", 1),
    "404": (
        Fault.status(404, message="no model m"),
        "HTTP 404 Not Found after 1 attempt: no model m; check --model",
        1,
    ),
    "400": (Fault.status(400, message="too long"), "HTTP 400 Bad Request after 1 attempt: too long; check --model", 1),
    "999": (Fault.status(599, SOON), "HTTP 599 after 2 attempts", 2),
}


@pytest.fixture(scope="module")
def ends() -> dict[str, tuple[str, int]]:
    """The line that each lasting fault ends in, and the calls made; side by side, since most of them wait."""

    def end(fault: Fault) -> tuple[str, int]:
        with OpenAIServer(faults=always(fault)) as server:
            return failure(server.base_url), len(server.log)

    with ThreadPoolExecutor(len(PERMANENT)) as pool:
        return dict(zip(PERMANENT, pool.map(end, (fault for fault, *_ in PERMANENT.values())), strict=True))


@pytest.mark.parametrize("kind", PERMANENT)
def test_a_lasting_fault_ends_in_one_line_after_bounded_calls(ends: dict[str, tuple[str, int]], kind: str) -> None:
    (_, said, calls), (line, made) = PERMANENT[kind], ends[kind]
    assert said in line
    assert made == calls


def test_the_allowance_is_shared_by_transport_faults_and_senseless_replies() -> None:
    for early, late, said in (
        (Fault.html(), Fault.status(500, SOON), "HTTP 500 Internal Server Error after 4 attempts"),
        (Fault.status(500, SOON), Fault.html(), "an HTML page came instead of JSON in attempt 4 of 4"),
    ):
        change = 2 if early.kind == "body" else 4  # back-off after a page takes half a second and more
        numbers = range(1, 20)
        with OpenAIServer(faults=scripted({n: early if n < change else late for n in numbers})) as server:
            assert said in failure(server.base_url, max_retries=3)
        assert len(server.log) == 4


def test_a_server_that_does_not_answer_times_out() -> None:
    with OpenAIServer(faults=always(Fault.slow(1.0))) as server:
        started = time.monotonic()
        line = failure(server.base_url, timeout=0.1)
        assert time.monotonic() - started < 3
    assert "timed out after 2 attempts of 0.1 s" in line
    assert "--timeout" in line
    assert len(server.log) == 2


def test_a_closed_port_an_unknown_host_and_a_missing_tls_have_their_own_words() -> None:
    assert "connection refused after 2 attempts; check --base-url" in failure(f"http://127.0.0.1:{closed_port()}/v1")
    assert "host name not found after 1 attempt" in failure("http://tuna.invalid/v1", max_retries=0)
    with OpenAIServer() as server:
        assert "TLS failed" in failure(server.base_url.replace("http:", "https:"), max_retries=0)


def test_an_address_without_its_v1_is_named_as_the_likely_fault() -> None:
    with OpenAIServer() as server:
        line = failure(server.base_url.removesuffix("/v1"))
    assert "HTTP 404 Not Found after 1 attempt: Not Found" in line
    assert "usually ends in /v1" in line


def test_retry_after_is_waited_for() -> None:
    with OpenAIServer(faults=first(1, Fault.status(429, {"Retry-After": "1"}))) as server:
        started = time.monotonic()
        assert len(ask(server.base_url, ["hello"])) == 1
        assert time.monotonic() - started >= 1.0
    assert server.calls["hello"] == 2


def test_a_wait_of_minutes_is_left_to_the_user() -> None:
    with OpenAIServer(faults=always(Fault.status(429, {"Retry-After": "600"}))) as server:
        line = failure(server.base_url)
    at = time.gmtime(time.time() + 600)
    assert len(server.log) <= 2  # openai 3 gives up at once; openai 2 uses up its attempts first
    assert "asks to wait 600 s" in line
    assert f"run the same command again to resume after {time.strftime('%Y-%m-%d %H:', at)}" in line


@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "-5", "soon", ""])
def test_a_senseless_retry_after_does_no_harm(value: str) -> None:
    with OpenAIServer(faults=always(Fault.status(429, {"Retry-After": value}))) as server:
        assert "HTTP 429" in failure(server.base_url, max_retries=0)


def test_prompts_at_one_fault_in_five_are_answered_exactly_once() -> None:
    prompts = [f"prompt {i}" for i in range(600)]
    early, late = randomly(0.2, list(PASSING.values())), randomly(0.2, [PASSING["429"], PASSING["500"]])
    # Faults that name no waiting time are left to the first two attempts: their back-off doubles.
    with OpenAIServer(faults=lambda call: (early if call.attempt <= 2 else late)(call)) as server:
        replies = ask(server.base_url, prompts, concurrency=64, max_retries=8)
    assert sorted(r.index for r in replies) == list(range(600))
    assert all(r.text == echo_reply(prompts[r.index]) for r in replies)
    assert set(server.served.values()) == {1}
    assert 680 < len(server.log) < 820  # 600 / (1 - 0.2) = 750 expected, standard deviation 14
    assert server.max_in_flight <= 64


def test_what_was_under_way_is_delivered_before_the_failure() -> None:
    faults = for_prompts({"bad": Fault.status(404), "good": Fault.slow(0.3)})
    with OpenAIServer(faults=faults) as server:
        engine = ApiEngine(ApiOptions(server.base_url, "m", concurrency=4))
        texts = ["bad", "good 1", "good 2", "good 3", *[f"later {i}" for i in range(50)]]
        stream = engine.generate([Prompt(text) for text in texts], SamplingParams())
        assert {next(stream).index for _ in range(3)} == {1, 2, 3}
        with pytest.raises(EngineError, match="HTTP 404"):
            next(stream)
    assert len(server.log) == 4


def test_half_a_surrogate_pair_is_an_error_of_the_data() -> None:
    with OpenAIServer() as server, pytest.raises(EngineError, match="surrogate"):
        ask(server.base_url, ["\ud83d"])


def test_the_key_is_sent_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    caplog.set_level(logging.DEBUG)
    echo = Fault.status(400, message="x" * 150 + " you sent {authorization} and more " + "x" * 100)
    with OpenAIServer(key=KEY, faults=for_prompts({"echo": echo})) as server:
        options = ApiOptions(server.base_url, "m", api_key_env="MY_KEY")
        engine = ApiEngine(options)
        assert len(list(engine.generate([Prompt("hello")], SamplingParams()))) == 1
        with pytest.raises(EngineError) as caught:
            list(engine.generate([Prompt("echo")], SamplingParams()))
    shown = [repr(engine), repr(options), str(vars(engine)), str(engine.fingerprint()), repr(engine.usage), caplog.text]
    shown += [str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]
    assert server.log[0].headers["authorization"] == f"Bearer {KEY}"
    assert "you sent [hidden]" in str(caught.value)
    for text in shown:
        assert KEY[:12] not in text
        assert "SECRET" not in text


def test_a_wrong_key_is_not_repeated_by_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "plain-wrong-key")
    with OpenAIServer(key=KEY) as server:
        line = failure(server.base_url)
    assert "HTTP 401 Unauthorized" in line
    assert "wrong-key" not in line


def test_a_password_in_the_address_is_used_and_hidden(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with OpenAIServer(faults=always(Fault.status(401, message="{authorization} is hunter two"))) as server:
        options = ApiOptions(server.base_url.replace("http://", "http://me:hunter%20two@"), "m")
        engine = ApiEngine(options)
        with pytest.raises(EngineError) as caught:
            list(engine.generate([Prompt("hello")], SamplingParams()))
    assert server.log[0].headers["authorization"] == "Basic bWU6aHVudGVyIHR3bw=="
    for text in (str(caught.value), repr(options), str(engine.fingerprint()), caplog.text):
        assert "hunter" not in text
        assert "bWU6" not in text


def test_a_key_that_is_no_header_value_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a\nb")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        ask("http://127.0.0.1:9/v1", ["hello"])
    assert "sk-a" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base_url": "localhost:8000"}, "--base-url: not the address"),
        ({"base_url": "http://h:99999/v1"}, "--base-url: not the address"),
        ({"base_url": "http://h/v1?key=hunter2"}, "--base-url: http://h/v1 is followed by a query"),
        ({"model": ""}, "--model"),
        ({"mode": "both"}, "unknown mode 'both'"),
        ({"mode": "completions", "system": "Be brief."}, "a system message needs a chat"),
        ({"max_retries": -1}, "--max-retries"),
        ({"timeout": 0.0}, "--timeout"),
        ({"concurrency": 0}, "--concurrency"),
        ({"max_cost": 1.0, "price_per_million_input": 1.0}, "--max-cost: a cap of $1.0 cannot be kept without prices"),
        ({"max_cost": -1.0}, "use 0 or more"),
        ({"max_cost": math.nan}, "nan US dollars"),
        ({"max_cost": math.inf}, "inf US dollars"),
        ({"price_per_million_input": math.nan}, "nan US dollars"),
        ({"spent": math.nan}, "nan US dollars"),
        ({"timeout": math.nan}, "--timeout"),
        ({"timeout": math.inf}, "--timeout"),
    ],
)
def test_options_that_cannot_be_run_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(ApiOptions("http://127.0.0.1:1/v1", "m"), **change)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)
