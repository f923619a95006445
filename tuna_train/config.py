"""What a training run is told: frozen values, each with its unit and source, and a reader that refuses unknown keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from tuna_eval.errors import ConfigError
from tuna_train.assignments import assign, is_assigned, types_in

C = TypeVar("C", bound="Config")
ROW_TOKENS = 16_384  # of a packed row, prompts and responses


class Config(BaseModel):
    """A frozen group of settings; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class Loss(Config):
    """The objective (Section 2.2 of the paper; see `losses.objective`)."""

    margin: float = Field(0.1, gt=0, description="m of Eq. 5, nats per token and rank; Table 7")
    mle_weight: float = Field(1.0, ge=0, description="λ of Eq. 6; Table 7")
    reduction: Literal["paper", "released"] = Field(
        "paper", description="sum over pairs (Eq. 4), or the released code's means"
    )
    mle_on: Literal["original", "all"] = Field("original", description="Eq. 6, or the released code's: every candidate")


class Optimizer(Config):
    """AdamW and its schedule."""

    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="released script: cosine")
    warmup_steps: int = Field(2, ge=0, description="steps; Table 7")
    weight_decay: float = Field(0.0, ge=0, description="released script: 0")
    betas: tuple[float, float] = Field((0.9, 0.999), description="Section 3.1")
    max_grad_norm: float = Field(1.0, ge=0, description="gradient norm to clip to, 0 for none; transformers' default")


class Lora(Config):
    """Low-rank adapters by PEFT."""

    rank: int = Field(16, ge=1, description="r; PEFT's field")
    alpha: float = Field(32.0, gt=0, description="scale numerator")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of inputs dropped")
    target_modules: str | tuple[str, ...] = Field("all-linear", description="layers that get an adapter")
    quantize: Literal["none", "4bit", "8bit"] = Field(
        "none", description="of the frozen base weights (QLoRA); needs CUDA"
    )


