"""What vLLM is told before it starts, and its reason in one line when it does not start. Nothing here starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tuna_eval.errors import ConfigError
from tuna_eval.llm import vllm_loading
from tuna_eval.llm.vllm_loading import cached_tokens, context_length, cpu_kv_cache_bytes, failure, max_lora_rank

GENERIC = "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
LOG = """\
(Worker pid=7) ERROR 11-22 09:46:09 [multiproc_executor.py:870] WorkerProc failed to start.
(Worker pid=7) ERROR 11-22 09:46:09 [multiproc_executor.py:870] Traceback (most recent call last):
(Worker pid=7) ERROR 11-22 09:46:09 [multiproc_executor.py:870] torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB
(EngineCore pid=3) ERROR Exception: WorkerProc initialization failed. See stack trace for root cause.
RuntimeError: Something that followed
"""


def test_the_root_cause_is_taken_from_the_log_where_the_error_points_there() -> None:
    error = failure("vLLM cannot start", RuntimeError(GENERIC), "model/", LOG)
    assert str(error).startswith("model/: vLLM cannot start: CUDA out of memory. Tried 2 GiB; ")
    assert "--tensor-parallel" in error.cure


def test_a_reason_that_is_in_the_error_is_not_replaced_by_the_log() -> None:
    assert failure("vLLM failed", ValueError("bad\n  rank"), "m", LOG).problem == "vLLM failed: bad rank"


def test_without_a_log_the_generic_reason_stands() -> None:
    assert "Engine core initialization failed" in failure("vLLM cannot start", RuntimeError(GENERIC), "m").problem


def test_a_validation_error_is_cut_down_to_its_sentence() -> None:
    message = (
        "1 validation error for ModelConfig\n  Value error, User-specified max_model_len (99) is greater than the "
        "derived max_model_len (8). [type=value_error, input_value=ArgsKwargs((), {'model': 'x'})]"
    )
    error = failure("vLLM cannot start", ValueError(message), "m")
    assert error.problem.endswith(": User-specified max_model_len (99) is greater than the derived max_model_len (8).")
    assert error.cure == "give a smaller --max-length"


def test_an_error_without_words_is_named() -> None:
    assert failure("vLLM failed", AssertionError(), "m").problem == "vLLM failed: AssertionError"


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 8192}, 8192),
        ({"n_positions": 1024}, 1024),
        ({"max_position_embeddings": 4096, "seq_length": 2048}, 2048),
        ({"text_config": {"max_position_embeddings": 131072}, "max_position_embeddings": 7}, 131072),
        ({"max_position_embeddings": None}, 2048),
        ({}, 2048),
    ],
)
def test_context_length(config: dict[str, object], length: int) -> None:
    assert context_length(config) == length


def test_tokens_in_the_cache() -> None:
    # SmolLM2-135M: 2 (key, value) x 30 layers x 3 heads x 64 numbers x 4 bytes = 46,080 bytes a token
    small = {"num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576, "num_hidden_layers": 30}
    assert cached_tokens(small, 46_080 * 10 + 1, 4) == 10
    # without grouped heads: 2 x 2 layers x 4 heads x 32 numbers x 2 bytes = 1,024
    plain = {"num_attention_heads": 4, "hidden_size": 64, "head_dim": 32, "num_hidden_layers": 2}
    assert cached_tokens({"text_config": plain}, 4096, 2) == 4
    assert cached_tokens({"model_type": "unknown"}, 4096, 2) is None


def test_cpu_cache_is_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    assert 2**28 <= cpu_kv_cache_bytes() <= 4 * 2**30
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    assert cpu_kv_cache_bytes() == 7 * 2**30
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "half")
    with pytest.raises(ConfigError, match="VLLM_CPU_KVCACHE_SPACE: 'half'"):
        cpu_kv_cache_bytes()


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("config", "rank"), [({"r": 8}, 8), ({"r": 9}, 16), ({"r": 4, "rank_pattern": {"q_proj": 100}}, 128)]
)
def test_lora_rank_is_rounded_up_to_one_that_vllm_has(tmp_path: Path, config: dict[str, object], rank: int) -> None:
    if find_spec("vllm") is None:
        pytest.skip("needs vLLM, which is not installed")
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert max_lora_rank(tmp_path) == rank
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4096}))
    with pytest.raises(ConfigError, match="rank 4096"):
        max_lora_rank(tmp_path)


def test_without_vllm_the_user_is_told_how_to_get_it() -> None:
    root = Path(vllm_loading.__file__).parents[2]
    script = (
        "from tuna_eval.errors import ConfigError\n"
        "from tuna_eval.llm.vllm_loading import import_vllm\n"
        "try: import_vllm()\n"
        "except ConfigError as error: print(error)\n"
    )
    without_site_packages = [sys.executable, "-S", "-c", script]
    done = subprocess.run(
        without_site_packages, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.stdout.startswith("--engine vllm: vLLM is not installed; pip install 'tuna-llm[vllm]'")
