"""Killed twenty times while one request in five fails: no example is lost or doubled, and no reply is paid twice.

`make fuzz-rank` ranks 2,000 examples and kills 20 times; the other targets rank 120 and kill twice.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from rankings import planted, write

from openai_faults import CUT, NO_CHOICES, REFUSAL, WRONG_SHAPE, Call, Fault, randomly
from openai_judges import by_quality, planted_quality
from openai_server import OpenAIServer
from tuna_eval.disk import read_lines
from tuna_train.cli import main
from tuna_train.data.ranked import competition_ranks, read_ranked

FUZZ = int(os.environ.get("TUNA_FUZZ", "0"))
KILLS = 20 if FUZZ else 2
EXAMPLES = FUZZ or 120
LAST_KILL = 0.7  # share of the replies that are stored by then
LATENCY = 0.05  # seconds; what is slower than the test can look is killed in time
CONCURRENCY = 16
TIMEOUT = 3.0  # seconds; so long that a busy machine is not taken for a silent server
FIRST = [
    Fault.status(429, {"Retry-After": "0.02"}),
    Fault.status(500),
    Fault.silent(TIMEOUT + 1) if FUZZ else Fault.silent(0.01),
    CUT,
    Fault.html(),
    Fault.half_json(),
    NO_CHOICES,
    WRONG_SHAPE,
    REFUSAL,
]
# After most faults the client waits for half a second, and twice as long after each further one: these come only at the
# first attempt, so that the test ends soon.
LATER = [Fault.status(429, {"Retry-After": "0.02"}), Fault.status(500, {"retry-after-ms": "20"}), REFUSAL]
UNREADABLE = 0.05  # share of the examples whose first reply holds no ranking


class Judge:
    """Ranks by planted quality, but for some first replies; one request in five fails."""

    def __init__(self) -> None:
        self._first, self._later = randomly(0.2, FIRST), randomly(0.2, LATER)
        self.faults: Counter[str] = Counter()
        self.refused: set[str] = set()

    def __call__(self, call: Call) -> Fault | None:
        fault = (self._first if call.attempt == 1 else self._later)(call)
        if fault is not None:
            self.faults[f"{fault.kind} {fault.code}"] += 1
        if fault is REFUSAL:
            self.refused.add(call.prompt)
        return fault

    @staticmethod
    def reply(prompt: str) -> str:
        return "Hard to say." if random.Random(prompt).random() < UNREADABLE else by_quality(prompt)


def command(file: Path, server: str) -> list[str]:
    options = ["--judge-base-url", server, "--judge-concurrency", str(CONCURRENCY), "--judge-timeout", str(TIMEOUT)]
    out = str(file.with_name("out.jsonl"))
    return ["data", "rank", str(file), "--out", out, "--ranker", "gpt-4", "--judge-max-retries", "10", *options]


def lines_on_disk(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def run_until(journal: Path, lines: int, file: Path, server: OpenAIServer) -> bool:
    """Ranks in a process of its own and kills it when so many replies are stored; whether it was still at it."""
    process = subprocess.Popen([sys.executable, "-m", "tuna_train.cli", *command(file, server.base_url)])
    while lines_on_disk(journal) < lines and process.poll() is None:
        time.sleep(0.002)
    was_running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    while server.in_flight:  # what the dead process had asked for is still answered
        time.sleep(0.01)
    return was_running


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills processes as Linux does")
def test_killed_again_and_again_over_a_faulty_server(tmp_path: Path) -> None:
    """What is on its way at a SIGKILL, nobody but the server can know of: at most as many replies as are asked for at
    once are paid twice for each kill. Everything else is paid once."""
    examples = planted(EXAMPLES)
    file = write(tmp_path, examples)
    journal = tmp_path / "out.jsonl.stage" / "replies.jsonl"
    rng, judge, kills, lost_before, losses = random.Random(1), Judge(), 0, 0, []
    with OpenAIServer(judge.reply, judge, latency=LATENCY) as server:
        while kills < KILLS:
            stored = lines_on_disk(journal)
            left = int(LAST_KILL * EXAMPLES) - stored
            more = rng.randint(1, max(2, min(left, 2 * left // (KILLS - kills))))
            kills += run_until(journal, stored + more, file, server)
            assert not (tmp_path / "out.jsonl").exists()
            lost = server.served.total() - lines_on_disk(journal)
            losses.append(lost - lost_before)
            assert losses[-1] <= CONCURRENCY
            lost_before = lost
        assert main(command(file, server.base_url)) == 0
        assert server.served.total() == lines_on_disk(journal) + lost_before
        asked = len(server.log)
        assert main(command(file, server.base_url)) == 0
        assert len(server.log) == asked
    check_journal(journal, server)
    check_written(tmp_path / "out.jsonl", examples, judge)
    print(
        f"{EXAMPLES} examples, {asked} requests, {sum(judge.faults.values())} faults {dict(judge.faults)}, "
        f"{kills} kills, replies on their way at each: {losses} (bound {CONCURRENCY})"
    )


def check_journal(journal: Path, server: OpenAIServer) -> None:
    """Each judgment is there once, and only prompts whose reply a kill swallowed were answered more than once."""
    lines = list(read_lines(journal))
    keys = Counter((line["id"], line["repeat"], line["attempt"]) for line in lines)
    assert max(keys.values()) == 1
    assert len(server.served) == len(lines)
    assert all(line["state"] != "api_error" for line in lines)
    retried = {line["id"] for line in lines if line["attempt"]}
    assert retried == {line["id"] for line in lines if line["state"] == "unparsable" and not line["attempt"]}
    assert retried


def check_written(file: Path, examples: list, judge: Judge) -> None:  # type: ignore[type-arg]
    """Every example is there once, in its place, with the judge's ranks or plainly without."""
    written = list(read_ranked(file))
    assert [(e.id, e.instruction, e.input) for e in written] == [(e.id, e.instruction, e.input) for e in examples]
    states = Counter()
    for example in written:
        ranking = example.provenance["ranking"]
        assert isinstance(ranking, dict)
        states[str(ranking["state"])] += 1
        ranks = [c.rank for c in example.candidates]
        if ranking["state"] == "ranked":
            assert ranks == competition_ranks([planted_quality(c.text) for c in example.candidates])
        else:
            assert ranks == [None] * 4
    assert set(states) <= {"ranked", "refused", "unparsable"}
    assert 0 < states["refused"] <= len(judge.refused)
    assert states["ranked"] > 0.9 * len(examples)
