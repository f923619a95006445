"""One loss curve over 50 steps, however a training is launched: processes, sharding, micro-batches, a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ranked_files import write_examples

from tiny_models import save_model
from tuna_train.cli import main

pytestmark = pytest.mark.model

ROOT = Path(__file__).resolve().parents[2]
STEPS = 50
FIGURES = ("loss", "rank_loss", "mle", "pair_accuracy", "margins_met")
TUNA_TRAIN = ["-m", "tuna_train.cli"]
Child = subprocess.Popen[bytes]
SHARDED = [str(Path(__file__).with_name("shards_on_cpu.py"))]


class Launcher:
    """Starts `tuna-train rank` on one model and one file: 44 instructions make steps of 8, and one of 4 a pass."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        save_model(folder / "model", single="<s> $A")
        write_examples(folder / "train.jsonl", 44)
        write_examples(folder / "held_out.jsonl", 9, seed=1)

    def arguments(self, name: str, *values: str) -> list[str]:
        settings = {
            "model": self.folder / "model",
            "data": self.folder / "train.jsonl",
            "eval_data": self.folder / "held_out.jsonl",
            "output": self.folder / name,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "max_steps": STEPS,
            "logging_steps": 1,
        }
        return ["rank", *(f"{key}={value}" for key, value in settings.items()), *values]

    def run(self, name: str, *values: str) -> Path:
        """In this process."""
        assert main(self.arguments(name, *values)) == 0
        return self.folder / name

    def start(self, name: str, *values: str, program: list[str] = TUNA_TRAIN, processes: int = 1) -> Child:
        """In others."""
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        launch = [sys.executable, *(torchrun if processes > 1 else []), *program]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with (self.folder / f"{name}.err").open("ab") as errors:
            return subprocess.Popen([*launch, *self.arguments(name, *values)], env=environment, stderr=errors, cwd=ROOT)

    def run_two(self, name: str, *values: str, program: list[str] = TUNA_TRAIN) -> Path:
        assert self.start(name, *values, program=program, processes=2).wait(300) == 0, self.told(name)[-3000:]
        return self.folder / name

    def told(self, name: str) -> str:
        return (self.folder / f"{name}.err").read_text()


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    return Launcher(tmp_path_factory.mktemp("trajectory"))


@pytest.fixture(scope="module")
def reference(launcher: Launcher) -> Path:
    return launcher.run("reference", "micro_batch=8")


def lines_of(output: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def assert_same_curve(output: Path, reference: Path) -> None:
    found, wanted = (
        [[line["step"], *(line[name] for name in FIGURES)] for line in lines_of(o) if "loss" in line]
        for o in (output, reference)
    )
    assert len(wanted) == STEPS
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), atol=1e-4, rtol=0)
    for key in ("before", "after"):
        found_figures, wanted_figures = (
            json.loads((o / "training.json").read_text())["held_out"][key] for o in (output, reference)
        )
        assert found_figures == pytest.approx(wanted_figures, abs=1e-4)


def test_the_reference_learns(reference: Path) -> None:
    losses = [line["loss"] for line in lines_of(reference) if "loss" in line]
    assert sum(losses[-10:]) < sum(losses[:10])


@pytest.mark.parametrize(
    "values",
    [["micro_batch=2"], ["micro_batch=4", "gradient_checkpointing=true"]],
    ids=["accumulation", "checkpointing"],
)
def test_in_one_process(values: list[str], launcher: Launcher, reference: Path, request: pytest.FixtureRequest) -> None:
    assert_same_curve(launcher.run(request.node.callspec.id, *values), reference)


def test_two_processes(launcher: Launcher, reference: Path) -> None:
    """DDP over gloo; in the step of 4 the second process has no instruction left."""
    output = launcher.run_two("ddp", "micro_batch=4")
    assert_same_curve(output, reference)
    record = json.loads((output / "training.json").read_text())
    assert (record["processes"], record["wrapped_as"]) == (2, "DistributedDataParallel")


def test_two_processes_that_shard(launcher: Launcher, reference: Path) -> None:
    """FSDP2 over gloo, with accumulation, a checkpoint on the way, and weights that are whole again at the end."""
    from safetensors.torch import load_file

    output = launcher.run_two("fsdp", "micro_batch=2", "fsdp=true", "save_steps=30", program=SHARDED)
    assert_same_curve(output, reference)
    assert json.loads((output / "training.json").read_text())["wrapped_as"] == "FSDPLlamaForCausalLM"
    assert "warning: fsdp" not in launcher.told("fsdp")
    torch.testing.assert_close(
        load_file(output / "model.safetensors"), load_file(reference / "model.safetensors"), atol=1e-4, rtol=0
    )


def test_sharding_that_does_not_happen_is_told(launcher: Launcher) -> None:
    launcher.run_two("unsharded", "fsdp=true", "max_steps=1")
    assert "warning: fsdp is on, but accelerate does not shard here" in launcher.told("unsharded")


def test_a_killed_run_goes_on_to_the_same_end(launcher: Launcher, reference: Path) -> None:
    """Killed twice at whatever step it is in, the second time after a resumption."""
    output = launcher.folder / "killed"
    steps = 0
    for least in (13, 31):
        child = launcher.start("killed", "micro_batch=4", "save_steps=6")
        log = output / "log.jsonl"
        deadline = time.monotonic() + 120
        while child.poll() is None and time.monotonic() < deadline:
            steps = log.read_bytes().count(b'"loss"') if log.exists() else 0
            if steps >= least:
                break
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        assert child.wait(60) == -signal.SIGKILL, launcher.told("killed")[-3000:]
        assert steps < STEPS
    assert launcher.start("killed", "micro_batch=4", "save_steps=6").wait(300) == 0
    assert_same_curve(output, reference)
    assert launcher.told("killed").count("resuming at step") == 2


def test_adapters_that_shard(launcher: Launcher) -> None:
    """LoRA under FSDP2, whose LM head is sharded apart from the model."""
    values = ["lora.rank=4", "learning_rate=1e-2", "max_steps=4"]
    alone = launcher.run("lora", *values)
    sharded = launcher.run_two("sharded-lora", "fsdp=true", *values, program=SHARDED)
    losses = [[line["loss"] for line in lines_of(output) if "loss" in line] for output in (alone, sharded)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert (sharded / "adapter_model.safetensors").stat().st_size == (
        alone / "adapter_model.safetensors"
    ).stat().st_size
