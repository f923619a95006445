"""The gate of a tuna-train training: its verdicts are kept, and one that fails may end the training for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tuna_eval.baselines import record_sha256
from tuna_eval.disk import appending, drop_torn_line, json_line, read_lines, replacing
from tuna_eval.errors import ConfigError, TunaError
from tuna_eval.schema import JSON
from tuna_eval.store import digest
from tuna_train.config import Gate, Tuning
from tuna_train.training.build import is_main_process
from tuna_train.training.gate_callback import CheckpointVerdict, GateCallback, Tell

GATES = "gates.jsonl"  # in the output, beside the log


class GateFailedError(TunaError):
    """A model has failed a gate that ends its training; the exit code is that of tuna-eval gate."""

    exit_code = 1


class TrainingGate(GateCallback):
    """Gates the checkpoints of a training and its finished model, and writes each verdict into its output.

    Where `on_failure` is stop, a model that fails is the end: also of the same command run again, which starts from
    the checkpoint that has failed.

    Args:
        gate: as configured.
        output: of the training.
        name: of the model; that of a checkpoint is behind it.
        tell: see `GateCallback`.
    """

    def __init__(self, gate: Gate, output: Path, *, name: str, tell: Tell) -> None:
        super().__init__(gate, name=name, tell=tell)
        self.output, self.file = output, output / GATES
        self._settings = ""  # changes with the configuration and with what the baseline is

    def check(self) -> None:
        """See `GateCallback.check`."""
        super().check()
        found = [record_sha256(run.record) for run in self.baseline_runs()]
        self._settings = digest([self.gate.model_dump(mode="json"), *found])[:16]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Drops the verdicts behind the checkpoint that a resumed training starts from, and looks for its own.

        Raises:
            GateFailedError: it has failed, or does so now, as a kill kept it from its gate.
        """
        if state.is_world_process_zero:
            self._keep_lines(state.global_step)
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.global_step and self.ends_training(checkpoint, state.global_step, is_main=state.is_world_process_zero):
            raise self._failure(checkpoint)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keeps a training that a failed gate has ended from going on to its finished model.

        Raises:
            GateFailedError: one has.
        """
        if self.has_stopped:
            raise self._failure(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def gate_finished(self, step: int) -> None:
        """Gates the finished model in the output; every process calls it.

        Args:
            step: the last one.

        Raises:
            GateFailedError: it fails, and `on_failure` is stop.
        """
        if self.ends_training(self.output, step, is_main=is_main_process()):
            raise self._failure(self.output)

    def name_of(self, folder: Path) -> str:
        """The finished model has the training's name."""
        return self.name if folder == self.output else super().name_of(folder)

    def verdict_on(self, folder: Path, step: int) -> CheckpointVerdict:
        """The verdict that was written down before a kill, or a new one, which is written down."""
        own = {"model": self.name_of(folder), "settings": self._settings, "step": step}
        for line in read_lines(self.file):
            if own.items() <= line.items() and line["passed"] is not None:
                return CheckpointVerdict(step, line["passed"], line["report"])
        verdict = super().verdict_on(folder, step)
        with appending(self.file) as append:
            append(json_line({**own, **asdict(verdict)}))
        return verdict

    def summary(self) -> list[JSON]:
        """The latest verdict on each model, for the record: its step, whether it passed, and why, by benchmark."""
        latest = {line["model"]: line for line in read_lines(self.file)}
        return [_summary(line) for line in latest.values()]

    def _keep_lines(self, step: int) -> None:
        if self.file.exists():
            drop_torn_line(self.file)
            lines = [line for line in read_lines(self.file) if line["step"] <= step]
            with replacing(self.file) as write:
                for line in lines:
                    write(json_line(line))

    def _failure(self, folder: Path) -> GateFailedError:
        what = f"the finished model, in {folder}," if folder == self.output else folder.name
        cure = f"see {GATES} there; to go on all the same set gate.on_failure=warn and run again"
        return GateFailedError(f"{what} failed its gate", place=f"output: {self.output}", cure=cure)


def _summary(line: Mapping[str, Any]) -> JSON:
    suites = {
        suite["suite"]: {"difference": suite["change"]["difference"], "reason": suite["reason"]}
        for suite in line["report"].get("suites", ())
    }
    return {"model": line["model"], "step": line["step"], "passed": line["passed"], "suites": suites}


def gate_of(config: Tuning, gate: Gate, tell: Tell) -> TrainingGate:
    """The callback that a configuration asks for, checked.

    Args:
        config: of the training.
        gate: its `gate`.
        tell: see `GateCallback`.

    Raises:
        ConfigError: the checkpoints cannot be evaluated; or see `GateCallback.check`.
        DataError, StoreError: see `GateCallback.check`.
    """
    if config.fsdp or config.deepspeed:
        problem = "checkpoints of a sharded training are no models yet"
        raise ConfigError(problem, place="gate", cure="leave it out and run tuna-eval gate on the finished model")
    # The finished model has no record yet that evaluation could take the format of training from.
    options = ("--format", config.format, *gate.run_options)
    name = config.name or config.output.resolve().name
    callback = TrainingGate(gate.model_copy(update={"run_options": options}), config.output, name=name, tell=tell)
    callback.check()
    return callback
