"""What a training leaves: a checkpoint that evaluation takes, its card and record; and how it treats what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ranked_files import write_examples

from silent import Silent
from tiny_models import save_adapter, save_model
from tuna_eval.errors import ConfigError, DataError, EngineError, StoreError
from tuna_eval.llm.hf_engine import HFEngine
from tuna_eval.llm.models import resolve_model, trained_format
from tuna_eval.llm.prompts import choose_format, render
from tuna_eval.schema import ContinuationRequest
from tuna_train.config import RankConfig, SftConfig, Training, build_config
from tuna_train.data.encode import read_files
from tuna_train.nll import measure_nll
from tuna_train.training.fit import fit, out_of_memory_told


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    save_model(folder / "model", single="<s> $A", has_template=True)
    write_examples(folder / "train.jsonl", 20)
    write_examples(folder / "held_out.jsonl", 6, seed=1)
    return folder


def train(start: Path, output: Path, kind: type[Training] = RankConfig, **values: Any) -> list[str]:
    settings = {
        "model": str(start / "model"),
        "data": str(start / "train.jsonl"),
        "output": str(output),
        "batch_size": 8,
        "learning_rate": 1e-3,
        "max_steps": 4,
        "logging_steps": 1,
        **values,
    }
    notes = Notes()
    fit(build_config(kind, settings, "test"), "rank" if kind is RankConfig else "sft", notes)
    return notes.lines


@pytest.fixture(scope="module")
def ranked(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "tuna"
    train(start, output, eval_data=str(start / "held_out.jsonl"), save_steps=2, report_to="tensorboard")
    return output


def test_lines_over_several_steps_are_the_same_after_a_resumption(start: Path, tmp_path: Path) -> None:
    def lines() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
        return [{key: line[key] for key in ("step", "loss", "mle", "rank_loss", "pair_accuracy")} for line in found]

    train(start, tmp_path / "out", save_steps=2, logging_steps=3)
    whole = lines()
    assert [line["step"] for line in whole] == [2, 3, 4]
    (tmp_path / "out" / "training.json").unlink()  # as if killed before the end
    train(start, tmp_path / "out", save_steps=2, logging_steps=3)
    assert lines() == whole


def test_the_checkpoint_is_an_ordinary_folder(ranked: Path, start: Path) -> None:
    from transformers import AutoConfig

    model, before = resolve_model(str(ranked)), resolve_model(str(start / "model"))
    assert model.weights_sha256 != before.weights_sha256
    assert model.tokenizer_sha256 == before.tokenizer_sha256
    config = json.loads((ranked / "config.json").read_text())
    assert config["use_cache"]
    assert "tuna_packed" not in (ranked / "config.json").read_text()
    assert AutoConfig.from_pretrained(ranked).architectures == ["LlamaForCausalLM"]
    assert json.loads((ranked / "generation_config.json").read_text())["eos_token_id"] == 2


def test_evaluation_takes_the_format_of_training_and_others_may_read_the_weights(ranked: Path, start: Path) -> None:
    assert (start / "model" / "chat_template.jinja").exists() == (ranked / "chat_template.jinja").exists()
    assert trained_format(str(ranked)) == "alpaca"
    assert trained_format(str(start / "model")) is None
    assert trained_format("demo") is None
    modes = {file.stat().st_mode & 0o777 for file in ranked.iterdir() if file.suffix in (".safetensors", ".json")}
    assert len(modes) == 1


def test_a_training_of_warm_up_alone_is_told(start: Path, tmp_path: Path) -> None:
    lines = train(start, tmp_path / "out", max_steps=1)
    assert any("the only step is warm-up" in line for line in lines)
    assert not any("warm-up" in line for line in train(start, tmp_path / "more", max_steps=3))


def test_the_record_says_what_it_was_and_names_no_path(ranked: Path, start: Path) -> None:
    text = (ranked / "training.json").read_text()
    record = json.loads(text)
    assert record["schema"] == "tuna-training/1"
    assert (record["command"], record["steps"], record["name"]) == ("rank", 4, "tuna")
    assert [d["examples"] for d in record["data"]] == [20, 6]
    assert record["data"][0]["sha256"] == json.loads((ranked / "checkpoints" / "run.json").read_text())["files"][0]
    assert record["settings"]["loss"]["margin"] == 0.1
    assert record["environment"]["packages"]["torch"]
    assert set(record["held_out"]["before"]) == {"pair_accuracy", "margins_met", "rank_loss", "nll"}
    assert record["held_out"]["after"]["nll"] < record["held_out"]["before"]["nll"]
    card = (ranked / "README.md").read_text()
    for written in (text, card):
        assert str(start) not in written
        assert str(ranked.parent) not in written
    assert f"| nll | {record['held_out']['before']['nll']:.4f} | {record['held_out']['after']['nll']:.4f} |" in card
    assert record["data"][0]["sha256"][:12] in card


def test_the_log_has_a_line_a_step_and_both_measurements(ranked: Path) -> None:
    lines = [json.loads(line) for line in (ranked / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4, 4]
    assert "eval_nll" in lines[0]
    assert "eval_nll" in lines[-1]
    for line in lines[1:-1]:
        assert line["loss"] == pytest.approx(line["rank_loss"] + line["mle"], abs=1e-4)
        assert 0 <= line["pair_accuracy"] <= 1


def test_tensorboard_has_the_curves(ranked: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(ranked / "tensorboard"))
    board.Reload()
    assert len(board.Scalars("train/rank_loss")) == 4
    assert not list((ranked / "checkpoints").glob("runs"))


def test_a_done_run_is_left_alone_and_another_one_is_refused(ranked: Path, start: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in ranked.iterdir() if file.is_file() and file.name != "lock"}
    same = {"eval_data": str(start / "held_out.jsonl"), "save_steps": 2}
    assert train(start, ranked, **same) == [f"already trained: {ranked}"]
    assert {file: file.stat().st_mtime_ns for file in before} == before
    with pytest.raises(ConfigError, match="holds another run, which differs in learning_rate"):
        train(start, ranked, **same, learning_rate=2e-3)
    with pytest.raises(ConfigError, match="holds a model already"):
        train(start, start / "model")


def test_an_output_that_is_being_written_is_refused(start: Path, tmp_path: Path) -> None:
    from tuna_eval.disk import locked

    with locked(tmp_path / "out"), pytest.raises(StoreError, match="another process is writing this training"):
        train(start, tmp_path / "out")


def test_the_trained_model_does_what_was_measured_of_it(ranked: Path, start: Path, tmp_path: Path) -> None:
    """The engine's log-likelihoods of the held-out originals are the record's NLL; so are those of `nll`."""
    record = json.loads((ranked / "training.json").read_text())
    engine = HFEngine(resolve_model(str(ranked)))
    format = choose_format("alpaca", engine)
    examples = [one for _, one in read_files([start / "held_out.jsonl"]) if not one.input]
    requests = [ContinuationRequest(render(e.instruction, format, engine), f"{e.original}</s>") for e in examples]
    scores = {s.index: s for s in engine.score(requests)}
    found = measure_nll(str(ranked), start / "held_out.jsonl", out=tmp_path / "nll.jsonl", progress=Silent())
    assert found.by_source["original"].per_token > 0
    lines = [json.loads(line) for line in (tmp_path / "nll.jsonl").read_text().splitlines()]
    by_id = {line["id"]: line for line in lines if line["source"] == "original"}
    checked = [e for e in enumerate(examples) if e[1].id in by_id]
    assert checked
    for index, example in checked:
        assert -scores[index].logprob == pytest.approx(by_id[example.id]["nll"], abs=1e-3)
        assert len(scores[index].token_ids) == by_id[example.id]["tokens"]
    assert record["held_out"]["after"]["nll"] == pytest.approx(_nll_of_originals(ranked, start), abs=1e-5)


def _nll_of_originals(model: Path, start: Path) -> float:
    """Of responses given as they are, so that each original counts once, whether it is a candidate or not."""
    from tuna_train.data.ranked import RankedExample, write_ranked

    file = model.parent / "originals.jsonl"
    examples = [one for _, one in read_files([start / "held_out.jsonl"])]
    write_ranked(file, (RankedExample(e.id, e.instruction, e.input, e.original) for e in examples))
    return measure_nll(str(model), file, progress=Silent()).all.per_token


def test_fine_tuning_takes_alpaca_files_and_packing_can_be_off(start: Path, tmp_path: Path) -> None:
    file = tmp_path / "alpaca.json"
    file.write_text(json.dumps([{"instruction": f"say {n}", "input": "", "output": "one two"} for n in range(9)]))
    train(start, tmp_path / "packed", SftConfig, data=str(file))
    train(start, tmp_path / "padded", SftConfig, data=str(file), packing=False)
    lines = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("packed", "padded")]
    losses = [[json.loads(line)["loss"] for line in part] for part in lines]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_an_adapter_is_trained_measured_and_continued(start: Path, tmp_path: Path) -> None:
    lora = {"rank": 4, "alpha": 8}
    train(start, tmp_path / "lora", SftConfig, lora=lora, learning_rate=1e-2, save_steps=2)
    assert not (tmp_path / "lora" / "model.safetensors").exists()
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(start / "model")
    held_out = start / "held_out.jsonl"
    nll = {name: measure_nll(str(path), held_out, progress=Silent()).by_source["original"].per_token for name, path in
           {"base": start / "model", "lora": tmp_path / "lora"}.items()}  # fmt: skip
    assert nll["lora"] < nll["base"]
    train(start, tmp_path / "more", model=str(tmp_path / "lora"), lora=lora, max_steps=1)
    assert resolve_model(str(tmp_path / "more")).folder == start / "model"
    train(start, tmp_path / "merged", model=str(tmp_path / "lora"), max_steps=1, learning_rate=1e-9)
    merged = measure_nll(str(tmp_path / "merged"), held_out, progress=Silent()).by_source["original"].per_token
    assert merged == pytest.approx(nll["lora"], abs=1e-4)
    with pytest.raises(ConfigError, match=r"lora.rank: 6, .* has 4; set lora.rank=4"):
        train(start, tmp_path / "other", model=str(tmp_path / "lora"), lora={"rank": 6, "alpha": 8})


def test_another_familys_adapter_is_told(start: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "adapter", start / "model")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"none")
    with pytest.raises(EngineError, match="the adapter cannot be loaded"):
        train(start, tmp_path / "out", model=str(tmp_path / "adapter"))


def test_data_that_teaches_nothing_is_told(start: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="file is empty"):
        train(start, tmp_path / "out", data=str(tmp_path / "empty.jsonl"))
    (tmp_path / "alpaca.json").write_text('[{"instruction": "x", "input": "", "output": "y"}]')
    with pytest.raises(DataError, match=r"no instruction has candidates of different ranks; .* tuna-train sft"):
        train(start, tmp_path / "out", data=str(tmp_path / "alpaca.json"))
    (tmp_path / "broken.jsonl").write_text('{"instruction": "x", "output": "y"}\n{"instr\n')
    with pytest.raises(DataError, match=r"broken.jsonl:2"):
        train(start, tmp_path / "out", SftConfig, data=str(tmp_path / "broken.jsonl"))


def test_an_exhausted_memory_is_one_line_and_other_faults_stay() -> None:
    import torch

    config = build_config(RankConfig, {"model": "m", "data": "d", "output": "o"}, "test")
    with pytest.raises(EngineError, match=r"does not fit in memory; set micro_batch=1"), out_of_memory_told(config):
        torch.empty(1 << 60)
    with pytest.raises(RuntimeError, match="other"), out_of_memory_told(config):
        raise RuntimeError("other")
