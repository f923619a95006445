"""tuna-train rl: TRL's trainers with a proxy ranking model as reward, on random models; checkpoint, log, resumption.

What trains has the marker `model` although its models are random: TRL alone takes seconds to import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from test_prm_ranker import save_prm

from tiny_models import save_model
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.models import resolve_model
from tuna_train.commands.rl import rl_command
from tuna_train.data.encode import ExampleEncoder
from tuna_train.data.ranked import RankedExample
from tuna_train.prm.ranker import PrmSettings, open_prm
from tuna_train.rewards import Reward
from tuna_train.rlhf import prompt_row


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"), "llama", single="<s> $A", has_template=True)


@pytest.fixture(scope="module")
def prm(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_prm(base, tmp_path_factory.mktemp("prm"), PrmSettings("plain", 256))


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "alpaca.json"
    rows = [{"instruction": f"Say {word}.", "input": "", "output": word} for word in ("one", "two", "three", "four")]
    file.write_text(json.dumps(rows))
    return file


def tune(base: Path, prm: Path, data: Path, output: Path, *assignments: str) -> dict[str, Any]:
    """Three small steps in the plain format; returns the record."""
    given = [f"model={base}", f"reward={prm}", f"data={data}", f"output={output}", "logging_steps=1", "max_steps=3"]
    given += ["batch_size=2", "samples=2", "max_new_tokens=6", "max_length=64", "format=plain", "learning_rate=0.001"]
    assert rl_command(Namespace(config=None, assignments=[*given, *assignments])) == 0
    record: dict[str, Any] = json.loads((output / "training.json").read_text())
    return record


def lines_of(output: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


@pytest.mark.model
@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_three_steps_log_the_reward_and_leave_a_checkpoint(
    algorithm: str, base: Path, prm: Path, instructions: Path, tmp_path: Path
) -> None:
    from tuna_eval.llm.engine import SamplingParams
    from tuna_eval.llm.factory import EngineOptions, open_engine
    from tuna_eval.schema import Prompt

    output = tmp_path / "policy"
    record = tune(base, prm, instructions, output, f"algorithm={algorithm}", f"eval_data={instructions}")
    lines = lines_of(output)
    assert [line["step"] for line in lines] == [1, 2, 3]
    fresh = [line for line in lines if "reward" in line]  # every response is used twice
    assert [line["step"] for line in fresh] == [1, 3]
    assert all(line["reward"] == pytest.approx(line["rewards/prm/mean"]) for line in fresh)
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-4)  # the policy is the start
    assert lines[-1]["kl"] != 0
    assert set(record["held_out"]["after"]) >= {"reward", "kl"}
    assert record["reward"]["judge"] == "prm"
    card = (output / "README.md").read_text()
    assert "| reward |" in card
    assert str(tmp_path) not in card
    assert str(tmp_path) not in (output / "training.json").read_text()
    assert resolve_model(str(output)).weights_sha256 != resolve_model(str(base)).weights_sha256
    engine = open_engine(EngineOptions(model=str(output), kind="hf"))
    (reply,) = engine.generate([Prompt("Say one.")], SamplingParams(max_new_tokens=3))
    assert reply.token_ids
    engine.close()


@pytest.mark.model
def test_a_run_that_is_done_is_left_and_another_is_refused(
    base: Path, prm: Path, instructions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "policy"
    with pytest.raises(DataError, match=r"alpaca\.json: no prompt has at most 1 tokens"):
        tune(base, prm, instructions, output, "max_length=9", "max_new_tokens=8")
    first = tune(base, prm, instructions, output, "max_steps=1")
    assert tune(base, prm, instructions, output, "max_steps=1") == first
    assert "already trained" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="differs in kl_coefficient"):
        tune(base, prm, instructions, output, "max_steps=1", "kl_coefficient=0.1")
    with pytest.raises(ConfigError, match="not a proxy ranking model"):
        tune(base, base, instructions, tmp_path / "other")


@pytest.mark.model
def test_a_killed_run_goes_on_from_its_checkpoint(
    base: Path, prm: Path, instructions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, settings = tmp_path / "policy", ("save_steps=2", "iterations=1")
    tune(base, prm, instructions, output, *settings)
    for file in ("training.json", "model.safetensors", "config.json"):  # what a kill after step 2 does not leave
        (output / file).unlink()
    capsys.readouterr()
    assert tune(base, prm, instructions, output, *settings)["steps"] == 3
    assert "resuming at step 2" in capsys.readouterr().err
    assert [line["step"] for line in lines_of(output)] == [1, 2, 3]


@pytest.mark.model
def test_adapters_are_tuned_and_saved_alone(base: Path, prm: Path, instructions: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    tune(base, prm, instructions, first, "lora.rank=2", "max_steps=1")
    assert not list(first.glob("*/adapter_model.safetensors"))  # TRL's own copy of the start
    model = resolve_model(str(first))
    assert model.adapter == first
    with pytest.raises(ConfigError, match="the start is an adapter"):
        tune(first, prm, instructions, second)
    tune(first, prm, instructions, second, "lora.rank=2", "max_steps=2")
    assert lines_of(second)[0]["kl"] == pytest.approx(0, abs=1e-4)  # from the adapter it started with
    assert resolve_model(str(second)).weights_sha256 != model.weights_sha256


class _Recorder(BaseHTTPRequestHandler):
    """Stands where the hub is, and writes down who asks for what."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the terminal quiet."""


