"""What a training reads, tokenised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuna_eval.errors import DataError
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.models import LocalModel
from tuna_eval.llm.prompts import choose_format
from tuna_eval.run import Progress
from tuna_train.config import Loss, RankConfig, Training
from tuna_train.data.encode import EncodedExamples, ExampleEncoder, Purpose, encode_examples, read_files


@dataclass(frozen=True)
class Inputs:
    """The data of a training.

    Attributes:
        encoder: how they were rendered and tokenised.
        train: to learn from.
        held_out: to measure with; None if there are none.
    """

    encoder: ExampleEncoder
    train: EncodedExamples
    held_out: EncodedExamples | None


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
    if ranks and not train.ordered:
        cure = "rank them, or use tuna-train sft"
        raise DataError("no instruction has candidates of different ranks", place="data", cure=cure)
    held_out = encode_files(config.eval_data, encoder, "rank", progress) if config.eval_data else None
    if held_out is not None and not held_out:
        cure = "rank them, or give each an original response"
        raise DataError("no instruction has a response to measure", place="eval_data", cure=cure)
    return Inputs(encoder, train, held_out)


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
) -> EncodedExamples:
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
    count = sum(1 for _ in read_files(files, limit))  # a broken line is told before anything is tokenised
    if not count:
        raise DataError("holds no example", place=names, cure="name a file with examples")

    def told(examples: int) -> None:
        for _ in range(examples):
            progress.advance()

    progress.begin(f"tokenising {names}", done=0, total=count)
    examples = read_files(files, limit)
    encoded = encode_examples(examples, encoder, purpose=purpose, needs_original=needs_original, told=told)
    progress.end()
    cut = f", {encoded.cut} of them cut at {encoder.max_length} tokens" if encoded.cut else ""
    progress.note(f"{names}: {len(encoded)} instructions, {encoded.responses} responses{cut}")
    if encoded.left_out:
        progress.note(f"{names}: {encoded.left_out} more are left out: nothing of them is ranked, or to be imitated")
    return encoded
