"""The Batch API as an engine: every request answered once, paid once, whatever breaks in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openai_batches import EXPIRED, LOST, BatchServer
from openai_faults import Fault, closed_port, scripted
from openai_server import echo_reply
from tuna_eval.errors import EngineError, StoreError
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions
from tuna_eval.llm.batch_engine import BatchEngine, BatchSettings
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.schema import Completion, ContinuationRequest, Prompt

GREEDY = SamplingParams()
PRICES: dict[str, Any] = {"price_per_million_input": 1e6, "price_per_million_output": 2e6}  # $1 and $2 a token


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def engine(server: BatchServer, folder: Path, clock: Clock | None = None, **options: Any) -> BatchEngine:
    clock = clock or Clock()
    cut = {name: options.pop(name) for name in ("max_requests", "max_bytes", "announce") if name in options}
    settings = BatchSettings(sleep=clock.sleep, clock=clock, **cut)
    given = {"max_retries": 1, "timeout": 5.0, **options}
    return BatchEngine(ApiOptions(server.base_url, "m", **given), folder, settings=settings)


def ask(asked: BatchEngine, *texts: str, params: SamplingParams = GREEDY) -> list[Completion]:
    return in_order(asked.generate([Prompt(text) for text in texts], params))


def in_order(replies: Iterator[Completion]) -> list[Completion]:
    return sorted(replies, key=lambda reply: reply.index)


def test_replies_are_those_of_the_live_api_at_half_the_price(tmp_path: Path) -> None:
    params = SamplingParams(max_new_tokens=3, temperature=0.7, top_p=0.9, seed=5)
    for mode in ("chat", "completions"):
        with BatchServer(model="m-2026") as server:
            options = ApiOptions(server.base_url, "m", mode=mode, **PRICES)  # type: ignore[arg-type]
            live = ApiEngine(options)
            asked = engine(server, tmp_path / mode, mode=mode, **PRICES)
            prompts = [Prompt(f"Say {i}") for i in range(5)]
            lived = [replace(reply, batched=True) for reply in in_order(live.generate(prompts, params))]
            assert in_order(asked.generate(prompts, params)) == lived
            assert asked.fingerprint() == live.fingerprint()
            assert asked.served_models == {"m-2026"}
            assert asked.usage.requests == live.usage.requests == 5
            assert live.usage.cost == 5 * (2 + 2 * 3)
            assert asked.usage.cost == pytest.approx(live.usage.cost / 2)


def test_a_chat_sends_system_message_sampling_and_the_limit_under_its_newer_name(tmp_path: Path) -> None:
    with BatchServer() as server:
        asked = engine(server, tmp_path, system="Be brief.")
        list(asked.generate([Prompt("Hi"), Prompt("Hi", system="Be long.")], SamplingParams(max_new_tokens=7)))
        first, second = (json.loads(line) for line in server.files["file-1"].splitlines())
    assert first["body"] == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_completion_tokens": 7,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 0,
    }
    assert second["body"]["messages"][0]["content"] == "Be long."
    assert (first["method"], first["url"]) == ("POST", "/v1/chat/completions")


def test_no_prompts_make_no_call_and_no_file(tmp_path: Path) -> None:
    asked = BatchEngine(ApiOptions(f"http://127.0.0.1:{closed_port()}/v1", "m"), tmp_path / "state")
    assert list(asked.generate([], GREEDY)) == []
    assert not (tmp_path / "state").exists()
    with pytest.raises(EngineError, match="cannot score"):
        asked.score([ContinuationRequest(Prompt("a"), "b")])


def test_equal_prompts_are_asked_as_often_as_they_stand_there(tmp_path: Path) -> None:
    with BatchServer() as server:
        assert len(ask(engine(server, tmp_path), "a", "a", "b", "a")) == 4
        assert Counter(server.submitted) == {"a": 3, "b": 1}
        assert len(ask(engine(server, tmp_path), "a")) == 1  # handed over is used up: this is another request
        assert Counter(server.submitted) == {"a": 4, "b": 1}


@pytest.mark.parametrize(("limits", "sizes"), [({"max_requests": 4}, [4, 4, 2]), ({"max_bytes": 1000}, [3, 3, 3, 1])])
def test_files_keep_to_the_limits(tmp_path: Path, limits: dict[str, int], sizes: list[int]) -> None:
    with BatchServer() as server:
        texts = [f"text {i}" for i in range(10)]
        replies = ask(engine(server, tmp_path, **limits), *texts)
        uploads = [server.files[batch["input_file_id"]] for batch in server.batches.values()]
        assert [len(upload.splitlines()) for upload in uploads] == sizes
        assert [reply.text for reply in replies] == [echo_reply(text) for text in texts]
        with pytest.raises(EngineError, match="larger than the 1000 of a batch"):
            ask(engine(server, tmp_path, max_bytes=1000), "long " * 200)


def test_pauses_grow_to_a_bound_and_the_wait_ends_and_is_taken_up_again(tmp_path: Path) -> None:
    clock, said = Clock(), []
    with BatchServer(looks=10**9) as server:
        with pytest.raises(EngineError, match=r"1 batches have not ended after 26\.0 hours .*batch_1.*run the same"):
            ask(engine(server, tmp_path, clock, announce=said.append), "a")
        assert clock.pauses[:3] == [5.0, 7.5, 11.25]
        assert max(clock.pauses) == 300.0
        assert clock.now <= 26 * 3600
        server.looks = 1
        assert ask(engine(server, tmp_path), "a")[0].text == echo_reply("a")
        assert server.submitted == ["a"]
    assert said == ["batch batch_1: 1 requests submitted", "batch batch_1: in_progress 0 of 1 done, 0 failed"]


def test_what_failed_is_said_and_only_that_is_submitted_again(tmp_path: Path) -> None:
    fates = {"late": EXPIRED, "lost": LOST, "broken": 500, "filter": 400}
    with BatchServer(end="expired", fate=lambda prompt: fates.get(prompt, 200)) as server:
        asked = engine(server, tmp_path, **PRICES)
        replies = ask(asked, "fine", "late", "lost", "broken", "filter")
        assert [reply.finish_reason for reply in replies] == ["stop", "error", "error", "error", "content_filter"]
        assert replies[1].text.startswith("batch_expired: This request could not be executed")
        assert replies[2].text == "no reply in batch batch_1, which is expired"
        assert replies[3].text == "HTTP 500: broken: no; [hidden]"
        assert asked.usage.requests == 1
        fates.clear()
        server.end = "completed"
        again = ask(engine(server, tmp_path), "late", "lost", "broken")
        assert [reply.text for reply in again] == [echo_reply(text) for text in ("late", "lost", "broken")]
    assert Counter(server.submitted) == {"fine": 1, "late": 2, "lost": 2, "broken": 2, "filter": 1}


def test_a_batch_that_is_given_up_is_one_error_after_the_replies_of_the_others(tmp_path: Path) -> None:
    said = r"batch_1 failed: The model `m` does not exist\.; mend what"
    with (
        BatchServer(end="failed", problem="The model `m` does not exist.") as server,
        pytest.raises(EngineError, match=said),
    ):
        ask(engine(server, tmp_path), "a")
    with BatchServer(end="cancelled", fate=lambda prompt: LOST if prompt == "b" else 200) as server:
        folder = tmp_path / "cancelled"
        stream = engine(server, folder).generate([Prompt("a"), Prompt("b")], GREEDY)
        assert next(stream).text == echo_reply("a")  # it is paid for
        with pytest.raises(EngineError, match="batch batch_1 cancelled; mend"):
            next(stream)
        server.end, server.fate = "completed", lambda prompt: 200
        assert ask(engine(server, folder), "b")[0].text == echo_reply("b")
        assert Counter(server.submitted) == {"a": 1, "b": 2}


def test_a_lost_answer_to_a_submission_does_not_make_a_second_batch(tmp_path: Path) -> None:
    with BatchServer() as server:
        server.loses_answer_to = {"POST batches", "POST files", "GET content"}
        assert ask(engine(server, tmp_path), "a")[0].text == echo_reply("a")
        assert server.submitted == ["a"]


@pytest.mark.parametrize("route", ["POST files", "POST batches", "GET batch", "GET content"])
def test_a_call_that_stays_in_doubt_is_cleared_up_by_the_next_start(tmp_path: Path, route: str) -> None:
    with BatchServer() as server:
        server.loses_answer_to = {route}
        with pytest.raises(EngineError, match="connection was cut"):
            ask(engine(server, tmp_path, max_retries=0), "a", "b")
        assert [reply.text for reply in ask(engine(server, tmp_path), "b", "a")] == [echo_reply("b"), echo_reply("a")]
        assert sorted(server.submitted) == ["a", "b"]


def test_a_submission_that_was_refused_is_made_by_the_next_start(tmp_path: Path) -> None:
    refused = Fault.status(429, message="quota", code="insufficient_quota")
    with BatchServer(faults=scripted({2: refused})) as server:
        with pytest.raises(EngineError, match="HTTP 429"):
            ask(engine(server, tmp_path, max_retries=0), "c")
        assert ask(engine(server, tmp_path), "c")[0].text == echo_reply("c")
        assert server.submitted == ["c"]


def test_a_batch_that_the_server_does_not_know_any_more_is_said(tmp_path: Path) -> None:
    with BatchServer(looks=10**9) as server:
        with pytest.raises(EngineError, match="have not ended"):
            ask(engine(server, tmp_path), "a")
        server.batches.clear()
        with pytest.raises(EngineError, match=r"HTTP 404 .*check that the server has the Batch API"):
            ask(engine(server, tmp_path), "a")


def test_a_passing_fault_of_any_call_is_survived(tmp_path: Path) -> None:
    for number, fault in enumerate((Fault.status(500), Fault.html(), Fault("cut"), Fault.half_json())):
        for call in (2, 3):  # the submission, the look; uploads and downloads are covered by the lost answers
            with BatchServer(faults=scripted({call: fault})) as server:
                replies = ask(engine(server, tmp_path / f"{number}-{call}", max_retries=2), "a")
                assert replies[0].text == echo_reply("a"), (fault, call)
                assert server.submitted == ["a"]


def test_replies_that_were_not_taken_are_kept_for_the_next_call(tmp_path: Path) -> None:
    texts = [f"p{i}" for i in range(6)]
    with BatchServer() as server:
        stream = engine(server, tmp_path).generate([Prompt(text) for text in texts], GREEDY)
        taken = [next(stream).index for _ in range(3)]
        stream.close()  # type: ignore[attr-defined]
        rest = [text for i, text in enumerate(texts) if i not in taken[:2]]  # the third was not stored any more
        assert [reply.text for reply in ask(engine(server, tmp_path), *rest)] == [echo_reply(text) for text in rest]
        assert sorted(server.submitted) == texts
        assert len(server.batches) == 1


SCRIPT = """
import sys
from pathlib import Path
from tuna_eval.llm.api_options import ApiOptions
from tuna_eval.llm.batch_engine import BatchEngine, BatchSettings
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.schema import Prompt

