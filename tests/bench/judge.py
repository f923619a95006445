"""`make bench-judge`: judgments per second against a slow server, and the memory that many judgments take.

The server is a process of its own that holds every request for 200 ms (`slow_server`). The rate is a fraction of what
the latency allows, concurrency / latency; `judge_server_rate_fraction` is what a client reaches that does nothing else.
Memory is that of the judging process after 10,000 and after 100,000 judgments of one and the same judging, whose
questions and answers were in memory from the start; the server then answers at once.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.bench.record import record
from tests.bench.slow_server import bare_rate, slow_server
from tests.silent import Silent
from tuna_eval.judge.engine_judge import EngineComparer
from tuna_eval.judge.pairwise import open_protocol
from tuna_eval.judge.protocols import Question
from tuna_eval.judging.judging import Judged, Match, judge
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions
from tuna_eval.run import Progress

PROTOCOL = open_protocol("pairwise-v2")
LATENCY = 0.2
WARM_UP = 64  # judgments before the first figure: imports and connections count for nobody
MEGABYTE = 2**20


class MemoryAt:
    """A run's progress that notes the memory of this process after so many judgments."""

    def __init__(self, *counts: int) -> None:
        self.megabytes = dict.fromkeys(counts, 0.0)
        self._done = 0

    def note(self, text: str) -> None:
        pass

    def begin(self, label: str, *, done: int, total: int) -> None:
        pass

    def advance(self) -> None:
        self._done += 1
        if self._done in self.megabytes:
            self.megabytes[self._done] = psutil.Process().memory_info().rss / MEGABYTE
            print(f"{self._done} judgments: {self.megabytes[self._done]:.1f} MB", file=sys.stderr, flush=True)

    def end(self) -> None:
        pass


def match_of(count: int) -> Match:
    """Answers of the length that open questions get."""
    questions = [Question(f"q{i}", "generic", f"Question {i}: how do I keep tomatoes fresh?") for i in range(count)]
    sentence = "Keep them at room temperature and out of the sun. "
    candidate = {f"q{i}": f"Answer {i}. " + sentence * (6 + i % 13) for i in range(count)}
    baseline = {f"q{i}": f"Reply {i}. " + sentence * (9 + i % 7) for i in range(count)}
    return Match(questions, candidate, baseline)


def judged(port: int, match: Match, concurrency: int, repeats: int, progress: Progress) -> tuple[Judged, float]:
    """A judging as a user makes it, in a folder that is thrown away, and the seconds that the asking took."""
    engine = ApiEngine(ApiOptions(f"http://127.0.0.1:{port}/v1", "slow", concurrency=concurrency, on_failure="yield"))
    with tempfile.TemporaryDirectory() as folder:
        result = judge(match, EngineComparer(engine, PROTOCOL, repeats), PROTOCOL, Path(folder), progress)
        (session,) = json.loads((result.folder / "judging.json").read_text())["sessions"]
    assert result.report.tally.coverage == 1.0
    assert result.usage.judgments == 2 * repeats * len(match.questions)
    return result, float(session["seconds"])


def rate(concurrency: int, judgments: int) -> dict[str, float]:
    """Judgments per second as a fraction of what latency and concurrency allow."""
    possible = concurrency / LATENCY
    match = match_of(judgments // 2)
    prompt = PROTOCOL.prompt(match.pair(match.questions[0]), "candidate-first")
    messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
    body = json.dumps({"model": "slow", "messages": messages}).encode()
    with slow_server(LATENCY) as port:
        judged(port, match_of(WARM_UP // 2), concurrency, 1, Silent())
        bare = bare_rate(port, concurrency, judgments, body)
        began = time.perf_counter()
        _, asking = judged(port, match, concurrency, 1, Silent())
        whole = time.perf_counter() - began
    return {
        "judge_rate_fraction": judgments / asking / possible,
        "judge_rate_fraction_with_report": judgments / whole / possible,
        "judge_server_rate_fraction": bare / possible,
        "judge_rate_judgments": judgments,
    }


def memory(concurrency: int, few: int, many: int) -> dict[str, float]:
    """How much the memory grows from the first `few` judgments to all `many`."""
    progress = MemoryAt(few, many)
    repeats = 10
    with slow_server(0.0) as port:
        _, took = judged(port, match_of(many // (2 * repeats)), concurrency, repeats, progress)
    before, after = progress.megabytes[few], progress.megabytes[many]
    return {
        "judge_memory_growth_percent": 100 * (after / before - 1),
        "judge_memory_megabytes": after,
        "judge_peak_megabytes_with_report": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "judge_memory_judgments": many,
        "judge_unthrottled_per_second": many / took,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--judgments", type=int, default=6400, help="in the measurement of the rate; even")
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=100_000, help="in the measurement of memory; a multiple of 20")
    arguments = parser.parse_args()
    figures = rate(arguments.concurrency, arguments.judgments)
    print(figures, file=sys.stderr, flush=True)
    figures |= memory(arguments.concurrency, arguments.few, arguments.many)
    record("judge", figures, {"latency_seconds": LATENCY, **vars(arguments)})


if __name__ == "__main__":
    main()
