"""The checkpoint folders below a training run's output: which there are, and whether they are all there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tuna_eval.llm.models import TOKENIZER_FILES, TRAINING_CHECKPOINTS, TRAINING_IDENTITY, TRAINING_RECORD, WEIGHTS
from tuna_eval.store import digest

_CONFIGS = ("config.json", "adapter_config.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint folder as it was at one look.

    Attributes:
        folder: where it is.
        files: name, size in bytes and time of change in nanoseconds of each file in it, by name.
        missing: what is not there yet, in words; "" if the model is complete.
    """

    folder: Path
    files: tuple[tuple[str, int, int], ...]
    missing: str

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.name

    @property
    def stamp(self) -> str:
        """Changes when a file changes that the model is made of, and not when training adds another."""
        own = [list(file) for file in self.files if WEIGHTS.fullmatch(file[0]) or file[0] in _CONFIGS + TOKENIZER_FILES]
        return digest(own)[:16]


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds a model's configuration itself."""
    return any((folder / config).is_file() for config in _CONFIGS)


def is_training_output(folder: Path) -> bool:
    """Whether training saves its checkpoints into a folder, which may hold the finished model beside them."""
    return (folder / TRAINING_CHECKPOINTS).is_dir() or bool(_saved(folder))


def training_name(folder: Path) -> str:
    """What a training is called by the folder that its checkpoints are in: its output's name."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == TRAINING_CHECKPOINTS else folder.name


def find_checkpoints(root: Path) -> list[Checkpoint]:
    """The folders in a training's output that hold a model's configuration, by the number in their names.

    They are directly below or in the folder `checkpoints` there. The finished model, in the output itself, comes last.
    A folder that vanishes during the look, as training deletes its oldest checkpoint, is left out.
    """
    found = [*_saved(root), *_saved(root / TRAINING_CHECKPOINTS)]
    found.sort(key=lambda each: ([int(n) for n in re.findall(r"\d+", each.name)], each.name))
    return [*found, *_finished(root)] if is_training_output(root) else found


def _saved(folder: Path) -> list[Checkpoint]:
    """The models in the folders directly below."""
    return _looks(each for each in (folder.iterdir() if folder.is_dir() else ()) if each.is_dir())


def _looks(folders: Iterable[Path]) -> list[Checkpoint]:
    found = []
    for folder in folders:
        try:
            if is_model_folder(folder):
                found.append(_look(folder))
        except FileNotFoundError:
            continue
    return found


def _finished(root: Path) -> list[Checkpoint]:
    # tuna-train writes the record last, when the model has passed the training's own gate.
    is_open = (root / TRAINING_CHECKPOINTS / TRAINING_IDENTITY).is_file() and not (root / TRAINING_RECORD).is_file()
    found = _looks([root.resolve()])
    return (
        [replace(model, missing=model.missing or "the training has not ended") for model in found] if is_open else found
    )


def _look(folder: Path) -> Checkpoint:
    stats = {file.name: file.stat() for file in folder.iterdir() if file.is_file()}
    files = tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in sorted(stats.items()))
    return Checkpoint(folder, files, _missing(folder, {name: size for name, size, _ in files}))


def _missing(folder: Path, sizes: dict[str, int]) -> str:
    """What a model folder lacks: weights, a shard that its index names, or the end of a file."""
    needed: set[str] = set()
    for index in (name for name in sizes if name.endswith(".index.json")):
        listed = _json(folder / index)
        shards = listed.get("weight_map") if listed else None
        if not isinstance(shards, dict):
            return f"{index} is not whole"
        needed.update(shards.values())
    if absent := sorted(needed - sizes.keys()):
        return f"no {absent[0]}"
    weights = [name for name in sizes if WEIGHTS.fullmatch(name)]
    if not weights:
        return "no weights"
    cut = next((name for name in weights if name.endswith(".safetensors") and _is_cut(folder / name, sizes[name])), "")
    return f"{cut} is not whole" if cut else ""


def _json(file: Path) -> dict[str, object] | None:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_cut(file: Path, size: int) -> bool:
    """Whether a safetensors file is shorter than its header says (eight bytes of length, JSON, tensors)."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 + length:
            return True
        try:
            header = json.loads(stream.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return True
    return size < 8 + length + max(ends, default=0)
