"""Writers of the formats that other tools read: DPO and reward pairs (TRL, OpenRLHF), Alpaca, ShareGPT, and the
released trainer's input. One literal table; every writer streams."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

from tuna_eval.disk import replacing
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.prompts import ALPACA, PLAIN
from tuna_train.data.ranked import Candidate, RankedExample, competition_ranks, to_line

PairChoice = Literal["all", "best-vs-rest", "best-vs-worst"]
PromptStyle = Literal["alpaca", "plain", "messages"]
ResponseChoice = Literal["original", "best", "all"]
PAIRS: tuple[PairChoice, ...] = get_args(PairChoice)
PROMPTS: tuple[PromptStyle, ...] = get_args(PromptStyle)
RESPONSES: tuple[ResponseChoice, ...] = get_args(ResponseChoice)


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a format leaves open.

    Attributes:
        pairs: which pairs of ranked candidates; ties never make one. "best-vs-worst" is one pair an example.
        prompt: of pairs: text in Alpaca's template as this project trains, plain text, or a list of messages.
        response: of formats with one response: the original, the best candidate, or a record for each of them all.
    """

    pairs: PairChoice = "all"
    prompt: PromptStyle = "alpaca"
    response: ResponseChoice = "original"


Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Export:
    """One row of the table.

    Attributes:
        what: who reads it.
        records: what an example becomes; none if it lacks what the format needs.
    """

    what: str
    records: Callable[[RankedExample, ExportOptions], Iterable[Record]]


def pairs_of(example: RankedExample, choice: PairChoice = "all") -> list[tuple[Candidate, Candidate]]:
    """Pairs of a better and a worse candidate, best first; ties and unranked candidates are in none."""
    ranked = example.ranked
    if choice == "all":
        chosen = list(combinations(ranked, 2))
    elif choice == "best-vs-rest":
        chosen = [(ranked[0], other) for other in ranked[1:]]
    else:
        chosen = [(ranked[0], ranked[-1])] if ranked else []
    return [(better, worse) for better, worse in chosen if better.rank != worse.rank]


def responses_of(example: RankedExample, choice: ResponseChoice) -> list[str]:
    """The responses that a format with one response is given; "all" has the original first, and each text once."""
    ranked = [candidate.text for candidate in example.ranked]
    if choice == "best":
        return ranked[:1]
    originals = [] if example.original is None else [example.original]
    if choice == "original":
        return originals
    unranked = [candidate.text for candidate in example.candidates if candidate.rank is None]
    return list(dict.fromkeys([*originals, *ranked, *unranked]))


def training_scores(example: RankedExample) -> list[float]:
    """Scores of the ranked candidates, best first, of which higher is better: theirs where these give their ranks,
    else the number of ranks below the first, negated."""
    ranked = example.ranked
    ranks = [candidate.rank or 0 for candidate in ranked]
    own = [candidate.score for candidate in ranked if candidate.score is not None]
    if len(own) == len(ranked) and competition_ranks(own) == ranks:
        return own
    return [float(-rank) for rank in ranks]


def _ranked(example: RankedExample, _: ExportOptions) -> Iterator[Record]:
    yield json.loads(to_line(example))


def _alpaca(example: RankedExample, options: ExportOptions) -> Iterator[Record]:
    for text in responses_of(example, options.response):
        yield {"instruction": example.instruction, "input": example.input, "output": text}


def _sharegpt(example: RankedExample, options: ExportOptions) -> Iterator[Record]:
    for number, text in enumerate(responses_of(example, options.response)):
        question = {"from": "human", "value": PLAIN.render(example.instruction, example.input)}
        id = f"{example.id}/{number}" if number else example.id
        yield {"id": id, "conversations": [question, {"from": "gpt", "value": text}]}


def _dpo(example: RankedExample, options: ExportOptions) -> Iterator[Record]:
    for better, worse in pairs_of(example, options.pairs):
        yield {
            "prompt": _prompt(example, options.prompt),
            "chosen": _response(better.text, options.prompt),
            "rejected": _response(worse.text, options.prompt),
        }


def _trl_reward(example: RankedExample, options: ExportOptions) -> Iterator[Record]:
    """Both sides hold the prompt, as TRL's RewardTrainer takes them."""
    for record in _dpo(example, options):
        yield {side: record["prompt"] + record[side] for side in ("chosen", "rejected")}


