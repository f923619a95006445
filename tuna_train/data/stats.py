"""What ranked data looks like: response lengths by rank (Table 4), similarity of responses, agreement of rankers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, groupby
from pathlib import Path

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.metrics.rouge import rouge_l_of_pairs, rouge_signatures
from tuna_eval.metrics.stats import bootstrap_interval
from tuna_eval.metrics.words import words_of
from tuna_eval.schema import JSON, Interval
from tuna_train.data.ranked import Candidate, RankedExample

BINS = 20  # of the histogram of similarities, 0..1
_PAIRS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class LengthUnit:
    """How long a response is.

    Attributes:
        name: as tables show it.
        measure: length of a candidate.
    """

    name: str
    measure: Callable[[Candidate], int]


def length_unit(name: str = "words") -> LengthUnit:
    """The unit of a name: "words", "tokens" as the data records them, or a tokenizer (folder or hub id), without its
    special tokens.

    Raises:
        ConfigError: no such tokenizer.
    """
    if name == "words":
        return LengthUnit("words", lambda candidate: len(words_of(candidate.text)))
    if name == "tokens":
        return LengthUnit("tokens as recorded", _recorded_tokens)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as fault:
        cure = "use words, tokens, or the folder or hub id of a tokenizer"
        raise ConfigError(f"no tokenizer {name!r}", place="--length", cure=cure) from fault
    label = f"tokens of {Path(name).name}"
    return LengthUnit(label, lambda candidate: len(tokenizer(candidate.text, add_special_tokens=False)["input_ids"]))


def _recorded_tokens(candidate: Candidate) -> int:
    if candidate.tokens is None:
        cure = "use --length words or a tokenizer"
        raise DataError("a ranked candidate has no recorded number of tokens", place="--length tokens", cure=cure)
    return candidate.tokens


@dataclass(frozen=True, slots=True)
class Ranking:
    """What agreement needs of an example: rank by digest of the candidate's text, of equal texts the best."""

    ranks: Mapping[bytes, int]


@dataclass
class DataStatistics:
    """What one file comes to; sums until it is read to its end.

    Attributes:
        unit: of the lengths.
        examples, ranked_examples: all, and those with two ranked candidates or more.
        repeated_ids: examples whose id an earlier one has; agreement sees the last of them.
        candidates: all, ranked or not.
        length_sums, length_counts: by place in the ranking, best first; tied candidates share the mean of theirs.
        similarity_sum, pairs: of ROUGE-L F1 over the pairs of candidates of an example, and their number.
        histogram: number of pairs by similarity, equal bins of 0..1.
        rankings: by example id; only kept where agreement is asked for.
    """

    unit: LengthUnit
    examples: int = 0
    ranked_examples: int = 0
    repeated_ids: int = 0
    candidates: int = 0
    length_sums: list[float] = field(default_factory=list)
    length_counts: list[int] = field(default_factory=list)
    similarity_sum: float = 0.0
    pairs: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * BINS)
    rankings: dict[str, Ranking] = field(default_factory=dict)

    @property
    def lengths_by_rank(self) -> list[float]:
        """Mean length of the best, the second best, ... candidates (Table 4)."""
        return [total / count for total, count in zip(self.length_sums, self.length_counts, strict=True)]

    @property
    def similarity(self) -> float | None:
        """Mean ROUGE-L F1 over all pairs; None without a pair."""
        return self.similarity_sum / self.pairs if self.pairs else None

    def to_json(self) -> dict[str, JSON]:
        """The figures of the file, without its rankings."""
        return {
            "examples": self.examples,
            "ranked_examples": self.ranked_examples,
            "repeated_ids": self.repeated_ids,
            "candidates": self.candidates,
            "counts_by_rank": [*self.length_counts],
            "similarity": {
                "mean_pairwise_rouge_l": self.similarity,
                "pairs": self.pairs,
                "histogram": [*self.histogram],
                "signature": rouge_signatures(tokenizer="unicode")["rougeL"],
            },
        }


