"""Every format of instruction and preference data that is read, recognised by what is in the file.

One literal table; `read_examples` brings all of them into the one contract of `ranked.py`, one example at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuna_eval.errors import ConfigError, DataError
from tuna_train.data import preferences, released
from tuna_train.data.json_records import read_records
from tuna_train.data.preferences import messages_of
from tuna_train.data.ranked import Candidate, RankedExample, check_schema, from_json, rank_by_score
from tuna_train.data.rows import Row


def _read_ranked(row: Row) -> Iterator[RankedExample]:
    yield from_json(row.values, row.place)


def _read_alpaca(row: Row) -> Iterator[RankedExample]:
    yield RankedExample(row.id, row.text("instruction"), row.optional("input"), row.text("output"))


def _read_self_instruct(row: Row) -> Iterator[RankedExample]:
    instances = row.items("instances")
    for number, instance in enumerate(instances):
        if not isinstance(instance, dict):
            raise row.broken(f"an instance is {instance!r:.40}, not an object")
        own = Row(instance, row.place, row.number, row.dropped)
        id = row.id if len(instances) == 1 else f"{row.id}/{number}"
        yield RankedExample(id, row.text("instruction"), own.optional("input"), own.text("output"))


def _read_sharegpt(row: Row) -> Iterator[RankedExample]:
    """The first question and its answer; what else the conversation holds is counted and left out."""
    turns = messages_of(row.values.get("conversations", row.values.get("messages")), row, "the conversation")
    if turns and turns[0].role == "system":
        row.drop("system messages")
        turns = turns[1:]
    if [turn.role for turn in turns[:2]] != ["user", "assistant"]:
        row.drop("conversations that do not begin with a question and its answer")
        return
    if turns[2:]:
        row.drop("conversations cut after their first answer")
        row.dropped["turns after the first answer"] += len(turns) - 2
    yield RankedExample(row.id, *row.prompt(turns[0].text, "the first turn"), original=turns[1].text)


_ALPACA_EVAL_BASELINE = "text_davinci_003"  # whose responses AlpacaEval's annotators compared every other with


def _read_responses(row: Row) -> Iterator[RankedExample]:
    """`outputs` by model. `gpt4_preference`, where there is one, ranks: 1 preferred over the baseline's response,
    0 not; the baseline itself stands between them (0.5). Models without a preference stay unranked."""
    outputs, preferred = row.values["outputs"], row.values.get("gpt4_preference") or {}
    if not isinstance(preferred, dict):
        raise row.broken(f"gpt4_preference is {preferred!r:.40}, not an object")
    scores = {model: row.number_in(value, f"gpt4_preference of {model}") for model, value in preferred.items()}
    if scores:
        scores[_ALPACA_EVAL_BASELINE] = 0.5
    candidates = [
        Candidate(row.as_text(text, f"the output of {model}"), source=model, score=scores.get(model))
        for model, text in outputs.items()
    ]
    yield RankedExample(row.id, row.text("instruction"), row.optional("input"), candidates=rank_by_score(candidates))


Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Format:
    """One row of the table.

    Attributes:
        what: what it is, in a line.
        recognise: whether a file's first record is of this format.
        read: the examples in a record, mostly one.
    """

    what: str
    recognise: Callable[[Values], bool]
    read: Callable[[Row], Iterable[RankedExample]]


def _has(values: Values, *keys: str) -> bool:
    return all(key in values for key in keys)


# The first that recognises a record reads the file.
FORMATS: dict[str, Format] = {
    "ranked": Format(
        "this project's: instruction, original, ranked candidates",
        lambda v: str(v.get("schema")).startswith("tuna-ranked/"),
        _read_ranked,
    ),
    "tuna-probabilistic": Format(
        "released: orig, text, avg_token_prob, length, logprob",
        lambda v: _has(v, "orig", "text", "length", "logprob"),
        released.read_probabilistic,
    ),
    "gpt-4-ranking": Format(
        "released: instruct, generation, rank or ranks, gpt_eval, response_4",
        lambda v: _has(v, "instruct", "generation") and ("rank" in v or "ranks" in v),
        released.read_gpt4_ranking,
    ),
    "tuna-training": Format(
        "released training input: rendered instruction, output and score lists",
        lambda v: _has(v, "instruction", "output", "score"),
        released.read_training,
    ),
    "tuna-samples": Format(
        "released sampler's output: rendered instruction, output list, rouge",
        lambda v: _has(v, "instruction", "output", "rouge"),
        released.read_samples,
    ),
    "preference-pairs": Format(
        "prompt, chosen, rejected (TRL, OpenRLHF, UltraFeedback binarized)",
        lambda v: _has(v, "chosen", "rejected"),
        preferences.read_pair,
    ),
    "scored-completions": Format(
        "UltraFeedback: instruction or prompt, completions with scores",
        lambda v: isinstance(v.get("completions"), list) and ("instruction" in v or "prompt" in v),
        preferences.read_completions,
    ),
    "responses-by-model": Format(
        "AlpacaEval responses: instruction, outputs by model",
        lambda v: "instruction" in v and isinstance(v.get("outputs"), dict),
        _read_responses,
    ),
    "sharegpt": Format(
        "conversations: from, value; or messages: role, content",
        lambda v: "conversations" in v or "messages" in v,
        _read_sharegpt,
    ),
    "self-instruct": Format(
        "Self-Instruct tasks: instruction, instances of input and output",
        lambda v: _has(v, "instruction", "instances"),
        _read_self_instruct,
    ),
    "alpaca": Format("instruction, input, output", lambda v: _has(v, "instruction", "output"), _read_alpaca),
}


def read_examples(
    file: Path, *, original: str = "", format: str = "auto", dropped: Counter[str] | None = None
) -> Iterator[RankedExample]:
    """The examples of a file of any known format, one at a time, in file order.

    Args:
        file: JSON Lines, or one JSON array.
        original: source of the candidates that are the originals, where the format does not say it: a model
            ("text_davinci_003"), "output 4" of the released training input, "response_4" of the released GPT-4 ranking.
            They stay candidates; "" leaves the originals as the file has them.
        format: a name of `FORMATS`, or "auto" for what the first record is recognised as.
        dropped: counts what was left out or changed, by kind.

    Raises:
        ConfigError: unknown format, or no example has a response of the source `original`.
        DataError: the file is broken or of no known format; file, line, value and cure are named.
    """
    dropped = Counter() if dropped is None else dropped
    read = _chosen(format).read if format != "auto" else None
    is_found = not original
    for number, (place, values) in enumerate(read_records(file)):
        if read is None:
            read = FORMATS[recognise(values, place)].read
        for example in read(Row(values, place, number, dropped)):
            if original and (texts := [c.text for c in example.candidates if c.source == original]):
                example, is_found = replace(example, original=texts[0]), True
            yield _without_reference(example)
    if not is_found:
        cure = "tuna-train data show FILE names the sources of its responses"
        raise ConfigError(f"no example has a response of {original!r}", place=f"--original for {file}", cure=cure)


def recognise(values: Values, place: str) -> str:
    """The name of a record's format.

    Raises:
        DataError: it has none, or candidates without the schema that they belong to.
    """
    for name, format in FORMATS.items():
        if format.recognise(values):
            return name
    if "candidates" in values:
        check_schema(values, place)
    fields = ", ".join(map(str, values)) or "none"
    raise DataError(
        f"no known format has the fields {fields[:200]}", place=place, cure=f"known formats: {', '.join(FORMATS)}"
    )


def _chosen(name: str) -> Format:
    if name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}", place="--from", cure=f"use auto or one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _without_reference(example: RankedExample) -> RankedExample:
    kept = tuple(c for c in example.candidates if c.source != released.REFERENCE)
    return example if len(kept) == len(example.candidates) else replace(example, candidates=kept)
