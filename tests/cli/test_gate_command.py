"""`tuna-eval gate` on real runs of the built-in sample."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import here, last_line
from gate_runs import INSTANCES, report_of, run, superni_rules, two_models
from vicuna_runs import BASELINE, CANDIDATE, QUESTIONS, only_run, script_of

from openai_judges import longer
from openai_server import OpenAIServer

SUITE = "superni_0shot"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the two models of `two_models`."""
    return two_models(tmp_path_factory.mktemp("gate") / "results")


def models(results: Path) -> tuple[Path, Path]:
    return results / "runs/worse", results / "runs/good"


def test_a_run_passes_against_itself(results: Path) -> None:
    _, good = models(results)
    report = report_of(good, "--baseline", good)
    (suite,) = report["suites"]
    assert report["passed"]
    assert suite["change"]["difference"] == 0
    assert suite["change"]["p_value"] == 1
    assert suite["change"]["interval"] == {"low": 0, "high": 0, "confidence": 0.9}
    assert suite["flips"] == suite["fallen"] == []


def test_a_drop_beyond_chance_fails_and_says_where(results: Path) -> None:
    worse, good = models(results)
    result = here("gate", worse, "--baseline", good, "--flips", 24)
    assert result.returncode == 1
    assert result.stdout.startswith("FAILED: worse against good, passed 0 of 1 benchmarks\n")
    suite = report_of(worse, "--baseline", good, "--flips", 24)["suites"][0]
    records = [json.loads(next(model.glob("*/*/record.json")).read_text()) for model in (worse, good)]
    values = [record["results"]["metrics"]["rougeL"]["value"] for record in records]
    assert [suite["change"]["candidate"], suite["change"]["baseline"]] == values
    assert suite["change"]["difference"] == values[0] - values[1] < -20
    assert suite["change"]["interval"]["high"] < 0
    assert suite["change"]["p_value"] == pytest.approx(2**-12)  # all twelve tasks fell: one swapping of 4,096
    assert suite["unit"] == "task"
    assert suite["units"] == 12
    assert 0 < suite["detectable_drop"] < 20
    assert [suite["candidate_run"].rpartition("/")[0], suite["baseline_run"].rpartition("/")[0]] == [
        f"worse/{SUITE}",
        f"good/{SUITE}",
    ]
    assert f"run {suite['candidate_run']}, baseline {suite['baseline_run']}\n" in result.stdout
    flips = suite["flips"]
    assert len({flip["task"] for flip in flips[:12]}) == 12  # one of each task before a second of any
    assert all(flip["candidate_output"] == "zebra" for flip in flips)
    assert all(flip["baseline_output"] not in (None, "zebra") for flip in flips)
    assert all(task["n"] == INSTANCES for task in suite["tasks"])
    assert "zebra" in result.stdout


@pytest.mark.parametrize(("allowed", "code"), [("superni=10", 1), ("superni=90", 0), ("superni_0shot=90", 0)])
def test_a_tolerance_lets_a_drop_pass(results: Path, allowed: str, code: int) -> None:
    worse, good = models(results)
    result = here("gate", worse, "--baseline", good, "--max-drop", allowed)
    assert result.returncode == code
    assert ("within the tolerance" in result.stdout) == (code == 0)


def test_a_better_model_passes_and_the_difference_turns_round(results: Path) -> None:
    worse, good = models(results)
    forth = report_of(worse, "--baseline", good)["suites"][0]["change"]
    back = report_of(good, "--baseline", worse)["suites"][0]
    assert back["passed"]
    assert back["reason"] == "no drop"
    assert back["change"]["difference"] == -forth["difference"]
    assert back["change"]["interval"]["low"] == pytest.approx(-forth["interval"]["high"])


