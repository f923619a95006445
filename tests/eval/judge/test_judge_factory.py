"""Which judge is made of what a user writes, and what is refused before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tiny_models import save_tokenizer
from tuna_eval.errors import ConfigError
from tuna_eval.judge import factory, likelihood
from tuna_eval.judge.factory import JudgeOptions, open_judge, open_rules
from tuna_eval.judge.likelihood import LikelihoodRules
from tuna_eval.judging.folder import StoredChoices, choices_of
from tuna_eval.schema import Prompt

SERVED = JudgeOptions("likelihood:far", base_url="http://127.0.0.1:9/v1")

IGNORED: dict[str, dict[str, Any]] = {
    "--orders": {"orders": "both"},
    "--parser": {"parser": "tolerant"},
    "--batch": {"batch_folder": Path("batches")},
    "--judge-temperature": {"temperature": 0.0},
    "--judge-max-new-tokens": {"max_new_tokens": 5},
    "--judge-repeats": {"repeats": 2},
}


@pytest.mark.parametrize("option", IGNORED)
def test_a_likelihood_judge_refuses_what_it_would_ignore(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        open_judge(replace(SERVED, **IGNORED[option]))


OUT_OF_RANGE: dict[str, dict[str, Any]] = {
    "--judge-temperature -1": {"temperature": -1.0},
    "--judge-temperature nan": {"temperature": float("nan")},
    "--judge-temperature inf": {"temperature": float("inf")},
    "--judge-max-new-tokens 0": {"max_new_tokens": 0},
    "--judge-repeats 0": {"repeats": 0},
}


@pytest.mark.parametrize("option", OUT_OF_RANGE)
def test_what_is_out_of_range_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        open_judge(replace(SERVED, judge="far", **OUT_OF_RANGE[option]))


def test_the_protocol_likelihood_is_that_of_a_likelihood_judge() -> None:
    with pytest.raises(ConfigError, match="write --judge likelihood:far"):
        open_judge(replace(SERVED, judge="far", protocol="likelihood"))
    assert isinstance(open_rules(JudgeOptions("", "likelihood")), LikelihoodRules)


def test_a_judge_is_named_without_its_path(tmp_path: Path) -> None:
    script = tmp_path / "referee.jsonl"
    script.write_text(json.dumps({"reply": "[[A]]"}) + "\n")
    named = open_judge(JudgeOptions(str(script), engine="scripted")).comparer.name
    assert named == "referee.jsonl"
    assert (
        open_judge(JudgeOptions(f"likelihood:{script}", engine="scripted")).comparer.name == "likelihood:referee.jsonl"
    )
    assert open_judge(SERVED).comparer.name == "likelihood:far"


def test_an_engine_is_closed_if_the_judge_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Engine:
        def close(self) -> None:
            closed.append(True)

    def broken(*_: object, **__: object) -> None:
        raise ConfigError("no")

    monkeypatch.setattr(factory, "open_engine", lambda _: Engine())
    for name, judge in (("EngineComparer", "far"), ("LikelihoodComparer", "likelihood:far")):
        monkeypatch.setattr(factory, name, broken)
        with pytest.raises(ConfigError):
            open_judge(replace(SERVED, judge=judge))
    assert closed == [True, True]


def test_the_signature_of_a_likelihood_judge_covers_where_the_verdict_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = LikelihoodRules().signature
    monkeypatch.setattr(likelihood, "LEAD", "The worse answer is answer")
    assert LikelihoodRules().signature != before


def test_a_signature_tells_the_choices_that_made_it() -> None:
    for protocol, orders, parser in (
        ("review-2023", "both", "legacy"),
        ("review-2023", "baseline-first", "tolerant"),
        ("pairwise-v2", "both", "official"),
    ):
        rules = open_rules(JudgeOptions("", protocol, parser, orders))
        assert choices_of(rules.signature) == StoredChoices(protocol, orders, parser, "own")
    assert choices_of(LikelihoodRules().signature) == StoredChoices("likelihood", "default", "", "")


def test_openai_is_not_asked_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY: no key for the judge; set it"):
        open_judge(JudgeOptions("gpt-4")).require_key()
    open_judge(JudgeOptions("gpt-4", base_url="http://127.0.0.1:1/v1")).require_key()  # may need none
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    open_judge(JudgeOptions("gpt-4")).require_key()


def test_a_served_likelihood_judge_may_be_told_its_tokenizer(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    server = {"judge": "likelihood:served", "base_url": "http://127.0.0.1:9/v1"}
    assert open_judge(JudgeOptions(**server)).engine.encoder is None
    encoder = open_judge(JudgeOptions(**server, tokenizer=str(tmp_path))).engine.encoder
    assert encoder is not None
    assert encoder.encode(Prompt("Paris"))
