"""Contextual token embeddings of texts, from one layer of a transformers encoder: what BERTScore compares."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna_eval.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from torch import Tensor

# For a tokenizer that names no limit and a model without position embeddings: what BERTScore's models were tuned with.
_DEFAULT_LIMIT = 512
# The files of a model folder that change its embeddings.
_IDENTIFYING = {".safetensors", ".bin", ".json", ".txt", ".model"}


@dataclass(frozen=True, slots=True)
class TokenEmbeddings:
    """One text as an encoder sees it.

    Attributes:
        vectors: unit length, float32, on the CPU. Shape (tokens, dimension), special tokens included.
        counted: which tokens enter an average: all but CLS and SEP. Shape (tokens,), bool.
        is_empty: the text has no token of its own; then nothing can be said about it.
    """

    vectors: Tensor
    counted: Tensor
    is_empty: bool


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """A loaded encoder, cut off above the layer asked for.

    Attributes:
        model, tokenizer: of transformers.
        device: where the model runs.
        limit: texts are cut after this many tokens, special tokens included.
        prefix_space: a space is put before each text, so that its first word is the token it is elsewhere.
        identity: name with the hub's commit, or a folder's name with a hash of its files.
    """

    model: Any
    tokenizer: Any
    device: str
    limit: int
    prefix_space: bool
    identity: str

    def embed(self, texts: Sequence[str], batch_size: int) -> list[TokenEmbeddings]:
        """The embeddings of each text, in order. Batches hold texts of like length, the longest first."""
        import torch

        token_ids = self._token_ids(texts)
        order = sorted(range(len(texts)), key=lambda place: len(token_ids[place]), reverse=True)
        found: dict[int, TokenEmbeddings] = {}
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                places = order[start : start + batch_size]
                vectors = self._forward([token_ids[place] for place in places])
                for row, place in enumerate(places):
                    # A copy: a slice would keep the whole batch alive for as long as one of its texts.
                    found[place] = self._embeddings(token_ids[place], vectors[row, : len(token_ids[place])].clone())
        return [found[place] for place in range(len(texts))]

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        stripped = [text.strip() for text in texts]
        if self.prefix_space:
            stripped = [f" {text}" if text else text for text in stripped]
        encoded = self.tokenizer(stripped, truncation=True, max_length=self.limit, padding=False)
        return [list(ids) for ids in encoded["input_ids"]]

    def _forward(self, batch: Sequence[Sequence[int]]) -> Tensor:
        """Unit vectors on the CPU, shape (texts, longest text, dimension); rows are padded on the right."""
        import torch

        longest = max(1, max(map(len, batch)))
        padding = self.tokenizer.pad_token_id or 0
        token_ids = torch.tensor([[*ids, *[padding] * (longest - len(ids))] for ids in batch], device=self.device)
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in batch], device=self.device)
        hidden: Tensor = self.model(token_ids, attention_mask=mask)[0]
        return torch.nn.functional.normalize(hidden, dim=-1).cpu()

    def _embeddings(self, token_ids: Sequence[int], vectors: Tensor) -> TokenEmbeddings:
        import torch

        uncounted = {self.tokenizer.cls_token_id, self.tokenizer.sep_token_id}
        counted = torch.tensor([token not in uncounted for token in token_ids], dtype=torch.bool)
        own_tokens = len(token_ids) - self.tokenizer.num_special_tokens_to_add(pair=False)
        return TokenEmbeddings(vectors, counted, is_empty=own_tokens <= 0 or not bool(counted.any()))


def open_encoder(model: str, layer: int, device: str | None = None) -> TextEncoder:
    """Loads a model in float32, without the layers above `layer`.

    Args:
        model: hub id or folder.
        layer: embeddings are the output of this layer, counted from 1; 0 is the input embedding.
        device: as torch names it; None takes a GPU if there is one.

    Raises:
        EngineError: the model or its tokenizer cannot be loaded, or its weights are incomplete.
        ConfigError: the model has fewer layers, or torch has no such device.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    place = f"BERTScore model {model!r}"
    if model.startswith(("/", ".", "~")) and not Path(model).is_dir():
        raise EngineError("no such folder", place=place, cure="give a folder or a hub id that holds an encoder")
    try:
        config = AutoConfig.from_pretrained(model)
        layers = config.num_hidden_layers
        if not 0 <= layer <= layers:
            raise ConfigError(f"no layer {layer}", place=place, cure=f"choose one of 0 to {layers}")
        config.num_hidden_layers = layer
        tokenizer = AutoTokenizer.from_pretrained(model)
        with _silent_about_dropped_layers():
            network, report = AutoModel.from_pretrained(
                model, config=config, dtype=torch.float32, output_loading_info=True
            )
    except (OSError, ValueError, SafetensorError) as error:
        problem = f"cannot be loaded ({str(error).strip().splitlines()[0]})"
        raise EngineError(problem, place=place, cure="give a folder or a hub id that holds an encoder") from error
    # A pooler sits on top of the layers and is not asked; everything else would be random numbers.
    missing = [name for name in report["missing_keys"] if "pooler" not in name]
    if missing:
        raise EngineError(f"weights are missing, such as {missing[0]}", place=place, cure="download the model again")
    if config.is_encoder_decoder:
        network = network.get_encoder()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        network.to(device)
    except (RuntimeError, AssertionError) as error:
        problem = f"device {device!r} cannot be used ({str(error).strip().splitlines()[0]})"
        raise ConfigError(problem, place=place, cure="use cpu, or a device of this machine") from error
    return TextEncoder(
        model=network.eval(),
        tokenizer=tokenizer,
        device=device,
        limit=_limit(network, tokenizer),
        prefix_space=_is_byte_level(tokenizer),
        identity=_identity(model, config),
    )


@contextmanager
def _silent_about_dropped_layers() -> Iterator[None]:
    """Transformers warns of each weight that a shortened model leaves in the file; missing ones are checked for."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _limit(network: Any, tokenizer: Any) -> int:
    """The smaller of the tokenizer's limit and the number of position embeddings.

    RoBERTa and its relatives start counting positions behind their padding index.
    """
    limits = [tokenizer.model_max_length]
    table = getattr(getattr(network, "embeddings", None), "position_embeddings", None)
    if table is not None:
        first = 0 if table.padding_idx is None else table.padding_idx + 1
        limits.append(table.num_embeddings - first)
    else:
        limits.append(getattr(network.config, "max_position_embeddings", None) or _DEFAULT_LIMIT)
    return min(int(limit) for limit in limits if limit > 0)


def _is_byte_level(tokenizer: Any) -> bool:
    """Whether the tokenizer is GPT-2's kind (RoBERTa, BART, DeBERTa v1), to which a leading space is part of a word.

    Transformers 5 ignores `add_prefix_space` in `encode`, with which bert-score asks for that space.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return "ByteLevel(" in repr(getattr(backend, "pre_tokenizer", None))


def _identity(model: str, config: Any) -> str:
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}@{(getattr(config, '_commit_hash', None) or 'unknown')[:12]}"
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in _IDENTIFYING:
            with path.open("rb") as file:
                digest.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return f"{folder.resolve().name.replace('|', '_')}@sha256-{digest.hexdigest()[:12]}"
