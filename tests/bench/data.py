"""`make bench-data`: what the drawing of 4 responses to 52,000 instructions costs beside the model's own time.

A scripted model answers at once, so all that is left is the project's: prompts, similarity, the policy's decisions,
ranking by Eq. 3, the journal and the output. Everything runs on one core. Memory is that of this process after a tenth
of the instructions and at the end. The speed of ROUGE-L is compared with rouge-score's on the same pairs, which must
get equal values; the generations of the two policies are counted on the same responses.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from tests.bench.record import record
from tests.silent import Silent
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.llm.scripted_engine import ScriptedEngine
from tuna_eval.metrics.rouge import rouge_engine, rouge_l_of_pairs
from tuna_eval.schema import Completion, Prompt
from tuna_train.data import teacher
from tuna_train.data.diversity import Policy, PolicyName
from tuna_train.data.ranked import RankedExample, read_ranked
from tuna_train.data.replies import ReplyLog
from tuna_train.data.sample import DrawSettings, Sampler
from tuna_train.data.stage import StageOutput

MEGABYTE = 2**20
TEXTS = 4096
FAVOURITE = 0.25  # share of the draws that give an instruction's favourite response, or nearly that


class FastEngine(ScriptedEngine):
    """Answers at once: a text that seed and prompt choose, now and then the prompt's favourite."""

    def __init__(self, words: int) -> None:
        super().__init__([])
        pick = random.Random(0)
        vocabulary = ["".join(pick.choices("etaoinshrdlu", k=pick.randint(2, 10))) for _ in range(4000)]
        weights = [1 / (rank + 3) for rank in range(len(vocabulary))]
        lengths = [max(4, round(pick.expovariate(1 / words))) for _ in range(TEXTS)]
        self._texts = [" ".join(pick.choices(vocabulary, weights, k=length)) + "." for length in lengths]

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
        for index, prompt in enumerate(prompts):
            seed = params.of(prompt).seed
            is_favourite = seed % 1000 < 1000 * FAVOURITE
            text = self._texts[(zlib.crc32(prompt.text.encode()) if is_favourite else seed // 1000) % TEXTS]
            text = f"{text} Indeed." if seed % 2 else text
            tokens = len(text) // 4 + 1
            yield Completion(index, text, None, "stop", -1.1 * tokens - seed % 97, len(prompt.text) // 4, tokens)


class MemoryAt(Silent):
    """Notes the memory of this process after so many replies."""

    def __init__(self, *counts: int) -> None:
        self.megabytes = dict.fromkeys(counts, 0.0)
        self._done = 0

    def advance(self) -> None:
        self._done += 1
        if self._done in self.megabytes:
            self.megabytes[self._done] = psutil.Process().memory_info().rss / MEGABYTE


def instructions(count: int) -> Iterator[RankedExample]:
    for number in range(count):
        text = f"Instruction {number}: explain how tomatoes are kept fresh in a kitchen without a cellar."
        yield RankedExample(str(number), text, "", "Keep them at room temperature, out of the sun.")


def drawn(count: int, policy: PolicyName, words: int, folder: Path, progress: Silent) -> int:
    """Draws 4 responses to each instruction, ranks and stores them; the number of generations."""
    engine = FastEngine(words)
    trials = Policy(policy)
    settings = DrawSettings("teacher", "scripted", "alpaca", needs_logprobs=True, policy=trials)
    output = StageOutput(folder / f"{policy}.jsonl", settings.identity(engine))
    with output.opened():
        sampler = Sampler(engine, settings, output, progress, teacher.rank)
        sampler.run(instructions(count), count)
    return sampler.log.totals.replies


def bookkeeping(count: int, words: int) -> dict[str, float]:
    tenth = 4 * count // 10
    progress = MemoryAt(tenth, 4 * count)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        replies = drawn(count, "paper", words, Path(folder), progress)
        seconds = time.perf_counter() - began
        assert sum(len(example.ranked) for example in read_ranked(Path(folder) / "paper.jsonl")) == 4 * count
        resumed = resumption(count, words, Path(folder))
    before, after = progress.megabytes[tenth], progress.megabytes[4 * count]
    print(f"{count} instructions, {replies} replies: {seconds:.1f} s, {before:.0f} -> {after:.0f} MB", file=sys.stderr)
    return {
        "data_52k_seconds": seconds,
        "data_52k_memory_growth_percent": 100 * (after / before - 1),
        "data_52k_memory_megabytes": after,
        "data_52k_replies": replies,
        "data_52k_resume_megabytes": resumed,
    }


def resumption(count: int, words: int, folder: Path) -> float:
    """What it takes to find that nothing is left to do: memory that this process gets beyond what it has, megabytes."""
    before = psutil.Process().memory_info().rss / MEGABYTE
    counted = ReplyLog(StageOutput(folder / "paper.jsonl", {}).journal).count()
    assert drawn(count, "paper", words, folder, Silent()) == counted.replies
    return psutil.Process().memory_info().rss / MEGABYTE - before


def similarity(pairs: int, words: int) -> dict[str, float]:
    """How many times faster than rouge-score ROUGE-L is, on the same pairs with equal values."""
    texts, pick = FastEngine(words)._texts, random.Random(1)
    sample = [(pick.choice(texts), pick.choice(texts)) for _ in range(pairs)]
    rouge_l_of_pairs(sample[:8], engine="rouge-score")  # imports count for nobody
    rouge_l_of_pairs(sample[:8])
    began = time.process_time()
    reference = rouge_l_of_pairs(sample, engine="rouge-score")
    between = time.process_time()
    fast = rouge_l_of_pairs(sample)
    ended = time.process_time()
    assert fast == reference
    return {"similarity_speed_ratio": (between - began) / (ended - between), "similarity_pairs": pairs}


def generations(count: int, words: int) -> dict[str, float]:
    """Generations of the paper's policy for each one of the released policy, on the same responses."""
    with tempfile.TemporaryDirectory() as folder:
        paper, released = (drawn(count, policy, words, Path(folder), Silent()) for policy in ("paper", "released"))
    assert paper < released
    return {
        "generations_ratio": paper / released,
        "generations_paper_per_response": paper / (4 * count),
        "generations_released_per_response": released / (4 * count),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--instructions", type=int, default=52_000)
    parser.add_argument("--words", type=int, default=60, help="mean length of a response")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--compared", type=int, default=5000, help="instructions on which the policies are compared")
    arguments = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures = bookkeeping(arguments.instructions, arguments.words)
    figures |= similarity(arguments.pairs, arguments.words)
    figures |= generations(arguments.compared, arguments.words)
    record("data", figures, {**vars(arguments), "rouge": rouge_engine().release, "favourite": FAVOURITE})


if __name__ == "__main__":
    main()
