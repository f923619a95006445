"""The file of a mixture and the record beside it: what it was made of, by name and SHA-256, and what was dropped."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tuna_train
from tuna_eval.disk import as_store_error, replacing
from tuna_eval.download import sha256_of
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.schema import JSON
from tuna_train.data.contamination import Screen
from tuna_train.data.mixture import Input, Mixed, MixOptions, mix, read_originals
from tuna_train.data.ranked import RankedExample, to_line

SCHEMA = "tuna-mixture/1"


@dataclass(frozen=True, slots=True)
class MixtureFile:
    """What is to be made.

    Attributes:
        file: of the mixture.
        inputs, options: see `mix`.
        screen: what examples are compared with; those that overlap are dropped. None for no check.
        originals: a file whose original responses are given to examples without one; None for none.
    """

    file: Path
    inputs: Sequence[Input]
    options: MixOptions = field(default_factory=MixOptions)
    screen: Screen | None = None
    originals: Path | None = None

    @property
    def record(self) -> Path:
        """The record beside the file."""
        return self.file.with_name(f"{self.file.name}.mixture.json")

    def identity(self) -> dict[str, JSON]:
        """Everything that decides what is in the mixture; no path."""
        screen = self.screen
        inputs: list[JSON] = [{**_named(i.file), "slice": i.slice} for i in self.inputs]
        return {
            "inputs": inputs,
            "options": asdict(self.options),
            "originals": _named(self.originals) if self.originals else None,
            "screened": {"prompts": dict(screen.benchmarks), "ngram": screen.index.n, "unchecked": [*screen.unchecked]}
            if screen
            else None,
        }


def make_mixture(wanted: MixtureFile) -> Mapping[str, Any]:
    """Makes a mixture and its record; does nothing if the same one is there already.

    Returns:
        The record: the identity, what became of each input's examples, which were dropped for overlap, and the output.

    Raises:
        ConfigError: the file is there and is no mixture, or one of something else.
        DataError: an input is broken.
        StoreError: something cannot be written.
    """
    identity = json.loads(json.dumps(wanted.identity()))
    if (made := _made_before(wanted, identity)) is not None:
        return made
    with as_store_error(wanted.file):
        wanted.file.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=wanted.file.parent, prefix=f".{wanted.file.name}.")
    with scratch as folder:
        pending = Path(folder, "mixture.jsonl")
        record = {**_make(wanted, pending), **identity}
        with replacing(wanted.record) as write:
            write(json.dumps(record, indent=2) + "\n")
        with as_store_error(wanted.file):
            pending.replace(wanted.file)
    return record


def _make(wanted: MixtureFile, pending: Path) -> dict[str, Any]:
    """Writes the mixture where nobody sees it yet; the record without the identity."""
    mixed = Mixed()
    originals = read_originals(wanted.originals) if wanted.originals else None
    screen = wanted.screen.index.overlap if wanted.screen else None
    examples = mix(wanted.inputs, wanted.options, mixed, screen=screen, originals=originals)
    count = write_mixture(pending, examples, shuffled_by=wanted.options.seed if wanted.options.shuffle else None)
    return {
        "schema": SCHEMA,
        "tuna": tuna_train.__version__,
        "examples": [dict(counts) for counts in mixed.inputs],
        "contaminated": [{"id": id, **asdict(overlap)} for id, overlap in mixed.contaminated],
        "output": {"file": wanted.file.name, "sha256": sha256_of(pending), "examples": count},
    }


def _made_before(wanted: MixtureFile, identity: Mapping[str, JSON]) -> Mapping[str, Any] | None:
    """The record of the same mixture, if it is there whole."""
    if not wanted.file.exists():
        return None
    other = ConfigError("is there already and was made of something else", place=str(wanted.file), cure=_OTHER)
    if not wanted.record.is_file():
        raise other
    try:
        record: dict[str, Any] = json.loads(wanted.record.read_text(encoding="utf-8"))
        is_same = record["schema"] == SCHEMA and all(record[key] == value for key, value in identity.items())
        if not is_same or record["output"]["sha256"] != sha256_of(wanted.file):
            raise other
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise DataError("not the record of a mixture", place=str(wanted.record), cure=_OTHER) from fault
    return record


_OTHER = "choose another --out, or remove it"


def _named(file: Path) -> dict[str, JSON]:
    """A file by name and content.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return {"file": file.name, "sha256": sha256_of(file)}
    except OSError as fault:
        raise DataError(f"cannot be read ({fault.strerror})", place=str(file), cure="check the path") from fault


def write_mixture(file: Path, examples: Iterable[RankedExample], *, shuffled_by: int | None = None) -> int:
    """Writes examples as they come, or in the random order of a seed; the file appears when it is whole.

    To be shuffled they go through a temporary file beside it, so that memory holds one number an example.

    Returns:
        Number of examples.

    Raises:
        StoreError: the file cannot be written.
    """
    with replacing(file) as write:
        if shuffled_by is None:
            count = 0
            for example in examples:
                write(to_line(example))
                count += 1
            return count
        with as_store_error(file.parent), tempfile.TemporaryFile(dir=file.parent) as spool:
            offsets = []
            for example in examples:
                offsets.append(spool.tell())
                spool.write(to_line(example).encode())
            random.Random(shuffled_by).shuffle(offsets)
            for offset in offsets:
                spool.seek(offset)
                write(spool.readline())
            return len(offsets)
