"""A Trainer's callback that evaluates and gates every checkpoint it saves, and may stop a training that gets worse."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback

from tuna_eval.baselines import baseline_folders, baseline_names, read_baseline
from tuna_eval.errors import ConfigError
from tuna_eval.store import folder_name
from tuna_eval.tasks.catalog import suite_names

logger = logging.getLogger(__name__)

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
    word, for no longer than `TrainingArguments(ddp_timeout=...)` allows.

    Args:
        baseline: a name that `tuna-eval baseline set` gave, or the folder of a run or of a model's runs.
        suites: benchmarks to run, as `--suite` takes them.
        results: the results folder.
        run_options: further options of `tuna-eval run`, such as `["--limit", "20", "--engine", "hf"]`.
        max_drop: points that a benchmark may lose, by name.
        level: share of false alarms of one gate.
        on_failure: "stop" ends the training after a checkpoint that fails its gate, "warn" only says so. One that could
            not be evaluated ends nothing.

    Attributes:
        verdicts: one for each checkpoint so far; of the first process only.
    """

    def __init__(
        self,
        baseline: str,
        suites: Sequence[str],
        *,
        results: Path = Path("results"),
        run_options: Sequence[str] = (),
        max_drop: Mapping[str, float] | None = None,
        level: float = 0.05,
        on_failure: Literal["stop", "warn"] = "warn",
    ) -> None:
        if on_failure not in ("stop", "warn"):
            raise ConfigError(f"on_failure {on_failure!r} is unknown", cure="use stop or warn")
        self.baseline, self.suites, self.results = baseline, tuple(suites), results
        self.run_options, self.max_drop, self.level = tuple(run_options), dict(max_drop or {}), level
        self.on_failure = on_failure
        self.verdicts: list[CheckpointVerdict] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Refuses a baseline or a benchmark that is not there before anything is trained."""
        if state.is_world_process_zero:
            suite_names(self.suites)
            if self.baseline in baseline_names(self.results) or not Path(self.baseline).is_dir():
                baseline_folders(self.results, read_baseline(self.results, self.baseline))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Evaluates and gates the checkpoint that was just saved."""
        from accelerate.utils import broadcast_object_list

        has_failed = False
        if state.is_world_process_zero:
            verdict = self._verdict(Path(args.output_dir) / f"checkpoint-{state.global_step}", state.global_step)
            self.verdicts.append(verdict)
            has_failed = verdict.passed is False
            _tell(verdict)
        word = [has_failed]
        broadcast_object_list(word)  # every process has to stop, or those that go on wait for the others for ever
        if word[0] and self.on_failure == "stop":
            control.should_training_stop = True
        return control

    def _verdict(self, checkpoint: Path, step: int) -> CheckpointVerdict:
        name = f"{checkpoint.resolve().parent.name}/{checkpoint.name}"
        words = ["run", "--model", str(checkpoint), "--name", name, "--output", str(self.results)]
        ran = _tuna_eval([*words, "--suite", *self.suites, *self.run_options])
        if ran.returncode:
            return CheckpointVerdict(step, None, {}, _last_line(ran.stderr))
        words = ["gate", str(self.results / "runs" / folder_name(name)), "--baseline", self.baseline]
        words += ["--results", str(self.results), "--level", str(self.level), "--format", "json", "--allow-missing"]
        if self.max_drop:
            words += ["--max-drop", *(f"{suite}={points}" for suite, points in self.max_drop.items())]
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


def _tell(verdict: CheckpointVerdict) -> None:
    if verdict.passed is None:
        logger.warning("step %d: no verdict (%s)", verdict.step, verdict.fault)
        return
    for suite in verdict.report["suites"]:
        log = logger.info if suite["passed"] else logger.warning
        change = suite["change"]
        log(
            "step %d: %s %s %+.2f: %s",
            verdict.step,
            suite["suite"],
            change["metric"],
            change["difference"],
            suite["reason"],
        )