def measure(
    examples: Iterable[RankedExample], unit: LengthUnit, *, keep_rankings: bool = False, similarity: bool = True
) -> DataStatistics:
    """Reads examples once; of each its id is held in memory, and its ranking if rankings are kept.

    Args:
        examples: of one file.
        unit: of lengths.
        keep_rankings: for `agreement`; some hundred bytes an example.
        similarity: the part that takes longest.

    Raises:
        DataError: the unit is recorded tokens and a ranked candidate has none.
    """
    found = DataStatistics(unit)
    pairs: list[tuple[str, str]] = []
    ids = set()
    for example in examples:
        found.examples += 1
        ids.add(example.id)
        found.repeated_ids = found.examples - len(ids)
        found.candidates += len(example.candidates)
        ranked = example.ranked
        found.ranked_examples += len(ranked) > 1
        for place, length in enumerate(_lengths(ranked, unit)):
            if place == len(found.length_sums):
                found.length_sums.append(0.0)
                found.length_counts.append(0)
            found.length_sums[place] += length
            found.length_counts[place] += 1
        if keep_rankings:
            best_first = [(_digest(c.text), c.rank) for c in ranked if c.rank is not None]
            found.rankings[example.id] = Ranking(dict(reversed(best_first)))
        if similarity:
            pairs += combinations([c.text for c in example.candidates], 2)
            if len(pairs) >= _PAIRS_AT_ONCE:
                _score(pairs, found)
                pairs = []
    _score(pairs, found)
    return found


def _lengths(ranked: Sequence[Candidate], unit: LengthUnit) -> Iterator[float]:
    """Length at each place; tied candidates have the mean of theirs at all of their places."""
    for _, tied in groupby(ranked, key=lambda candidate: candidate.rank):
        lengths = [unit.measure(candidate) for candidate in tied]
        yield from [math.fsum(lengths) / len(lengths)] * len(lengths)


def _score(pairs: Sequence[tuple[str, str]], into: DataStatistics) -> None:
    for value in rouge_l_of_pairs(pairs, tokenizer="unicode"):
        into.similarity_sum += value
        into.pairs += 1
        into.histogram[min(int(value * BINS), BINS - 1)] += 1


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.strip().encode("utf-8", "surrogatepass"), digest_size=8).digest()


@dataclass(frozen=True, slots=True)
class RankerAgreement:
    """How far two rankers order the same candidates alike.

    Attributes:
        kendall_tau: tau-b of an example, mean over those where neither ranker ties everything; None without one.
        tau_interval: 95% bootstrap interval over these; None for fewer than two.
        tau_examples: their number.
        top1: share of the examples whose best candidate is the same; of tied best ones the share that is best for both
            (intersection over union). None without an example.
        examples: number with at least two candidates that both ranked.
        unmatched: examples that only one file has, or with fewer than two such candidates.
    """

    kendall_tau: float | None
    tau_interval: Interval | None
    tau_examples: int
    top1: float | None
    examples: int
    unmatched: int


def agreement(first: Mapping[str, Ranking], second: Mapping[str, Ranking]) -> RankerAgreement:
    """Agreement of two files' rankings; examples match by id, candidates by text."""
    taus: list[float] = []
    tops: list[float] = []
    for id in first.keys() & second.keys():
        own, other = first[id].ranks, second[id].ranks
        shared = sorted(own.keys() & other.keys())
        if len(shared) < 2:
            continue
        pair = tuple(own[key] for key in shared), tuple(other[key] for key in shared)
        tops.append(_same_best(*pair))
        if (tau := _tau(*pair)) is not None:
            taus.append(tau)
    return RankerAgreement(
        kendall_tau=math.fsum(taus) / len(taus) if taus else None,
        tau_interval=bootstrap_interval(sorted(taus)),
        tau_examples=len(taus),
        top1=math.fsum(tops) / len(tops) if tops else None,
        examples=len(tops),
        unmatched=len(first.keys() | second.keys()) - len(tops),
    )


@cache
def _tau(first: tuple[int, ...], second: tuple[int, ...]) -> float | None:
    """Remembered, for a handful of candidates have few orders and scipy takes longer than the lookup."""
    from tuna_eval.judge.agreement import kendall_tau

    return kendall_tau(first, second).value


def _same_best(first: Sequence[int], second: Sequence[int]) -> float:
    best, other = ({place for place, rank in enumerate(ranks) if rank == min(ranks)} for ranks in (first, second))
    return len(best & other) / len(best | other)