def _openrlhf(example: RankedExample, options: ExportOptions) -> Iterator[Record]:
    """With the difference of the scores as margin, which OpenRLHF uses if it is told to (--margin_loss).

    It is 0 where one of them has no score, as OpenRLHF has it without a margin: every record has the same fields.
    """
    pairs = pairs_of(example, options.pairs)
    for record, (better, worse) in zip(_dpo(example, options), pairs, strict=True):
        has_scores = better.score is not None and worse.score is not None
        margin = better.score - worse.score if has_scores else 0.0  # type: ignore[operator]
        yield {**record, "margin": margin}


def _tuna_training(example: RankedExample, _: ExportOptions) -> Iterator[Record]:
    """Without the unranked: the released trainer orders all outputs of a record by their scores."""
    if example.ranked:
        yield {
            "id": example.id,
            "instruction": ALPACA.render(example.instruction, example.input),
            "output": [candidate.text for candidate in example.ranked],
            "score": training_scores(example),
        }


def _prompt(example: RankedExample, style: PromptStyle) -> Any:
    if style == "alpaca":
        return ALPACA.render(example.instruction, example.input)
    text = PLAIN.render(example.instruction, example.input)
    return text if style == "plain" else [{"role": "user", "content": text}]


def _response(text: str, style: PromptStyle) -> Any:
    return [{"role": "assistant", "content": text}] if style == "messages" else text


EXPORTS: dict[str, Export] = {
    "ranked": Export("this project's own format", _ranked),
    "dpo": Export("TRL's DPO and its kin: prompt, chosen, rejected", _dpo),
    "trl-reward": Export("TRL's RewardTrainer: chosen, rejected, both with the prompt", _trl_reward),
    "openrlhf": Export("OpenRLHF's reward model: prompt, chosen, rejected, margin", _openrlhf),
    "alpaca": Export("supervised finetuning: instruction, input, output", _alpaca),
    "sharegpt": Export("supervised finetuning: conversations", _sharegpt),
    "tuna-training": Export("the released Tuna trainer: instruction, output list, score list", _tuna_training),
}


@dataclass(frozen=True, slots=True)
class Written:
    """What an export came to.

    Attributes:
        examples: read.
        records: written.
        without: examples that gave no record, as they lack what the format needs.
    """

    examples: int
    records: int
    without: int


def write_export(
    file: Path, examples: Iterable[RankedExample], to: str, options: ExportOptions | None = None
) -> Written:
    """Writes examples in a format, as they come: JSON Lines, or one JSON array if the file's name ends in .json.

    Raises:
        ConfigError: unknown format, or "ranked" as an array.
        DataError: the released trainer's input would have records with unequal numbers of outputs.
        StoreError: the file cannot be written.
    """
    if to not in EXPORTS:
        raise ConfigError(f"unknown format {to!r}", place="--to", cure=f"use one of {', '.join(EXPORTS)}")
    is_array = file.suffix == ".json"
    if is_array and to == "ranked":
        raise ConfigError("ranked data is JSON Lines", place=str(file), cure="let the file's name end in .jsonl")
    counts = Counter[str]()
    with replacing(file) as write:
        for record in _all_records(examples, to, options or ExportOptions(), counts):
            line = json.dumps(record, separators=(",", ":"))  # ASCII: half a surrogate pair cannot break the file
            if is_array:
                write(("[\n" if counts["records"] == 1 else ",\n") + line)
            else:
                write(f"{line}\n")
        if is_array:
            write("\n]\n" if counts["records"] else "[]\n")
    return Written(counts["examples"], counts["records"], counts["without"])


def _all_records(
    examples: Iterable[RankedExample], to: str, options: ExportOptions, counts: Counter[str]
) -> Iterator[Record]:
    outputs = 0
    for example in examples:
        counts["examples"] += 1
        before = counts["records"]
        for record in EXPORTS[to].records(example, options):
            counts["records"] += 1
            if to == "tuna-training":
                outputs = outputs or len(record["output"])
                _check_outputs(example, len(record["output"]), outputs)
            yield record
        counts["without"] += counts["records"] == before


def _check_outputs(example: RankedExample, found: int, expected: int) -> None:
    if found != expected:
        raise DataError(
            f"{found} ranked candidates, those before it {expected}, and the released trainer needs equal numbers",
            place=f"example {example.id}",
            cure=f"tuna-train data mix --candidates {expected} leaves such examples out",
        )
