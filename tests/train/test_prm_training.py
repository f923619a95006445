"""tuna-train prm: learns a planted preference, whatever the micro-batch, and leaves a checkpoint that ranks."""

from __future__ import annotations

import json
import random
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from tiny_models import save_model
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.models import resolve_model
from tuna_train.cli import main
from tuna_train.commands.prm import prm_command
from tuna_train.data.ranked import Candidate, RankedExample, rank_by_score, read_ranked, write_ranked
from tuna_train.prm.held_out import compare_with_ranks
from tuna_train.prm.ranker import open_prm

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"), "llama", single="<s> $A")


def longer_is_better(number: int, seed: int) -> list[RankedExample]:
    """Instructions of three or four candidates of two to sixteen words, ranked by their length."""
    generator = random.Random(seed)
    examples = []
    for name in range(number):
        lengths = generator.sample(range(2, 17, 2), generator.choice((3, 4)))
        candidates = [Candidate(" ".join(generator.choices(WORDS, k=n)), score=float(n)) for n in lengths]
        examples.append(
            RankedExample(str(name), "Say " + generator.choice(WORDS), candidates=rank_by_score(candidates))
        )
    return examples


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_ranked(folder / "train.jsonl", longer_is_better(64, seed=1))
    write_ranked(folder / "held_out.jsonl", longer_is_better(24, seed=2))
    return folder


def train(base: Path, data: Path, output: Path, *assignments: str) -> dict[str, Any]:
    """Runs the command and returns the record of the training."""
    given = [f"model={base}", f"data={data / 'train.jsonl'}", f"output={output}", "logging_steps=1", *assignments]
    assert prm_command(Namespace(config=None, assignments=given)) == 0
    record: dict[str, Any] = json.loads((output / "training.json").read_text())
    return record


@pytest.mark.parametrize("loss", ["ranking", pytest.param("bradley_terry", marks=pytest.mark.model)])
def test_a_planted_preference_is_learned(base: Path, data: Path, tmp_path: Path, loss: str) -> None:
    held_out = f"eval_data={data / 'held_out.jsonl'}"
    settings = (held_out, f"loss={loss}", "learning_rate=0.01", "batch_size=16", "epochs=5")
    record = train(base, data, tmp_path / "prm", *settings)
    before, after = record["held_out"]["before"], record["held_out"]["after"]
    assert before["pair_accuracy"] < 0.85
    assert after["pair_accuracy"] > 0.9
    assert after["kendall_tau"] > before["kendall_tau"]
    unseen = longer_is_better(12, seed=3)
    ranker = open_prm(tmp_path / "prm")
    best = [ranking.order[0] if ranking.order else None for ranking in ranker.rank_all(unseen)]
    right = [place == [c.rank for c in e.candidates].index(0) for place, e in zip(best, unseen, strict=True)]
    assert sum(right) >= 10
    card = (tmp_path / "prm" / "README.md").read_text()
    assert "kendall_tau" in card
    assert str(tmp_path) not in card


