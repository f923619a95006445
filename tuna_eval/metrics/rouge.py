"""ROUGE-1 and ROUGE-L F1 as `rouge-score` 0.1.2 computes them, to the last bit, many times faster.

The only home of the project's ROUGE settings: the Super-NI score and the diversity filter of training both come here.
Three engines give equal floats: "rouge-score-rs" (native, on all cores, the extra `fast`), "python" (below) and
"rouge-score" (the reference). Texts without a letter a-z or a digit have no tokens and score 0 with any other, unless
the "unicode" tokenizer is asked for (`words.py`), which has a signature of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain, combinations_with_replacement
from string import ascii_lowercase, digits
from typing import Any, Literal, get_args

from tuna_eval.errors import ConfigError
from tuna_eval.metrics.signature import signature
from tuna_eval.metrics.words import visible_words

RougeTokenizer = Literal["rouge-score", "unicode"]
RougeImplementation = Literal["rouge-score-rs", "python", "rouge-score"]
ROUGE_IMPLEMENTATIONS: tuple[RougeImplementation, ...] = get_args(RougeImplementation)

_INSTALL_FAST = "pip install 'tuna-llm[fast]'"
_SEPARATED = bytes(byte if chr(byte) in f"{ascii_lowercase}{digits}" else ord(" ") for byte in range(256))
# The vocabulary of a benchmark fits several times over; beyond it the words are forgotten and found again.
_WORDS_REMEMBERED = 1 << 18


@dataclass(frozen=True, slots=True)
class Rouge:
    """F-measures in 0..1."""

    rouge1: float
    rougeL: float  # noqa: N815 - the metric's name


@dataclass(frozen=True, slots=True)
class RougeEngine:
    """Which code computes ROUGE, and why.

    Attributes:
        name: the implementation.
        release: its distribution and version, as signatures show it.
        reason: one clause for the user.
    """

    name: RougeImplementation
    release: str
    reason: str


def rouge_engine(requested: str = "auto") -> RougeEngine:
    """The engine to use: `requested`, or for "auto" rouge-score-rs if it is installed, else python.

    Raises:
        ConfigError: unknown name, or rouge-score-rs asked for and not installed.
    """
    has_native = find_spec("rouge_score_rs") is not None
    if requested == "auto":
        if has_native:
            return RougeEngine("rouge-score-rs", _release("rouge-score-rs"), "rouge-score-rs is installed")
        return RougeEngine("python", _release("python"), f"rouge-score-rs is not installed ({_INSTALL_FAST})")
    for name in ROUGE_IMPLEMENTATIONS:
        if name == requested:
            if name == "rouge-score-rs" and not has_native:
                raise ConfigError("rouge-score-rs is not installed", place="ROUGE engine", cure=_INSTALL_FAST)
            return RougeEngine(name, _release(name), "asked for")
    allowed = ", ".join(("auto", *ROUGE_IMPLEMENTATIONS))
    raise ConfigError(f"unknown engine {requested!r}", place="ROUGE engine", cure=f"use one of {allowed}")


def rouge_signatures(
    *, stemmer: bool = True, engine: str = "auto", tokenizer: RougeTokenizer = "rouge-score"
) -> dict[str, str]:
    """The signatures of scores with these settings, by metric name ("rouge1", "rougeL")."""
    settings = {"stem": "yes" if stemmer else "no", "refs": "max"}
    if tokenizer != "rouge-score":
        settings["tok"] = tokenizer
    release = rouge_engine(engine).release
    return {metric: signature(metric, settings, implementation=release) for metric in ("rouge1", "rougeL")}


def best_rouge(
    predictions: Sequence[str], references: Sequence[Sequence[str]], *, stemmer: bool = True, engine: str = "auto"
) -> list[Rouge]:
    """For each prediction the maximum over its references, taken for each of the two metrics on its own.

    A pair of texts that occurs more than once is scored once.

    Args:
        predictions: N texts.
        references: for each prediction at least one text.
        stemmer: reduce words of more than three letters with Porter's stemmer (nltk's mode, as rouge-score).
        engine: "auto" or the name of an implementation.

    Raises:
        ValueError: lengths differ, or a prediction has no reference.
        ConfigError: see `rouge_engine`.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions but references for {len(references)}")
    if not all(references):
        raise ValueError("every prediction needs at least one reference")
    groups = [
        [(prediction, reference) for reference in texts]
        for prediction, texts in zip(predictions, references, strict=True)
    ]
    distinct = list(dict.fromkeys(chain.from_iterable(groups)))
    scores = dict(zip(distinct, _SCORERS[rouge_engine(engine).name](distinct, stemmer), strict=True))
    return [_maximum([scores[pair] for pair in group]) for group in groups]


def rouge_l(prediction: str, reference: str, *, stemmer: bool = True, engine: str = "auto") -> float:
    """ROUGE-L F1 of two texts, 0..1; the same either way round. For many pairs `best_rouge` is faster."""
    return best_rouge([prediction], [[reference]], stemmer=stemmer, engine=engine)[0].rougeL


def rouge_l_of_pairs(
    pairs: Sequence[tuple[str, str]],
    *,
    stemmer: bool = True,
    engine: str = "auto",
    tokenizer: RougeTokenizer = "rouge-score",
) -> list[float]:
    """ROUGE-L F1 of each pair of texts, 0..1. One call for many pairs is what makes it fast.

    Raises:
        ConfigError: see `rouge_engine`.
    """
    if tokenizer == "unicode":
        pairs = [(visible_words(first), visible_words(second)) for first, second in pairs]
    return [score.rougeL for score in _SCORERS[rouge_engine(engine).name](pairs, stemmer)]


