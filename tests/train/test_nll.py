"""`tuna-train nll`: sums by hand, by source and by rank; padded models too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from silent import Silent
from tiny_models import save_model
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.hf_engine import HFEngine
from tuna_eval.llm.models import resolve_model
from tuna_eval.llm.prompts import render
from tuna_eval.schema import ContinuationRequest
from tuna_train.data.ranked import Candidate, RankedExample, write_ranked
from tuna_train.nll import Mean, measure_nll

EXAMPLES = [
    RankedExample("1", "Say one.", "", "one", (Candidate("two three", "a", rank=1), Candidate("one", "b", rank=0))),
    RankedExample("2", "Say four.", "", "four five", (Candidate("six", "a"),)),
]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_is_the_engines_score_of_every_response(family: str, tmp_path: Path) -> None:
    """Llama is packed, GPT-2 padded."""
    folder = save_model(tmp_path / "model", family)
    write_ranked(tmp_path / "data.jsonl", EXAMPLES)
    found = measure_nll(str(folder), tmp_path / "data.jsonl", out=tmp_path / "out.jsonl", progress=Silent())
    engine = HFEngine(resolve_model(str(folder)))
    asked = [(0, "two three"), (0, "one"), (1, "six"), (1, "four five")]
    requests = [
        ContinuationRequest(render(EXAMPLES[number].instruction, "alpaca", engine), f"{text}</s>")
        for number, text in asked
    ]
    scores = sorted(engine.score(requests), key=lambda score: score.index)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["nll"] for line in lines] == pytest.approx([-score.logprob for score in scores], abs=1e-3)
    assert [line["tokens"] for line in lines] == [len(score.token_ids) for score in scores]
    assert [(line["source"], line["rank"]) for line in lines] == [("a", 1), ("b", 0), ("a", None), ("original", None)]
    assert found.all.responses == 4
    assert found.all.per_token == pytest.approx(sum(line["nll"] for line in lines) / sum(s["tokens"] for s in lines))
    assert found.by_source["a"].per_response == pytest.approx((lines[0]["nll"] + lines[2]["nll"]) / 2)
    assert {rank: mean.responses for rank, mean in found.by_rank.items()} == {0: 1, 1: 1}


def test_means_by_hand() -> None:
    mean = Mean()
    mean.add(tokens=4, nll=2.0)
    mean.add(tokens=1, nll=8.0)
    assert (mean.per_token, mean.per_response) == (2.0, 5.0)


def test_cut_responses_are_counted_and_mistakes_told(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    write_ranked(tmp_path / "data.jsonl", [RankedExample("1", "Say.", original="one two three four five six seven")])
    whole = measure_nll(str(folder), tmp_path / "data.jsonl", format="plain", progress=Silent())
    prompt = len(resolve_and_encode(folder, "Say."))
    cut = measure_nll(str(folder), tmp_path / "data.jsonl", format="plain", max_length=prompt + 3, progress=Silent())
    assert (whole.cut, cut.cut) == (0, 1)
    assert cut.all.tokens == 3
    with pytest.raises(DataError, match=r"data\.jsonl: no prompt leaves one of \d+ tokens for a response"):
        measure_nll(str(folder), tmp_path / "data.jsonl", format="plain", max_length=prompt, progress=Silent())
    with pytest.raises(ConfigError, match="no chat template"):
        measure_nll(str(folder), tmp_path / "data.jsonl", format="chat", progress=Silent())
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="file is empty"):
        measure_nll(str(folder), tmp_path / "empty.jsonl", progress=Silent())


def resolve_and_encode(folder: Path, text: str) -> list[int]:
    return HFEngine(resolve_model(str(folder))).encoder.encode_plain([text])[0]
