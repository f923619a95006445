"""Judging a run over a real server: biased judges are found out, nothing is asked twice, nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answers import (
    MARKS,
    REVIEW,
    OnePort,
    Watched,
    all_asks,
    always_first,
    environment,
    longer,
    many,
    over_http,
    record_of,
    swapped,
)

from openai_faults import Fault, for_prompts
from openai_server import OpenAIServer
from tuna_eval.disk import read_lines
from tuna_eval.judge.pairwise import open_protocol
from tuna_eval.judge.protocols import BOTH_ORDERS
from tuna_eval.judge.significance import Counts
from tuna_eval.judging.judging import Match, judge
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions


def test_a_judge_that_sees_only_the_place_ends_in_ties(tmp_path: Path) -> None:
    judged, server = over_http(many(20), always_first, tmp_path)
    found = judged.report
    assert found.tally.counts == Counts(win=0, lose=0, tie=20)
    assert (found.tally.coverage, found.tally.not_judged) == (1.0, 0)
    assert found.bias.flips is not None
    assert found.bias.first is not None
    assert (found.bias.flips.flip_rate, found.bias.flips.n) == (1.0, 20)
    assert (found.bias.first.share.value, found.bias.first.first) == (1.0, 20)
    assert found.bias.repeats is None
    assert (found.significance.points, found.significance.p_value) == (0.0, None)
    assert {category: counted.counts.tie for category, counted in found.categories.items()} == {
        "writing": 10,
        "fermi": 10,
    }
    assert (judged.usage.judgments, judged.usage.served_models) == (40, {"judge-0613": 40})
    assert sum(server.calls.values()) == 40
    record = record_of(judged)
    assert (record["status"], record["judging_id"]) == ("complete", judged.folder.name)
    assert record["results"]["bias"]["flips"]["flip_rate"] == 1.0
    assert record["results"]["tally"]["coverage"] == 1.0
    assert judged.folder.parent == tmp_path / "judged"


def test_a_judge_that_prefers_the_longer_answer_shows_in_the_length_report(tmp_path: Path) -> None:
    match = many(40)
    judged, _ = over_http(match, longer, tmp_path)
    bias, counts = judged.report.bias, judged.report.tally.counts
    by_length = Counter(
        "win" if len(match.candidate[q.id]) > len(match.baseline[q.id]) else "lose"
        for q in match.questions
        if len(match.candidate[q.id]) != len(match.baseline[q.id])
    )
    assert (counts.win, counts.lose) == (by_length["win"], by_length["lose"])
    assert counts.lose > 0
    assert bias.longer.value == 1.0
    assert bias.longer.p_value is not None
    assert bias.longer.p_value < 1e-6
    assert bias.by_length[0].counts.win_rate == 0.0
    assert bias.by_length[-1].counts.win_rate == 1.0
    assert "length difference alone parts the wins" in bias.length_controlled.reason
    assert bias.flips is not None
    assert bias.flips.flip_rate == 0.0


def test_the_other_side_of_the_match_has_the_mirrored_result(tmp_path: Path) -> None:
    one, _ = over_http(many(12), longer, tmp_path)
    other, _ = over_http(swapped(many(12)), longer, tmp_path)
    assert one.folder != other.folder
    a, b = one.report.tally.counts, other.report.tally.counts
    assert (a.win, a.lose, a.tie) == (b.lose, b.win, b.tie)
    assert one.report.significance.points == -(other.report.significance.points or 0)


KILLED = """
import sys
from pathlib import Path
from answers import MARKS, OnePort, Watched, many
from tuna_eval.judging.judging import Match, judge
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions

