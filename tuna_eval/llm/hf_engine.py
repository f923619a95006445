"""transformers in this process: any causal or encoder-decoder model, with a LoRA adapter if it has one."""

from __future__ import annotations

import gc
import importlib.metadata
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.llm.batching import plan_batches
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.engine import ChatRenderer, SamplingParams
from tuna_eval.llm.hf_decoding import Decoder, Row, shares_prefixes
from tuna_eval.llm.hf_loading import DTYPES, choose_device, choose_dtype, load_model
from tuna_eval.llm.hf_memory import batch_limits, in_halves
from tuna_eval.llm.hf_scoring import score_batch
from tuna_eval.llm.models import LocalModel
from tuna_eval.schema import JSON, Completion, ContinuationRequest, ContinuationScore, Prompt

if TYPE_CHECKING:
    import torch

SANE_LENGTH = 1 << 20  # transformers writes 1e30 into tokenizers whose length it does not know


class HFEngine:
    """A local model in transformers.

    A reply depends on its prompt and the parameters alone: neither the batch size nor the other prompts change it, in
    float32 (lower precision rounds differently in another batch).

    Args:
        model: what to load.
        dtype: one of `DTYPES`; "auto" is float32 on a CPU, the checkpoint's own on a GPU.
        device: "auto" (the GPUs if there are any), or a torch device.
        batch_size: most sequences at once; None derives it from the free memory.
        max_length: tokens of prompt and reply together; None is what the model allows.

    Raises:
        ConfigError: an option is out of range.
    """

    name = "hf"

    def __init__(
        self,
        model: LocalModel,
        *,
        dtype: str = "auto",
        device: str = "auto",
        batch_size: int | None = None,
        max_length: int | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise ConfigError(f"unknown dtype {dtype!r}", place="--dtype", cure=f"use one of {', '.join(DTYPES)}")
        for option, value in (("--batch-size", batch_size), ("--max-length", max_length)):
            if value is not None and value < 1:
                raise ConfigError(f"{value} is too small", place=option, cure="give 1 or more")
        self.model = model
        self.encoder = HFEncoder.of(model)
        self._dtype, self._device = dtype, device
        self._batch_size, self._max_length = batch_size, max_length
        self._loaded: Any = None

    @property
    def chat(self) -> ChatRenderer | None:
        """See `Engine.chat`."""
        return self.encoder.chat

    @cached_property
    def device(self) -> torch.device:
        """Where the model computes; the first of its devices if it is spread over several."""
        return choose_device(self._device)

    @property
    def dtype(self) -> str:
        """What the model computes in."""
        return choose_dtype(self._dtype, self.device, self.model)

    @cached_property
    def context_length(self) -> int | None:
        """Tokens of prompt and reply together, of an encoder-decoder those of the prompt; None if nothing limits them.

        T5 and its kin have relative positions: the 512 in their files is the length they were pre-trained with, and
        the official Super-NI runs gave them 1024.
        """
        if self._max_length is not None:
            return self._max_length
        from transformers import AutoConfig

        if "relative_attention_num_buckets" in self.model.config:
            return None
        try:
            config = AutoConfig.from_pretrained(str(self.model.folder)).get_text_config()
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise EngineError(f"transformers does not know the model ({reason})", place=self.model.name) from error
        declared = getattr(config, "max_position_embeddings", None) or self.encoder.tokenizer.model_max_length
        return int(declared) if declared < SANE_LENGTH else None

    def max_prompt_tokens(self, max_new_tokens: int) -> int | None:
        """See `Engine.max_prompt_tokens`."""
        if self.context_length is None or self.model.is_encoder_decoder:
            return self.context_length
        return self.context_length - max_new_tokens

    def fingerprint(self) -> Mapping[str, JSON]:
        """See `Engine.fingerprint`. Batch size and maximal length are no part of it: they change no reply."""
        return {
            "engine": self.name,
            "transformers": importlib.metadata.version("transformers"),
            "torch": importlib.metadata.version("torch"),
            "device": self.device.type,
            "dtype": self.dtype,
            "adapter": self.model.adapter is not None,
            "weights_sha256": self.model.weights_sha256,
            "tokenizer_sha256": self.model.tokenizer_sha256,
        }

    def load(self) -> None:
        """See `Engine.load`."""
        self._load()

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
        """See `Engine.generate`. Replies come batch by batch, those to the longest prompts first.

        Replies that are still going when most of their batch has ended are finished later, together.

        Raises:
            EngineError: also for a prompt that is empty or leaves no room for the reply.
        """
        if not prompts:
            return
        encoded = self.encoder.encode_batch(prompts)
        for index, ids in enumerate(encoded):
            self._check_length(ids, params.max_new_tokens, f"prompt {index}")
        model = self._load()
        self._check_vocabulary(encoded)
        decoder = Decoder(model, params, self.encoder.stop_ids, self.encoder.decode)
        limits = batch_limits(model, self._batch_size)
        waiting = [Row(i, ids, params.of(prompts[i]).seed) for i, ids in enumerate(encoded)]
        while waiting:
            batches = plan_batches(
                [row.prompt + row.tokens for row in waiting],
                limits,
                new_tokens=params.max_new_tokens,
                share_prefixes=shares_prefixes(model),
            )
            planned, waiting = [[waiting[i] for i in batch] for batch in batches], []
            for number, rows in enumerate(planned, 1):
                can_wait = (waiting or number < len(planned)) and not self.model.is_encoder_decoder
                self._advance(decoder, rows, leave=len(rows) // 4 if can_wait else 0)
                yield from (self._completion(row, params) for row in rows if row.finish_reason)
                waiting.extend(row for row in rows if not row.finish_reason)

    def score(self, requests: Sequence[ContinuationRequest]) -> Iterator[ContinuationScore]:
        """See `Engine.score`. The tokens are those of the prompt followed by those of the continuation.

        Raises:
            EngineError: also for a prompt that is empty or too long with its continuation.
        """
        if not requests:
            return
        prompts = self.encoder.encode_batch([request.prompt for request in requests])
        continuations = self.encoder.encode_plain([request.continuation for request in requests])
        asked = [index for index, ids in enumerate(continuations) if ids]
        for index in asked:
            self._check_length(prompts[index], len(continuations[index]), f"request {index}")
        yield from (ContinuationScore(i, 0.0, (), (), True) for i, ids in enumerate(continuations) if not ids)
        model = self._load()
        self._check_vocabulary([*prompts, *continuations])
        joined = [prompts[i] + continuations[i] for i in asked]
        for batch in plan_batches(joined, batch_limits(model, self._batch_size, logits=True)):
            indices = [asked[position] for position in batch]
            yield from self._score(indices, prompts, continuations)

    def close(self) -> None:
        """See `Engine.close`."""
        if self._loaded is None:
            return
        import torch

        self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _load(self) -> Any:
        if self._loaded is None:
            self._loaded = load_model(self.model, dtype=self.dtype, device=self.device)
        return self._loaded

    def _completion(self, row: Row, params: SamplingParams) -> Completion:
        said = row.tokens[:-1] if row.tokens[-1] in self.encoder.stop_ids else row.tokens
        text = self.encoder.decode(said)
        ends = [text.index(stop) for stop in params.stop if stop in text]
        return Completion(
            index=row.index,
            text=text[: min(ends)] if ends else text,
            token_ids=tuple(row.tokens),
            finish_reason=row.finish_reason,
            logprob=math.fsum(row.logprobs),
            prompt_tokens=len(row.prompt),
            completion_tokens=len(row.tokens),
        )

    def _advance(self, decoder: Decoder, rows: Sequence[Row], *, leave: int) -> None:
        in_halves(lambda part: decoder.advance(part, leave=leave), rows, self.model.name)

    def _score(
        self, indices: Sequence[int], prompts: Sequence[list[int]], continuations: Sequence[list[int]]
    ) -> list[ContinuationScore]:
        scores: list[ContinuationScore] = []

        def run(part: Sequence[int]) -> None:
            heads, tails = [prompts[i] for i in part], [continuations[i] for i in part]
            scores.extend(score_batch(self._loaded, part, heads, tails))

        in_halves(run, indices, self.model.name)
        return scores

    def _check_length(self, ids: Sequence[int], more: int, what: str) -> None:
        if not ids:
            raise EngineError(f"{what} has no tokens", place=self.model.name, cure="give a prompt")
        limit = self.max_prompt_tokens(more)
        if limit is not None and len(ids) > limit:
            raise EngineError(
                f"{what} has {len(ids)} tokens and the model takes {limit} where {more} are to follow",
                place=self.model.name,
                cure="shorten it, or ask for fewer",
            )

    def _check_vocabulary(self, sequences: Sequence[Sequence[int]]) -> None:
        known = self._loaded.get_input_embeddings().num_embeddings
        largest = max((max(ids) for ids in sequences if ids), default=0)
        if largest >= known:
            raise EngineError(
                f"the tokenizer uses id {largest} and the model knows {known} tokens",
                place=str(self.model.tokenizer_folder),
                cure="use the tokenizer the model was trained with",
            )
