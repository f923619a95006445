"""Which folders are checkpoints, and which of them are all there."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from tuna_eval.checkpoints import find_checkpoints, is_training_output, training_name


def safetensors(size: int = 16) -> bytes:
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def missing(folder: Path) -> str:
    (found,) = find_checkpoints(folder.parent)
    return found.missing


def test_checkpoints_come_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for name in ("checkpoint-100", "checkpoint-9", "final", "logs"):
        (tmp_path / name).mkdir()
        if name != "logs":
            (tmp_path / name / "config.json").write_text("{}")
    assert [each.name for each in find_checkpoints(tmp_path)] == ["final", "checkpoint-9", "checkpoint-100"]
    assert find_checkpoints(tmp_path / "nowhere") == []


def test_the_output_of_a_training_holds_checkpoints_and_at_last_the_model(checkpoint: Path) -> None:
    """tuna-train keeps them in a folder of their own, and writes its record when all is done."""
    output = checkpoint.parent / "tuned"
    inside = output / "checkpoints"
    inside.mkdir(parents=True)
    (inside / "run.json").write_text("{}")
    assert find_checkpoints(output) == []
    checkpoint.rename(inside / "checkpoint-1")
    (inside / "checkpoint-1/model.safetensors").write_bytes(safetensors())
    assert [(each.name, each.missing) for each in find_checkpoints(output)] == [("checkpoint-1", "")]
    for file in ("config.json", "model.safetensors"):
        (output / file).write_bytes((inside / "checkpoint-1" / file).read_bytes())
    assert [each.missing for each in find_checkpoints(output)] == ["", "the training has not ended"]
    (output / "training.json").write_text("{}")
    assert [(each.name, each.missing) for each in find_checkpoints(output)] == [("checkpoint-1", ""), ("tuned", "")]
    assert [each.name for each in find_checkpoints(inside)] == ["checkpoint-1"]
    assert training_name(output) == training_name(inside) == "tuned"
    assert [is_training_output(folder) for folder in (output, inside, inside / "checkpoint-1")] == [True, True, False]


def test_a_file_that_is_still_written_is_not_whole(checkpoint: Path) -> None:
    assert missing(checkpoint) == "no weights"
    content = safetensors()
    file = checkpoint / "model.safetensors"
    for length in (0, 5, 20, len(content) - 1):
        file.write_bytes(content[:length])
        assert missing(checkpoint) == "model.safetensors is not whole"
    file.write_bytes(content)
    assert missing(checkpoint) == ""


def test_all_shards_of_an_index_are_needed(checkpoint: Path) -> None:
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = checkpoint / "model.safetensors.index.json"
    text = json.dumps({"weight_map": {"a": names[0], "b": names[1]}})
    index.write_text(text[:10])
    (checkpoint / names[0]).write_bytes(safetensors())
    assert missing(checkpoint) == "model.safetensors.index.json is not whole"
    index.write_text(text)
    assert missing(checkpoint) == f"no {names[1]}"
    (checkpoint / names[1]).write_bytes(safetensors())
    assert missing(checkpoint) == ""


def test_an_adapter_is_a_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(safetensors())
    assert missing(folder) == ""


def test_the_stamp_is_that_of_the_model(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(safetensors())
    (before,) = find_checkpoints(checkpoint.parent)
    (checkpoint / "optimizer.pt").write_bytes(b"state")
    (later,) = find_checkpoints(checkpoint.parent)
    assert before != later
    assert before.stamp == later.stamp
    (checkpoint / "model.safetensors").write_bytes(safetensors(32))
    (changed,) = find_checkpoints(checkpoint.parent)
    assert changed.stamp != before.stamp
