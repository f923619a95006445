"""Every command of tuna-train that README, docs and --help show is run, on a tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
from ranked_files import WORDS, write_examples

from documentation import ROOT, commands, filled
from tiny_models import save_model
from tiny_prm import save_prm
from tuna_train.cli import main

pytestmark = pytest.mark.model

TRAINING = [
    c for c in commands() if c.startswith(("tuna-train sft", "tuna-train rank", "tuna-train prm", "tuna-train rl"))
]
DATA = [c for c in commands() if c.startswith("tuna-train data")]
LOOKING = [c for c in commands() if c.startswith(("tuna-train nll", "tuna-train recipe"))]
SMALL = ["batch_size=4", "max_steps=1", "max_length=256"]


@pytest.fixture(scope="module")
def placeholders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the placeholders of the docs stand for."""
    folder = tmp_path_factory.mktemp("documented")
    model = folder / "tiny"
    save_model(model, "llama")
    ranked = write_examples(folder / "ranked.jsonl", 8)
    responses = [{"instruction": f"{word} {number}", "output": "one two"} for number, word in enumerate(WORDS[:4])]
    instructions = folder / "alpaca.json"
    instructions.write_text(json.dumps(responses))
    config = folder / "tuna.yaml"
    config.write_text(json.dumps({"model": str(model), "data": str(ranked), "output": "from_config"}))
    files = {"RANKED": ranked, "SAMPLED": ranked, "INSTRUCTIONS": instructions, "FILE": config, "CKPT": model}
    examples = {"tuna.yaml": config, "alpaca.json": instructions, "held_out.jsonl": ranked, "demo": model}
    return {name: str(value) for name, value in {**files, **examples, "PRM": save_prm(model, folder / "prm")}.items()}


def words_of(command: str, placeholders: dict[str, str], folder: Path) -> list[str]:
    """A command's words; what it writes goes to new names in a folder, where a command is told to."""
    outputs = {name: str(folder / name.lower()) for name in ("OUTPUT", "OUT", "MIXED", "PAIRS.json")}
    words = filled(command, placeholders | outputs)
    if "--out" in words:
        words[words.index("--out") + 1] = str(folder / "written")
    return words[1:]


@pytest.mark.parametrize("command", [c for c in TRAINING if "--help" not in c])
def test_training_commands(command: str, placeholders: dict[str, str], tmp_path: Path) -> None:
    with chdir(tmp_path):
        extra = ["max_new_tokens=4"] if " rl " in command else []
        assert main([*words_of(command, placeholders, tmp_path), *SMALL, *extra]) == 0
    (made,) = tmp_path.iterdir()
    assert {"config.json", "model.safetensors", "README.md", "training.json"} <= {file.name for file in made.iterdir()}


@pytest.mark.parametrize("command", DATA)
def test_data_commands(command: str, placeholders: dict[str, str], tmp_path: Path) -> None:
    words = words_of(command, placeholders, tmp_path)
    drawing = ["--engine", "hf", "--max-new-tokens", "4"] if words[1] in ("sample", "teacher") else []
    judge = ["--judge-engine", "hf"] if any("likelihood:" in word for word in words) else []
    mini = ["--data", "mini"] if "--decontaminate" in words else []
    with chdir(tmp_path):
        assert main([*words, *drawing, *judge, *mini]) == 0
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert written or words[1] in ("show", "stats") or "--dry-run" in words


@pytest.mark.parametrize("command", LOOKING)
def test_commands_that_show(command: str, placeholders: dict[str, str], tmp_path: Path) -> None:
    assert main(words_of(command, placeholders, tmp_path)) == 0


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("torchrun")])
def test_commands_for_several_devices(command: str, placeholders: dict[str, str], tmp_path: Path) -> None:
    words = filled(command.replace("8", "2", 1), placeholders)
    words = [word for word in words if word != "fsdp=true"]  # FSDP shards on GPUs only; test_trajectory shards here
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "torch.distributed.run", *words[1:], *SMALL, f"output={tmp_path / 'out'}"]
    result = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


def test_help_is_given() -> None:
    for command in (c for c in commands() if c.startswith("tuna-train") and "--help" in c):
        with pytest.raises(SystemExit) as end:
            main(command.split()[1:])
        assert end.value.code == 0


def test_every_command_is_tested() -> None:
    tested = {*TRAINING, *DATA, *LOOKING}
    assert {c for c in commands() if c.startswith("tuna-train")} <= tested