def test_the_same_seed_gives_the_same_words_and_another_one_another_interval(results: Path) -> None:
    worse, good = models(results)
    first, again, other = (
        here("gate", worse, "--baseline", good, "--format", "json", "--seed", seed).stdout for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_order_of_the_files_changes_nothing(results: Path, tmp_path: Path) -> None:
    worse, good = models(results)
    copy = tmp_path / "worse"
    shutil.copytree(worse, copy)
    for file in copy.glob("*/*/*s.jsonl"):  # scores and samples
        lines = file.read_text().splitlines(keepends=True)
        random.Random(0).shuffle(lines)
        file.write_text("".join(lines))
    assert report_of(copy, "--baseline", good) == report_of(worse, "--baseline", good)


def test_predictions_made_elsewhere_can_be_gated(results: Path, tmp_path: Path) -> None:
    for model in models(results):
        (samples,) = model.glob("*/*/samples.jsonl")
        file = tmp_path / f"{model.name}.jsonl"
        lines = [json.loads(line) for line in samples.read_text().splitlines()]
        rows = [{"task": line["task"], "id": line["id"], "prediction": line["output"]} for line in lines]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = ("score", "--suite", "superni", "--data", "mini", "--predictions", file)
        assert here(*words, "--output", tmp_path / model.name).returncode == 0
    suite = report_of(tmp_path / "worse", "--baseline", tmp_path / "good")["suites"][0]
    assert not suite["passed"]
    assert suite["change"] == report_of(*_gated(results))["suites"][0]["change"]
    assert {flip["candidate_output"] for flip in suite["flips"]} == {None}


def _gated(results: Path) -> tuple[Path, str, Path]:
    worse, good = models(results)
    return worse, "--baseline", good


def test_junit_can_be_read(results: Path) -> None:
    worse, good = models(results)
    result = here("gate", worse, "--baseline", good, "--format", "junit")
    assert result.returncode == 1
    root = ElementTree.fromstring(result.stdout)
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "1", "1")
    (case,) = root.iter("testcase")
    failure, out = case.find("failure"), case.find("system-out")
    assert case.get("name") == f"{SUITE} rougeL"
    assert failure is not None
    assert "exceeds the tolerance" in str(failure.get("message"))
    assert out is not None
    assert "zebra" in str(out.text)


def test_github_gets_commands_and_a_summary(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse, good = models(results)
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = here("gate", worse, "--baseline", good, "--format", "github")
    assert result.returncode == 1
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"::error title={SUITE} FAILED%3A ")
    assert "%0A" in line
    lines = summary.read_text().splitlines()
    assert lines[0] == "before"
    assert any(row.startswith(f"| {SUITE} | rougeL |") for row in lines)
    assert here("gate", good, "--baseline", good, "--format", "github").stdout.startswith("::notice ")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none/summary.md"))
    without = here("gate", worse, "--baseline", good, "--format", "github")
    assert (without.returncode, without.stdout) == (1, result.stdout)
    assert "no summary of the job" in without.stderr


def test_what_a_model_says_is_never_a_command_of_the_runner(results: Path, tmp_path: Path) -> None:
    hostile = "\n::error title=x::y\n%0A\x1b[2J\x00\ud800"
    other = run(tmp_path / "results", "hostile", superni_rules(2, wrong=hostile))
    words = ("gate", other, "--baseline", results / "runs/good", "--format")
    (line,) = here(*words, "github").stdout.splitlines()
    assert line.startswith("::error title=superni_0shot")
    assert not any(row.lstrip().startswith("::") for row in here(*words, "text").stdout.splitlines())
    assert "\x1b" not in here(*words, "text").stdout
    assert ElementTree.fromstring(here(*words, "junit").stdout).get("failures") == "1"
    assert json.loads(here(*words, "json").stdout)["passed"] is False


