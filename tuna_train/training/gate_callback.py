"""A Trainer's callback that evaluates and gates every checkpoint it saves, and may stop a training that gets worse."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tuna_eval.cli import parser
from tuna_eval.commands.gate import baseline_runs
from tuna_eval.commands.run import engine_options, wanted_suites
from tuna_eval.console import ConsoleProgress
from tuna_eval.errors import ConfigError
from tuna_eval.report.gate import GateOptions, check_gate_options, tolerances
from tuna_eval.report.gate_runs import check_before_running
from tuna_eval.report.runs import StoredRun
from tuna_eval.store import folder_name
from tuna_train.config import Gate
from tuna_train.places import naming

logger = logging.getLogger(__name__)
Tell = Callable[[str], None]

# What launchers tell the processes of a training job, and what an evaluation beside it must not take for its own.
_OF_THE_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
# What the options of tuna-eval are called here.
_KEYS = {"--max-drop": "gate.max_drop", "--level": "gate.level", "--suite": "gate.suites"}


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
        has_stopped: whether a failed gate has ended the training; of every process.
    """

    def __init__(self, gate: Gate, *, name: str = "", tell: Tell | None = None) -> None:
        self.gate, self.name, self._tell = gate, name, tell
        self.verdicts: list[CheckpointVerdict] = []
        self.has_stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Refuses what `check` does before anything is trained."""
        if state.is_world_process_zero:
            self.check()

    def check(self) -> None:
        """Finds what would be at fault with every evaluation; fetches the benchmarks' data.

        Raises:
            ConfigError: an option cannot be used; the benchmarks, or runs of them in the baseline, are not there.
            DataError: the runs would not compare with the baseline, or its runs are gone or changed.
            StoreError: the baseline cannot be read.
        """
        baselines = self.baseline_runs()
        options = _run_options(self._run_words(Path("checkpoint"), "checkpoint"))
        with naming(_KEYS):
            check_gate_options(GateOptions(max_drop=self.gate.max_drop, level=self.gate.level))
            engine_options(options)
            suites = wanted_suites(options, ConsoleProgress())
            known = {run.record.suite for run in baselines}
            compared = [suite.name for suite in suites if suite.name in known]
            if not compared:
                problem, cure = f"no baseline for {', '.join(self.gate.suites)}", f"it has {', '.join(sorted(known))}"
                raise ConfigError(problem, place="--suite", cure=cure)
            tolerances(self.gate.max_drop, compared)
        for suite in suites:
            check_before_running(suite, options.max_new_tokens, baselines, format=options.format)

    def baseline_runs(self) -> list[StoredRun]:
        """The runs that every checkpoint is measured against; raises what `check` does of them."""
        return baseline_runs(self.gate.baseline, self.gate.results)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Evaluates and gates the checkpoint that was just saved."""
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if self.ends_training(checkpoint, state.global_step, is_main=state.is_world_process_zero):
            control.should_training_stop = True
        return control

    def ends_training(self, folder: Path, step: int, *, is_main: bool) -> bool:
        """Evaluates and gates a model; every process calls it, the main one works.

        Args:
            folder: of the model.
            step: of the training.
            is_main: whether this process is the main one.

        Returns:
            Whether it fails and `on_failure` is stop; every process gets the same answer.
        """
        from accelerate.utils import broadcast_object_list

        has_failed = False
        if is_main:
            verdict = self.verdict_on(folder, step)
            self.verdicts.append(verdict)
            has_failed = verdict.passed is False
            _say(verdict, self._tell)
        word = [has_failed]
        broadcast_object_list(word)  # every process has to stop, or those that go on wait for the others for ever
        self.has_stopped = word[0] and self.gate.on_failure == "stop"
        return self.has_stopped

    def verdict_on(self, folder: Path, step: int) -> CheckpointVerdict:
        """What becomes of one model.

        Args:
            folder: of the model.
            step: of the training.
        """
        name = self.name_of(folder)
        ran = _tuna_eval(self._run_words(folder, name))
        if ran.returncode:
            return CheckpointVerdict(step, None, {}, _last_line(ran.stderr))
        gated = _tuna_eval(self._gate_words(name))
        if gated.returncode not in (0, 1) or not gated.stdout:
            return CheckpointVerdict(step, None, {}, _last_line(gated.stderr))
        report = json.loads(gated.stdout)
        return CheckpointVerdict(step, bool(report["passed"]), report)

    def name_of(self, folder: Path) -> str:
        """What tables call a checkpoint."""
        return f"{self.name or folder.resolve().parent.name}/{folder.name}"

    def _run_words(self, folder: Path, name: str) -> list[str]:
        words = ["run", "--model", str(folder), "--name", name, "--output", str(self.gate.results)]
        return [*words, "--suite", *self.gate.suites, *self.gate.run_options]

    def _gate_words(self, name: str) -> list[str]:
        gate = self.gate
        words = ["gate", str(gate.results / "runs" / folder_name(name)), "--baseline", gate.baseline]
        words += ["--results", str(gate.results), "--level", str(gate.level), "--format", "json", "--allow-missing"]
        drops = [f"{suite}={points}" for suite, points in gate.max_drop.items()]
        return [*words, "--max-drop", *drops] if drops else words


def _run_options(words: Sequence[str]) -> argparse.Namespace:
    """The options of `tuna-eval run`, checked without a word on the terminal."""
    told = io.StringIO()
    try:
        with redirect_stderr(told), redirect_stdout(told):
            return parser().parse_args(words)
    except SystemExit as end:
        problem = _last_line(told.getvalue()).removeprefix("tuna-eval run: ")  # and it says where help is
        raise ConfigError(problem, place="gate.run_options") from end


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


def _say(verdict: CheckpointVerdict, tell: Tell | None) -> None:
    if verdict.passed is None:
        (tell or logger.warning)(f"step {verdict.step}: no verdict ({verdict.fault})")
        return
    for suite in verdict.report["suites"]:
        change = suite["change"]
        found = f"{suite['suite']} {change['metric']} {change['difference']:+.2f}: {suite['reason']}"
        (tell or (logger.info if suite["passed"] else logger.warning))(f"step {verdict.step}: {found}")
