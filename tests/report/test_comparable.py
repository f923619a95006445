"""Two runs compare only if task version, signature, prompts, decoding, judge and coverage agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from report_runs import covered, frame_of, judged, record_of

from tuna_eval.judging.judged_runs import judge_sha256
from tuna_eval.report.comparable import Kind, differences
from tuna_eval.report.notes import incomparable
from tuna_eval.schema import RunRecord

RUN = record_of("superni_0shot")
SAMPLING: dict[str, Any] = {"max_new_tokens": 128, "temperature": 0.0, "top_p": 1.0, "seed": 0, "stop": []}


def with_config(record: RunRecord, **values: Any) -> RunRecord:
    """Another setting, and prompts that are others for it."""
    return replace(record, config={**record.config, **values}, identity={**record.identity, "prompts_sha256": "cd"})


def with_signature(text: str) -> RunRecord:
    return replace(RUN, results={**RUN.results, "signatures": {"rougeL": text}})


@pytest.mark.parametrize(
    ("other", "kind", "text"),
    [
        (record_of("superni_2shot"), "suite", "benchmark: superni_0shot, not superni_2shot"),
        (replace(RUN, version="2"), "version", "task version: 1, not 2"),
        (with_config(RUN, data="mini"), "data", "data: full, not mini"),
        (
            with_config(RUN, data_commits={"superni": "0" * 40}),
            "data",
            "revision of the data: unknown, not superni 0000",
        ),
        (with_config(RUN, format="chat"), "prompts", "prompt format: alpaca, not chat"),
        (with_config(RUN, truncation="left"), "prompts", "right, not left"),
        (with_config(RUN, system="Be brief."), "prompts", "system message: unknown, not Be brief."),
        (with_config(RUN), "prompts", "hash of the prompts: abababababab, not cd"),
        (replace(RUN, identity={}), "prompts", "hash of the prompts: abababababab, not unknown"),
        (
            replace(RUN, identity={**RUN.identity, "sampling": {**SAMPLING, "max_new_tokens": 4}}),
            "decoding",
            "limit of a reply in tokens: 128, not 4",
        ),
        (
            replace(RUN, identity={**RUN.identity, "sampling": {**SAMPLING, "temperature": 0.7}}),
            "decoding",
            "temperature: 0.0, not 0.7",
        ),
        (
            with_signature("rougeL|stem:no|v1"),
            "metric",
            "signature of rougeL: rougeL|stem:yes|v1, not rougeL|stem:no|v1",
        ),
        (replace(RUN, coverage=covered(118, 119, 11710, 11710)), "coverage", "118 of 119 tasks, 11710 of 11710"),
        (replace(RUN, coverage=covered(119, 119, 238, 238, 2)), "coverage", "limit 2 a task"),
        (replace(RUN, coverage=covered(119, 119, 11809, 11810)), "coverage", "11809 of 11810 examples"),
    ],
)
def test_each_difference_is_told(other: RunRecord, kind: Kind, text: str) -> None:
    (found,) = differences(RUN, other)
    assert found.kind == kind
    assert text in found.text
    assert differences(RUN, other) != ()


def test_as_many_other_examples_are_another_coverage() -> None:
    own, other = (replace(RUN, coverage={**RUN.coverage, "scored_sha256": digit * 64}) for digit in "ab")
    (found,) = differences(own, other)
    assert (found.kind, found.text) == ("coverage", f"hash of the tasks and ids scored: {'a' * 12}, not {'b' * 12}")
    assert differences(own, own) == differences(own, RUN) == differences(RUN, own) == ()  # RUN is an old record


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (judged(50, 20, 10, judge="gpt-4o"), "judge: gpt-4, not gpt-4o"),
        (judged(50, 20, 10, baseline="PPO-sim"), "system compared with: Alpaca, not PPO-sim"),
        (
            judged(50, 20, 10, judge_sha256="a" * 64),
            f"hash of the judge's model and prompts (gpt-4): cdcdcdcdcdcd, not {'a' * 12}",
        ),
        (
            judged(50, 20, 10, baseline_sha256="a" * 64),
            f"hash of the answers compared with (Alpaca): efefefefefef, not {'a' * 12}",
        ),
        (record_of("vicuna_qa"), "judge: gpt-4, not none"),
        (judged(50, 10, 10, unparsable=10), "too few questions with a verdict: 87.5%, at least 95% are needed"),
    ],
)
def test_judges_are_compared(other: RunRecord, text: str) -> None:
    texts = [found.text for found in differences(judged(54, 22, 4), other)]
    assert texts == [text]


def test_records_without_hashes_of_the_judging_are_compared_by_name() -> None:
    old = judged(54, 22, 4, judge_sha256=None)
    assert differences(judged(54, 22, 4), old) == ()


def test_a_run_with_few_verdicts_is_told_so_once_and_not_of_itself_as_another() -> None:
    few = judged(50, 10, 10, unparsable=10)
    assert [found.text for found in differences(few, few)] == [
        "too few questions with a verdict: 87.5%, at least 95% are needed"
    ]
    assert incomparable(frame_of(own=[few])) == []


def test_the_address_of_a_judge_is_no_part_of_it() -> None:
    engine = {"server": "localhost:8000/v1", "model": "gpt-4"}
    identity = {"judge": "engine", "engine": engine, "prompts_sha256": "ab"}
    moved = {**identity, "engine": {**engine, "server": "localhost:8001/v1"}}
    other = {**identity, "prompts_sha256": "cd"}
    assert judge_sha256(identity) == judge_sha256(moved) != judge_sha256(other)


def test_another_wording_of_the_judge_is_another_metric() -> None:
    own, other = judged(54, 22, 4), judged(54, 22, 4)
    signatures = dict.fromkeys(own.results["signatures"], "pairwise-v2|v1")  # type: ignore[call-overload]
    other = replace(other, results={**other.results, "signatures": signatures})
    (found,) = differences(own, other)
    assert found.kind == "metric"
    assert found.subject.startswith("signature of win, lose, tie")


def test_engine_seed_machine_and_implementation_are_no_difference() -> None:
    identity = {**RUN.identity, "engine": {"engine": "vllm"}, "sampling": {**SAMPLING, "seed": 7}}
    other = replace(with_signature("rougeL|stem:yes|impl:rust|v1"), identity=identity, environment={"git": "x"})
    assert differences(RUN, other) == ()
    assert differences(RUN, other) == ()


def test_a_metric_that_one_run_lacks_is_no_difference() -> None:
    results = {**RUN.results, "signatures": {"rougeL": "rougeL|stem:yes|v1", "bertscore_f1": "bertscore|v1"}}
    assert differences(RUN, replace(RUN, results=results)) == ()


def test_predictions_made_elsewhere_compare_with_their_like() -> None:
    elsewhere = replace(RUN, identity={}, run_id="")
    assert differences(elsewhere, elsewhere) == ()
    assert differences(elsewhere, RUN)


def test_differences_read_the_other_way_round() -> None:
    other = with_config(RUN, format="chat")
    (there,), (back,) = differences(RUN, other), differences(other, RUN)
    assert (there.first, there.second) == (back.second, back.first)
