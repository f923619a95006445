"""`tuna-eval judge` as a user meets it, with a real server on the loopback interface for a judge."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import here, last_line, tuna_eval
from vicuna_runs import (
    BASELINE,
    CANDIDATE,
    METRICS,
    QUESTIONS,
    judge_words,
    judging_id,
    judgings,
    only_run,
    record_of,
    run_words,
    script_of,
    values_of,
)

from openai_judges import always_first, longer
from openai_server import OpenAIServer
from tuna_eval.judging.reviews import is_model_file

NOTHING = dict.fromkeys(METRICS)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of a run that nobody has judged."""
    folder = tmp_path_factory.mktemp("answered")
    result = here(*run_words(script_of(folder / "candidate.jsonl", CANDIDATE), folder / "out"))
    (folder / "stderr").write_text(result.stderr)
    assert values_of(result) == NOTHING
    return folder


@pytest.fixture
def results(answered: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return Path(shutil.copytree(answered / "out", tmp_path / "out"))


def lengths(run: Path) -> dict[str, tuple[int, int]]:
    """Characters of the candidate's answer and of the baseline's, by question."""
    own = {line["id"]: len(line["output"]) for line in map(json.loads, (run / "samples.jsonl").open())}
    other = {str(line["question_id"]): len(line["text"]) for line in map(json.loads, BASELINE.open())}
    return {id: (own[id], other[id]) for id in own}


def test_without_a_judge_the_answers_are_kept_and_nothing_is_claimed(answered: Path) -> None:
    run = only_run(answered / "out")
    record, shown = record_of(run), (answered / "stderr").read_text()
    assert record["status"] == "complete"
    assert {name: metric["value"] for name, metric in record["results"]["metrics"].items()} == NOTHING
    assert set(record["results"]["signatures"].values()) == {"not judged"}
    assert len((run / "samples.jsonl").read_text().splitlines()) == QUESTIONS
    (row,) = (line for line in shown.splitlines() if line.strip().startswith("vicuna_qa  "))
    assert row.split()[-len(METRICS) :] == ["–"] * len(METRICS)


def test_a_judge_finishes_the_run_and_a_second_run_keeps_its_word(answered: Path, results: Path) -> None:
    run = only_run(results)
    with OpenAIServer(always_first, model="fake-0613") as server:
        result = here(*judge_words(run, server.base_url))
        judged = values_of(result)
        assert judged == {
            **{"win": 0, "lose": 0, "tie": QUESTIONS, "unparsable": 0},
            **{"coverage": 100.0, "win_rate": 0.0, "flip_rate": 100.0},
        }
        assert sum(server.calls.values()) == 2 * QUESTIONS
        assert "the answer shown first wins 100.0%" in result.stderr
        assert "win/lose/tie 0/0/9 of 9" in result.stderr
        record = record_of(run)
        assert {name: metric["value"] for name, metric in record["results"]["metrics"].items()} == judged
        assert record["results"]["breakdown"]["judging"]["baseline"] == "written-by-hand"
        assert record["results"]["breakdown"]["judging"]["judging_id"] == judging_id(result)
        assert len(set(record["results"]["signatures"].values())) == 1
        assert len(record["results"]["categories"]) == 9
        judging = json.loads((judgings(run)[0] / "judging.json").read_text())
        assert judging["usage"]["served_models"] == {"fake-0613": 2 * QUESTIONS}
        again = here(*run_words(answered / "candidate.jsonl", results))
        assert values_of(again) == judged
        assert {**record_of(run)["results"]} == record["results"]
        assert values_of(tuna_eval(*judge_words(run, server.base_url))) == judged
        assert sum(server.calls.values()) == 2 * QUESTIONS


def test_a_judge_that_prefers_the_longer_answer_shows_in_the_length_lines(results: Path) -> None:
    run = only_run(results)
    with OpenAIServer(longer) as server:
        result = here(*judge_words(run, server.base_url))
    values = values_of(result)
    wins = sum(own > other for own, other in lengths(run).values())
    assert (values["win"], values["lose"], values["flip_rate"]) == (wins, QUESTIONS - wins, 0.0)
    assert wins == 4
    assert values["win_rate"] == pytest.approx(100 * 4 / 9)
    assert "the longer answer wins 100.0%" in result.stderr
    assert "no length-controlled win rate: 9 decided pairs, and the length model needs 10" in result.stderr
    assert "warning" not in result.stderr


def test_the_protocol_of_2023_in_one_order_and_in_both(results: Path) -> None:
    run = only_run(results)
    with OpenAIServer(lambda prompt: "8 6\nThe first one is better.") as server:
        one = values_of(here(*judge_words(run, server.base_url, "--protocol", "review-2023")))
        assert (one["win"], one["tie"], one["flip_rate"]) == (9, 0, None)
        assert sum(server.calls.values()) == QUESTIONS
        words = judge_words(run, server.base_url, "--protocol", "review-2023", "--orders", "both")
        both = values_of(here(*words))
        assert (both["win"], both["tie"], both["flip_rate"]) == (0, 9, 100.0)
        assert sum(server.calls.values()) == 2 * QUESTIONS  # the first nine serve both
    assert len(judgings(run)) == 1


def test_reading_anew_makes_no_call_and_changes_the_numbers(results: Path) -> None:
    run = only_run(results)
    review = ["--protocol", "review-2023"]
    with OpenAIServer(lambda prompt: "Scores: 9/10 and 4/10") as server:
        result = here(*judge_words(run, server.base_url, *review, "--parser", "legacy"))
        first = values_of(result)
        assert (first["unparsable"], first["coverage"], first["win_rate"]) == (9, 0.0, None)
        assert "warning: only 0 of 9 questions have a verdict (9 unparsable, 0 refused, 0 failed)" in result.stderr
        assert "0.00 (!)" in result.stderr  # in the table
        calls = len(server.log)
        same = here("judge", run, "--reparse", judging_id(result), "--json")  # read as it was judged
        assert (values_of(same), "read with" in same.stderr) == (first, False)
        anew = here("judge", run, "--reparse", judging_id(result), "--parser", "tolerant", "--json")
        assert "read with parser:tolerant instead of parser:legacy" in anew.stderr
        assert len(server.log) == calls == QUESTIONS
    second = values_of(anew)
    assert (second["win"], second["unparsable"], second["coverage"]) == (9, 0, 100.0)
    stored = record_of(run)["results"]
    assert {name: metric["value"] for name, metric in stored["metrics"].items()} == second
    assert stored["breakdown"]["judging"]["baseline"] == "written-by-hand"
    assert all("parser:tolerant" in signature for signature in stored["signatures"].values())
    assert "warning" not in anew.stderr


def test_the_80_questions_with_the_prompts_of_upstream(shared: Path, tmp_path: Path) -> None:
    data = ["--data-dir", shared / "benchmarks"]
    script = script_of(tmp_path / "candidate.jsonl", CANDIDATE)
    here("run", "--suite", "vicuna_qa", *data, "--engine", "scripted", "--model", script, "--output", tmp_path / "out")
    run = only_run(tmp_path / "out")
    answers = shared / "benchmarks/vicuna_bench/gpt4_review_2023/answer/answer_bard.jsonl"
    with OpenAIServer(lambda prompt: "Both are fine, [[A]] and all. [[B]]") as server:
        words = ["judge", run, *data, "--baseline", answers, "--judge", "fake", "--judge-base-url", server.base_url]
        judged = here(*words, "--judge-prompts", "upstream", "--json")
        assert values_of(judged)["unparsable"] == 80  # two marks in one line
        assert len(server.log) == 160
    anew = here("judge", run, *data, "--reparse", judging_id(judged), "--parser", "official", "--json")
    values = values_of(anew)
    assert (values["tie"], values["unparsable"], values["flip_rate"]) == (80, 0, 100.0)
    before, after = (signature_of(result).split("|") for result in (judged, anew))
    assert [part for part in before if part not in after] == ["parser:tolerant"]
    assert "wording:upstream" in after


def signature_of(result: subprocess.CompletedProcess[str]) -> str:
    """The signature that is shown."""
    return re.findall(r"judged by fake \((.*)\)", result.stderr)[0]


def test_two_judges_are_compared(results: Path) -> None:
    run = only_run(results)
    with OpenAIServer(longer) as server:
        one = here(*judge_words(run, server.base_url))
        words = judge_words(run, server.base_url, "--agreement", run / "judged" / judging_id(one))
        other = here(*words[:4], "--judge", "another", *words[6:])
    assert judging_id(one) != judging_id(other)
    assert f"agreement with {judging_id(one)}: Cohen's kappa 1.000 over 9 questions" in other.stderr
    record = json.loads((run / "judged" / judging_id(other) / "judging.json").read_text())
    assert record["agreement"] == {"with": judging_id(one), "kappa": 1.0, "observed": 1.0, "n": 9} | {
        "expected": record["agreement"]["expected"]
    }


def as_llm_judge(file: Path) -> Path:
    rows = [json.loads(line) for line in BASELINE.open()]
    answers = (
        {"question_id": r["question_id"], "model_id": "by-hand", "choices": [{"index": 0, "turns": [r["text"]]}]}
        for r in rows
    )
    file.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return file


def test_a_baseline_may_be_a_file_of_either_kind_a_run_or_a_model(answered: Path, results: Path) -> None:
    """The same comparison four times: the judge's prompts are the same, so that one judging serves them all."""
    run = only_run(results)
    script = script_of(
        results.parent / "baseline.jsonl",
        [
            {"contains": question["turns"][0], "reply": answer["text"]}
            for question, answer in zip(
                map(json.loads, (BASELINE.parent / "question.jsonl").open()),
                map(json.loads, BASELINE.open()),
                strict=True,
            )
        ],
    )
    with OpenAIServer(longer) as server:
        words = judge_words(run, server.base_url)
        first = values_of(here(*words))
        as_file = here(*words[:3], as_llm_judge(results.parent / "new.jsonl"), *words[4:])
        assert "candidate.jsonl against by-hand" in as_file.stderr
        judge = words[4:]
        as_model = here(*run_words(answered / "candidate.jsonl", results), "--baseline", script, *judge)
        assert "candidate.jsonl against baseline.jsonl" in as_model.stderr
        (other,) = (found.parent for found in results.glob("runs/baseline.jsonl/vicuna_qa/*/record.json"))
        as_run = here(*words[:3], other, *words[4:])
        assert "candidate.jsonl against baseline.jsonl" in as_run.stderr
        assert [values_of(each) for each in (as_file, as_model, as_run)] == [first] * 3
        assert sum(server.calls.values()) == 2 * QUESTIONS
    assert record_of(other)["results"]["signatures"]["win"] == "not judged"


def test_a_file_is_known_for_a_model_or_for_answers(answered: Path) -> None:
    assert is_model_file(answered / "candidate.jsonl")
    assert is_model_file(Path("model.gguf"))
    assert not is_model_file(BASELINE)
    assert not is_model_file(only_run(answered / "out") / "samples.jsonl")


def wrong(results: Path) -> dict[str, tuple[list[object], str]]:
    """Commands that cannot be obeyed, and what is to be said about them."""
    run = only_run(results)
    asked = judge_words(run, "http://127.0.0.1:9/v1")
    strangers = results.parent / "strangers.jsonl"
    strangers.write_text('{"id": "no-such-question", "prediction": "An answer."}\n')
    candidate = script_of(results.parent / "candidate.jsonl", CANDIDATE)
    answer = run_words(candidate, results)
    return {
        "protocol": ([*asked, "--protocol", "pairwise-v3"], "unknown judging protocol 'pairwise-v3'"),
        "parser": ([*asked, "--parser", "strict"], "pairwise-v2 has no parser 'strict'; use one of tolerant, official"),
        "orders": ([*asked, "--orders", "neither"], "unknown orders 'neither'"),
        "one order": ([*asked, "--orders", "candidate-first"], "pairwise-v2 cannot be judged in the orders"),
        "no judge": (["judge", run, "--baseline", BASELINE], "give --judge and --baseline"),
        "no baseline": ([*answer, "--judge", "gpt-4"], "a judge needs a baseline"),
        "no judge in a run": ([*answer, "--baseline", BASELINE], "a judge needs a baseline"),
        "a dry run of nothing": ([*answer, "--dry-run"], "--dry-run is about judging"),
        "a batch of nothing": ([*answer, "--batch"], "--batch is about judging"),
        "no suite": (
            [*("superni" if word == "vicuna_qa" else word for word in answer), "--judge", "x", "--baseline", BASELINE],
            "--judge judges vicuna_qa",
        ),
        "early": ([*answer, "--judge", "x", "--baseline", BASELINE, "--protocol", "y"], "unknown judging protocol"),
        "no temperature": ([*asked, "--judge-temperature", "nan"], "--judge-temperature nan: no temperature"),
        "no other judge": ([*asked, "--agreement", results / "nowhere"], "no finished judging here"),
        "no run": (["judge", results, *asked[2:]], "no run of Vicuna QA here"),
        "no folder": (["judge", results / "nowhere", *asked[2:]], "no run of Vicuna QA here"),
        "no answers": ([*asked[:3], results / "nowhere", *asked[4:]], "no answers here"),
        "strangers": ([*asked[:3], strangers, *asked[4:]], "no answer to the same of the 9 questions"),
        "no judging": (["judge", run, "--reparse", "0123"], "no judging here"),
        "no repeats": ([*asked, "--judge-repeats", "0"], "--judge-repeats 0 asks nothing"),
        "no server": (asked, "connection refused"),
        "no price": ([*asked, "--judge-max-cost", "1"], "the price of model 'fake' is not known"),
    }


def too_late(folder: Path) -> dict[str, tuple[list[object], str]]:
    """What is wrong with a judge or a baseline, and what is to be said before the first answer."""
    server = ["--judge", "fake", "--judge-base-url", "http://127.0.0.1:9/v1"]
    script = script_of(folder / "baseline.jsonl", CANDIDATE)
    (folder / "empty").mkdir()
    return {
        "repeats": ([*server, "--baseline", BASELINE, "--judge-repeats", "0"], "--judge-repeats 0 asks nothing"),
        "concurrency": ([*server, "--baseline", BASELINE, "--judge-concurrency", "0"], "concurrency"),
        "price": ([*server, "--baseline", BASELINE, "--judge-max-cost", "1"], "the price of model 'fake' is not known"),
        "protocol": ([*server, "--baseline", BASELINE, "--protocol", "likelihood"], "write --judge likelihood:fake"),
        "no file": ([*server, "--baseline", folder / "answers.jsonl"], "no answers here"),
        "no run": ([*server, "--baseline", folder / "empty"], "no answers here"),
        "no relative file": ([*server, "--baseline", "results/runs/x"], "no answers here"),
        "dry run of a model": ([*server, "--baseline", script, "--dry-run"], "a dry run asks no baseline"),
        "no model": ([*server, "--baseline", "no-such-model"], "no-such-model"),
        "strange judge": (["--judge", folder / "empty", "--judge-engine", "scripted", "--baseline", BASELINE], "empty"),
    }


def test_judge_and_baseline_are_checked_before_the_first_answer(tmp_path: Path) -> None:
    script = script_of(tmp_path / "candidate.jsonl", CANDIDATE)
    for case, (words, said) in too_late(tmp_path).items():
        result = here(*run_words(script, tmp_path / "out"), *words)
        assert (result.returncode, result.stdout) == (2, ""), case
        assert said in last_line(result.stderr), case
        assert not list(tmp_path.glob("out/runs/*")), case


def test_what_cannot_be_obeyed_is_one_line_and_exit_code_2(results: Path) -> None:
    before = {file: file.read_bytes() for file in results.rglob("record.json")}
    for case, (words, said) in wrong(results).items():
        result = here(*words, *(["--judge-max-retries", "0"] if case == "no server" else []))
        assert (result.returncode, result.stdout) == (2, ""), case
        assert said in last_line(result.stderr), case
        assert last_line(result.stderr).startswith("tuna-eval: "), case
    assert {file: file.read_bytes() for file in results.rglob("record.json")} == before
    result = tuna_eval(*wrong(results)["parser"][0], check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
