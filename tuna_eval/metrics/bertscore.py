"""BERTScore F1 (Zhang et al. 2020), equal to bert-score 0.3.13 where that package is right; twice as fast on a CPU.

Differences, each in the signature or without effect on right values: a similarity below 0 counts as 0 (bert-score does
that only if the batch holds a longer text); a leading space for byte-level tokenizers (bert-score asks for it, but
transformers 5 does not listen); texts are cut at the positions that the model has; a pair with an empty text is 0.0
(bert-score crashes with transformers 5, and would rescale the 0). No idf weighting.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tuna_eval.errors import ConfigError
from tuna_eval.metrics.encoder import TextEncoder, TokenEmbeddings, open_encoder
from tuna_eval.metrics.signature import signature

# bert-score's choice for English: the layer that agrees best with human judgement on WMT16.
DEFAULT_MODEL, DEFAULT_LAYER = "roberta-large", 17

_INSTALL = "pip install 'tuna-llm[bertscore]'"
_LANGUAGE = "en"
_EXAMPLES_AT_ONCE = 512
# Embeddings kept from one block of examples to the next, in tokens: 256 MiB for roberta-large's 1,024 dimensions.
_TOKENS_REMEMBERED = 1 << 16


class BertScorer:
    """Scores texts by the similarity of their tokens' contextual embeddings.

    The model is loaded when it is first needed. A score depends on the arguments of its call alone, to the last bit:
    no embedding outlives a call, so a run that was interrupted ends with the numbers of one that was not.

    Args:
        model: hub id or folder of an encoder; None for roberta-large.
        layer: whose output is compared; None for the one that bert-score tuned for this model.
        rescale: subtract the similarity of unrelated English texts, as bert-score published it: (x - b) / (1 - b).
        batch_size: texts per forward pass; None for 8 on a CPU, whose caches more would overflow, and 64 elsewhere.
        device: as torch names it; None takes a GPU if there is one.
    """

    def __init__(
        self,
        model: str | None = None,
        layer: int | None = None,
        *,
        rescale: bool = False,
        batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        self._model, self._layer, self._rescale = model or DEFAULT_MODEL, layer, rescale
        self._batch_size, self._device = batch_size, device
        self._opened: tuple[TextEncoder, int, float] | None = None

    @property
    def signature(self) -> str:
        """How the numbers were made. Loads the model, whose limits and version are part of it.

        Raises:
            ConfigError, EngineError: as `score`.
        """
        encoder, layer, _ = self._open()
        settings = {
            "model": encoder.identity,
            "layer": str(layer),
            "rescale": _LANGUAGE if self._rescale else "no",
            "idf": "no",
            "prefix_space": "yes" if encoder.prefix_space else "no",
            "max_tokens": str(encoder.limit),
            "empty": "0",
            "refs": "max",
        }
        releases = ", ".join(f"{name} {version(name)}" for name in ("tuna-llm", "transformers", "torch"))
        return signature("bertscore_f1", settings, implementation=releases)

    def score(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        """For each prediction the highest F1 over its references; each distinct text is embedded once.

        Args:
            predictions: N texts.
            references: for each prediction at least one text.

        Returns:
            N values in 0..1, or up to 1 if rescaled (unrelated texts are near 0 then, some below). 0.0 on either scale
            if the prediction is empty or all its references are: blank, or without a token of the model.

        Raises:
            ValueError: lengths differ, or a prediction has no reference.
            ConfigError: no layer is known for the model, no baseline is published for it, or bert-score, which holds
                both, is not installed.
            EngineError: the model cannot be loaded.
        """
        if len(predictions) != len(references):
            raise ValueError(f"{len(predictions)} predictions but references for {len(references)}")
        if not all(references):
            raise ValueError("every prediction needs at least one reference")
        encoder, _, baseline = self._open()
        known: dict[str, TokenEmbeddings] = {}
        scores: list[float] = []
        for start in range(0, len(predictions), _EXAMPLES_AT_ONCE):
            block = slice(start, start + _EXAMPLES_AT_ONCE)
            examples = list(zip(predictions[block], references[block], strict=True))
            self._embed(encoder, dict.fromkeys(text for one, many in examples for text in (one, *many)), known)
            pairs = dict.fromkeys((one, reference) for one, many in examples for reference in many)
            found = {pair: _f1(known[pair[0]], known[pair[1]]) for pair in pairs}
            for one, many in examples:
                values = [value for reference in many if (value := found[one, reference]) is not None]
                scores.append((max(values) - baseline) / (1 - baseline) if values else 0.0)
        return scores

    def _embed(self, encoder: TextEncoder, texts: dict[str, None], known: dict[str, TokenEmbeddings]) -> None:
        """Adds the embeddings of `texts` to `known`; if that holds too much, forgets what is not needed now."""
        if sum(len(text.vectors) for text in known.values()) > _TOKENS_REMEMBERED:
            for text in known.keys() - texts.keys():
                del known[text]
        unknown = [text for text in texts if text not in known]
        batch_size = self._batch_size or (8 if encoder.device == "cpu" else 64)
        known.update(zip(unknown, encoder.embed(unknown, batch_size), strict=True))

    def _open(self) -> tuple[TextEncoder, int, float]:
        """The encoder, its layer, and the F1 of unrelated texts (0.0 if not rescaled)."""
        if self._opened is None:
            layer = _tuned_layer(self._model) if self._layer is None else self._layer
            baseline = _baseline(self._model, layer) if self._rescale else 0.0
            self._opened = open_encoder(self._model, layer, self._device), layer, baseline
        return self._opened


def _f1(prediction: TokenEmbeddings, reference: TokenEmbeddings) -> float | None:
    """Harmonic mean of precision and recall under greedy matching; None if one of the texts is empty."""
    if prediction.is_empty or reference.is_empty:
        return None
    similarity = (prediction.vectors @ reference.vectors.T).clamp_(min=0)
    precision = similarity.amax(dim=1)[prediction.counted].mean().item()
    recall = similarity.amax(dim=0)[reference.counted].mean().item()
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _tuned_layer(model: str) -> int:
    """The layer that bert-score uses for a model unless told otherwise."""
    if model == DEFAULT_MODEL:
        return DEFAULT_LAYER
    place = f"BERTScore model {model!r}"
    if find_spec("bert_score") is None:
        problem = "no layer given, and bert-score, which knows them, is not installed"
        raise ConfigError(problem, place=place, cure=f"give the layer, or {_INSTALL}")
    from bert_score.utils import model2layers

    if model not in model2layers:
        raise ConfigError("no tuned layer is known for it", place=place, cure="give the layer to use")
    return int(model2layers[model])


def _baseline(model: str, layer: int) -> float:
    """F1 of unrelated English texts under a model's layer, from the files of the bert-score package."""
    place = f"BERTScore model {model!r}, layer {layer}"
    package = find_spec("bert_score")
    if package is None or package.origin is None:
        raise ConfigError("rescaling needs the baselines of bert-score, not installed", place=place, cure=_INSTALL)
    path = Path(package.origin).parent / "rescale_baseline" / _LANGUAGE / f"{model}.tsv"
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if int(float(row["LAYER"])) == layer:
                    return float(row["F"])
    raise ConfigError("no baseline is published", place=place, cure="turn rescaling off, or use roberta-large")
