"""The callback in real trainings of a tiny random Llama: each checkpoint is evaluated and gated by real processes."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ranked_files import write_examples

from silent import Silent
from tiny_models import save_model, save_tokenizer
from tuna_eval.baselines import set_baseline
from tuna_eval.errors import ConfigError, DataError, TunaError
from tuna_eval.llm.models import resolve_model
from tuna_eval.llm.scripted_engine import Rule, ScriptedEngine
from tuna_eval.run import RunSettings, plan, run
from tuna_eval.store import RunFolder
from tuna_eval.tasks.catalog import SuiteOptions, open_suites
from tuna_train.cli import main
from tuna_train.config import Gate, RankConfig, build_config
from tuna_train.training.fit import fit
from tuna_train.training.gate_callback import GateCallback, evaluation_environment
from tuna_train.training.gating import GateFailedError, gate_of

LIMIT = 2
OPTIONS = ["--data", "mini", "--shots", "0", "--limit", str(LIMIT), "--max-new-tokens", "3", "--engine", "hf"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder whose baseline "main" answers every instance rightly."""
    (suite,) = open_suites(["superni"], SuiteOptions(data="mini", shots=(0,), limit=LIMIT))
    answers = {(e.task, e.id): e.references[0] for task in suite.task_names() for e in suite.examples(task)}
    bare = ScriptedEngine([Rule("")])
    settings = RunSettings("good", tmp_path / "results", max_new_tokens=3, given={"data": "mini", "limit": LIMIT})
    prompts = plan(suite, bare, settings).prompts
    script = ScriptedEngine([Rule(answers[p.task, p.id], p.prompt.text) for p in prompts])
    finished = run(plan(suite, script, settings), script, Silent())
    set_baseline(tmp_path / "results", "main", [RunFolder(finished.folder)])
    return tmp_path / "results"


def gate(results: Path, **values: Any) -> Gate:
    return Gate.model_validate({"baseline": "main", "suites": "superni", "results": results, **values})


def train(folder: Path, callback: GateCallback, steps: int = 4) -> Any:
    """Trains a tiny random Llama, saves every second step, and returns the trainer's state."""
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    model = AutoModelForCausalLM.from_pretrained(save_model(folder / "start"))
    rows = [{"input_ids": torch.arange(5, 13), "labels": torch.arange(5, 13)} for _ in range(2 * steps)]
    arguments = TrainingArguments(
        output_dir=str(folder / "training"), max_steps=steps, save_steps=2, per_device_train_batch_size=2,
        report_to=[], disable_tqdm=True, use_cpu=True, save_only_model=True,
    )  # fmt: skip
    tokenizer = save_tokenizer(folder / "tokenizer")
    trainer = Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer, callbacks=[callback])
    trainer.train()
    return trainer.state


def report_of(callback: GateCallback) -> Mapping[str, Any]:
    (suite,) = callback.verdicts[-1].report["suites"]
    found: Mapping[str, Any] = suite
    return found


