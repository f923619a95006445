"""`tuna-eval watch`: real checkpoints of a tiny random model, evaluated on the built-in sample."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import command, environment, here, last_line
from gate_runs import run, superni_rules

from openai_judges import longer
from openai_server import OpenAIServer
from silent import Silent
from tiny_models import save_model
from tuna_train.config import SftConfig, build_config
from tuna_train.training.fit import fit

RUN = ["--suite", "superni", "--data", "mini", "--shots", "0", "--limit", "2", "--max-new-tokens", "3"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def place(tmp_path: Path, model: Path) -> Path:
    """A training output with one checkpoint, and a results folder whose baseline is right in every second answer."""
    run(tmp_path / "results", "good", superni_rules(1), *RUN)
    here("baseline", "set", "main", tmp_path / "results/runs/good", "--results", tmp_path / "results")
    shutil.copytree(model, tmp_path / "training/checkpoint-5")
    return tmp_path


def words(place: Path, *more: object) -> list[object]:
    own = ["watch", place / "training", "--baseline", "main", "--output", place / "results", "--engine", "hf"]
    return [*own, *RUN, "--max-length", "512", "--truncation", "right", "--poll", "0.3", *more]


def watching(words: list[object]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*words), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip


def verdicts(place: Path) -> list[dict[str, Any]]:
    file = place / "results/watch/training/verdicts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_each_checkpoint_is_evaluated_once_and_the_verdict_is_remembered(place: Path, model: Path) -> None:
    (place / "training/checkpoint-7").mkdir()
    (place / "training/checkpoint-7/config.json").write_text("{}")
    first = here(*words(place, "--once"))
    assert first.returncode == 1, first.stderr  # a random model is worse
    assert "FAILED: training/checkpoint-5 against good" in first.stdout
    assert "checkpoint-7 is left out: no weights" in first.stderr
    assert [line["checkpoint"] for line in verdicts(place)] == ["checkpoint-5"]
    assert str(place) not in (place / "results/watch/training/verdicts.jsonl").read_text()
    assert len(list((place / "results/runs/training--checkpoint-5").glob("*/*/record.json"))) == 1
    again = here(*words(place, "--once"))
    assert again.returncode == 1
    assert again.stdout == ""
    assert "1 checkpoints are done" in again.stderr
    shutil.rmtree(place / "training/checkpoint-7")
    tolerant = here(*words(place, "--once", "--max-drop", "superni=100"))
    assert tolerant.returncode == 0, tolerant.stderr
    assert len(verdicts(place)) == 2


@pytest.mark.model
def test_a_checkpoint_that_cannot_be_loaded_does_not_end_the_watch(place: Path) -> None:
    """One has a model type that nobody knows, one no tokenizer, as a Trainer without one saves it."""
    broken, bare = place / "training/checkpoint-1", place / "training/checkpoint-2"
    for folder in (broken, bare):
        shutil.copytree(place / "training/checkpoint-5", folder)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "model_type": "no-such-type"}))
    for file in bare.glob("tokenizer*"):
        file.unlink()
    result = here(*words(place, "--once"))
    assert result.returncode == 2
    assert "checkpoint-1 cannot be evaluated" in result.stderr
    assert "checkpoint-2 cannot be evaluated" in result.stderr
    assert "the model has no tokenizer" in result.stderr
    assert "1 failed (checkpoint-5), 2 broken (checkpoint-1, checkpoint-2)" in last_line(result.stderr)
    assert [line["checkpoint"] for line in verdicts(place)] == ["checkpoint-5"]


@pytest.mark.model
def test_the_output_of_a_training_is_watched_whole(place: Path, tmp_path: Path) -> None:
    """Checkpoints in a folder of their own, and the model in the output, by the names that the callback gives."""
    start = place / "training/checkpoint-5"
    data = tmp_path / "alpaca.json"
    data.write_text(json.dumps([{"instruction": f"say {n}", "input": "", "output": "one two"} for n in range(6)]))
    values = {"model": str(start), "data": data, "output": tmp_path / "tuned", "batch_size": 2, "save_steps": 2}
    fit(build_config(SftConfig, values, "test"), "sft", Silent())
    result = here("watch", tmp_path / "tuned", *words(place, "--once", "--max-drop", "superni=100")[2:])
    assert result.returncode == 0, result.stderr
    assert "passed: tuned/checkpoint-2 against good" in result.stdout
    assert "passed: tuned against good" in result.stdout
    inside = here("watch", tmp_path / "tuned/checkpoints", *words(place, "--once", "--max-drop", "superni=100")[2:])
    assert inside.returncode == 0, inside.stderr
    assert "2 checkpoints are done" in inside.stderr  # the same training, by whatever folder it is named


@pytest.mark.model
def test_a_checkpoint_that_is_deleted_before_its_turn_is_told(place: Path) -> None:
    """Training deletes the second one while the first is evaluated; that nothing is there at first is told once."""
    training = place / "training"
    ready = place / "ready"
    training.rename(ready)
    training.mkdir()
    process = watching(words(place))
    try:
        assert process.stderr is not None
        told = [process.stderr.readline()]
        assert "no checkpoint in" in told[0]
        shutil.copytree(ready / "checkpoint-5", ready / "checkpoint-8")
        (ready / "checkpoint-5").rename(training / "checkpoint-5")
        (ready / "checkpoint-8").rename(training / "checkpoint-8")
        while told[-1] and "checkpoint-5" not in told[-1]:
            told.append(process.stderr.readline())
        shutil.rmtree(training / "checkpoint-8")
        while told[-1] and "deleted before it was evaluated" not in told[-1]:
            told.append(process.stderr.readline())
        shutil.rmtree(training / "checkpoint-5")  # done, and nothing to tell of
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        told += process.communicate(timeout=30)[1].splitlines()
    finally:
        process.kill()
    text = "\n".join(told)
    assert text.count("no checkpoint in") == 1
    assert text.count("was deleted before it was evaluated") == 1
    assert "checkpoint-8 was deleted before it was evaluated; have training keep more (keep_checkpoints" in text
    assert "1 deleted before their turn (checkpoint-8)" in told[-2]
    assert [line["checkpoint"] for line in verdicts(place)] == ["checkpoint-5"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--poll", "0"), "--poll 0"),
        (("--dry-run",), "no dry run"),
        (("--max-drop", "lmentry=1"), "lmentry is not compared"),
        (("--judge", "gpt-4"), "did not answer Vicuna QA"),
        (("--baseline", "mian"), "no run and no baseline"),
        (("--limit", "3"), "--limit: 3, not 2"),
        (("--max-new-tokens", "4"), "limit of a reply in tokens: 4, not 3"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_evaluated(place: Path, more: tuple[str, ...], said: str) -> None:
    result = here(*words(place, "--once", *more))
    assert result.returncode == 2
    assert said in last_line(result.stderr)
    assert verdicts(place) == []
    assert not list(place.glob("results/runs/training*"))


def test_benchmarks_that_the_baseline_lacks_are_told_before_anything_is_evaluated(place: Path) -> None:
    result = here(*("lmentry" if word == "superni" else word for word in words(place, "--once")))
    assert result.returncode == 2
    assert "no baseline for lmentry" in last_line(result.stderr)
    assert not list(place.glob("results/runs/training*"))


def test_a_watch_that_evaluates_nothing_does_not_pass(place: Path) -> None:
    own = place / "training/checkpoint-5"
    inside = here("watch", own, *words(place, "--once")[2:])
    assert inside.returncode == 2
    assert "this is a checkpoint itself" in last_line(inside.stderr)
    (own / "model.safetensors").unlink()
    unfinished = here(*words(place, "--once"))
    assert unfinished.returncode == 2
    assert "no whole checkpoint here to evaluate" in last_line(unfinished.stderr)


@pytest.mark.model
def test_answers_to_vicuna_qa_are_judged_against_those_of_the_baseline(place: Path) -> None:
    """The baseline's answers are all longer than the three tokens of the checkpoint."""
    suite = ["--suite", "vicuna_qa", "--data", "mini", "--max-new-tokens", "3", "--limit", "2"]
    run(place / "results", "talker", [{"reply": "This is a long answer. " * 9}], *suite)
    here("baseline", "set", "main", place / "results/runs/talker", "--results", place / "results")
    with OpenAIServer(longer, model="fake-0613") as server:
        judge = ["--judge", "fake", "--judge-base-url", server.base_url]
        other = here(*words(place, "--once", *suite, *judge, "--limit", "1"))
        assert other.returncode == 2
        assert "do not compare" in last_line(other.stderr)
        assert not server.log  # the judge is not asked about answers that do not compare
        result = here(*words(place, "--once", *suite, *judge))
    assert result.returncode == 1, result.stderr
    (line,) = verdicts(place)
    (found,) = line["report"]["suites"]
    assert (found["suite"], found["change"]["metric"], found["change"]["difference"]) == ("vicuna_qa", "net_wins", -100)


@pytest.mark.model
def test_a_checkpoint_that_appears_is_seen_and_an_interrupt_ends_the_watch(place: Path, model: Path) -> None:
    shutil.rmtree(place / "training/checkpoint-5")
    process = watching(words(place))
    try:
        target = place / "training/checkpoint-9"
        target.mkdir()
        for file in model.iterdir():  # weights last, and slowly
            if file.suffix != ".safetensors":
                shutil.copy(file, target)
        content = (model / "model.safetensors").read_bytes()
        (target / "model.safetensors").write_bytes(content[: len(content) // 2])
        time.sleep(1)
        (target / "model.safetensors").write_bytes(content)
        deadline = time.monotonic() + 90
        while not verdicts(place) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
    assert [line["checkpoint"] for line in verdicts(place)] == ["checkpoint-9"], told
    assert process.returncode == 130
    assert "Traceback" not in told
    assert "run the same command again" in last_line(told)
