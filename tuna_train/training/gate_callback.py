"""A Trainer's callback that evaluates and gates every checkpoint it saves, and may stop a training that gets worse."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tuna_eval.baselines import baseline_folders, baseline_names, read_baseline
from tuna_eval.errors import ConfigError
from tuna_eval.llm.models import LocalModel
from tuna_eval.store import folder_name
from tuna_eval.tasks.catalog import suite_names
from tuna_train.config import Gate, Tuning

logger = logging.getLogger(__name__)
Tell = Callable[[str], None]

# What launchers tell the processes of a training job, and what an evaluation beside it must not take for its own.
_OF_THE_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class CheckpointVerdict:
    """What became of one checkpoint.

    Attributes:
        step: of the training.
        passed: None where it could not be evaluated or does not compare with the baseline.
        report: the gate's, as `tuna-eval gate --format json` prints it; empty without a verdict.
        fault: why there is no verdict, in one line; "" with one.
    """

    step: int
    passed: bool | None
    report: Mapping[str, Any]
    fault: str = ""


class GateCallback(TrainerCallback):  # type: ignore[misc]
    """Runs `tuna-eval run` and `tuna-eval gate` on each checkpoint, in processes of their own.

    The training waits meanwhile and keeps its memory, so leave room on the device, or evaluate elsewhere with
    `run_options=["--device", "cpu"]`. With several processes the first one evaluates and the others wait for its
    word, for no longer than `TrainingArguments(ddp_timeout=...)` allows. A checkpoint that could not be evaluated ends
    nothing.

    Args:
        gate: the baseline, the benchmarks, and what follows from a failure.
        name: of the model, before the checkpoint's; default: that of the folder the checkpoints are in.
        tell: what hears of each verdict, a line at a time; default: this module's logger.

    Attributes:
        verdicts: one for each checkpoint so far; of the first process only.
    """

    def __init__(self, gate: Gate, *, name: str = "", tell: Tell | None = None) -> None:
        self.gate, self.name, self._tell = gate, name, tell
        self.verdicts: list[CheckpointVerdict] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Refuses what `check` does before anything is trained."""
        if state.is_world_process_zero:
            self.check()

    def check(self) -> None:
        """Looks for the benchmarks and the baseline.

        Raises:
            ConfigError: one of them is not there.
            StoreError: the baseline cannot be read.
        """
        suite_names(self.gate.suites)
        if self.gate.baseline in baseline_names(self.gate.results) or not Path(self.gate.baseline).is_dir():
            baseline_folders(self.gate.results, read_baseline(self.gate.results, self.gate.baseline))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Evaluates and gates the checkpoint that was just saved."""
        from accelerate.utils import broadcast_object_list

        has_failed = False
        if state.is_world_process_zero:
            verdict = self._verdict(Path(args.output_dir) / f"checkpoint-{state.global_step}", state.global_step)
            self.verdicts.append(verdict)
            has_failed = verdict.passed is False
            _say(verdict, self._tell)
        word = [has_failed]
        broadcast_object_list(word)  # every process has to stop, or those that go on wait for the others for ever
        if word[0] and self.gate.on_failure == "stop":
            control.should_training_stop = True
        return control

    def _verdict(self, checkpoint: Path, step: int) -> CheckpointVerdict:
        name = f"{self.name or checkpoint.resolve().parent.name}/{checkpoint.name}"
        words = ["run", "--model", str(checkpoint), "--name", name, "--output", str(self.gate.results)]
        ran = _tuna_eval([*words, "--suite", *self.gate.suites, *self.gate.run_options])
        if ran.returncode:
            return CheckpointVerdict(step, None, {}, _last_line(ran.stderr))
        words = ["gate", str(self.gate.results / "runs" / folder_name(name)), "--baseline", self.gate.baseline]
        words += [
            "--results",
            str(self.gate.results),
            "--level",
            str(self.gate.level),
            "--format",
            "json",
            "--allow-missing",
        ]
        if self.gate.max_drop:
            words += ["--max-drop", *(f"{suite}={points}" for suite, points in self.gate.max_drop.items())]
        gated = _tuna_eval(words)
        if gated.returncode not in (0, 1) or not gated.stdout:
            return CheckpointVerdict(step, None, {}, _last_line(gated.stderr))
        report = json.loads(gated.stdout)
        return CheckpointVerdict(step, bool(report["passed"]), report)


def evaluation_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a training process without those that its launcher set to make it part of a job."""
    own = {name: value for name, value in environment.items() if not name.startswith("TORCHELASTIC_")}
    return {name: value for name, value in own.items() if name not in _OF_THE_LAUNCHER}


def _tuna_eval(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tuna_eval.cli", *words]
    environment = evaluation_environment(os.environ)
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "it ended without a word"


def gate_of(config: Tuning, gate: Gate, source: LocalModel, tell: Tell) -> GateCallback:
    """The callback that a configuration asks for, checked.

    Args:
        config: of the training.
        gate: its `gate`.
        source: the model it starts from, whose tokenizer the checkpoints do not repeat.
        tell: see `GateCallback`.

    Raises:
        ConfigError: no checkpoint that can be evaluated is saved; or see `GateCallback.check`.
        StoreError: see `GateCallback.check`.
    """
    if config.save_steps is None:
        raise ConfigError("no checkpoint is saved", place="gate", cure="set save_steps")
    if config.fsdp or config.deepspeed:
        problem = "checkpoints of a sharded training are no models yet"
        raise ConfigError(problem, place="gate", cure="leave it out and run tuna-eval gate on the finished model")
    options = ("--tokenizer", str(source.tokenizer_folder), *gate.run_options)
    name = config.name or config.output.resolve().name
    callback = GateCallback(gate.model_copy(update={"run_options": options}), name=name, tell=tell)
    callback.check()
    return callback


def _say(verdict: CheckpointVerdict, tell: Tell | None) -> None:
    if verdict.passed is None:
        (tell or logger.warning)(f"step {verdict.step}: no verdict ({verdict.fault})")
        return
    for suite in verdict.report["suites"]:
        change = suite["change"]
        found = f"{suite['suite']} {change['metric']} {change['difference']:+.2f}: {suite['reason']}"
        (tell or (logger.info if suite["passed"] else logger.warning))(f"step {verdict.step}: {found}")
