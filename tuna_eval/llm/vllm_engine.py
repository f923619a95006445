"""vLLM in this process: every prompt at the scheduler at once, replies as they finish."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar
from weakref import ReferenceType, ref

from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.engine import ChatRenderer, SamplingParams
from tuna_eval.llm.models import LocalModel, require_language_model
from tuna_eval.llm.vllm_loading import (
    cached_tokens,
    context_length,
    cpu_kv_cache_bytes,
    failure,
    import_vllm,
    max_lora_rank,
    start_llm,
)
from tuna_eval.llm.vllm_params import decoding_params, scoring_params
from tuna_eval.schema import JSON, Completion, ContinuationRequest, ContinuationScore, Prompt

CPU_BLOCK_TOKENS = 32  # vLLM's 128 for CPUs would share only prefixes of whole 128 tokens
CPU_STEP_TOKENS = 4096  # read in one step, as vLLM has it for CPUs


class VllmEngine:
    """A decoder-only model in vLLM, with its LoRA adapter if it has one. Prefixes are shared through vLLM's cache.

    Only one `generate` or `score` runs at a time: finish or close it before the next. A process holds one running
    engine: vLLM keeps its state in global variables, and closing one engine would break another.

    Args:
        model: what to load.
        dtype: "auto" (float32 on a CPU, the model's own on a GPU) or a torch dtype's name.
        tensor_parallel: GPUs, or on a CPU worker processes, that share the model.
        max_length: tokens of prompt and reply together; None is what the model allows, on a CPU also what the
            key-value cache holds.
        gpu_memory_utilization: share of each GPU's memory in (0, 1]; None is vLLM's own.
        seed: of the engine; vLLM seeds this process with it.

    Attributes:
        cached_prompt_tokens: prompt tokens so far that were taken from the prefix cache instead of computed.
    """

    name = "vllm"
    _running: ClassVar[ReferenceType[VllmEngine] | None] = None

    def __init__(
        self,
        model: LocalModel,
        *,
        dtype: str = "auto",
        tensor_parallel: int = 1,
        max_length: int | None = None,
        gpu_memory_utilization: float | None = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.encoder = HFEncoder.of(model)
        self._requested_dtype = dtype
        self._tensor_parallel = tensor_parallel
        self._requested_length = max_length
        self._gpu_memory_utilization = gpu_memory_utilization
        self._seed = seed
        self.cached_prompt_tokens = 0
        self._llm: Any = None
        self._count = 0
        self._is_running = False

    @property
    def chat(self) -> ChatRenderer | None:
        """See `Engine.chat`."""
        return self.encoder.chat

    @cached_property
    def on_cpu(self) -> bool:
        """Whether the installed vLLM computes on the CPU."""
        import_vllm()
        from vllm.platforms import current_platform

        return bool(current_platform.is_cpu())

    @property
    def dtype(self) -> str:
        """What vLLM is asked to compute in."""
        return "float32" if self._requested_dtype == "auto" and self.on_cpu else self._requested_dtype

    @cached_property
    def max_length(self) -> int:
        """Tokens of prompt and reply together."""
        if self._requested_length is not None:
            return self._requested_length
        limit = context_length(self.model.config)
        if not self.on_cpu:
            return limit
        held = cached_tokens(self.model.config, cpu_kv_cache_bytes(), 4 if self.dtype in ("float32", "float") else 2)
        return limit if held is None else min(limit, held // CPU_BLOCK_TOKENS * CPU_BLOCK_TOKENS)

    def max_prompt_tokens(self, max_new_tokens: int) -> int | None:
        """See `Engine.max_prompt_tokens`."""
        return self.max_length - max_new_tokens

    def fingerprint(self) -> Mapping[str, JSON]:
        """See `Engine.fingerprint`; the hash of the weights covers config, quantisation and adapter."""
        vllm = import_vllm()
        import torch

        return {
            "engine": self.name,
            "vllm": str(vllm.__version__),
            "torch": str(torch.__version__),
            "device": "cpu" if self.on_cpu else "gpu",
            "dtype": self.dtype,
            "enforce_eager": self.on_cpu,
            "tensor_parallel": self._tensor_parallel,
            "seed": self._seed,
            "weights_sha256": self.model.weights_sha256,
            "tokenizer_sha256": self.model.tokenizer_sha256,
        }

    def load(self) -> None:
        """See `Engine.load`."""
        self._start()

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
        """See `Engine.generate`. When sampling, a reply depends on its prompt's tokens and its seed alone.

        Raises:
            EngineError: also for a prompt that leaves no room for a reply.
        """
        rows = self.encoder.encode_batch(prompts)
        for index, output in self._run(
            rows, lambda i: decoding_params(rows[i], params.of(prompts[i]), self.encoder.stop_ids)
        ):
            reply = output.outputs[0]
            ids = tuple(reply.token_ids)
            said = ids[:-1] if ids and ids[-1] in self.encoder.stop_ids else ids
            yield Completion(
                index=index,
                text=_cut(self.encoder.decode(said), params.stop),
                token_ids=ids,
                finish_reason=str(reply.finish_reason),
                logprob=float(reply.cumulative_logprob),
                prompt_tokens=len(output.prompt_token_ids),
                completion_tokens=len(ids),
            )

    def score(self, requests: Sequence[ContinuationRequest]) -> Iterator[ContinuationScore]:
        """See `Engine.score`. The tokens are those of the prompt followed by those of the continuation.

        vLLM computes a scored prompt anew even where its beginning is in the prefix cache.

        Raises:
            EngineError: also for an empty prompt or one too long.
        """
        heads = self.encoder.encode_batch([request.prompt for request in requests])
        tails = self.encoder.encode_batch([Prompt(r.continuation, has_special_tokens=True) for r in requests])
        asked = []
        for index, (head, tail) in enumerate(zip(heads, tails, strict=True)):
            if not tail:
                yield ContinuationScore(index, 0.0, (), (), True)
            elif not head:
                raise EngineError("a continuation of nothing has no probability", cure="give a prompt")
            else:
                asked.append(index)
        for position, output in self._run([heads[i] + tails[i] for i in asked], lambda _: scoring_params()):
            index = asked[position]
            entries = output.prompt_logprobs[len(heads[index]) :]
            chosen = [entry[token] for entry, token in zip(entries, tails[index], strict=True)]
            values = tuple(float(entry.logprob) for entry in chosen)
            is_greedy = all(entry.rank == 1 for entry in chosen)
            yield ContinuationScore(index, sum(values), tuple(tails[index]), values, is_greedy)

    def close(self) -> None:
        """See `Engine.close`; another engine may start in this process afterwards."""
        if self._llm is None:
            return
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = VllmEngine._running = None
        gc.collect()

    def _run(self, rows: Sequence[list[int]], sampling: Callable[[int], Any]) -> Iterator[tuple[int, Any]]:
        """Hands over all rows, those with a common prefix side by side, and yields vLLM's outputs as they finish,
        each with the position of its row."""
        for index, row in enumerate(rows):
            if len(row) >= self.max_length:
                raise EngineError(
                    f"prompt {index} has {len(row)} tokens and the context {self.max_length}",
                    place=self.model.name,
                    cure="shorten it, or give a larger --max-length",
                )
        if self._is_running:
            raise RuntimeError("the engine is busy: finish or close the generator of the last call first")
        if not rows:
            return
        engine = self._start().llm_engine
        waiting: dict[str, int] = {}
        self._is_running = True
        try:
            for index in sorted(range(len(rows)), key=rows.__getitem__):
                name = str(self._count)
                self._count += 1
                self._add(engine, name, rows[index], sampling(index))
                waiting[name] = index
            while waiting:
                for output in self._step(engine):
                    if output.finished:
                        self.cached_prompt_tokens += output.num_cached_tokens or 0
                        yield waiting.pop(output.request_id), output
        finally:
            self._is_running = False
            if waiting and self._llm is not None:
                engine.abort_request(list(waiting))

    def _add(self, engine: Any, name: str, row: list[int], sampling: Any) -> None:
        from vllm.exceptions import VLLMError

        try:
            engine.add_request(name, {"prompt_token_ids": row}, sampling, lora_request=self._lora)
        except (VLLMError, ValueError, RuntimeError, OSError) as error:
            raise failure("vLLM refuses a prompt", error, self.model.name) from error

    def _step(self, engine: Any) -> list[Any]:
        from vllm.exceptions import VLLMError

        try:
            return list(engine.step())
        except (VLLMError, RuntimeError, ValueError, AssertionError) as error:
            self.close()
            raise failure("vLLM failed", error, self.model.name) from error

    def _start(self) -> Any:
        if self._llm is not None:
            return self._llm
        if self.model.is_encoder_decoder:
            raise ConfigError(
                "vLLM runs no encoder-decoder models", place=str(self.model.folder), cure="use --engine hf"
            )
        other = VllmEngine._running() if VllmEngine._running else None
        if other is not None:
            raise EngineError(
                f"this process already runs a vLLM engine ({other.model.name})",
                place=self.model.name,
                cure="close it first, or use a process for each",
            )
        require_language_model(self.model)
        self._llm = start_llm(self._arguments(), str(self.model.folder))
        VllmEngine._running = ref(self)
        return self._llm

    def _arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": str(self.model.folder),
            "tokenizer": str(self.model.tokenizer_folder),
            "dtype": self.dtype,
            "tensor_parallel_size": self._tensor_parallel,
            "max_model_len": self.max_length,
            "seed": self._seed,
            "enable_prefix_caching": True,
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
        }
        if self.on_cpu:  # eager: nothing to compile or capture pays on a CPU
            arguments |= {"enforce_eager": True, "block_size": CPU_BLOCK_TOKENS}
            arguments["kv_cache_memory_bytes"] = cpu_kv_cache_bytes()
            # Of a prompt that is read in pieces vLLM takes a draw back, which a seeded generator on a CPU cannot.
            arguments |= {
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(CPU_STEP_TOKENS, self.max_length),
            }
        elif self._gpu_memory_utilization is not None:
            arguments["gpu_memory_utilization"] = self._gpu_memory_utilization
        if self.model.adapter is not None:
            arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": max_lora_rank(self.model.adapter)}
        return arguments

    @cached_property
    def _lora(self) -> Any:
        if self.model.adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        return LoRARequest(self.model.name, 1, str(self.model.adapter))


def _cut(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop string in it."""
    ends = [text.find(string) for string in stop if string in text]
    return text[: min(ends)] if ends else text
