"""A proxy ranking model as a judge: it orders the responses to an instruction by the scores of its scalar head."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna_eval.disk import replacing
from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.judge.protocols import Ranking
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.hf_loading import choose_device, choose_dtype
from tuna_eval.llm.models import LocalModel, read_json, resolve_model
from tuna_eval.llm.prompts import choose_format
from tuna_eval.llm.quiet import quiet_transformers
from tuna_eval.schema import JSON
from tuna_train.data.encode import ExampleEncoder
from tuna_train.data.ranked import Candidate, RankedExample, competition_ranks

if TYPE_CHECKING:
    from tuna_train.packing import TokenizedInstruction
    from tuna_train.prm.batches import BatchPlan

SETTINGS = "prm.json"  # beside the weights
WINDOW = 256  # examples that are sorted by length together
_CURE = "name a folder that tuna-train prm wrote, or another sequence classifier with one label"


@dataclass(frozen=True)
class PrmSettings:
    """How the model was trained to read, and is to be asked.

    Attributes:
        format: prompt format, or "auto" for the tokenizer's chat template if it has one.
        max_length: tokens of a prompt and one response; a longer response is cut, as in training.
    """

    format: str = "auto"
    max_length: int = 2048

    def write(self, folder: Path) -> None:
        """Stores them beside the weights.

        Raises:
            StoreError: the file cannot be written.
        """
        with replacing(folder / SETTINGS) as write:
            write(json.dumps(asdict(self), indent=2) + "\n")


def open_prm(
    folder: Path | str, device: str | None = None, *, dtype: str = "auto", batch_size: int | None = None
) -> PrmRanker:
    """The ranker in a folder; its weights are read when it is first asked.

    Args:
        folder: what `tuna-train prm` wrote, or any sequence classifier with one label that transformers loads.
        device: torch device; None for the first GPU if there is one, else the CPU.
        dtype: of the body's weights; "auto" is float32 on a CPU and the checkpoint's own elsewhere.
        batch_size: instructions of a forward pass; None for as many as fill a row. It does not change a score.

    Raises:
        ConfigError: no such folder, or it holds no such model.
    """
    local = resolve_model(str(folder))
    kinds = local.config.get("architectures") or ["nothing"]
    kind = str(kinds[0]) if isinstance(kinds, list) else str(kinds)
    if not kind.endswith("ForSequenceClassification"):
        raise ConfigError(f"holds a {kind}, not a proxy ranking model", place=str(folder), cure=_CURE)
    labels = local.config.get("id2label")
    if not isinstance(labels, dict) or len(labels) != 1:  # transformers writes none for its default of two
        count = len(labels) if isinstance(labels, dict) else 2
        raise ConfigError(f"the model has {count} labels, not one score", place=str(folder), cure=_CURE)
    return PrmRanker(local, _read_settings(local), device=device or "auto", dtype=dtype, batch_size=batch_size)


def _read_settings(local: LocalModel) -> PrmSettings:
    file = local.folder / SETTINGS
    if not file.is_file():
        context = local.config.get("max_position_embeddings")
        return PrmSettings(max_length=context if isinstance(context, int) else PrmSettings.max_length)
    values = read_json(file)
    format, length = values.get("format"), values.get("max_length")
    if set(values) != set(asdict(PrmSettings())) or not isinstance(format, str) or not isinstance(length, int):
        raise ConfigError("holds no format and max_length", place=str(file), cure="copy the file of the training anew")
    return PrmSettings(format, length)


class PrmRanker:
    """Implements `Ranker`. Made by `open_prm`.

    Equal scores keep the order of the call. A response that was cut to the model's length makes the confidence "low",
    and so does a tie.
    """

    def __init__(
        self, local: LocalModel, settings: PrmSettings, *, device: str, dtype: str, batch_size: int | None
    ) -> None:
        self._local, self.settings = local, settings
        self._device, self._dtype, self._batch_size = device, dtype, batch_size

    @property
    def name(self) -> str:
        """See `Ranker.name`."""
        return self._local.name

    def fingerprint(self) -> Mapping[str, JSON]:
        """See `Ranker.fingerprint`; the batch changes no score."""
        return {
            "judge": "prm",
            "model": self._local.name,
            "weights_sha256": self._local.weights_sha256,
            "tokenizer_sha256": self._local.tokenizer_sha256,
            "format": self._encoder.format,
            "max_length": self.settings.max_length,
            "dtype": self._chosen_dtype,
        }

    def rank(self, instruction: str, responses: Sequence[str]) -> Ranking:
        """See `Ranker.rank`.

        Raises:
            EngineError: the weights cannot be read, or the instruction leaves no room for a response.
            ValueError: fewer than two responses.
        """
        if len(responses) < 2:
            raise ValueError(f"ranking needs two responses or more, got {len(responses)}")
        candidates = tuple(Candidate(text) for text in responses)
        ranking = next(self.rank_all([RankedExample("", instruction, candidates=candidates)]))
        if ranking.order is None:
            raise EngineError(ranking.reply, place=self.name, cure="shorten the instruction")
        return ranking

    def rank_all(self, examples: Iterable[RankedExample]) -> Iterator[Ranking]:
        """Orders the candidates of each example, in the order of the examples.

        Ranks and scores that the candidates have are not read. An example without candidates, or whose prompt leaves
        no room for them, has the order None and the reason as its reply.

        Raises:
            EngineError: the weights cannot be read, or memory does not suffice for one example.
        """
        rest = iter(examples)
        while window := list(islice(rest, WINDOW)):
            yield from self._rank_window(window)

    def _rank_window(self, window: Sequence[RankedExample]) -> Iterator[Ranking]:
        from tuna_train.prm.batches import candidate_scores

        tokenized = list(self._tokenize(window))
        askable = [found for found, _ in tokenized if not isinstance(found, str)]
        scores = iter(candidate_scores(self._model, askable, self._plan) if askable else ())
        for found, is_cut in tokenized:
            yield Ranking(None, reply=found) if isinstance(found, str) else _ranking(next(scores), is_cut)

    def _tokenize(self, window: Sequence[RankedExample]) -> Iterator[tuple[TokenizedInstruction | str, bool]]:
        """What is to be scored, or why nothing can be; and whether a response was cut."""
        from tuna_train.packing import TokenizedInstruction

        prompts = self._encoder.tokenizer.encode_batch([self._encoder.prompt(example) for example in window])
        ids = iter(self._encoder.encode([c.text for example in window for c in example.candidates]))
        for example, prompt in zip(window, prompts, strict=True):
            whole = [next(ids) for _ in example.candidates]
            room = self.settings.max_length - len(prompt)
            if not whole:
                yield "the example has no candidates", False
            elif room < 1 or not prompt:
                yield f"a prompt of {len(prompt)} tokens leaves no room within {self.settings.max_length}", False
            else:
                cut = [response[:room] for response in whole]
                yield TokenizedInstruction(example.id, prompt, cut, [0] * len(cut)), cut != whole

    @cached_property
    def _encoder(self) -> ExampleEncoder:
        tokenizer = HFEncoder.of(self._local)
        return ExampleEncoder(tokenizer, choose_format(self.settings.format, tokenizer), self.settings.max_length)

    @cached_property
    def _chosen_dtype(self) -> str:
        return choose_dtype(self._dtype, choose_device(self._device), self._local)

    @cached_property
    def _model(self) -> Any:
        from tuna_train.prm.model import is_packable, prepare_packing

        model = _load(self._local, self._chosen_dtype, self._device)
        if is_packable(model):
            prepare_packing(model)
        return model

    @property
    def _plan(self) -> BatchPlan:
        from tuna_train.prm.batches import BatchPlan
        from tuna_train.prm.model import is_packable

        return BatchPlan(is_packable(self._model), instructions=self._batch_size)


def _ranking(scores: tuple[float, ...], is_cut: bool) -> Ranking:
    order = tuple(sorted(range(len(scores)), key=lambda place: -scores[place]))
    is_tied = any(scores[better] == scores[worse] for better, worse in pairwise(order))
    ranks = tuple(competition_ranks(scores))
    return Ranking(order, scores, "low" if is_tied or is_cut else "high", ranks=ranks)


def _load(local: LocalModel, dtype: str, device: str) -> Any:
    """The reward model in evaluation mode; its head is in float32, so that scores have more than bfloat16's 8 bits."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    from tuna_train.prm.model import HEAD

    cure = "check that the save or download finished"
    try:
        with quiet_transformers():
            model, report = AutoModelForSequenceClassification.from_pretrained(
                str(local.folder),
                dtype=getattr(torch, dtype),
                device_map={"": choose_device(device)},
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise EngineError(f"the model cannot be loaded ({reason})", place=str(local.folder), cure=cure) from error
    if report["missing_keys"] or not hasattr(model, HEAD):
        missing = sorted(report["missing_keys"]) or [HEAD]
        raise EngineError(f"the weights lack {missing[0]}", place=str(local.folder), cure=cure)
    getattr(model, HEAD).float()
    return model.eval()
