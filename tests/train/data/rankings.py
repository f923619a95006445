"""Examples with planted qualities, and `tuna-train data rank` over a real HTTP server."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tuna_train.cli import main
from tuna_train.data.ranked import Candidate, RankedExample, read_ranked, write_ranked


def planted(count: int, candidates: int = 4) -> list[RankedExample]:
    """Examples whose candidates have different qualities, as `openai_judges.by_quality` sees them."""
    rng = random.Random(0)
    found = []
    for n in range(count):
        qualities = rng.sample(range(14), candidates)
        texts = (Candidate(f"Answer {n}.{place}, q{quality}", source="m") for place, quality in enumerate(qualities))
        found.append(RankedExample(f"e{n}", f"Do task number {n}.", "" if n % 2 else f"With {n}.", None, tuple(texts)))
    return found


def write(folder: Path, examples: Sequence[RankedExample]) -> Path:
    file = folder / "in.jsonl"
    write_ranked(file, examples)
    return file


def rank(file: Path, server: str, *options: str, ranker: str = "gpt-4") -> int:
    """Runs the command; the output is out.jsonl beside the input."""
    out = str(file.with_name("out.jsonl"))
    return main(["data", "rank", str(file), "--out", out, "--ranker", ranker, "--judge-base-url", server, *options])


def ranks(file: Path) -> dict[str, tuple[int | None, ...]]:
    """What was written, by example."""
    return {e.id: tuple(c.rank for c in e.candidates) for e in read_ranked(file.with_name("out.jsonl"))}
