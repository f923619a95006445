"""Which engine, and how to make it: one match statement, heavy imports on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tuna_eval.errors import ConfigError
from tuna_eval.llm.engine import Engine
from tuna_eval.llm.models import LocalModel

ENGINES = {
    "vllm": "vLLM in this process: fastest; decoder-only models, LoRA",
    "hf": "transformers in this process: any causal or encoder-decoder model, LoRA",
    "api": "any OpenAI-compatible server (--base-url)",
    "lm_eval:TYPE": "any model class of lm-eval, such as lm_eval:hf or lm_eval:local-completions",
    "scripted": "fixed replies from a JSON Lines file (--model FILE), for tests and examples",
}


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a user may choose about the model and its engine.

    Attributes:
        model: hub id, folder, LoRA folder, GGUF file, "demo"; for a server the name it serves.
        kind: one of `ENGINES`, or "auto".
        tokenizer: folder or hub id of another tokenizer; for a server, of the one to count with.
        revision: of a hub id.
        dtype: "auto" or a torch dtype's name.
        max_length: tokens of prompt and reply together; None is the model's own.
        tensor_parallel, data_parallel: GPUs a replica, and replicas.
        batch_size: of the hf and lm_eval engines; None lets the engine choose.
        base_url: root of an OpenAI-compatible API.
        chat_api: whether a server's chat endpoint is used rather than its completions endpoint.
        extra: further arguments of the engine, as the user wrote them (KEY=VALUE).
    """

    model: str
    kind: str = "auto"
    tokenizer: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    max_length: int | None = None
    tensor_parallel: int = 1
    data_parallel: int = 1
    batch_size: int | None = None
    base_url: str | None = None
    chat_api: bool = False
    api: Mapping[str, float | int] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """A kind of engine, and why it was chosen."""

    kind: str
    reason: str


def choose_engine(options: EngineOptions) -> EngineChoice:
    """The engine that was asked for, or for "auto" the fastest that can run the model here."""
    if options.kind != "auto":
        return EngineChoice(options.kind, "as asked")
    if options.base_url:
        return EngineChoice("api", "a --base-url is given")
    if find_spec("vllm") is None:
        return EngineChoice("hf", "vLLM is not installed")
    if _local_model(options).is_encoder_decoder:
        return EngineChoice("hf", "vLLM does not run encoder-decoder models")
    return EngineChoice("vllm", "vLLM is installed and is the fastest")


def open_engine(options: EngineOptions) -> Engine:
    """Makes the engine; its model is loaded when it is first asked for something.

    Raises:
        ConfigError: there is no such engine, the model is not there, or an option does not fit the engine.
        EngineError: the hub does not serve the model.
    """
    _check(options)
    if options.data_parallel > 1:
        from tuna_eval.llm.replicated_engine import ReplicatedEngine

        single = replace(options, data_parallel=1)
        return ReplicatedEngine(
            partial(open_engine, single),
            replicas=options.data_parallel,
            devices_per_replica=options.tensor_parallel,
            front=open_engine(single),
        )
    kind, _, subtype = options.kind.partition(":")
    match kind:
        case "vllm":
            from tuna_eval.llm.vllm_engine import VllmEngine

            return VllmEngine(
                _local_model(options),
                dtype=options.dtype,
                tensor_parallel=options.tensor_parallel,
                max_length=options.max_length,
            )
        case "hf":
            from tuna_eval.llm.hf_engine import HFEngine

            return HFEngine(
                _local_model(options),
                dtype=options.dtype,
                batch_size=options.batch_size,
                max_length=options.max_length,
            )
        case "api":
            return _api_engine(options)
        case "lm_eval":
            return _lm_eval_engine(subtype, options)
        case _:
            from tuna_eval.llm.scripted_engine import ScriptedEngine, read_script

            return ScriptedEngine(read_script(Path(options.model)), context_length=options.max_length)


def _local_model(options: EngineOptions) -> LocalModel:
    from tuna_eval.llm.models import resolve_model

    return resolve_model(options.model, tokenizer=options.tokenizer, revision=options.revision)


def _check(options: EngineOptions) -> None:
    kinds = [name.partition(":")[0] for name in ENGINES]
    kind, _, subtype = options.kind.partition(":")
    if kind not in kinds:
        close = get_close_matches(kind, kinds, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]}?" if close else f"use one of auto, {', '.join(ENGINES)}"
        raise ConfigError(f"unknown engine {options.kind!r}", place="--engine", cure=hint)
    if (kind == "lm_eval") != bool(subtype):
        raise ConfigError(
            f"engine {options.kind!r} is not complete", place="--engine", cure="write lm_eval:hf, for example"
        )
    if options.extra and kind != "lm_eval":
        raise ConfigError(
            f"engine {kind} takes no --engine-arg ({', '.join(options.extra)})",
            cure="only lm_eval:TYPE takes such arguments",
        )
    if kind == "api" and not options.base_url:
        raise ConfigError("the api engine needs an address", cure="give --base-url http://HOST:PORT/v1")
    for name, value in (("tensor-parallel", options.tensor_parallel), ("data-parallel", options.data_parallel)):
        if value < 1:
            raise ConfigError(f"--{name} {value} is too small", cure="give 1 or more")
    if options.tensor_parallel > 1 and kind != "vllm":
        raise ConfigError(
            f"engine {kind} has no tensor parallelism", cure="use --engine vllm or leave --tensor-parallel out"
        )
    if options.data_parallel > 1 and kind not in ("vllm", "hf"):
        raise ConfigError(f"engine {kind} is not replicated", cure="leave --data-parallel out")


def _api_engine(options: EngineOptions) -> Engine:
    from tuna_eval.llm.api_engine import ApiEngine
    from tuna_eval.llm.api_options import ApiOptions
    from tuna_eval.llm.encoder import HFEncoder
    from tuna_eval.llm.models import resolve_tokenizer

    encoder = HFEncoder(resolve_tokenizer(options.tokenizer)) if options.tokenizer else None
    return ApiEngine(
        ApiOptions(
            base_url=options.base_url or "",
            model=options.model,
            mode="chat" if options.chat_api else "completions",
            context_length=options.max_length,
            **options.api,  # type: ignore[arg-type]  # the command line gives each its type
        ),
        encoder,
        encoder.chat if encoder else None,
    )


def _lm_eval_engine(kind: str, options: EngineOptions) -> Engine:
    """lm-eval's class; where it reads Hugging Face folders, a model may be named in every way that --model knows."""
    from tuna_eval.llm.lm_eval_engine import LmEvalEngine
    from tuna_eval.llm.lm_eval_models import local_arguments, reads_folders

    model, arguments = options.model, dict(options.extra)
    if reads_folders(kind):
        local = _local_model(options)
        model, arguments = str(local.folder), {**local_arguments(kind, local), **arguments}
    if options.dtype != "auto":
        arguments.setdefault("dtype", options.dtype)
    if options.max_length is not None:
        arguments.setdefault("max_length", str(options.max_length))
    if options.base_url is not None:
        arguments.setdefault("base_url", options.base_url)
    return LmEvalEngine(kind, model, model_args=arguments, batch_size=options.batch_size)
