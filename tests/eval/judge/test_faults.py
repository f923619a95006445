"""One request in five fails, in every way a server can: no judgment is missing, no paid reply lost, none paid twice.

`make fuzz-judge` has 10,000 judgments made; the other targets a twentieth of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from answers import MARKS, OnePort, Watched, all_asks, environment, longer, many, record_of

from openai_faults import CUT, NO_CHOICES, REFUSAL, WRONG_SHAPE, Call, Fault, randomly
from openai_server import OpenAIServer
from openai_tokens import tokenize
from tuna_eval.disk import read_lines
from tuna_eval.errors import EngineError
from tuna_eval.judging.judging import Judged, judge
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions

JUDGMENTS = int(os.environ.get("TUNA_FUZZ", "500"))
MATCH = many(JUDGMENTS // 2)
ASKS = {MARKS.prompt(ask.pair, ask.order).user: (ask.pair.question.id, ask.order) for ask in all_asks(MATCH)}
KILLED_AT = (0.3, 0.6) if JUDGMENTS > 500 else (0.5,)  # shares of the judgments that the server has made by then
CONCURRENCY = 32
TIMEOUT = 2.0  # seconds; so long that a busy machine is not taken for a silent server
FAULTS = [
    Fault.status(429, {"Retry-After": "0.02"}),
    Fault.status(429),
    Fault.status(500),
    Fault.silent(TIMEOUT + 1),
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


class Faults:
    """One request in five fails; all of them while the key is refused."""

    def __init__(self) -> None:
        self._first, self._later = randomly(0.2, FAULTS), randomly(0.2, LATER)
        self.seen: Counter[str] = Counter()
        self.refused: set[str] = set()  # prompts that the judge was made to refuse
        self.refuses_key = False

    def __call__(self, call: Call) -> Fault | None:
        if self.refuses_key:
            return Fault.status(401, message="Incorrect API key")
        fault = (self._first if call.attempt == 1 else self._later)(call)
        if fault is not None:
            self.seen[f"{fault.kind} {fault.code} {'Retry-After' in fault.headers}"] += 1
        if fault is REFUSAL:
            self.refused.add(call.prompt)
        return fault


def engine_for(server: str) -> ApiEngine:
    options = ApiOptions(server, "judge", on_failure="yield", concurrency=CONCURRENCY, max_retries=10, timeout=TIMEOUT)
    return ApiEngine(options)


def judge_all(server: str, folder: Path) -> Judged:
    return judge(MATCH, OnePort(engine_for(server), MARKS), MARKS, folder, Watched())


def stored(folder: Path) -> list[dict[str, Any]]:
    """The judgments on disk, but for one that a kill may have torn."""
    (file,) = folder.rglob("judgments.jsonl")
    if not file.read_bytes().endswith(b"\n"):
        file.write_bytes(file.read_bytes().rpartition(b"\n")[0] + b"\n")
    return list(read_lines(file))


def check_accounts(judged: Judged, faults: Faults) -> None:
    """Every judgment is there once, says what the server said, and has the tokens that were paid for it."""
    lines = {(line["id"], line["order"]): line for line in read_lines(judged.folder / "judgments.jsonl")}
    assert judged.usage.judgments == len(lines) == len(ASKS) == JUDGMENTS
    for prompt, key in ASKS.items():
        line = lines[key]
        if line["state"] == "refused":
            assert prompt in faults.refused
        else:
            assert line["reply"] == longer(prompt)
        assert line["completion_tokens"] == len(tokenize(longer(prompt)))
    tally = judged.report.tally
    assert (tally.api_error, tally.unparsable, tally.not_judged) == (0, 0, 0)
    assert tally.counts.n + tally.refused == JUDGMENTS // 2
    assert record_of(judged)["status"] == "complete"
    assert len(faults.seen) == len({(fault.kind, fault.code, "Retry-After" in fault.headers) for fault in FAULTS})


def test_one_fault_in_five_costs_no_judgment_and_no_second_payment(tmp_path: Path) -> None:
    faults = Faults()
    began = time.monotonic()
    with OpenAIServer(longer, faults) as server:
        judged = judge_all(server.base_url, tmp_path)
    seconds = time.monotonic() - began
    check_accounts(judged, faults)
    assert server.served == dict.fromkeys(ASKS, 1)
    lines = {(line["id"], line["order"]): line["state"] for line in read_lines(judged.folder / "judgments.jsonl")}
    assert {ASKS[prompt] for prompt in faults.refused} == {key for key, state in lines.items() if state == "refused"}
    # A refusal is a reply: nine faults in ten are to be repeated, later two in three. Six standard deviations.
    repeated = JUDGMENTS * 0.2 * 0.9
    assert abs(len(server.log) - JUDGMENTS - repeated / (1 - 0.2 * 2 / 3)) < 6 * repeated**0.5 * 1.2
    assert server.max_in_flight <= CONCURRENCY
    print(
        f"{JUDGMENTS} judgments, {len(server.log)} requests, {sum(faults.seen.values())} faults "
        f"({dict(faults.seen)}), {sum(server.served.values())} paid replies, {len(lines)} stored, {seconds:.1f} s"
    )


KILLED = """
import sys
from pathlib import Path
from test_faults import judge_all

judge_all(sys.argv[1], Path(sys.argv[2]))
"""


def kill_after(served: int, server: OpenAIServer, folder: Path) -> None:
    """Judges in a process of its own until the server has made so many proper answers, and kills it."""
    command = [sys.executable, "-c", KILLED, server.base_url, str(folder)]
    process = subprocess.Popen(command, env=environment())
    while server.served.total() < served:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    while server.in_flight:  # what the dead process had asked for is still answered
        time.sleep(0.01)


def test_killed_and_locked_out_in_the_middle_it_ends_with_the_same_accounts(tmp_path: Path) -> None:
    """What is on its way at a SIGKILL, nobody but the server can know of: at most as many replies as are asked for at
    once are paid twice for each kill. Everything else is paid once."""
    faults = Faults()
    figures = []
    with OpenAIServer(longer, faults) as server:
        for kills, share in enumerate(KILLED_AT, 1):
            kill_after(int(share * JUDGMENTS), server, tmp_path)
            known = {(line["id"], line["order"]) for line in stored(tmp_path)}
            lost = server.served.total() - len(known)
            assert lost <= kills * CONCURRENCY
            figures.append(lost)
            asked_before = {prompt: server.calls[prompt] for prompt, key in ASKS.items() if key in known}
        before = server.served.total(), len(known)

        def lock_out(call: Call) -> Fault | None:
            left = 0.8 * JUDGMENTS - server.served.total()
            faults.refuses_key = left <= 0
            fault = faults(call)
            # Some proper answers are still on their way when the first request is refused.
            return Fault.slow(0.5) if fault is None and left < CONCURRENCY and call.number % 2 else fault

        server.faults = lock_out
        with pytest.raises(EngineError, match="HTTP 401 Unauthorized after"):
            judge_all(server.base_url, tmp_path)
        # A refused key ends the judging, but not before what was under way has come and is stored.
        assert server.served.total() - before[0] == len(stored(tmp_path)) - before[1] > 0
        faults.refuses_key, server.faults = False, faults
        judged = judge_all(server.base_url, tmp_path)
    check_accounts(judged, faults)
    assert set(server.served) == set(ASKS)
    assert server.served.total() == JUDGMENTS + figures[-1]
    assert {prompt: server.calls[prompt] for prompt in asked_before} == asked_before
    print(f"{JUDGMENTS} judgments; replies on their way at the kills, summed up: {figures}; bound {CONCURRENCY} each")
