"""What judging costs, and how it is paid for: estimates, a spend cap, and the Batch API, on the command line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command_line import command, environment, here, last_line, tuna_eval
from vicuna_runs import (
    CANDIDATE,
    QUESTIONS,
    judge_words,
    judgings,
    only_run,
    record_of,
    run_words,
    script_of,
    values_of,
)

from openai_batches import BatchServer
from openai_judges import longer
from openai_server import OpenAIServer

PRICES = ["--judge-price-per-million-input", "100", "--judge-price-per-million-output", "1000"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that nobody has judged."""
    result = here(*run_words(script_of(tmp_path / "candidate.jsonl", CANDIDATE), tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    return only_run(tmp_path / "out")


def as_gpt_4(words: list[object]) -> list[object]:
    return ["gpt-4" if word == "fake" else word for word in words]


def test_a_dry_run_tells_the_cost_and_sends_nothing(run: Path) -> None:
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    with OpenAIServer(longer) as server:
        told = here(*as_gpt_4(judge_words(run, server.base_url, "--dry-run")))
        by_batch = here(*as_gpt_4(judge_words(run, server.base_url, "--dry-run", "--batch")))
        unknown = here(*judge_words(run, server.base_url, "--dry-run"))
        given = here(*judge_words(run, server.base_url, "--dry-run", *PRICES))
        assert server.log == []
    assert (told.returncode, told.stdout) == (0, "")
    requests, tokens = map(int, re.findall(r"(\d+) requests, (\d+) prompt tokens", told.stderr)[0])
    assert requests == 2 * QUESTIONS
    assert 100 * requests < tokens < 1000 * requests
    # The price list: gpt-4 costs $30 and $60 a million; a reply has 250 tokens, and 2048 at most.
    expected, most = ((30 * tokens + 60 * requests * reply) / 1e6 for reply in (250, 2048))
    assert f"about ${expected:.2f}, at most ${most:.2f} if every reply used up its limit" in told.stderr
    assert f"about ${expected / 2:.2f}, at most ${most / 2:.2f}" in by_batch.stderr
    assert "give --judge-price-per-million-input and -output" in last_line(unknown.stderr)
    assert "$" in last_line(given.stderr)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_a_dry_run_counts_what_is_still_to_be_asked(run: Path) -> None:
    with OpenAIServer(longer) as server:
        values_of(here(*judge_words(run, server.base_url)))
        words = judge_words(run, server.base_url, "--dry-run", "--judge-repeats", "2", *PRICES)
        assert "18 requests" in here(*words).stderr


def test_the_spend_cap_stops_and_the_next_command_goes_on(run: Path) -> None:
    with OpenAIServer(longer) as server:
        words = judge_words(run, server.base_url, *PRICES, "--judge-concurrency", "1")
        words += ["--judge-max-new-tokens", "30"]  # what each request may cost is set aside before it is sent
        # Some 150 tokens at $100 and 15 at $1000 a million: three cents a judgment.
        stopped = here(*words, "--judge-max-cost", "0.15")
        assert stopped.returncode == 2
        assert "the spend cap is reached" in last_line(stopped.stderr)
        assert "--max-cost" in last_line(stopped.stderr)
        made = len(server.log)
        assert 0 < made < 2 * QUESTIONS
        (judging,) = judgings(run)
        assert len((judging / "judgments.jsonl").read_text().splitlines()) == made
        assert set(record_of(run)["results"]["signatures"].values()) == {"not judged"}
        values = values_of(here(*words, "--judge-max-cost", "1"))
        assert values["coverage"] == 100.0
        assert sum(server.calls.values()) == 2 * QUESTIONS
        assert set(server.served.values()) == {1}
    used = json.loads((judging / "judging.json").read_text())["usage"]
    assert used["cost"] == pytest.approx((100 * used["prompt_tokens"] + 1000 * used["completion_tokens"]) / 1e6)


def test_batches_are_judged_like_single_requests(run: Path) -> None:
    with BatchServer(reply=longer) as server:
        result = here(*judge_words(run, server.base_url, "--batch"))
        values = values_of(result)
        assert "batch batch_1: 18 requests submitted" in result.stderr
        assert len(server.submitted) == len(set(server.submitted)) == 2 * QUESTIONS
        # What a batch has judged is not asked again one by one.
        assert values_of(here(*judge_words(run, server.base_url))) == values
        assert "POST files" in server.calls
        assert not any("answer-of-A" in prompt for prompt in server.calls)
    assert (values["win"], values["lose"], values["coverage"]) == (4, 5, 100.0)


def test_a_batch_outlives_the_process_that_waits_for_it(run: Path) -> None:
    with BatchServer(reply=longer, looks=1000) as server:
        words = judge_words(run, server.base_url, "--batch")
        process = subprocess.Popen(command(*words), env=environment(), stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while server.calls["GET batch"] == 0:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        server.looks = 1
        values = values_of(tuna_eval(*words))
        assert values["coverage"] == 100.0
        assert len(server.submitted) == len(set(server.submitted)) == 2 * QUESTIONS
        assert len(server.batches) == 1


def test_the_cap_of_a_batch_is_kept_before_it_is_sent(run: Path) -> None:
    with BatchServer(reply=longer) as server:
        result = here(*judge_words(run, server.base_url, "--batch", *PRICES, "--judge-max-cost", "0.5"))
        assert result.returncode == 2
        assert "may cost" in last_line(result.stderr)
        assert server.submitted == []


def test_a_dry_run_leaves_a_torn_line_to_the_judging(run: Path) -> None:
    with OpenAIServer(longer) as server:
        values_of(here(*judge_words(run, server.base_url)))
        (judging,) = judgings(run)
        file = judging / "judgments.jsonl"
        file.write_bytes(file.read_bytes()[:-7])
        torn = file.read_bytes()
        dry = here(*judge_words(run, server.base_url, "--dry-run", *PRICES))
        assert "1 requests" in dry.stderr
        assert file.read_bytes() == torn
        values_of(here(*judge_words(run, server.base_url)))
        assert sum(server.calls.values()) == 2 * QUESTIONS + 1
    assert len(file.read_bytes().splitlines()) == 2 * QUESTIONS


def test_the_estimate_stands_before_a_judging_with_a_known_price(run: Path) -> None:
    with OpenAIServer(longer) as server:
        known = here(*judge_words(run, server.base_url, *PRICES)).stderr.splitlines()
        unknown = here(*judge_words(run, server.base_url)).stderr
    (estimate,) = (number for number, line in enumerate(known) if "18 requests" in line and "at most $" in line)
    (begun,) = (number for number, line in enumerate(known) if "18 judgments, 18 to go" in line)
    assert estimate < begun
    assert "requests" not in unknown


def test_whether_a_judge_costs_is_decided_by_who_is_asked(run: Path) -> None:
    script = script_of(run / "judge.jsonl", [{"reply": "[[A]]"}])
    words = judge_words(run, "http://127.0.0.1:9/v1", "--dry-run")
    local = here(*words[:4], "--judge", script, "--judge-engine", "scripted", "--dry-run")
    assert "this judge is computed here and costs nothing" in local.stderr
    served = here(*words[:4], "--judge", "likelihood:far", *words[6:])
    assert f"{4 * QUESTIONS} requests" in served.stderr  # both verdicts in both orders
