"""What a training reads, tokenised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from typing import TYPE_CHECKING

from tuna_eval.errors import DataError
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.models import LocalModel
from tuna_eval.llm.prompts import choose_format
from tuna_eval.run import Progress
from tuna_train.config import Loss, RankConfig, Training
from tuna_train.data.encode import EncodedExamples, ExampleEncoder, Purpose, encode_examples, read_files
from tuna_train.data.ranked import RankedExample

if TYPE_CHECKING:
    from tuna_train.packing import TokenizedInstruction

Named = tuple[str, RankedExample]
"""An example, and what errors call it: see `read_files`."""


@dataclass(frozen=True)
class Inputs:
    """The data of a training.

    Attributes:
        encoder: how they were rendered and tokenised.
        train: to learn from.
        held_out: to measure with; None if there are none.
        train_counts: examples of each file that `train` is from.
        held_out_counts: examples of each file that `held_out` is from.
    """

    encoder: ExampleEncoder
    train: EncodedExamples
    held_out: EncodedExamples | None
    train_counts: tuple[int, ...]
    held_out_counts: tuple[int, ...]


@dataclass(frozen=True)
class EncodedFiles:
    """Tokenised examples, and how many are from each file."""

    examples: EncodedExamples
    counts: tuple[int, ...]


def read_by_file(files: Sequence[Path], limit: int | None = None) -> Iterator[tuple[int, Named]]:
    """The examples of files, each with the number of its file.

    Args:
        files: see `read_files`.
        limit: examples in all.

    Raises:
        DataError: see `read_files`.
    """
    left = limit
    for number, file in enumerate(files):
        if left == 0:
            return
        for example in read_files([file], left):
            yield number, example
            left = left - 1 if left else left


def forward_tokens(examples: Sequence[TokenizedInstruction], *, packed: bool) -> float:
    """Mean tokens of an instruction in a forward pass: packed its prompt counts once, padded for every response."""
    sizes = (example.tokens if packed else example.padded_tokens for example in examples)
    return sum(sizes) / len(examples) if len(examples) else 0.0


def loss_of(config: Training) -> Loss:
    """The objective of a command: of supervised fine-tuning it is MLE alone."""
    return config.loss if isinstance(config, RankConfig) else Loss(mle_weight=1.0)


def read_inputs(config: Training, source: LocalModel, progress: Progress) -> Inputs:
    """Reads and tokenises the files of `SftConfig` or `RankConfig`.

    Args:
        config: names the files and the prompt format.
        source: whose tokenizer is used.
        progress: the user's terminal.

    Raises:
        ConfigError: the format does not fit the model.
        DataError: a file is broken or empty, a record cannot be used, or nothing is ranked.
    """
    encoder = encoder_of(config, source)
    loss = loss_of(config)
    ranks = isinstance(config, RankConfig)
    purpose: Purpose = "imitate" if not ranks else "rank" if loss.mle_weight else "pairs"
    needs_original = loss.mle_weight > 0 and loss.mle_on == "original"
    train = encode_files(config.data, encoder, purpose, progress, limit=config.limit, needs_original=needs_original)
    if ranks and not train.examples.ordered:
        cure = "rank them, or use tuna-train sft"
        raise DataError("no instruction has candidates of different ranks", place="data", cure=cure)
    held_out = encode_files(config.eval_data, encoder, "rank", progress) if config.eval_data else None
    if held_out is not None and not held_out.examples:
        cure = "rank them, or give each an original response"
        raise DataError("no instruction has a response to measure", place="eval_data", cure=cure)
    return inputs_of(encoder, train, held_out)


def tell_shared_files(config: Training, progress: Progress) -> None:
    """Warns of held-out files whose content is trained on: what they measure is no longer held out.

    Args:
        config: whose files are there.
        progress: the user's terminal.
    """
    for held_out in config.eval_data:
        if any(cmp(held_out, file, shallow=False) for file in config.data):
            progress.note(f"warning: held-out {held_out} is also trained on")


def inputs_of(encoder: ExampleEncoder, train: EncodedFiles, held_out: EncodedFiles | None) -> Inputs:
    """What was read, put together."""
    if held_out is None:
        return Inputs(encoder, train.examples, None, train.counts, ())
    return Inputs(encoder, train.examples, held_out.examples, train.counts, held_out.counts)


def encoder_of(config: Training, source: LocalModel) -> ExampleEncoder:
    """How a configuration wants examples rendered and tokenised.

    Raises:
        ConfigError: the chat format for a model without a template.
    """
    tokenizer = HFEncoder.of(source)
    return ExampleEncoder(tokenizer, choose_format(config.format, tokenizer), config.max_length)


def encode_files(
    files: Sequence[Path],
    encoder: ExampleEncoder,
    purpose: Purpose,
    progress: Progress,
    *,
    limit: int | None = None,
    needs_original: bool = False,
) -> EncodedFiles:
    """The examples of files, tokenised; the user is told how many they are, were left out, or had to be cut.

    Args:
        files: see `read_files`.
        encoder: see `encode_examples`.
        purpose: see `encode_examples`.
        progress: the user's terminal.
        limit: see `read_files`.
        needs_original: see `encode_examples`.

    Raises:
        DataError: a file is broken or empty, or a record cannot be used.
    """
    names = ", ".join(file.name for file in files)
    counts = Counter(number for number, _ in read_by_file(files, limit))  # tells a broken line before the work
    if not counts:
        raise DataError("holds no example", place=names, cure="name a file with examples")

    def told(examples: int) -> None:
        for _ in range(examples):
            progress.advance()

    progress.begin(f"tokenising {names}", done=0, total=counts.total())
    examples = read_files(files, limit)
    encoded = encode_examples(examples, encoder, purpose=purpose, needs_original=needs_original, told=told)
    progress.end()
    cut = f", {encoded.cut} of them cut at {encoder.max_length} tokens" if encoded.cut else ""
    progress.note(f"{names}: {len(encoded)} instructions, {encoded.responses} responses{cut}")
    if encoded.left_out:
        progress.note(f"{names}: {encoded.left_out} more are left out: nothing of them is ranked, or to be imitated")
    return EncodedFiles(encoded, tuple(counts[number] for number in range(len(files))))