asked = BatchEngine(ApiOptions(sys.argv[1], "m"), Path(sys.argv[2]), settings=BatchSettings(first_pause=0.05))
for reply in asked.generate([Prompt(f"p{i}") for i in range(30)], SamplingParams()):
    print(reply.text, flush=True)
    if sys.argv[3] == "slow":
        sys.stdin.read()
"""


@pytest.mark.parametrize("moment", ["while it waits", "while it reads"])
def test_killed_and_resumed_nothing_is_submitted_twice(tmp_path: Path, moment: str) -> None:
    with BatchServer(looks=10**9 if moment == "while it waits" else 1) as server:
        command = [sys.executable, "-c", SCRIPT, server.base_url, str(tmp_path), "slow"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "OPENAI_API_KEY": "sk-SECRET-1"}
        ) as process:
            assert process.stdout is not None
            if moment == "while it waits":
                deadline = time.monotonic() + 30
                while sum(call.route == "GET batch" for call in server.log) < 2 and time.monotonic() < deadline:
                    time.sleep(0.02)
            else:
                assert process.stdout.readline().startswith(b"You said: p")
            process.send_signal(signal.SIGKILL)
        assert len(server.submitted) == 30
        server.looks = 1
        replies = ask(engine(server, tmp_path), *(f"p{i}" for i in range(30)))
        assert [reply.text for reply in replies] == [echo_reply(f"p{i}") for i in range(30)]
        assert len(server.submitted) == 30
        assert server.log[0].headers["authorization"] == "Bearer sk-SECRET-1"
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"batch_1" in stored
    assert b"SECRET" not in stored


def test_two_processes_do_not_share_a_folder_and_a_broken_state_is_said(tmp_path: Path) -> None:
    with BatchServer() as server:
        stream = engine(server, tmp_path).generate([Prompt("a")], GREEDY)
        next(stream)
        with pytest.raises(StoreError, match="another process is writing this set of batches"):
            ask(engine(server, tmp_path), "a")
        stream.close()  # type: ignore[attr-defined]
        (tmp_path / "state.json").write_text("{}")
        with pytest.raises(StoreError, match="not a state of batches, version 1"):
            ask(engine(server, tmp_path), "a")
