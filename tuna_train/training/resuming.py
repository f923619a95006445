"""Whose an output folder is, and from where a killed run goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from tuna_eval.cache import file_sha256
from tuna_eval.disk import replacing
from tuna_eval.errors import ConfigError
from tuna_eval.llm.models import TRAINING_IDENTITY, LocalModel
from tuna_eval.schema import JSON
from tuna_train.config import Training
from tuna_train.training.build import CHECKPOINTS
from tuna_train.training.record import RECORD, settings_of

IDENTITY = TRAINING_IDENTITY  # beside the checkpoints
# What may change between the start of a run and its resumption: none of it changes the trajectory.
_FREE = (
    "name",
    "micro_batch",
    "row_tokens",
    "gradient_checkpointing",
    "save_steps",
    "keep_checkpoints",
    "logging_steps",
    "report_to",
    "gate",
)


def identity_of(config: Training, command: str, source: LocalModel) -> dict[str, JSON]:
    """What makes a run this run and no other: settings, weights to start from, and data, by content."""
    settings = {key: value for key, value in settings_of(config).items() if key not in _FREE}
    hashes: list[JSON] = [file_sha256(file) for file in (*config.data, *config.eval_data)]
    return {"command": command, **settings, "weights": source.weights_sha256, "files": hashes}


def claim(output: Path, identity: Mapping[str, JSON]) -> None:
    """Makes an output folder this run's; checkpoints that a kill left unfinished are removed.

    Args:
        output: may hold what this run has done so far, or what another run left that came to no checkpoint.
        identity: see `identity_of`.

    Raises:
        ConfigError: it is another run's, or holds a model that no such run made.
        StoreError: it cannot be written.
    """
    mark = output / CHECKPOINTS / IDENTITY
    cure = "choose another folder, or remove this one"
    if mark.is_file():
        known = json.loads(mark.read_text(encoding="utf-8"))
        other = [key for key in {**identity, **known} if identity.get(key) != known.get(key)]
        if other and ((output / RECORD).is_file() or last_checkpoint(mark.parent)):
            problem = f"holds another run, which differs in {', '.join(other)}"
            raise ConfigError(problem, place=f"output: {output}", cure=cure)
    else:
        strangers = [name for name in ("config.json", "adapter_config.json", RECORD) if (output / name).exists()]
        if strangers:
            raise ConfigError(f"holds a model already ({strangers[0]})", place=f"output: {output}", cure=cure)
    with replacing(mark) as write:
        write(json.dumps(identity, indent=1) + "\n")
    # transformers keeps the newest checkpoints, whole or not: a torn one would push out one that is needed.
    for checkpoint in mark.parent.glob("checkpoint-*"):
        if not _is_whole(checkpoint):
            shutil.rmtree(checkpoint)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder; one that a kill left unfinished lacks its state, which comes last."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda f: int(f.name.rpartition("-")[2]), reverse=True)
    return next((checkpoint for checkpoint in found if _is_whole(checkpoint)), None)


def _is_whole(checkpoint: Path) -> bool:
    try:
        return bool(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False
