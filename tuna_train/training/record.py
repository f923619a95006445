"""The record of a training, and the model card made of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna_eval.cache import file_sha256
from tuna_eval.disk import replacing
from tuna_eval.llm.models import TRAINING_RECORD, LocalModel, display_name
from tuna_eval.provenance import environment, package_version
from tuna_eval.schema import JSON
from tuna_train.config import Gate, RlConfig, Training, Tuning
from tuna_train.training.build import processes

if TYPE_CHECKING:
    from tuna_train.training.inputs import Inputs

RECORD = TRAINING_RECORD
SCHEMA = "tuna-training/1"
_VERDICTS = {True: "passed", False: "failed", None: "none"}


def training_record(
    config: Training, command: str, source: LocalModel, inputs: Inputs, trainer: Any
) -> dict[str, JSON]:
    """What a training was and gave; no secret, no path.

    Args:
        config: of the training.
        command: its name.
        source: what training started from.
        inputs: what it read.
        trainer: after training; its log has the losses and the measurements.
    """
    history = [finite(line) for line in trainer.state.log_history]
    lines = [line for line in history if "loss" in line]
    measured = [{k[5:]: v for k, v in line.items() if k.startswith("eval_")} for line in history if _is_measured(line)]
    parts = [name for name in ("loss", "rank_loss", "mle", "pair_accuracy", "margins_met") if name in lines[-1]]
    packages = {name: found for name in ("accelerate", "trl", "datasets") if (found := package_version(name))}
    return {
        "name": config.name or config.output.resolve().name,
        "command": command,
        "pipeline": "text-generation",
        "start": {"model": settings_of(config)["model"], "weights_sha256": source.weights_sha256},
        "settings": settings_of(config),
        "format": inputs.encoder.format,
        "data": [
            *_files(config.data, "training", inputs.train_counts),
            *_files(config.eval_data, "held out", inputs.held_out_counts),
        ],
        "responses": inputs.train.responses,
        "cut": inputs.train.cut,
        "processes": processes(),
        "micro_batch": trainer.args.per_device_train_batch_size,
        "wrapped_as": type(trainer.model_wrapped).__name__,
        "steps": trainer.state.global_step,
        "losses": {name: [lines[0].get(name), lines[-1][name]] for name in parts},
        "held_out": {"before": measured[0], "after": measured[-1]} if measured else {"before": {}, "after": {}},
        "environment": {**environment(), "training_packages": packages},
    }


def _is_measured(line: Mapping[str, Any]) -> bool:
    return any(name.startswith("eval_") for name in line)


def finite(logs: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN: a number that is none becomes null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in logs.items()
    }


def _files(files: Iterable[Path], use: str, counts: Iterable[int]) -> list[JSON]:
    return [
        {"file": file.name, "use": use, "examples": count, "sha256": file_sha256(file)}
        for file, count in zip(files, counts, strict=True)
    ]


def settings_of(config: Training) -> dict[str, JSON]:
    """The configuration for a record: files and folders by name, the output left out."""
    values: dict[str, JSON] = config.model_dump(mode="json", exclude={"output", "data", "eval_data"})
    values["model"] = Path(config.model).name if Path(config.model).exists() else config.model
    values["data"] = [file.name for file in config.data]
    values["eval_data"] = [file.name for file in config.eval_data]
    if isinstance(config, RlConfig):
        values["reward"] = display_name(str(config.reward))
    if config.deepspeed:
        values["deepspeed"] = config.deepspeed.name
    if isinstance(config, Tuning) and config.gate:
        values["gate"] = _gate_settings(config.gate)
    return values


def _gate_settings(gate: Gate) -> JSON:
    values: dict[str, JSON] = gate.model_dump(mode="json", exclude={"results"})
    values["baseline"] = display_name(gate.baseline)
    values["run_options"] = [Path(word).name if Path(word).exists() else word for word in gate.run_options]
    return values


def write_record(folder: Path, record: Mapping[str, JSON]) -> None:
    """Writes the model card, then the record, whose presence says that the training is done.

    Raises:
        StoreError: the folder cannot be written.
    """
    with replacing(folder / "README.md") as write:
        write(model_card(record))
    with replacing(folder / RECORD) as write:
        write(json.dumps({"schema": SCHEMA, **record}, indent=1, allow_nan=False) + "\n")


def model_card(record: Mapping[str, Any]) -> str:
    """The record as a Hugging Face model card."""
    start, data, losses = record["start"], record["data"], record["losses"]
    parts = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {record['pipeline']}",
        "tags: [tuna]",
        *([f"base_model: {start['model']}"] if "/" in start["model"] else []),  # a hub id
        "---",
        "",
        f"# {record['name']}",
        "",
        f"Trained by `tuna-train {record['command']}` from {start['model']} "
        f"(weights {start['weights_sha256'][:12]}), {record['steps']} steps.",
        "",
        "## Data",
        "",
        *_table(
            ("file", "use", "examples", "SHA-256"),
            [(d["file"], d["use"], d["examples"], d["sha256"][:12]) for d in data],
        ),
        "",
        f"Prompt format: {record['format']}." + _cuts(record),
        "",
        "## Losses",
        "",
        *_table(("", "first line", "last line"), [(n, _number(a), _number(b)) for n, (a, b) in losses.items()]),
        "",
    ]
    if record["held_out"]["after"]:
        before, after = record["held_out"]["before"], record["held_out"]["after"]
        rows = [(name, _number(before.get(name)), _number(value)) for name, value in after.items()]
        parts += ["## Held-out data", "", *_table(("", "before", "after"), rows), ""]
    if record.get("gates"):
        verdicts = [
            (gate["model"], gate["step"], _VERDICTS[gate["passed"]], _reasons(gate)) for gate in record["gates"]
        ]
        baseline = record["settings"]["gate"]["baseline"]
        parts += ["## Gate", "", f"Baseline: {baseline}.", ""]
        parts += [*_table(("model", "step", "verdict", "why"), verdicts), ""]
    parts += ["## Settings", "", "```json", json.dumps(record["settings"], indent=1), "```", ""]
    parts += ["## Versions", "", "```json", json.dumps(record["environment"], indent=1), "```", ""]
    return "\n".join(parts)


def _reasons(gate: Mapping[str, Any]) -> str:
    return "; ".join(f"{suite}: {found['reason']}" for suite, found in gate["suites"].items())


def _cuts(record: Mapping[str, Any]) -> str:
    """Nothing where no responses are read, as in reinforcement learning."""
    cut, responses, limit = record["cut"], record["responses"], record["settings"]["max_length"]
    return f" {cut} of {responses} responses were cut at {limit} tokens of prompt and response." if responses else ""


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
