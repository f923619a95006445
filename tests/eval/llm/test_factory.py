"""Which engine is chosen and why, what is refused, and that every flag reaches the engine it is meant for."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

import tiny_models
from tuna_eval.errors import ConfigError
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.factory import UNDERSTOOD, EngineOptions, choose_engine, open_engine
from tuna_eval.llm.hf_engine import HFEngine


def test_a_base_url_means_a_server() -> None:
    choice = choose_engine(EngineOptions(model="m", base_url="http://127.0.0.1:1/v1"))
    assert (choice.kind, choice.reason) == ("api", "a --base-url is given")


def test_what_is_asked_for_is_taken() -> None:
    assert choose_engine(EngineOptions(model="m", kind="hf")).kind == "hf"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (EngineOptions(model="m", kind="vlm"), "unknown engine 'vlm'; did you mean vllm"),
        (EngineOptions(model="m", kind="lm_eval"), "write lm_eval:hf"),
        (EngineOptions(model="m", kind="hf:x"), "is not complete"),
        (EngineOptions(model="m", kind="api"), "needs an address"),
        (EngineOptions(model="m", kind="vllm", tensor_parallel=0), "--tensor-parallel 0 is too small"),
        (
            EngineOptions(model="m", kind="hf", tensor_parallel=2),
            "hf does not heed --tensor-parallel; .* --engine vllm",
        ),
        (EngineOptions(model="m", kind="vllm", batch_size=4), "vllm does not heed --batch-size"),
        (EngineOptions(model="m", kind="hf", extra={"a": "b"}), "--engine-arg a; .* --engine lm_eval"),
        (
            EngineOptions(model="m", kind="vllm", api={"max_cost": 1.0}),
            "vllm does not heed --max-cost; .* --engine api",
        ),
        (EngineOptions(model="m", kind="api", base_url="http://a/v1", dtype="float16"), "api does not heed --dtype"),
    ],
)
def test_what_an_engine_would_ignore_is_refused(options: EngineOptions, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_engine(options)


def test_every_option_is_understood_by_some_engine() -> None:
    names = {name for understood in UNDERSTOOD.values() for name in understood}
    assert names == set(EngineOptions.__dataclass_fields__) - {"model", "kind"}


def test_server_options_arrive() -> None:
    options = EngineOptions(
        model="m",
        kind="api",
        base_url="http://127.0.0.1:1/v1",
        chat_api=True,
        revision="step-500",
        api={"concurrency": 3, "system": "Be brief."},
    )
    engine = open_engine(options)
    assert isinstance(engine, ApiEngine)
    assert (engine.options.concurrency, engine.options.system, engine.options.mode) == (3, "Be brief.", "chat")
    assert engine.fingerprint() != open_engine(replace(options, revision="step-600")).fingerprint()


def test_local_options_arrive(tmp_path: Path) -> None:
    folder = tiny_models.save_model(tmp_path / "llama")
    engine = open_engine(EngineOptions(model=str(folder), kind="hf", max_length=50, dtype="bfloat16"))
    assert isinstance(engine, HFEngine)
    assert engine.max_prompt_tokens(20) == 30
    assert engine.dtype == "bfloat16"


@pytest.mark.skipif(find_spec("vllm") is None, reason="the choice of vLLM needs vLLM installed")
def test_auto_prefers_vllm_but_for_encoder_decoders(tmp_path: Path) -> None:
    assert choose_engine(EngineOptions(model=str(tiny_models.save_model(tmp_path / "llama")))).kind == "vllm"
    choice = choose_engine(EngineOptions(model=str(tiny_models.save_model(tmp_path / "t5", "t5"))))
    assert (choice.kind, choice.reason) == ("hf", "vLLM does not run encoder-decoder models")
