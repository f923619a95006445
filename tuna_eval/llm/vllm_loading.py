"""Starting vLLM: quiet, in this process, and with its own reason in one line when it cannot start."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import IO, Any, get_args

from tuna_eval.errors import ConfigError, EngineError

DEFAULT_CONTEXT = 2048  # vLLM's own guess for a model that declares no length
CPU_KV_CACHE_GIB = 4  # at most, unless the user sets VLLM_CPU_KVCACHE_SPACE; it is allocated at once

# One process: no engine core is left behind when this one is killed, scheduling is deterministic, scripts need no
# `if __name__ == "__main__"`, and errors arrive as exceptions. Standard output belongs to the results.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
}
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")

_POINTS_ELSEWHERE = re.compile(r"root cause|stack trace", re.IGNORECASE)
_RAISED = re.compile(r"\b\w*(?:Error|Exception): (?P<reason>\S.*)$", re.MULTILINE)
_VALIDATION = re.compile(r"Value error, (?P<reason>.+?)(?: \[type=|$)", re.DOTALL)
_CURES = (
    (r"deserializ|safetensors|corrupt", "check that the save or download of the weights finished"),
    (r"max_model_len|max seq len|KV cache", "give a smaller --max-length"),
    (r"out of memory|memory", "free memory, or use --tensor-parallel, a smaller model or --dtype bfloat16"),
    (r"architecture|not supported|unsupported|no vLLM implementation", "use --engine hf"),
    (r"lora|adapter", "merge the adapter into its base, or use --engine hf"),
)
_LOOK_CLOSER = "set VLLM_LOGGING_LEVEL=INFO to see vLLM's own log, or use --engine hf"


def import_vllm() -> Any:
    """The vllm module, its environment set first where the user has not set it.

    Raises:
        ConfigError: vLLM is not installed, or does not import.
    """
    if find_spec("vllm") is None:
        raise ConfigError(
            "vLLM is not installed",
            place="--engine vllm",
            cure="pip install 'tuna-llm[vllm]' on a GPU machine (the README says how on a CPU), or use --engine hf",
        )
    for name, value in {**ENVIRONMENT, "VLLM_LOGGING_LEVEL": "ERROR"}.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            import vllm
            from vllm.platforms import current_platform  # noqa: F401  # fails here where the build does not fit
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"vLLM is installed but does not import ({error})",
            place="--engine vllm",
            cure="install the build for this machine, or use --engine hf",
        ) from error
    return vllm


def start_llm(arguments: Mapping[str, Any], place: str) -> Any:
    """A `vllm.LLM` that is ready for requests.

    Args:
        arguments: of `vllm.LLM`.
        place: the model, for the message.

    Raises:
        EngineError: with the reason that vLLM gives, wherever it gives it.
    """
    vllm = import_vllm()
    import torch
    from vllm.distributed import cleanup_dist_env_and_memory

    set_num_threads = torch.set_num_threads
    with _kept_stderr() as log, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            return vllm.LLM(**arguments)
        except Exception as error:  # a failed worker is a bare Exception in vLLM
            cleanup_dist_env_and_memory()
            raise failure("vLLM cannot start", error, place, _read(log)) from error
        finally:
            torch.set_num_threads = set_num_threads  # on a CPU vLLM puts one in its place that does nothing


def failure(problem: str, error: BaseException, place: str, log: str = "") -> EngineError:
    """What went wrong inside vLLM as one line, with a cure that fits.

    Args:
        problem: what failed.
        error: what was raised; vLLM's "see root cause above" points into `log`.
        place: the model.
        log: what vLLM wrote meanwhile.
    """
    reason = str(error) or type(error).__name__
    if _POINTS_ELSEWHERE.search(reason):
        reasons = (found["reason"] for found in _RAISED.finditer(log))
        reason = next((text for text in reasons if not _POINTS_ELSEWHERE.search(text)), reason)
    if validation := _VALIDATION.search(reason):
        reason = validation["reason"]
    reason = shorten(reason, 240, placeholder=" ...")
    cures = (cure for pattern, cure in _CURES if re.search(pattern, reason, re.IGNORECASE))
    return EngineError(f"{problem}: {reason}", place=place, cure=next(cures, _LOOK_CLOSER))


def context_length(config: Mapping[str, Any]) -> int:
    """Tokens of prompt and reply together that the model's config.json allows."""
    text = _text_config(config)
    return min((text[key] for key in LENGTH_KEYS if isinstance(text.get(key), int)), default=DEFAULT_CONTEXT)


def cpu_kv_cache_bytes() -> int:
    """Memory for the key-value cache on a CPU, bytes: VLLM_CPU_KVCACHE_SPACE (GiB), or 4 GiB, or a quarter of less.

    Raises:
        ConfigError: VLLM_CPU_KVCACHE_SPACE is no whole number.
    """
    value = os.environ.get("VLLM_CPU_KVCACHE_SPACE", "")
    if not value:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return min(CPU_KV_CACHE_GIB << 30, memory // 4)
    if not value.isdigit() or int(value) == 0:
        raise ConfigError(
            f"{value!r} is no number of GiB", place="VLLM_CPU_KVCACHE_SPACE", cure="set a whole number of 1 or more"
        )
    return int(value) << 30


def cached_tokens(config: Mapping[str, Any], cache_bytes: int, value_bytes: int) -> int | None:
    """How many tokens' keys and values fit into a cache; None if the config does not tell their size.

    Args:
        config: the model's config.json.
        cache_bytes: size of the cache.
        value_bytes: size of one number in it.
    """
    text = _text_config(config)
    heads, layers = text.get("num_attention_heads"), text.get("num_hidden_layers")
    if not isinstance(heads, int) or not isinstance(layers, int):
        return None
    head_dim = text.get("head_dim") or int(text.get("hidden_size", 0)) // heads
    a_token = 2 * layers * int(text.get("num_key_value_heads") or heads) * head_dim * value_bytes
    return cache_bytes // a_token if a_token else None


def max_lora_rank(adapter: Path) -> int:
    """The smallest rank that vLLM can be built for and that holds the adapter's.

    Raises:
        ConfigError: the adapter's rank is higher than any that vLLM allows, or its config does not tell.
    """
    from vllm.config.lora import MaxLoRARanks

    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    rank = max([int(config.get("r") or 0), *map(int, (config.get("rank_pattern") or {}).values())])
    for allowed in sorted(get_args(MaxLoRARanks)):
        if 0 < rank <= allowed:
            return int(allowed)
    raise ConfigError(
        f"vLLM runs no LoRA of rank {rank}", place=str(file), cure="merge the adapter into its base, or use --engine hf"
    )


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else config


@contextmanager
def _kept_stderr() -> Iterator[IO[bytes] | None]:
    """Keeps what is written to standard error, by C++ and by child processes too, unless the user asked for logs."""
    if os.environ.get("VLLM_LOGGING_LEVEL", "ERROR") != "ERROR":
        yield None
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield log
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def _read(log: IO[bytes] | None) -> str:
    if log is None:
        return ""
    sys.stderr.flush()
    log.seek(0)
    return log.read().decode(errors="replace")
