"""Small files of ranked examples in words that the tiny tokenizer knows."""

from __future__ import annotations

import random
from pathlib import Path

from tuna_train.data.ranked import Candidate, RankedExample, rank_by_score, write_ranked

WORDS = ["alpha", "beta", "gamma", "delta", "one", "two", "three", "four", "five", "six", "France", "Paris", "word"]


def example(number: int, rng: random.Random) -> RankedExample:
    """Two to four candidates, ties among them; every third has an input, every fifth ranks the original too."""

    def words(least: int, most: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))

    original = words(2, 7)
    texts = [words(1, 9) for _ in range(rng.randint(2, 4))]
    if number % 5 == 0:
        texts[0] = original
    candidates = [Candidate(text, source=f"m{n}", score=float(rng.randint(0, 3))) for n, text in enumerate(texts)]
    return RankedExample(
        str(number),
        words(3, 8),
        input=words(1, 3) if number % 3 == 0 else "",
        original=original,
        candidates=rank_by_score(candidates),
    )


def write_examples(file: Path, count: int = 44, seed: int = 0) -> Path:
    rng = random.Random(seed)
    write_ranked(file, (example(number, rng) for number in range(count)))
    return file