def test_lmentry_is_gated_on_its_score(tmp_path: Path) -> None:
    words = ("--suite", "lmentry", "--limit", 6)
    first = run(tmp_path / "results", "first", [{"reply": "The harbour is blue and calm"}], *words)
    second = run(tmp_path / "results", "second", [{"reply": "no"}], *words)
    same = report_of(first, "--baseline", first)["suites"][0]
    assert (same["change"]["difference"], same["change"]["p_value"]) == (0, 1)
    suite = report_of(second, "--baseline", first)["suites"][0]
    assert suite["change"]["metric"] == "lmentry_score"
    assert [change["metric"] for change in suite["others"]] == ["robustness", "accuracy"]
    assert (suite["unit"], suite["units"], len(suite["tasks"])) == ("task", 25, 25)
    (file,) = second.glob("*/*/record.json")
    record = json.loads(file.read_text())
    tasks = record["results"]["breakdown"]["tasks"]
    core = suite["tasks"][0]["task"]
    few = dict.fromkeys(list(tasks)[:3], tasks[core])
    for broken in ({}, {"tasks": {}}, {"tasks": few}):
        file.write_text(json.dumps({**record, "results": {**record["results"], "breakdown": broken}}))
        result = here("gate", second, "--baseline", first)
        assert result.returncode == 2, result.stderr
        assert "LMentry counts" in last_line(result.stderr)
        assert len(result.stderr.splitlines()) == 1


def test_vicuna_is_gated_on_the_judges_verdicts(tmp_path: Path) -> None:
    """Both against a third system, and the candidate against the baseline's own answers."""
    results = tmp_path / "results"
    rules = {"long": CANDIDATE, "short": [{"reply": "No."}]}
    places = {}
    for name, own in rules.items():
        script = script_of(tmp_path / f"{name}.jsonl", own)
        words = ["run", "--suite", "vicuna_qa", "--data", "mini", "--engine", "scripted", "--name", name]
        assert here(*words, "--model", script, "--output", results / name).returncode == 0
        places[name] = only_run(results / name)
    unjudged = here("gate", places["short"], "--baseline", places["long"])
    assert unjudged.returncode == 2
    assert "not judged" in last_line(unjudged.stderr)
    with OpenAIServer(longer, model="fake-0613") as server:
        judge = ("--judge", "fake", "--judge-base-url", server.base_url)
        here("judge", places["short"], "--baseline", places["long"], *judge)
        net = report_of(places["short"], "--baseline", places["long"])["suites"][0]
        assert not net["passed"]
        assert (net["change"]["metric"], net["change"]["difference"]) == ("net_wins", -100.0)
        assert net["units"] == QUESTIONS
        assert net["change"]["p_value"] == pytest.approx(2**-QUESTIONS)
        here("judge", places["short"], "--baseline", BASELINE, *judge)
        assert here("gate", places["short"], "--baseline", places["long"]).returncode == 2  # one of them is judged
        here("judge", places["long"], "--baseline", BASELINE, *judge)
        third = report_of(places["short"], "--baseline", places["long"])["suites"][0]
        same = report_of(places["long"], "--baseline", places["long"])["suites"][0]
        other = tmp_path / "other" / BASELINE.name  # other answers under the same name
        other.parent.mkdir()
        other.write_text(BASELINE.read_text().replace(" the ", " a "))
        shutil.copytree(places["short"], tmp_path / "copy")
        here("judge", tmp_path / "copy", "--baseline", other, *judge)
        renamed = here("gate", tmp_path / "copy", "--baseline", places["long"])
        assert renamed.returncode == 2
        assert "hash of the answers compared with" in last_line(renamed.stderr)
    records = [json.loads((place / "record.json").read_text()) for place in (places["short"], places["long"])]
    values = [record["results"]["metrics"]["win_rate"]["value"] for record in records]
    assert third["change"]["metric"] == "win_rate"
    assert third["change"]["difference"] == pytest.approx(values[0] - values[1])
    assert values[0] < values[1]
    assert (same["change"]["difference"], same["change"]["p_value"], same["passed"]) == (0, 1, True)
