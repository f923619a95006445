"""The callback in real trainings of a tiny random Llama: each checkpoint is evaluated and gated by real processes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ranked_files import write_examples

from silent import Silent
from tiny_models import save_model, save_tokenizer
from tuna_eval.baselines import set_baseline
from tuna_eval.errors import ConfigError
from tuna_eval.llm.models import LocalModel
from tuna_eval.llm.scripted_engine import Rule, ScriptedEngine
from tuna_eval.run import RunSettings, plan, run
from tuna_eval.store import RunFolder
from tuna_eval.tasks.catalog import SuiteOptions, open_suites
from tuna_train.config import Gate, RankConfig, build_config
from tuna_train.training.fit import fit
from tuna_train.training.gate_callback import GateCallback, evaluation_environment, gate_of

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
    wrong = GateCallback(gate(results, run_options=["--limit", "0"], on_failure="stop"))
    with caplog.at_level(logging.WARNING):
        assert train(tmp_path / "wrong", wrong).global_step == 4
    assert [(verdict.step, verdict.passed) for verdict in wrong.verdicts] == [(2, None), (4, None)]
    assert all("--limit 0" in verdict.fault for verdict in wrong.verdicts)
    assert "step 4: no verdict (tuna-eval: --limit 0 leaves nothing to run" in caplog.text


@pytest.mark.model
def test_a_configuration_can_ask_for_it(results: Path, tmp_path: Path) -> None:
    class Telling(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    notes: list[str] = []
    start, data = save_model(tmp_path / "start"), tmp_path / "ranked.jsonl"
    write_examples(data, 8)
    values = {
        "model": str(start), "data": data, "output": tmp_path / "tuned", "batch_size": 2, "save_steps": 2,
        "gate": {"baseline": "main", "suites": "superni", "results": results, "run_options": OPTIONS},
    }  # fmt: skip
    fit(build_config(RankConfig, values, "test"), "rank", Telling())
    assert (tmp_path / "tuned/training.json").is_file()
    lines = [line for line in notes if "superni_0shot rougeL" in line]
    assert [line.partition(":")[0] for line in lines] == ["step 2"]
    assert (results / "runs/tuned--checkpoint-2").is_dir()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"save_steps": None}, "gate: no checkpoint is saved; set save_steps"),
        ({"fsdp": True}, "gate: checkpoints of a sharded training are no models yet"),
        ({"gate": {"baseline": "mian", "suites": "superni"}}, "no run and no baseline 'mian'"),
    ],
)
def test_a_gate_that_cannot_be_is_told_before_the_training(
    results: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    wanted = {"gate": {"baseline": "main", "suites": ["superni"]}, "output": tmp_path / "tuned", **values}
    wanted["gate"] |= {"results": results}
    config = build_config(RankConfig, {"model": str(tmp_path), "data": "a.json", **wanted}, "test")
    assert config.gate is not None
    source = LocalModel("start", tmp_path, None, tmp_path)
    with pytest.raises(ConfigError, match=message):
        gate_of(config, config.gate, source, print)


def test_what_is_not_there_is_told_before_anything_is_trained(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run and no baseline 'mian'"):
        train(tmp_path, GateCallback(gate(results, baseline="mian")))
    with pytest.raises(ConfigError, match="unknown suite 'superny'"):
        train(tmp_path, GateCallback(gate(results, suites="superny")))
    assert not (tmp_path / "training").exists() or not list((tmp_path / "training").glob("checkpoint-*"))


def test_an_evaluation_does_not_take_itself_for_part_of_the_training() -> None:
    launched = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "MASTER_ADDR": "node", "MASTER_PORT": "29500"}
    kept = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "1"}
    assert evaluation_environment({**launched, "TORCHELASTIC_RUN_ID": "x", **kept}) == kept