engine = ApiEngine(ApiOptions(sys.argv[1], "judge", on_failure="yield", concurrency=4))
judge(many(60), OnePort(engine, MARKS), MARKS, Path(sys.argv[2]), Watched())
"""


def test_killed_in_the_middle_it_resumes_and_asks_nothing_twice(tmp_path: Path) -> None:
    with OpenAIServer(longer, latency=0.02) as server:
        for stored_before in (20, 70):
            command = [sys.executable, "-c", KILLED, server.base_url, str(tmp_path)]
            process = subprocess.Popen(command, env=environment())
            while sum(len(f.read_bytes().splitlines()) for f in tmp_path.rglob("judgments.jsonl")) < stored_before:
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            (file,) = tmp_path.rglob("judgments.jsonl")
            # What a kill in the middle of a write leaves.
            file.write_bytes(file.read_bytes() + b'{"schema_version":1,"id":"q5","or')
            prompts = {MARKS.prompt(ask.pair, ask.order).user: ask for ask in all_asks(many(60))}
            stored = {(line["id"], line["order"]) for line in _whole_lines(file)}
            asked_before = {
                prompt: server.calls[prompt]
                for prompt, ask in prompts.items()
                if (ask.pair.question.id, ask.order) in stored
            }
        engine = ApiEngine(ApiOptions(server.base_url, "judge", on_failure="yield"))
        judged = judge(many(60), OnePort(engine, MARKS), MARKS, tmp_path, Watched())
        # Two kills, each with four requests under way: these are all that the server saw twice.
        assert {prompt: server.calls[prompt] for prompt in asked_before} == asked_before
        assert sum(server.calls.values()) <= 120 + 2 * 4
        assert len(server.calls) == 120
    lines = [(line["id"], line["order"], line["repeat"]) for line in read_lines(judged.folder / "judgments.jsonl")]
    assert len(lines) == len(set(lines)) == 120
    whole, _ = over_http(many(60), longer, tmp_path / "in one go")
    assert judged.report == whole.report
    assert [session["judgments"] for session in record_of(judged)["sessions"]][:2] == [0, 0]  # killed: never told
    assert record_of(judged)["status"] == "complete"


def _whole_lines(file: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in file.read_text().splitlines() if line.endswith("}"))


def test_only_what_failed_on_the_way_is_asked_again(tmp_path: Path) -> None:
    match = many(6)
    replies = {"number 1?": "I cannot say.", "number 2?": "As an AI, I must decline."}

    def reply(prompt: str) -> str:
        return next((text for part, text in replies.items() if part in prompt), "[[A]]")

    broken, server = over_http(match, reply, tmp_path, for_prompts({"number 4?": Fault.status(500)}))
    assert sum(server.calls.values()) == 12
    assert (broken.report.tally.api_error, broken.report.tally.coverage) == (1, pytest.approx(3 / 6))
    assert record_of(broken)["status"] == "incomplete"
    mended, server = over_http(match, reply, tmp_path)
    assert mended.folder == broken.folder
    assert [prompt for prompt in server.calls if "number 4?" not in prompt] == []
    assert sum(server.calls.values()) == 2
    assert (mended.report.tally.api_error, mended.report.tally.counts.n) == (0, 4)
    assert mended.usage.judgments == 14  # the two failures are still in the file, and the newer lines count
    again, server = over_http(match, reply, tmp_path)
    assert (again.report, sum(server.calls.values())) == (mended.report, 0)
    assert len(record_of(again)["sessions"]) == 2


def test_more_repeats_or_orders_ask_only_what_is_new(tmp_path: Path) -> None:
    match = many(8)
    one, server = over_http(match, lambda prompt: "8 7", tmp_path, protocol=REVIEW)
    assert (sum(server.calls.values()), one.report.bias.flips) == (8, None)
    assert one.report.tally.counts.win == 8
    both = open_protocol("review-2023", orders=BOTH_ORDERS)
    two, server = over_http(match, lambda prompt: "8 7", tmp_path, protocol=both)
    assert two.folder == one.folder
    assert sum(server.calls.values()) == 8
    assert two.report.tally.counts.tie == 8
    three, server = over_http(match, lambda prompt: "8 7", tmp_path, protocol=both, repeats=3)
    assert sum(server.calls.values()) == 32
    assert three.report.bias.repeats is not None
    assert (three.report.bias.repeats.agreement, three.report.bias.repeats.n) == (1.0, 16)


def test_added_and_changed_answers_are_all_that_is_asked(tmp_path: Path) -> None:
    first, server = over_http(many(40), longer, tmp_path)
    assert sum(server.calls.values()) == 80
    whole, server = over_http(many(80), longer, tmp_path)
    new = {MARKS.prompt(ask.pair, ask.order).user for ask in all_asks(many(80)) if int(ask.pair.question.id[1:]) >= 40}
    assert set(server.calls) == new
    assert sum(server.calls.values()) == 80
    assert whole.folder != first.folder
    assert (record_of(whole)["reused"], record_of(whole)["status"]) == (80, "complete")
    afresh, _ = over_http(many(80), longer, tmp_path / "afresh")
    assert whole.report == afresh.report
    match = many(80)
    changed = Match(match.questions, {**match.candidate, "q3": "another answer"}, match.baseline)
    third, server = over_http(changed, longer, tmp_path)
    assert sum(server.calls.values()) == 2
    assert all("another answer" in prompt for prompt in server.calls)
    back, server = over_http(match, longer, tmp_path)
    assert (back.report, sum(server.calls.values())) == (whole.report, 0)
    pairs = {line["id"]: line for line in read_lines(third.folder / "pairs.jsonl")}
    assert pairs["q3"]["candidate"] == "another answer"
    _, server = over_http(match, longer, tmp_path, max_new_tokens=9)  # another judge
    assert sum(server.calls.values()) == 160


def test_a_judgment_of_another_pair_counts_as_not_made(tmp_path: Path) -> None:
    judged, _ = over_http(many(3), longer, tmp_path)
    file = judged.folder / "judgments.jsonl"
    lines = list(read_lines(file))
    file.write_text(
        "".join(json.dumps(line | ({"pair_sha256": "0"} if line["id"] == "q1" else {})) + "\n" for line in lines)
    )
    _, server = over_http(many(3), longer, tmp_path)
    assert sum(server.calls.values()) == 2
    assert all("number 1?" in prompt for prompt in server.calls)


def test_a_repeat_that_failed_leaves_the_judging_incomplete(tmp_path: Path) -> None:
    over_http(many(3), longer, tmp_path)
    fault = for_prompts({"number 1?": Fault.status(500)})
    broken, _ = over_http(many(3), longer, tmp_path, fault, repeats=2)
    assert (broken.report.tally.api_error, record_of(broken)["status"]) == (0, "incomplete")
    mended, server = over_http(many(3), longer, tmp_path, repeats=2)
    assert (sum(server.calls.values()), record_of(mended)["status"]) == (2, "complete")
