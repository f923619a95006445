"""What stops a training, said in one line: numbers, memory, too few instructions; and what it counts and tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ranked_files import write_examples

from silent import Silent
from tiny_models import save_model
from tiny_prm import save_prm
from tuna_eval.errors import ConfigError, EngineError
from tuna_train.cli import main
from tuna_train.config import RankConfig, build_config
from tuna_train.data.ranked import RankedExample, write_ranked
from tuna_train.places import KEYS, naming
from tuna_train.training.fit import fit, once


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    save_model(folder / "model", single="<s> $A", has_template=True)
    write_examples(folder / "train.jsonl", 12)
    return folder


def given(start: Path, output: Path, **values: Any) -> RankConfig:
    settings = {"model": str(start / "model"), "data": str(start / "train.jsonl"), "output": str(output), **values}
    settings = {"batch_size": 4, "logging_steps": 1, **settings}
    return build_config(RankConfig, settings, "test")


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (4, r"step \d: loss is nan \(the last checkpoint is of step 1\); lower learning_rate"),
        (1, r"step 1: \S+ is not finite; lower learning_rate"),  # which no loss has seen
    ],
)
def test_a_training_without_finite_numbers_is_no_success(steps: int, told: str, start: Path, tmp_path: Path) -> None:
    wild = {"learning_rate": 1e39, "optimizer": {"warmup_steps": 0}, "max_steps": steps, "save_steps": 1}
    with pytest.raises(EngineError, match=told):
        fit(given(start, tmp_path / "out", **wild, keep_checkpoints=9), "rank", Silent())
    assert not (tmp_path / "out" / "training.json").exists()
    assert not (tmp_path / "out" / "config.json").exists()
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] is None or steps == 1


def test_an_exhausted_memory_is_told_by_every_training(start: Path, tmp_path: Path) -> None:
    import torch

    def train() -> None:
        torch.empty(1 << 60)

    with pytest.raises(EngineError, match="does not fit in memory; set micro_batch=1"):
        once(given(start, tmp_path / "out"), dict, train, Silent())


def test_fewer_instructions_than_a_step_of_reinforcement_learning(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And an option of tuna-eval in an error is called as the key is."""
    prm = save_prm(start / "model", tmp_path / "prm")
    words = ["rl", f"model={start / 'model'}", f"data={start / 'train.jsonl'}", f"output={tmp_path / 'out'}"]
    assert main([*words, f"reward={prm}", "format=plain"]) == 2
    problem = "batch_size: 64, and the data hold 12 instructions; set batch_size=12 or less, or give more data"
    assert capsys.readouterr().err.endswith(f"tuna-train: {problem}\n")
    assert main([*words, f"reward={tmp_path / 'none'}"]) == 2
    assert "tuna-train: reward: no such model: " in capsys.readouterr().err


def test_a_held_out_file_that_is_trained_on_is_told(tmp_path: Path) -> None:
    class Notes(Silent):
        def __init__(self) -> None:
            self.told: list[str] = []

        def note(self, text: str) -> None:
            self.told.append(text)

    train, copy = (write_examples(tmp_path / name, 6) for name in ("train.jsonl", "copy.jsonl"))
    other = write_examples(tmp_path / "other.jsonl", 6, seed=1)
    held_out = [str(file) for file in (other, copy)]
    config = given(tmp_path, tmp_path / "out", data=str(train), eval_data=held_out)
    trained, notes = [], Notes()
    once(config, lambda: {}, lambda: trained.append(True), notes)
    assert notes.told == [f"warning: held-out {copy} is also trained on"]
    assert trained == [True]


def test_files_of_one_name_are_counted_apart(start: Path, tmp_path: Path) -> None:
    files = []
    for number, name in enumerate(("a/data.jsonl", "b/data.jsonl", "b/best of 4.jsonl"), 2):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        files.append(str(write_examples(tmp_path / name, number)))
    settings = {"data": files, "eval_data": files[1:], "limit": 8, "max_steps": 1, "learning_rate": 1e-3}
    fit(given(start, tmp_path / "out", **settings), "rank", Silent())
    data = json.loads((tmp_path / "out" / "training.json").read_text())["data"]
    assert [(d["file"], d["examples"]) for d in data] == [
        ("data.jsonl", 2),
        ("data.jsonl", 3),
        ("best of 4.jsonl", 3),
        ("data.jsonl", 3),
        ("best of 4.jsonl", 4),
    ]


def test_errors_name_keys_and_leave_out_advice_that_needs_another_option() -> None:
    with pytest.raises(ConfigError) as told, naming(KEYS):
        raise ConfigError("no template", place="--format chat", cure="use --format alpaca or plain")
    assert str(told.value) == "format=chat: no template; use format=alpaca or plain"
    with pytest.raises(ConfigError) as told, naming({"--model": "MODEL"}):
        raise ConfigError("no tokenizer", place="--model demo", cure="save it, or name one with --tokenizer")
    assert str(told.value) == "MODEL demo: no tokenizer; save it"


def test_nll_leaves_out_what_does_not_fit_and_writes_its_summary(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, summary = tmp_path / "data.jsonl", tmp_path / "summary.json"
    texts = ["one", "one two " * 40, "three"]
    write_ranked(data, (RankedExample(str(n), text, original="four") for n, text in enumerate(texts)))
    words = ["nll", str(start / "model"), str(data), "--format", "plain", "--summary", str(summary)]
    assert main([*words, "--max-length", "32"]) == 0
    found = json.loads(summary.read_text())
    assert (found["all"]["responses"], found["left_out"]) == (2, 1)
    shown = capsys.readouterr().err
    assert "data.jsonl: 1 of 3 examples left out: prompts over 31 tokens" in shown
    assert f"{found['all']['per_token']:.4f} nats per token" in shown
    assert main(["nll", str(save_model(tmp_path / "t5", "t5")), str(data)]) == 2
    assert "MODEL t5: 't5' is an encoder-decoder; name a causal language model" in capsys.readouterr().err


def test_no_path_is_in_the_curves(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"max_steps": 1, "report_to": "tensorboard", "learning_rate": 1e-3}
    fit(given(start, Path("out"), eval_data=str(start / "train.jsonl"), **settings), "rank", Silent())
    content = b"".join(file.read_bytes() for file in (tmp_path / "out" / "tensorboard").iterdir())
    assert [file.name for file in tmp_path.iterdir()] == ["out"]  # what is measured at the end has no other folder
    assert b"rank_loss" in content
    assert b"learning_rate" in content  # the settings
    assert str(tmp_path).encode() not in content
    assert str(start).encode() not in content
