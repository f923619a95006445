"""Do training examples hold evaluation prompts: n-gram overlap with Super-NI, LMentry and Vicuna QA.

The prompts' n-grams are hashed into one sorted array; an example's n-grams are looked up there, and a hit is compared
word by word, so that a collision of hashes is never a false alarm.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tuna_eval.datasets import resolve
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.metrics.words import words_of
from tuna_train.data.ranked import RankedExample

NGRAM = 13  # words; GPT-3's (Brown et al. 2020, appendix C) and since then the usual choice
SHORTEST = 4  # words; shorter texts are equal by chance
SHORTEST_WITHIN = 8  # words; shorter texts are within others by chance
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying by it loses nothing modulo 2**64
_AT_ONCE = 1 << 20  # windows hashed in one go

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvaluationPrompt:
    """A text that a benchmark shows to models, without the wording that all its prompts share."""

    benchmark: str
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """An evaluation prompt that a training example shares words with.

    Attributes:
        benchmark, prompt: the first prompt that has the words.
        words: the first n-gram shared, or the whole prompt where it is shorter.
        ngrams: how many n-grams of the example are in evaluation prompts; 0 where a shorter prompt is there as a whole.
    """

    benchmark: str
    prompt: str
    words: str
    ngrams: int


@dataclass(frozen=True, slots=True)
class Contaminated:
    """An example that overlaps, and with what."""

    id: str
    overlap: Overlap


class PromptIndex:
    """The n-grams of evaluation prompts.

    Args:
        prompts: read once.
        n: words of an n-gram. Prompts of fewer words are found as a whole: those of 8 or more words anywhere in a text,
            shorter ones where they are all of it.

    Raises:
        ConfigError: n is below 4, which chance alone would find.
    """

    def __init__(self, prompts: Iterable[EvaluationPrompt], n: int = NGRAM) -> None:
        if n < SHORTEST:
            raise ConfigError(f"{n}-grams are shared by chance", place="--ngram", cure=f"use {SHORTEST} or more")
        self.n = n
        self._vocabulary: dict[str, int] = {}
        self._short: dict[Words, int] = {}
        self._lengths: dict[Words, set[int]] = {}  # of short prompts that may be within a text, by their first words
        self._names: list[tuple[str, str]] = []
        flat, starts = array("i"), array("q")
        for prompt in prompts:
            words = words_of(prompt.text)
            starts.append(len(flat))
            if len(words) >= n:
                flat.extend([self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words])
                flat.append(-1)  # no n-gram reaches from one prompt into the next
            elif len(words) >= SHORTEST:
                self._short.setdefault(tuple(words), len(self._names))
                if len(words) >= SHORTEST_WITHIN:
                    self._lengths.setdefault(tuple(words[:2]), set()).add(len(words))
            self._names.append((prompt.benchmark, prompt.id))
        self._starts = np.asarray(starts, dtype=np.int64)
        self._flat = np.asarray(flat, dtype=np.int32)
        # A random number for each word; the seed only decides which collisions have to be looked at.
        self._numbers = np.random.default_rng(0).integers(2**64, size=len(self._vocabulary) + 1, dtype=np.uint64)
        hashes, windows = self._hashes(self._flat)
        self._hashes_sorted, first = np.unique(hashes, return_index=True)
        self._windows = windows[first]

    def __len__(self) -> int:
        return len(self._names)

    def overlap(self, example: RankedExample) -> Overlap | None:
        """What the instruction and the input of an example share with the prompts; None if nothing."""
        instruction, input = words_of(example.instruction), words_of(example.input)
        for part in (instruction + input, instruction, input):
            if (number := self._short.get(tuple(part))) is not None:
                return Overlap(*self._names[number], words=" ".join(part), ngrams=0)
        return self._long_overlap(instruction + input) or self._short_overlap(instruction + input)

    def _short_overlap(self, words: Sequence[str]) -> Overlap | None:
        for start in range(len(words) - SHORTEST_WITHIN + 1):
            for length in sorted(self._lengths.get(tuple(words[start : start + 2]), ())):
                part = tuple(words[start : start + length])
                if (number := self._short.get(part)) is not None:
                    return Overlap(*self._names[number], words=" ".join(part), ngrams=0)
        return None

    def _long_overlap(self, words: Sequence[str]) -> Overlap | None:
        ids = np.fromiter((self._vocabulary.get(word, -1) for word in words), dtype=np.int32, count=len(words))
        hashes, windows = self._hashes(ids)
        if not hashes.size or not self._hashes_sorted.size:
            return None
        places = np.searchsorted(self._hashes_sorted, hashes).clip(max=self._hashes_sorted.size - 1)
        equal = np.flatnonzero(self._hashes_sorted[places] == hashes)
        found = [
            (int(windows[k]), int(self._windows[places[k]]))
            for k in equal
            if np.array_equal(self._window(ids, windows[k]), self._window(self._flat, self._windows[places[k]]))
        ]
        if not found:
            return None
        own, theirs = found[0]
        number = int(np.searchsorted(self._starts, theirs, side="right")) - 1
        return Overlap(*self._names[number], words=" ".join(words[own : own + self.n]), ngrams=len(found))

    def _window(self, ids: NDArray[np.int32], start: int) -> NDArray[np.int32]:
        return ids[start : start + self.n]

    def _hashes(self, ids: NDArray[np.int32]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Hashes of the n-grams that consist of known words alone, and where each begins."""
        hashes, starts = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for begin in range(0, ids.size - self.n + 1, _AT_ONCE):
            part = ids[begin : begin + _AT_ONCE + self.n - 1]
            numbers = self._numbers[part]
            unknown = np.concatenate(([0], np.cumsum(part < 0)))
            known = np.flatnonzero(unknown[self.n :] == unknown[: -self.n])
            sums = np.zeros(known.size, np.uint64)
            for k in range(self.n):
                sums = sums * _BASE + numbers[known + k]
            hashes.append(sums)
            starts.append(known + begin)
        return np.concatenate(hashes), np.concatenate(starts)


