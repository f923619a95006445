"""The small real model learns a ranking in three steps, and evaluation takes what comes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuna_eval.cli import main as evaluate
from tuna_eval.llm.models import LocalModel
from tuna_train.cli import main
from tuna_train.data.formats import read_examples
from tuna_train.data.ranked import write_ranked

pytestmark = pytest.mark.model


def test_three_steps_of_ranking(demo_model: LocalModel, shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "alpaca_eval_responses.jsonl"
    examples = [e for e in read_examples(source, original="text_davinci_003") if len(e.original or "") < 250]
    short = [
        e for e in examples if max(len(c.text) for c in e.candidates) < 250 and len({c.rank for c in e.ranked}) > 1
    ]
    assert write_ranked(tmp_path / "ranked.jsonl", short[:4]) == 4
    data = tmp_path / "ranked.jsonl"
    output = tmp_path / "out"
    values = ["batch_size=4", "micro_batch=2", "max_steps=3", "optimizer.warmup_steps=0", "logging_steps=1"]
    arguments = [f"model={demo_model.folder}", f"data={data}", f"eval_data={data}", f"output={output}"]
    assert main(["rank", *arguments, *values, "learning_rate=2e-5", "optimizer.schedule=constant", "format=chat"]) == 0
    record = json.loads((output / "training.json").read_text())
    before, after = record["held_out"]["before"], record["held_out"]["after"]
    assert after["nll"] < before["nll"]
    assert after["rank_loss"] + after["nll"] < before["rank_loss"] + before["nll"]
    first, last = record["losses"]["loss"]
    assert last < first
    results = ["--limit", "1", "--engine", "hf", "--output", str(tmp_path / "results")]
    tasks = ["--suite", "superni", "--data", "mini", "--shots", "0", "--tasks", "*001*", "--max-new-tokens", "8"]
    assert evaluate(["run", "--model", str(output), *tasks, *results]) == 0
    assert list((tmp_path / "results" / "runs" / "out").glob("superni*/*/record.json"))
