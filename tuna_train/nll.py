"""Negative log-likelihood of given responses under a model (Table 5), streamed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tuna_eval.disk import json_line, replacing
from tuna_eval.errors import ConfigError, DataError, EngineError
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.hf_loading import choose_device, choose_dtype, load_model
from tuna_eval.llm.models import LocalModel, resolve_model
from tuna_eval.llm.prompts import choose_format
from tuna_eval.run import Progress
from tuna_eval.schema import JSON
from tuna_train.data.encode import ExampleEncoder, encode_examples, read_files, responses_of
from tuna_train.data.ranked import RankedExample
from tuna_train.training.checks import require_causal

SCHEMA = "tuna-nll/1"
_TOKENS = 8192  # of a forward pass
_CHUNK = 32  # instructions that are tokenised, sorted into forward passes and measured together


@dataclass
class Mean:
    """Sums over responses.

    Attributes:
        responses: how many.
        tokens: of all of them, each response's end included.
        nll: of all of them, nats.
    """

    responses: int = 0
    tokens: int = 0
    nll: float = 0.0

    def add(self, tokens: int, nll: float) -> None:
        """One response more."""
        self.responses += 1
        self.tokens += tokens
        self.nll += nll

    @property
    def per_token(self) -> float:
        """Nats; every token counts alike."""
        return self.nll / self.tokens

    @property
    def per_response(self) -> float:
        """Nats."""
        return self.nll / self.responses

    def as_json(self) -> dict[str, JSON]:
        """Sums and means."""
        return {**asdict(self), "per_token": self.per_token, "per_response": self.per_response}


@dataclass
class Nll:
    """What was measured.

    Attributes:
        all: over every response.
        by_source: over those of each writer; "" for writers that are not named.
        by_rank: over the ranked ones.
        cut: how many responses lost their end to the length limit.
        left_out: how many examples have a prompt that leaves no token for a response.
        settings: what it was measured with.
    """

    settings: dict[str, JSON]
    all: Mean = field(default_factory=Mean)
    by_source: dict[str, Mean] = field(default_factory=dict)
    by_rank: dict[int, Mean] = field(default_factory=dict)
    cut: int = 0
    left_out: int = 0

    def add(self, response: ResponseNll) -> None:
        """One response more."""
        means = [self.all, self.by_source.setdefault(response.source, Mean())]
        if response.rank is not None:
            means.append(self.by_rank.setdefault(response.rank, Mean()))
        for mean in means:
            mean.add(response.tokens, response.nll)
        self.cut += response.cut

    def as_json(self) -> dict[str, JSON]:
        """For --json and --summary."""
        return {
            "schema": SCHEMA,
            **self.settings,
            "cut": self.cut,
            "left_out": self.left_out,
            "all": self.all.as_json(),
            "by_source": {name: mean.as_json() for name, mean in self.by_source.items()},
            "by_rank": {str(rank): mean.as_json() for rank, mean in sorted(self.by_rank.items())},
        }


@dataclass(frozen=True)
class ResponseNll:
    """One response: the record's id, who wrote it, its rank if it has one, its tokens, and their NLL in nats."""

    id: str
    source: str
    rank: int | None
    tokens: int
    nll: float
    cut: bool


def measure_nll(
    model: str,
    data: Path,
    *,
    format: str = "alpaca",
    max_length: int = 2048,
    limit: int | None = None,
    out: Path | None = None,
    progress: Progress,
) -> Nll:
    """Measures every response of a file; a response that is given twice counts twice.

    Args:
        model: see `resolve_model`.
        data: in any format of `formats.FORMATS`.
        format: of the prompts; "auto" is chat if the model has a template.
        max_length: tokens of prompt and response; a longer response is cut and counted, an example whose prompt leaves
            no token for one is left out and counted.
        limit: examples.
        out: gets a line for each response; it appears when all are measured.
        progress: the user's terminal.

    Raises:
        ConfigError: no such model or format, or no causal language model.
        DataError: the file cannot be read, holds no response, or no prompt that leaves a token for one.
        EngineError: the model cannot be loaded, or its numbers are not finite.
        StoreError: `out` cannot be written.
    """
    if max_length < 2 or (limit is not None and limit < 1):
        raise ConfigError("the limit is too small", place="--max-length, --limit", cure="give a larger one")
    total = sum(1 for _ in read_files([data], limit))  # also finds a broken line before the model loads
    if not total:
        raise DataError("holds no example", place=str(data), cure="name a file with examples")
    source = resolve_model(model)
    require_causal(source, place=f"MODEL {source.name}")
    tokenizer = HFEncoder.of(source)
    encoder = ExampleEncoder(tokenizer, choose_format(format, tokenizer), max_length)
    found = Nll({"model": source.name, "data": data.name, "format": encoder.format, "max_length": max_length})
    with ExitStack() as stack:
        write = stack.enter_context(replacing(out)) if out else None
        progress.begin("NLL", done=0, total=total)
        stack.callback(progress.end)
        for response in _responses(source, encoder, _fitting(data, limit, encoder, found, progress), progress):
            found.add(response)
            if write:
                write(json_line({"schema": SCHEMA, **asdict(response)}))
        if found.left_out:
            left_out = f"{found.left_out} of {total} examples left out: prompts over {max_length - 1} tokens"
            progress.note(f"{data.name}: {left_out}")
        if not found.all.responses:
            problem = f"no prompt leaves one of {max_length} tokens for a response"
            raise DataError(problem, place=str(data), cure="give a larger --max-length")
    return found