def losses(record_folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (record_folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("loss", [pytest.param("ranking", marks=pytest.mark.model), "bradley_terry"])
def test_micro_batches_and_packing_do_not_change_the_losses(base: Path, data: Path, tmp_path: Path, loss: str) -> None:
    common = (f"loss={loss}", "learning_rate=0.003", "batch_size=4", "max_steps=3")
    train(base, data, tmp_path / "whole", *common, "micro_batch=4")
    train(base, data, tmp_path / "parts", *common, "micro_batch=1")
    train(base, data, tmp_path / "padded", *common, "packing=false")
    whole = losses(tmp_path / "whole")
    assert len(whole) == 3
    assert losses(tmp_path / "parts") == pytest.approx(whole, rel=1e-4)
    assert losses(tmp_path / "padded") == pytest.approx(whole, rel=1e-4)


def test_a_killed_training_goes_on_along_the_same_line(base: Path, data: Path, tmp_path: Path) -> None:
    settings = ("learning_rate=0.003", "batch_size=4", "max_steps=4", "save_steps=2")
    output = tmp_path / "prm"
    record = train(base, data, output, *settings)
    whole = losses(output)
    first = resolve_model(str(output)).weights_sha256
    for file in ("training.json", "model.safetensors", "config.json"):  # what a kill after step 2 does not leave
        (output / file).unlink()
    assert train(base, data, output, *settings)["steps"] == record["steps"] == 4
    assert losses(output) == whole
    assert resolve_model(str(output)).weights_sha256 == first


@pytest.mark.model  # not for the model, but for its seconds
def test_adapters_are_merged_into_what_is_saved(base: Path, data: Path, tmp_path: Path) -> None:
    settings = (
        "lora.rank=4",
        "learning_rate=0.02",
        "batch_size=16",
        "epochs=2",
        f"eval_data={data / 'held_out.jsonl'}",
    )
    output = tmp_path / "prm"
    record = train(base, data, output, *settings, f"eval_data={data / 'held_out.jsonl'}")
    assert not (output / "adapter_config.json").exists()
    examples = list(read_ranked(data / "held_out.jsonl"))
    scores = [ranking.scores or () for ranking in open_prm(output).rank_all(examples)]
    found = compare_with_ranks(scores, [[c.rank or 0 for c in example.candidates] for example in examples])
    assert found.pair_accuracy == pytest.approx(record["held_out"]["after"]["pair_accuracy"], abs=0.01)
    assert found.pair_accuracy != record["held_out"]["before"]["pair_accuracy"]


@pytest.mark.model
def test_the_real_model_becomes_a_ranker(data: Path, tmp_path: Path) -> None:
    settings = ("batch_size=4", "max_steps=3", "learning_rate=0.0001", f"eval_data={data / 'held_out.jsonl'}")
    record = train(Path("demo"), data, tmp_path / "prm", *settings)
    assert set(record["held_out"]["after"]) == {"pair_accuracy", "kendall_tau"}
    ranker = open_prm(tmp_path / "prm")
    ranking = ranker.rank("Name the capital of France.", ["Paris.", "It is the city of Paris, on the Seine.", "No."])
    assert ranking.scores is not None
    assert len(set(ranking.scores)) == 3
    alone = ranker.rank("Name the capital of France.", ["No.", "Paris."]).scores
    assert alone == pytest.approx((ranking.scores[2], ranking.scores[0]), abs=1e-4)


def test_data_without_pairs_is_told_in_one_line(base: Path, data: Path, tmp_path: Path) -> None:
    tied = [RankedExample("1", "Say it.", candidates=(Candidate("a", rank=0), Candidate("b", rank=0)))]
    write_ranked(tmp_path / "tied.jsonl", tied)
    with pytest.raises(DataError, match=r"data: no instruction has candidates of different ranks; rank them") as told:
        train(base, data, tmp_path / "prm", f"data={tmp_path / 'tied.jsonl'}")
    assert "\n" not in str(told.value)
    with pytest.raises(DataError, match="eval_data"):  # the folder is still free
        train(base, data, tmp_path / "prm", f"eval_data={tmp_path / 'tied.jsonl'}")


def test_the_command_line_tells_a_mistake_in_one_line(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"model={base}", f"data={data / 'nothing.jsonl'}", f"output={tmp_path / 'prm'}"]
    assert main(["prm", *given]) == 2
    assert main(["rl", *given, f"reward={base}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("nothing.jsonl: cannot be read" in line for line in lines)


def test_settings_that_a_scalar_head_does_not_have_are_refused(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="margin"):
        train(base, data, tmp_path / "prm", "loss.margin=1")
    with pytest.raises(ConfigError, match="adapters of a sharded model cannot be merged"):
        train(base, data, tmp_path / "prm", "lora.rank=2", f"deepspeed={data / 'train.jsonl'}")