class Training(Config):
    """What every training command needs."""

    model: str = Field(description="hub id, folder, GGUF file or demo: where training starts")
    data: tuple[Path, ...] = Field(min_length=1, description="files of examples")
    output: Path = Field(description="folder of the checkpoint")
    eval_data: tuple[Path, ...] = Field((), description="held-out examples, measured before and after")
    name: str = Field("", description="what the model card calls the model; default: the output folder's name")
    recipe: str = Field("", description="recipe that the training is of, for its record")
    format: Literal["auto", "alpaca", "chat", "plain"] = Field(
        "alpaca", description="prompt format; the paper's is Alpaca's"
    )
    limit: int | None = Field(None, ge=1, description="examples; default: all")
    max_length: int = Field(512, ge=8, description="tokens of prompt and response; released script: 512")
    epochs: float = Field(1.0, gt=0, description="passes over the data; Table 7")
    max_steps: int | None = Field(None, ge=1, description="optimizer steps, instead of epochs")
    batch_size: int = Field(128, ge=1, description="instructions an optimizer step, over all devices; Table 7")
    micro_batch: int | None = Field(
        None, ge=1, description="instructions a forward pass and device; default: as many as fit the step"
    )
    learning_rate: float = Field(1e-5, gt=0, description="highest of the schedule; Table 7")
    optimizer: Optimizer = Optimizer()
    packing: bool = Field(
        True, description="one forward pass of a prompt for all its candidates; off: padded reference"
    )
    row_tokens: int = Field(ROW_TOKENS, ge=8, description="tokens of a packed row")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the computation; auto: bfloat16 where the GPU has it, else float32"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass")
    lora: Lora | None = Field(None, description="adapters instead of full fine-tuning")
    seed: int = Field(0, description="of the data order, adapters and dropout")
    save_steps: int | None = Field(
        100, ge=1, description="steps between checkpoints to resume from (weights and AdamW's state); null: none"
    )
    keep_checkpoints: int = Field(1, ge=1, description="how many of them stay")
    logging_steps: int = Field(10, ge=1, description="steps between log lines")
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        (), description="where curves go besides the log file"
    )
    fsdp: bool = Field(False, description="shard with FSDP2 (torchrun)")
    deepspeed: Path | None = Field(None, description="DeepSpeed configuration")

    @field_validator("data", "eval_data", "report_to", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        """A single path or name stands for a list of one."""
        return (value,) if isinstance(value, str | Path) else value


class Gate(Config):
    """What each saved checkpoint and the finished model have to pass, see `training.gate_callback.GateCallback`."""

    baseline: str = Field(description="name given by tuna-eval baseline set, or folder of a run or of a model's runs")
    suites: tuple[str, ...] = Field(min_length=1, description="benchmarks to run")
    results: Path = Field(Path("results"), description="results folder")
    run_options: tuple[Annotated[str, Field(coerce_numbers_to_str=True)], ...] = Field(
        (), description="further options of tuna-eval run, such as [--limit, 20]"
    )
    max_drop: dict[str, float] = Field({}, description="points a benchmark may lose: gate.max_drop.superni=1")
    level: float = Field(0.05, gt=0, lt=0.5, description="share of false alarms of one gate")
    on_failure: Literal["stop", "warn"] = Field("warn", description="stop: a failed gate ends the training as an error")

    @field_validator("suites", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        """A single name stands for a list of one."""
        return (value,) if isinstance(value, str) else value


class Tuning(Training):
    """What trains a model that writes."""

    gate: Gate | None = Field(None, description="evaluates every checkpoint of save_steps and the finished model")


class SftConfig(Tuning):
    """`tuna-train sft`: MLE on response tokens (Eq. 2)."""

    learning_rate: float = Field(2e-5, gt=0, description="highest of the schedule; Section 3.1")


class RankConfig(Tuning):
    """`tuna-train rank`: ranking loss and MLE regulariser (Eq. 4-6)."""

    loss: Loss = Loss()


class PrmConfig(Training):
    """`tuna-train prm`: a proxy ranking model, a scalar head that learns to order candidates (Section 3.1).

    The paper does not give its settings; they are those of Table 7 except where a field says otherwise.
    """

    learning_rate: float = Field(3e-6, gt=0, description="highest of the schedule; AlpacaFarm's reward_modeling.sh")
    loss: Literal["ranking", "bradley_terry"] = Field(
        "ranking", description="Eq. 4-5 on scalar scores, or that of reward models (Ouyang et al. 2022, Eq. 1)"
    )
    margin: float = Field(
        1.0,
        gt=0,
        description="score difference wanted per rank, which sets the scores' unit; a new head's spread is ~1",
    )


class RlConfig(Tuning):
    """`tuna-train rl`: the RLHF baseline, a policy tuned by a proxy ranking model's scores (Table 10).

    `data` holds instructions; responses in it are not read. The paper gives no settings; AlpacaFarm's, whose PPO models
    it reports, are in its rlhf_ppo.sh and ppo_utils.py.
    """

    reward: Path = Field(description="folder of the proxy ranking model")
    algorithm: Literal["rloo", "grpo"] = Field("rloo", description="both need no value model, which PPO does")
    learning_rate: float = Field(3e-6, gt=0, description="highest of the schedule; AlpacaFarm")
    kl_coefficient: float = Field(0.02, ge=0, description="weight of KL(policy || start); AlpacaFarm")
    samples: int = Field(4, ge=2, description="responses to an instruction, which are each other's baseline")
    batch_size: int = Field(64, ge=1, description="instructions an optimizer step; 256 responses as AlpacaFarm")
    micro_batch: int | None = Field(
        None, ge=1, description="instructions, each with its samples, a forward pass and device; default: 1"
    )
    epochs: float = Field(1.0, gt=0, description="passes over the data; AlpacaFarm has 10 over 20K instructions")
    packing: Literal[False] = Field(False, description="TRL pads")
    max_new_tokens: int = Field(300, ge=1, description="tokens of a response; AlpacaFarm")
    temperature: float = Field(1.0, gt=0, description="of sampling; AlpacaFarm")
    top_p: float = Field(1.0, gt=0, le=1, description="share of probability that sampling keeps; TRL's default")
    clip: float = Field(0.2, gt=0, description="largest change of a probability ratio; AlpacaFarm, PPO")
    iterations: int = Field(2, ge=1, description="optimizer passes over the same responses; AlpacaFarm")
    unfinished_reward: float | None = Field(
        None, description="of a response cut by max_new_tokens, instead of the model's score; default: its score"
    )


Assignment = Annotated[str, "key=value, dots between the levels of the key"]


def read_config(kind: type[C], file: Path | None, assignments: Sequence[Assignment] = ()) -> C:
    """The configuration in a YAML file, with single values replaced.

    Args:
        kind: `SftConfig`, `RankConfig`, ...
        file: None for defaults and assignments alone.
        assignments: such as "learning_rate=2e-5", see `assign`; later ones win.

    Raises:
        ConfigError: an unreadable file, an unknown key (with a suggestion) or a value that is not allowed.
    """
    values = _read_yaml(file) if file else {}
    for assignment in assignments:
        assign(kind, values, assignment)
    return build_config(kind, values, str(file) if file else "command line", assignments)


def build_config(kind: type[C], values: Mapping[str, Any], place: str, assignments: Sequence[Assignment] = ()) -> C:
    """The configuration that values describe.

    Args:
        kind: as for `read_config`.
        values: by key, nested.
        place: where they stand, for errors.
        assignments: those among them that stand on the command line instead.

    Raises:
        ConfigError: see `read_config`.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as fault:
        raise _as_config_error(kind, fault, place, assignments) from fault


def describe(kind: type[Config]) -> str:
    """Every key of a configuration, one line each: name, default, and what it is with its source."""
    rows = list(_described(kind, ""))
    width = max(len(key) for key, _, _ in rows)
    return "".join(f"  {key:<{width}}  {default:<12}  {text}\n" for key, default, text in rows)


def _described(kind: type[Config], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in kind.model_fields.items():
        groups = [part for part in types_in(field.annotation) if issubclass(part, Config)]
        if groups:
            if field.default is None:
                yield prefix + name, "none", f"{field.description}; set any key below"
            yield from _described(groups[0], f"{prefix}{name}.")
        else:
            yield prefix + name, _shown(field), field.description or ""


def _shown(field: FieldInfo) -> str:
    """A default as it would be written on the command line."""
    if field.is_required():
        return "(required)"
    if field.default in (None, (), ""):
        return "none"
    return str(list(field.default) if isinstance(field.default, tuple) else field.default)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigError(f"cannot be read ({fault.strerror})", place=str(file), cure="check --config") from fault
    except (UnicodeDecodeError, yaml.YAMLError) as fault:
        problem = " ".join(str(fault).split())[:160]
        raise ConfigError(f"not YAML ({problem})", place=str(file), cure="mend the file") from fault
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError("holds no keys and values", place=str(file), cure="write key: value lines")
    return values


def _as_config_error(
    kind: type[Config], fault: ValidationError, place: str, assignments: Sequence[Assignment]
) -> ConfigError:
    """The first problem that pydantic found, as one line."""
    first = fault.errors()[0]
    path = [str(part) for part in first["loc"]]
    place = "command line" if is_assigned(path, assignments) else place
    where = f"{place}: {'.'.join(path)}" if path else place
    if first["type"] == "extra_forbidden":
        known = _keys(kind, path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1)
        cure = f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"
        return ConfigError(f"unknown key {path[-1]!r}", place=where, cure=cure)
    if first["type"] == "missing":
        return ConfigError(
            "a value is missing", place=where, cure=f"set {'.'.join(path)}=... or write it into the file"
        )
    message = first["msg"][0].lower() + first["msg"][1:]
    return ConfigError(f"{first['input']!r}: {message}", place=where, cure="--help lists every key")


def _keys(kind: type[Config], path: Sequence[str]) -> list[str]:
    for name in path:
        found = [part for part in types_in(kind.model_fields[name].annotation) if issubclass(part, Config)]
        if not found:
            return []
        kind = found[0]
    return list(kind.model_fields)
