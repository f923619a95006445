"""`tuna-train data sample` as a user meets it: killed anywhere it goes on, money is counted, mistakes are one line."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drawing import ROOT, SeedServer, read, tuna_train, write_alpaca

from openai_faults import Fault, randomly
from tuna_eval.llm.hosted import OPENAI, hosted_address, key_variable
from tuna_train.data.ranked import RankedExample

CONCURRENCY = 4


def command(server: SeedServer, source: Path, out: Path, *words: object) -> list[str]:
    model = ("--model", "m", "--base-url", server.base_url, "--concurrency", CONCURRENCY, "--trials", 2)
    return [str(word) for word in ("data", "sample", source, "--out", out, *model, *words)]


def without_engine(file: Path) -> list[RankedExample]:
    """The examples but for the model's fingerprint, which holds the server's port."""
    examples = read(file)
    for example in examples:
        assert example.provenance["sample"].pop("engine")  # type: ignore[union-attr, call-arg, arg-type]
    return examples


def test_killed_it_goes_on_and_pays_nothing_twice(tmp_path: Path) -> None:
    source, out, pick = write_alpaca(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl", random.Random(1)
    with SeedServer() as calm:
        tuna_train(*command(calm, source, tmp_path / "whole.jsonl"))
        needed = dict(calm.drawn)
    kills = 0
    faults = randomly(0.1, [Fault.status(429, {"retry-after-ms": "5"}), Fault.status(500, {"retry-after-ms": "5"})])
    with SeedServer(faults=faults, latency=0.01) as server:
        while kills < 2:
            process = subprocess.Popen(
                [sys.executable, "-m", "tuna_train.cli", *command(server, source, out)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=subprocess.DEVNULL,
            )
            target = server.drawn.total() + pick.randrange(1, len(needed) // 4)
            while process.poll() is None and server.drawn.total() < target:
                time.sleep(0.002)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            while server.in_flight:
                time.sleep(0.002)
        tuna_train(*command(server, source, out))
    assert kills == 2
    assert without_engine(out) == without_engine(tmp_path / "whole.jsonl")
    assert set(server.drawn) == set(needed)
    assert server.drawn.total() - len(needed) <= kills * CONCURRENCY
    journal = (tmp_path / "out.jsonl.stage" / "replies.jsonl").read_text().splitlines()
    draws = [(line["id"], line["slot"], line["trial"]) for line in map(json.loads, journal)]
    assert len(draws) == len(set(draws)) == len(needed)


def test_a_dry_run_tells_the_cost_and_asks_nobody(tmp_path: Path) -> None:
    source = write_alpaca(tmp_path / "in.jsonl", 10)
    prices = ("--price-per-million-input", 10, "--price-per-million-output", 20, "--max-new-tokens", 100)
    with SeedServer() as server:
        result = tuna_train(*command(server, source, tmp_path / "out.jsonl", "--dry-run", *prices))
        assert not server.log
    assert "40 first draws to go" in result.stderr
    assert "at most $0." in result.stderr
    assert "about $0." in result.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl"]


def test_the_cap_holds_over_sessions(tmp_path: Path) -> None:
    source, out = write_alpaca(tmp_path / "in.jsonl", 10), tmp_path / "out.jsonl"
    prices = ("--price-per-million-input", 1000, "--price-per-million-output", 1000, "--max-new-tokens", 12)
    with SeedServer() as server:
        words = command(server, source, out, *prices, "--max-cost", 1.5)
        spent = []
        for _ in range(2):
            result = tuna_train(*words, check=False)
            assert result.returncode == 2
            assert "spend cap is reached" in result.stderr
            spent.append(server.drawn.total())
        assert spent[0] == spent[1] > 2
        tuna_train(*command(server, source, out, *prices, "--max-cost", 100))
        assert max(server.drawn.values()) == 1
    assert len(read(out)) == 10


def test_counts_are_one_json_object(tmp_path: Path) -> None:
    source, out = write_alpaca(tmp_path / "in.jsonl", 6), tmp_path / "out.jsonl"
    with SeedServer() as server:
        result = tuna_train(
            *command(server, source, out, "--json", "--limit", 5, "--shard", "1/2", "--max-new-tokens", 5)
        )
        counts = json.loads(result.stdout)
        assert counts["generations"] == server.drawn.total()
    assert (counts["examples"], counts["candidates"], counts["at_limit"]) == (3, 12, 12)
    assert [example.id for example in read(out)] == ["e0", "e2", "e4"]


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    source, out = write_alpaca(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    twice = tmp_path / "twice.jsonl"
    twice.write_text(source.read_text() * 2)
    script = tmp_path / "script.jsonl"
    script.write_text('{"reply": "yes", "samples": ["yes", "no"]}\n')
    scripted = ("--model", script, "--engine", "scripted")
    for words, told in [
        (("data", "sample", twice, "--out", out, *scripted), "two examples have the id 'e0'"),
        (("data", "sample", tmp_path / "none.jsonl", "--out", out, *scripted), "none.jsonl"),
        (("data", "sample", source, "--out", out, *scripted, "--shard", "3/2"), "'3/2' is no share"),
        (("data", "sample", source, "--out", out, *scripted, "--n", 0), "0 responses"),
        (("data", "sample", source, "--out", out, "--model", "demo", "--engine", "lm_eval:hf"), "one seed a call"),
        (("data", "teacher", source, "--out", out, *scripted), "without log-probability"),
        (("data", "teacher", source, "--model", script, "--engine", "scripted"), "--out"),
    ]:
        result = tuna_train(*words, check=False)
        assert (result.returncode, told in result.stderr) == (2, True), (words, result.stderr)
        assert result.stderr.strip().splitlines()[-1].startswith("tuna-train: "), result.stderr
        assert "Traceback" not in result.stderr
    tuna_train("data", "sample", source, "--out", out, *scripted)
    assert {c.text for e in read(out) for c in e.candidates} == {"yes", "no"}


@pytest.mark.parametrize("stage", ["sample", "teacher"])
def test_a_model_of_the_price_list_is_asked_where_it_is(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    source, out = write_alpaca(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    words = ("data", stage, source, "--model", "gpt-3.5-turbo-instruct", "--out", out)
    assert "12 first draws to go" in tuna_train(*words, "--dry-run").stderr
    for given in ((), ("--given", "--eos", "")) if stage == "teacher" else ((),):
        result = tuna_train(*words, *given, check=False)
        missing = "OPENAI_API_KEY: no key for the model gpt-3.5-turbo-instruct; set it, or give --base-url"
        assert (result.returncode, result.stderr.splitlines()[-1]) == (2, f"tuna-train: {missing}")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl"]


def test_what_is_here_or_served_elsewhere_is_not_asked_of_openai(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hosted_address("gpt-4", "auto", None) == hosted_address("gpt-4-0613", "api", None) == OPENAI
    assert hosted_address("gpt-4", "auto", "http://127.0.0.1:1/v1") == "http://127.0.0.1:1/v1"
    assert hosted_address("gpt-4", "hf", None) is None
    assert hosted_address("someone/else", "auto", None) is None
    (tmp_path / "gpt-4").mkdir()
    assert hosted_address("gpt-4", "auto", None) is None
    assert key_variable(OPENAI, {"api_key_env": "MINE"}) == "MINE"
    assert key_variable("http://127.0.0.1:1/v1", {}) == ""
