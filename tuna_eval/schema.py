"""The values that travel between the parts of the harness. Frozen, plain, and free of behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt.

    Attributes:
        text: what the model is to continue, to the last character.
        has_special_tokens: whether the text already holds the special tokens it needs, as a chat template writes them;
            otherwise the tokenizer adds what the model was trained with (a BOS, if any).
        system: the system message of a chat, "" for none. An engine that sends messages sends it as one; where the
            chat was rendered here, `text` holds it already.
        seed: of this prompt's sampler, where a call draws the same prompt several times; None is the call's seed.
    """

    text: str
    has_special_tokens: bool = False
    system: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model made of one prompt.

    Attributes:
        index: position of the prompt in the call that produced this; engines answer in any order.
        text: the reply, special tokens removed, otherwise as the model gave it.
        token_ids: the generated ids, end-of-sequence token included; None where a server does not tell.
        finish_reason: "stop" (end token or stop string), "length" (token limit), or a server's own word.
        logprob: sum over the generated tokens of log p(token), nats, before temperature; None if not known.
        prompt_tokens: length of the prompt as the model saw it, in tokens; None if not known.
        completion_tokens: number of generated tokens, as they are counted and paid for; None if not known.
        served_model: the model that answered, as a server named it; "" where none did.
        batched: whether the Batch API answered, which costs less.
    """

    index: int
    text: str
    token_ids: tuple[int, ...] | None
    finish_reason: str
    logprob: float | None
    prompt_tokens: int | None
    completion_tokens: int | None = None
    served_model: str = ""
    batched: bool = False


@dataclass(frozen=True, slots=True)
class ContinuationRequest:
    """A continuation whose probability is asked for, given a rendered prompt."""

    prompt: Prompt
    continuation: str


@dataclass(frozen=True, slots=True)
class ContinuationScore:
    """log p(continuation | prompt) under a model.

    Attributes:
        index: position of the request in the call.
        logprob: sum over the continuation's tokens, nats.
        token_ids: the continuation's tokens; None where a server or a model class does not tell.
        token_logprobs: one value per token, nats, in order; None likewise.
        is_greedy: whether greedy decoding would have produced exactly these tokens; None if not known.
    """

    index: int
    logprob: float
    token_ids: tuple[int, ...] | None
    token_logprobs: tuple[float, ...] | None
    is_greedy: bool | None


@dataclass(frozen=True, slots=True)
class Example:
    """One instance of a benchmark.

    Attributes:
        task: name of its task.
        id: unique within the task.
        references: the accepted outputs; none where they cannot be listed.
    """

    task: str
    id: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """One rendered prompt, ready to be sent, and what had to be done to make it fit.

    Attributes:
        task, id: the example it belongs to.
        prompt: what the model sees.
        demonstrations: number of demonstrations kept.
        dropped: number of demonstrations left out for length.
        truncated: which end of the source lost text: "", "left" or "right".
        over_limit: whether the source is longer than its limit all the same, as "drop-demos" allows.
    """

    task: str
    id: str
    prompt: Prompt
    demonstrations: int = 0
    dropped: int = 0
    truncated: str = ""
    over_limit: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of samples.jsonl: what the model said about one example."""

    task: str
    id: str
    prompt_sha256: str
    output: str
    token_ids: tuple[int, ...] | None
    finish_reason: str
    logprob: float | None
    prompt_tokens: int | None


@dataclass(frozen=True, slots=True)
class Score:
    """One line of scores.jsonl: the metrics of one sample, each in 0..1."""

    task: str
    id: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, in the units of its metric."""

    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The mean of one metric over a group of samples.

    Attributes:
        value: in the unit, unrounded; None if no sample was scored.
        interval: 95% bootstrap interval; None for fewer than two samples, and where resampling tells nothing.
        n: number of samples scored.
        unit: "percent" (0..100), "fraction" (0..1) or "count", as the field prints the metric.
    """

    value: float | None
    interval: Interval | None
    n: int
    unit: Literal["percent", "fraction", "count"] = "percent"


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What a suite's scores come to.

    Attributes:
        suite: key of the result ("superni_2shot").
        metrics: overall summaries by metric name.
        categories, tasks: the same by category and by task, plus "official" under the group's own metric.
        signatures: how each metric was computed.
        breakdown: what else the benchmark tells of its tasks.
    """

    suite: str
    metrics: Mapping[str, Summary]
    categories: Mapping[str, Mapping[str, Summary]] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Summary]] = field(default_factory=dict)
    signatures: Mapping[str, str] = field(default_factory=dict)
    breakdown: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run produced, or what scoring a file of predictions came to: record.json.

    Attributes:
        model: what tables call the model; "" where only its predictions are known.
        suite, version: the benchmark.
        status: "generating" until all replies are stored and scored, then "complete".
        run_id: hash of `identity`; "" for predictions made elsewhere.
        identity: everything that may change an output.
        config: the settings as the user gave them; no secret, no path.
        prompts: their number, the first of them, and which lost demonstrations or text or are over the limit.
        sessions: one entry for each time the model was asked, also where it was cut short.
        scoring: settings, environment and duration of the scoring that `coverage` and `results` are from.
        coverage: what was scored and what was not.
        results: a `SuiteResult`.
    """

    model: str
    suite: str
    version: str
    status: Literal["generating", "complete"]
    started: str
    run_id: str = ""
    identity: Mapping[str, JSON] = field(default_factory=dict)
    config: Mapping[str, JSON] = field(default_factory=dict)
    prompts: Mapping[str, JSON] = field(default_factory=dict)
    environment: Mapping[str, JSON] = field(default_factory=dict)
    sessions: Sequence[Mapping[str, JSON]] = ()
    scoring: Mapping[str, JSON] = field(default_factory=dict)
    coverage: Mapping[str, JSON] = field(default_factory=dict)
    results: Mapping[str, JSON] = field(default_factory=dict)