def _superni(folder: Path) -> Iterator[EvaluationPrompt]:
    from tuna_eval.tasks.superni import INSTANCES_PER_TASK
    from tuna_eval.tasks.superni_format import read_task, superni_task_names

    for name in superni_task_names(folder):
        file = folder / "tasks" / f"{name}.json"
        if file.is_file():
            task = read_task(file, INSTANCES_PER_TASK)
            yield EvaluationPrompt("superni", f"{name} definition", task.definition)
            for number, demonstration in enumerate(task.positives[:2], 1):  # those of the 2-shot prompt
                yield EvaluationPrompt("superni", f"{name} example {number}", demonstration.input)
            for id, input in task.inputs.items():
                yield EvaluationPrompt("superni", f"{name} {id}", input)


def _lmentry(folder: Path) -> Iterator[EvaluationPrompt]:
    from tuna_eval.tasks.lmentry.task import LMentry

    suite = LMentry(folder)
    for name in suite.task_names():
        for id, example in suite.read(name).examples.items():
            yield EvaluationPrompt("lmentry", f"{name} {id}", example["input"])


def _vicuna(folder: Path) -> Iterator[EvaluationPrompt]:
    from tuna_eval.tasks.vicuna import read_questions

    for question in read_questions(folder):
        yield EvaluationPrompt("vicuna", question.id, question.text)


BENCHMARKS: dict[str, Callable[[Path], Iterator[EvaluationPrompt]]] = {
    "superni": _superni,
    "lmentry": _lmentry,
    "vicuna": _vicuna,
}


@dataclass(frozen=True, slots=True)
class Screen:
    """What examples are screened against: their instruction and input are, not their responses.

    Attributes:
        index: of the prompts.
        benchmarks: number of prompts by benchmark.
        unchecked: benchmarks that were left out because their data is not at hand, and why.
    """

    index: PromptIndex
    benchmarks: dict[str, int]
    unchecked: dict[str, str]

    def find(self, examples: Iterable[RankedExample]) -> Iterator[Contaminated]:
        """The examples that overlap, as they come."""
        for example in examples:
            if overlap := self.index.overlap(example):
                yield Contaminated(example.id, overlap)


def open_screen(
    names: Sequence[str] = (),
    *,
    data: Literal["full", "mini"] = "full",
    data_dir: Path | None = None,
    n: int = NGRAM,
) -> Screen:
    """Reads the evaluation prompts.

    Args:
        names: benchmarks that must be there; empty for all whose data is at hand.
        data, data_dir: as in `tuna_eval.datasets.resolve`.
        n: words of an n-gram.

    Raises:
        ConfigError: an unknown benchmark, or n out of range.
        DataError: a benchmark that was named, or every one, is not at hand.
    """
    for name in names:
        if name not in BENCHMARKS:
            raise ConfigError(
                f"unknown benchmark {name!r}", place="--benchmarks", cure=f"use some of {', '.join(BENCHMARKS)}"
            )
    folders: dict[str, Path] = {}
    unchecked: dict[str, str] = {}
    for name in names or BENCHMARKS:
        try:
            folders[name] = resolve(name, data, data_dir)
        except DataError as absent:
            if names:
                raise
            unchecked[name] = str(absent)
    if not folders:
        raise DataError(
            "no benchmark's data is here to compare with",
            place="contamination check",
            cure="run tuna-eval data fetch, give a copy with --data-dir DIR, or --data mini for the built-in sample",
        )
    counts = dict.fromkeys(folders, 0)

    def prompts() -> Iterator[EvaluationPrompt]:
        for name, folder in folders.items():
            for prompt in BENCHMARKS[name](folder):
                counts[name] += 1
                yield prompt

    return Screen(PromptIndex(prompts(), n), counts, unchecked)