def _fitting(
    data: Path, limit: int | None, encoder: ExampleEncoder, found: Nll, progress: Progress
) -> Iterator[tuple[str, RankedExample]]:
    """The examples whose prompt leaves a token for a response; the others are counted in `found`."""
    stream = read_files([data], limit)
    while chunk := list(islice(stream, _CHUNK)):
        prompts = encoder.tokenizer.encode_batch([encoder.prompt(example) for _, example in chunk])
        for named, prompt in zip(chunk, prompts, strict=True):
            if len(prompt) < encoder.max_length:
                yield named
            else:
                found.left_out += 1
                progress.advance()


def _responses(
    source: LocalModel,
    encoder: ExampleEncoder,
    examples: Iterator[tuple[str, RankedExample]],
    progress: Progress,
) -> Iterator[ResponseNll]:
    import torch

    from tuna_train.scoring import PACKABLE, enable_packing

    device = choose_device("auto")
    model = load_model(source, dtype=choose_dtype("auto", device, source), device=device)
    packed = str(source.config.get("model_type")) in PACKABLE
    if packed:
        enable_packing(model)
    while chunk := list(islice(examples, _CHUNK)):
        with torch.inference_mode():
            yield from _measure(model, encoder, chunk, packed=packed)
        for _ in chunk:
            progress.advance()


def _measure(
    model: Any, encoder: ExampleEncoder, chunk: list[tuple[str, RankedExample]], *, packed: bool
) -> Iterator[ResponseNll]:
    import torch

    from tuna_train.packing import collate
    from tuna_train.scoring import response_logprobs

    encoded = encode_examples(chunk, encoder, purpose="score")
    nlls: list[float] = []
    lengths: list[int] = []
    for group in _groups(list(encoded), packed=packed):
        batch = collate(group, packed=packed, row_tokens=_TOKENS).to(model.device)
        logprobs = response_logprobs(model, batch)
        sums = torch.zeros(len(batch.wanted.tokens), dtype=torch.float64, device=model.device)
        nlls += (-sums.index_add(0, logprobs.response, logprobs.values.double())).tolist()
        lengths += batch.wanted.tokens.tolist()
    measured = iter(zip(nlls, lengths, strict=True))
    for _, example in chunk:
        wanted = responses_of(example, "score")
        ranks = [c.rank for c in example.candidates]
        for place, writer in enumerate(wanted.sources):
            nll, tokens = next(measured)
            rank = ranks[place] if place < len(ranks) else None
            if not math.isfinite(nll):
                problem = f"response {place} has an NLL of {nll:g}: the model's weights are broken or overflow"
                raise EngineError(problem, place=f"record {example.id}", cure="check the model")
            whole = len(encoder.encode([wanted.texts[place]])[0])
            yield ResponseNll(example.id, writer, rank, tokens, nll, cut=whole > tokens)


def _groups(instructions: list[Any], *, packed: bool) -> Iterator[list[Any]]:
    """Instructions of one forward pass each; padded, every response is a line as long as the longest."""
    group: list[Any] = []
    for instruction in instructions:
        longer = [*group, instruction]
        lines = [len(i.prompt) + len(r) for i in longer for r in i.responses]
        size = sum(i.tokens for i in longer) if packed else len(lines) * max(lines)
        if group and size > _TOKENS:
            yield group
            group = []
        group.append(instruction)
    yield group