@pytest.mark.model
def test_nothing_is_sent_to_the_hub(base: Path, prm: Path, instructions: Path, tmp_path: Path) -> None:
    program = (
        "import sys, trl; from argparse import Namespace; from tuna_train.commands.rl import rl_command; "
        "rl_command(Namespace(config=None, assignments=sys.argv[1:]))"
    )
    given = [f"model={base}", f"reward={prm}", f"data={instructions}", f"output={tmp_path / 'policy'}", "max_steps=1"]
    given += ["batch_size=1", "samples=2", "max_new_tokens=2", "format=plain"]
    with ThreadingHTTPServer(("127.0.0.1", 0), _Recorder) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        hub = f"http://127.0.0.1:{server.server_address[1]}"
        quiet = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI")
        env = {name: value for name, value in os.environ.items() if name not in quiet} | {"HF_ENDPOINT": hub}
        subprocess.run([sys.executable, "-c", program, *given], env=env, check=True)
        server.shutdown()
    assert _Recorder.asked == []


def test_the_reward_is_the_score_of_the_ranker(prm: Path) -> None:
    ranker = open_prm(prm)
    given: dict[str, Any] = {"id": ["a", "a", "b"], "instruction": ["Add.", "Add.", "Say."], "input": ["1", "1", ""]}
    ids = [[7, 2], [7, 8], [2]]
    rewards = Reward(ranker, frozenset({2}))(["three", "the cat", "one"], ids, **given)
    add, say = RankedExample("a", "Add.", "1"), RankedExample("b", "Say.")
    for example, text, reward in ((add, "three", rewards[0]), (add, "the cat", rewards[1]), (say, "one", rewards[2])):
        assert ranker.rank(_plain(example), [text, "five"]).scores[0] == pytest.approx(reward, abs=1e-5)  # type: ignore[index]
    spoken = [[{"role": "assistant", "content": text}] for text in ("three", "the cat", "one")]
    assert Reward(ranker, frozenset({2}), unfinished=-9.0)(spoken, ids, **given) == [rewards[0], -9.0, rewards[2]]


def _plain(example: RankedExample) -> str:
    return f"{example.instruction}\n{example.input}" if example.input else example.instruction


@pytest.mark.parametrize("format", ["alpaca", "chat", "plain"])
def test_trl_sees_the_tokens_that_evaluation_gives(base: Path, format: Any) -> None:
    encoder = ExampleEncoder(HFEncoder.of(resolve_model(str(base))), format, 64)
    example = RankedExample("x", "Add.", "1 2")
    prompt, tokenizer = prompt_row(example, encoder)["prompt"], encoder.tokenizer.tokenizer
    if format == "chat":
        own = tokenizer.apply_chat_template([prompt], add_generation_prompt=True, tokenize=True, return_dict=True)
    else:
        own = tokenizer(text=[prompt])
    assert own["input_ids"][0] == encoder.tokenizer.encode(encoder.prompt(example))
    assert own["input_ids"][0].count(tokenizer.bos_token_id) == 1


def test_a_tokenizer_with_tokens_of_its_own_is_refused(prm: Path, instructions: Path, tmp_path: Path) -> None:
    odd = save_model(tmp_path / "odd", "llama", single="<s> $A </s>")
    with pytest.raises(ConfigError, match=r"TRL makes \d+ tokens of the first prompt, evaluation \d+"):
        tune(odd, prm, instructions, tmp_path / "policy")