def pairwise_rouge_l(
    texts: Sequence[str], *, stemmer: bool = True, engine: str = "auto"
) -> tuple[tuple[float, ...], ...]:
    """ROUGE-L F1 of every text with every text; the python engine tokenises each once.

    Returns:
        A symmetric matrix, (N, N). The diagonal is 1.0, or 0.0 for a text without tokens.
    """
    places = list(combinations_with_replacement(range(len(texts)), 2))
    scores = _SCORERS[rouge_engine(engine).name]([(texts[i], texts[j]) for i, j in places], stemmer)
    rows = [[0.0] * len(texts) for _ in texts]
    for (i, j), score in zip(places, scores, strict=True):
        rows[i][j] = rows[j][i] = score.rougeL
    return tuple(map(tuple, rows))


class _Stems(dict[bytes, str]):
    """Word (a-z0-9) to stem, found once: stemming is what ROUGE spends most of its time on."""

    def __init__(self, stem: Callable[[str], str]) -> None:
        self._stem = stem

    def __missing__(self, word: bytes) -> str:
        if len(self) >= _WORDS_REMEMBERED:
            self.clear()
        text = word.decode("ascii")
        self[word] = stem = self._stem(text) if len(text) > 3 else text
        return stem

    def words(self, text: str) -> list[str]:
        """The stems of the runs of a-z0-9 in the lower-cased text; every other character separates."""
        found = text.lower().encode("ascii", "replace").translate(_SEPARATED).split()
        return list(map(self.__getitem__, found))


@lru_cache(maxsize=1)
def _nltk_stems() -> _Stems:
    from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]  # seconds to import

    return _Stems(PorterStemmer().stem)


def _score_native(pairs: Sequence[tuple[str, str]], stemmer: bool) -> list[Rouge]:
    from rouge_score_rs import RougeScorer

    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=stemmer)
    found = scorer.score_batch([reference for _, reference in pairs], [prediction for prediction, _ in pairs])
    return list(map(_from_package, found))


def _score_reference(pairs: Sequence[tuple[str, str]], stemmer: bool) -> list[Rouge]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=stemmer)
    return [_from_package(scorer.score(target=reference, prediction=prediction)) for prediction, reference in pairs]


def _from_package(scores: Any) -> Rouge:
    return Rouge(float(scores["rouge1"].fmeasure), float(scores["rougeL"].fmeasure))


def _score_python(pairs: Sequence[tuple[str, str]], stemmer: bool) -> list[Rouge]:
    words = (_nltk_stems() if stemmer else _Stems(str)).words
    tokens = {text: words(text) for text in dict.fromkeys(chain.from_iterable(pairs))}
    vocabularies = {text: frozenset(found) for text, found in tokens.items()}
    scores = []
    for prediction, reference in pairs:
        a, b = tokens[prediction], tokens[reference]
        shared = vocabularies[prediction] & vocabularies[reference]
        bag, subsequence = _overlaps(a, b, shared) if shared else (0, 0)
        scores.append(Rouge(_f_measure(bag, len(a), len(b)), _f_measure(subsequence, len(a), len(b))))
    return scores


def _overlaps(first: Sequence[str], second: Sequence[str], shared: Set[str]) -> tuple[int, int]:
    """Size of the intersection of two bags of words, and length of their longest common subsequence.

    Words that are not in both cannot count and are left out first. The subsequence is bit-parallel (Hyyrö 2004): one
    row of the table is one int, whose zero bits mark where in the longer text the row's value rises by one. Carries
    past the end of that text are cut off once, at the end.
    """
    short, long = [word for word in first if word in shared], [word for word in second if word in shared]
    if len(short) > len(long):
        short, long = long, short
    positions = dict.fromkeys(shared, 0)
    bit = 1
    for word in long:
        positions[word] |= bit
        bit += bit
    if len(shared) in (len(short), len(long)):
        bag = len(shared)
    else:
        counts = Counter(short)
        bag = sum(map(min, counts.values(), map(int.bit_count, map(positions.__getitem__, counts))))
    row = bit - 1
    for word in short:
        matched = row & positions[word]
        row = (row + matched) | (row - matched)
    return bag, len(long) - (row & (bit - 1)).bit_count()


def _f_measure(common: int, prediction_length: int, reference_length: int) -> float:
    """Harmonic mean of precision and recall; rouge-score's order of operations, so that the last bit agrees."""
    if not common:
        return 0.0
    precision, recall = common / prediction_length, common / reference_length
    return 2 * precision * recall / (precision + recall)


def _maximum(scores: Sequence[Rouge]) -> Rouge:
    if len(scores) == 1:
        return scores[0]
    return Rouge(max(score.rouge1 for score in scores), max(score.rougeL for score in scores))


_SCORERS: dict[RougeImplementation, Callable[[Sequence[tuple[str, str]], bool], list[Rouge]]] = {
    "rouge-score-rs": _score_native,
    "python": _score_python,
    "rouge-score": _score_reference,
}


def _release(name: RougeImplementation) -> str:
    return f"tuna-llm {version('tuna-llm')}" if name == "python" else f"{name} {version(name)}"