@pytest.mark.model
def test_a_checkpoint_that_fails_its_gate_ends_the_training_if_asked(
    results: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = GateCallback(gate(results, run_options=OPTIONS, on_failure="stop"))
    with caplog.at_level(logging.WARNING):
        state = train(tmp_path, callback)
    assert state.global_step == 2
    (verdict,) = callback.verdicts
    assert (verdict.step, verdict.passed, verdict.fault) == (2, False, "")
    assert report_of(callback)["change"]["difference"] < -50
    assert verdict.report["candidate"] == "training/checkpoint-2"
    assert "step 2: superni_0shot rougeL" in caplog.text
    assert len(list((results / "runs/training--checkpoint-2").glob("*/*/record.json"))) == 1


@pytest.mark.model
def test_a_tolerated_drop_and_a_missing_verdict_let_the_training_go_on(
    results: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tolerant = GateCallback(gate(results, run_options=OPTIONS, max_drop={"superni": 100}, on_failure="stop"))
    assert train(tmp_path / "tolerant", tolerant, steps=2).global_step == 2
    assert [verdict.passed for verdict in tolerant.verdicts] == [True]
    cramped = [*OPTIONS, "--truncation", "error", "--max-length", "16"]
    wrong = GateCallback(gate(results, run_options=cramped, on_failure="stop"))
    with caplog.at_level(logging.WARNING):
        assert train(tmp_path / "wrong", wrong).global_step == 4
    assert [(verdict.step, verdict.passed) for verdict in wrong.verdicts] == [(2, None), (4, None)]
    assert all("tokens" in verdict.fault for verdict in wrong.verdicts)
    assert "step 4: no verdict (tuna-eval: " in caplog.text


def tune(folder: Path, results: Path, told: list[str] | None = None, **values: Any) -> Path:
    """Trains a tiny model for four steps with a gate on a checkpoint at step 2, and returns the output."""

    class Telling(Silent):
        def note(self, text: str) -> None:
            if told is not None:
                told.append(text)

    options = {"baseline": "main", "suites": "superni", "results": results, "run_options": OPTIONS}
    wanted = {
        "model": str(folder / "start"), "data": folder / "ranked.jsonl", "output": folder / "tuned", "batch_size": 2,
        "save_steps": 2, "logging_steps": 1, **values, "gate": {**options, **values.get("gate", {})},
    }  # fmt: skip
    if not (folder / "start").exists():
        save_model(folder / "start")
        write_examples(folder / "ranked.jsonl", 8)
    return fit(build_config(RankConfig, wanted, "test"), "rank", Telling())


def gated(output: Path) -> list[tuple[str, int, bool]]:
    """What the file of verdicts holds."""
    lines = [json.loads(line) for line in (output / "gates.jsonl").read_text().splitlines()]
    return [(line["model"], line["step"], line["passed"]) for line in lines]


@pytest.mark.model
def test_a_configuration_can_ask_for_it_and_the_finished_model_is_gated_too(results: Path, tmp_path: Path) -> None:
    told: list[str] = []
    output = tune(tmp_path, results, told)
    lines = [line for line in told if "superni_0shot rougeL" in line]
    assert [line.partition(":")[0] for line in lines] == ["step 2", "step 4"]
    assert (results / "runs/tuned--checkpoint-2").is_dir()
    assert (results / "runs/tuned").is_dir()
    assert gated(output) == [("tuned/checkpoint-2", 2, False), ("tuned", 4, False)]
    text = (output / "training.json").read_text()
    assert [(one["step"], one["passed"]) for one in json.loads(text)["gates"]] == [(2, False), (4, False)]
    assert "| tuned | 4 | failed | superni_0shot: a drop of" in (output / "README.md").read_text()
    assert str(tmp_path) not in text + (output / "gates.jsonl").read_text()


@pytest.mark.model
def test_a_failed_checkpoint_leaves_no_finished_model_now_or_later(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(GateFailedError, match=r"checkpoint-2 failed its gate; see gates\.jsonl there"):
        tune(tmp_path, results, gate={"on_failure": "stop"})
    output = tmp_path / "tuned"
    left = {"config.json", "model.safetensors", "training.json"}
    assert not left & {file.name for file in output.iterdir()}
    config = tmp_path / "again.json"
    options = {"baseline": "main", "suites": "superni", "results": str(results), "run_options": OPTIONS}
    values = {"model": str(tmp_path / "start"), "data": str(tmp_path / "ranked.jsonl"), "output": str(output)}
    config.write_text(json.dumps({**values, "batch_size": 2, "save_steps": 2, "logging_steps": 1, "gate": options}))
    assert main(["rank", "--config", str(config), "gate.on_failure=stop"]) == 1
    told = capsys.readouterr()
    assert "checkpoint-2 failed its gate" in told.err.splitlines()[-1]
    assert gated(output) == [("tuned/checkpoint-2", 2, False)]  # the verdict of the first time counts
    assert [json.loads(line)["step"] for line in (output / "log.jsonl").read_text().splitlines()] == [1, 2]
    assert main(["rank", "--config", str(config), "gate.on_failure=warn"]) == 0
    assert left <= {file.name for file in output.iterdir()}
    assert gated(output)[-1] == ("tuned", 4, False)


@pytest.mark.model
def test_a_training_without_checkpoints_is_gated_at_its_end(results: Path, tmp_path: Path) -> None:
    with pytest.raises(GateFailedError, match=r"the finished model, in .*tuned, failed its gate"):
        tune(tmp_path, results, save_steps=None, gate={"on_failure": "stop"})
    output = tmp_path / "tuned"
    assert not (output / "training.json").exists()
    tune(tmp_path, results, save_steps=100, gate={"on_failure": "stop", "max_drop": {"superni": 100}})
    assert json.loads((output / "training.json").read_text())["gates"][0]["passed"]
    assert gated(output) == [("tuned", 4, True)]  # the training began anew


@pytest.mark.model
def test_a_checkpoint_whose_gate_a_kill_cut_off_is_gated_when_the_training_goes_on(
    results: Path, tmp_path: Path
) -> None:
    output = tune(tmp_path, results, gate={"max_drop": {"superni": 100}})
    for file in ("training.json", "config.json", "model.safetensors", "gates.jsonl"):
        (output / file).unlink()
    shutil.rmtree(results / "runs/tuned--checkpoint-2")
    told: list[str] = []
    tune(tmp_path, results, told, gate={"max_drop": {"superni": 100}})
    assert "resuming at step 2" in told
    assert gated(output) == [("tuned/checkpoint-2", 2, True), ("tuned", 4, True)]


@pytest.mark.model
def test_checkpoints_hold_the_tokenizer_and_the_config_of_before(tmp_path: Path) -> None:
    """The start's special tokens differ from its tokenizer's: neither is changed."""
    start = save_model(tmp_path / "start")
    config = json.loads((start / "config.json").read_text())
    (start / "config.json").write_text(json.dumps({**config, "pad_token_id": 3}))
    data = write_examples(tmp_path / "ranked.jsonl", 8)
    for name, lora in (("full", None), ("adapter", {"rank": 2})):
        values = {"model": str(start), "data": data, "output": tmp_path / name, "lora": lora, "batch_size": 2}
        fit(build_config(RankConfig, {**values, "save_steps": 2}, "test"), "rank", Silent())
        checkpoint = tmp_path / name / "checkpoints/checkpoint-2"
        model = resolve_model(str(checkpoint))
        assert model.tokenizer_folder == checkpoint
        assert model.tokenizer_sha256 == resolve_model(str(start)).tokenizer_sha256
        for folder in (model.folder, resolve_model(str(tmp_path / name)).folder):
            assert json.loads((folder / "config.json").read_text())["pad_token_id"] == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fsdp": True}, "gate: checkpoints of a sharded training are no models yet"),
        ({"gate": {"baseline": "mian"}}, "no run and no baseline 'mian'"),
        ({"gate": {"suites": ["superny"]}}, "unknown suite 'superny'"),
        ({"gate": {"suites": ["lmentry"]}}, "gate.suites: no baseline for lmentry; it has superni_0shot"),
        ({"gate": {"run_options": [*OPTIONS, "--limit", "3"]}}, "--limit: 3, not 2"),
        ({"gate": {"run_options": [*OPTIONS, "--max-new-tokens", "4"]}}, "limit of a reply in tokens: 4, not 3"),
        ({"gate": {"run_options": ["--limt", "3"]}}, "gate.run_options: .*--limt 3"),
        ({"gate": {"run_options": [*OPTIONS, "--engine-arg", "x"]}}, "'x' is not KEY=VALUE"),
        ({"gate": {"max_drop": {"superni": -1}}}, "gate.max_drop.*-1 is no drop"),
        ({"gate": {"max_drop": {"lmentry": 1}}}, "gate.max_drop: lmentry is not compared"),
        ({"gate": {"level": 0.7}}, "gate.level: 0.7: input should be less than 0.5"),
    ],
)
def test_a_gate_that_cannot_be_is_told_before_the_training(
    results: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    options = {"baseline": "main", "suites": ["superni"], "results": results, "run_options": OPTIONS}
    wanted = {**values, "gate": {**options, **values.get("gate", {})}, "output": tmp_path / "tuned"}
    with pytest.raises(TunaError, match=message):
        _checked({"model": str(tmp_path), "data": "a.json", **wanted})


def _checked(values: dict[str, Any]) -> None:
    config = build_config(RankConfig, values, "test")
    assert config.gate is not None
    gate_of(config, config.gate, print)


def test_what_is_not_there_is_told_before_anything_is_trained(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run and no baseline 'mian'"):
        train(tmp_path, GateCallback(gate(results, baseline="mian", run_options=OPTIONS)))
    with pytest.raises(ConfigError, match="unknown suite 'superny'"):
        train(tmp_path, GateCallback(gate(results, suites="superny", run_options=OPTIONS)))
    with pytest.raises(DataError, match="prompt format: plain, not alpaca; give the settings of the baseline"):
        train(tmp_path, GateCallback(gate(results, run_options=[*OPTIONS, "--format", "plain"])))
    assert not (tmp_path / "training").exists() or not list((tmp_path / "training").glob("checkpoint-*"))


def test_an_evaluation_does_not_take_itself_for_part_of_the_training() -> None:
    launched = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "MASTER_ADDR": "node", "MASTER_PORT": "29500"}
    kept = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "1"}
    assert evaluation_environment({**launched, "TORCHELASTIC_RUN_ID": "x", **kept}) == kept
