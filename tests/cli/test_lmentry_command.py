"""LMentry on the command line: what `tuna-eval score` prints and records, and how its scorers and tasks are chosen."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, here, last_line

MINI = ROOT / "benchmarks/mini/lmentry"
ASPECTS = ["argument_order", "argument_content", "template", "adjacent_tasks"]


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """The answer where there is one, with another line behind it; elsewhere a text that is right or wrong."""
    rows = []
    for file in sorted(MINI.glob("*.json")):
        for id, example in json.loads(file.read_text())["examples"].items():
            answer = example["metadata"].get("answer", "Yes")
            rows.append({"task": file.stem, "id": id, "prediction": f"{answer}.\nI'm sorry"})
    file = tmp_path / "predictions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def score(predictions: Path, *words: object, output: Path | None = None) -> tuple[dict[str, float], dict[str, Any]]:
    """What is printed, and the record."""
    output = output or predictions.parent / "scored"
    command = ["score", "--suite", "lmentry", "--data", "mini", "--predictions", predictions, "--json"]
    result = here(*command, "--output", output, *words)
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    assert list(values) == ["lmentry"]
    return values["lmentry"], json.loads((output / "record.json").read_text())


def test_the_metrics_and_the_record(predictions: Path) -> None:
    values, record = score(predictions)
    assert list(values) == ["accuracy", "robustness", "lmentry_score", *ASPECTS]
    assert all(0 <= value <= 100 for value in values.values())
    assert values["robustness"] == round(values["robustness"], 1)
    assert values["lmentry_score"] == pytest.approx(values["accuracy"] * values["robustness"] / 100, abs=1e-12)
    settings = record["scoring"]["settings"]
    assert (settings["scoring"], settings["repairs"], settings["truncate"]) == ("official", [], False)
    assert record["coverage"]["scored"] == 984
    assert record["coverage"]["tasks"] == record["coverage"]["expected_tasks"] == 41
    breakdown = record["results"]["breakdown"]
    assert len(breakdown["tasks"]) == 41
    assert len(breakdown["robustness"]["adjacent_tasks"]) == 17


def test_how_it_is_scored_is_chosen_and_recorded(predictions: Path) -> None:
    official, _ = score(predictions)
    strict, record = score(predictions, "--lmentry-scoring", "strict")
    assert record["scoring"]["settings"]["scoring"] == "strict"
    assert len(record["scoring"]["settings"]["repairs"]) == 15
    assert record["config"]["lmentry_scoring"] == ["strict"]
    assert strict["accuracy"] != official["accuracy"]
    some, record = score(predictions, "--lmentry-scoring", "refusals", "echo")
    assert record["scoring"]["settings"]["scoring"] == "echo+refusals"
    assert record["scoring"]["settings"]["repairs"] == ["echo", "refusals"]
    assert "scorers:echo+refusals" in record["results"]["signatures"]["accuracy"].split("|")
    assert some == official  # no reply begins as a refusal or repeats its prompt


def test_truncation_is_recorded_and_effective(predictions: Path) -> None:
    whole, _ = score(predictions)
    cut, record = score(predictions, "--lmentry-truncate")
    assert record["scoring"]["settings"]["truncate"] is record["config"]["lmentry_truncate"] is True
    assert "truncate:yes" in record["results"]["signatures"]["lmentry_score"].split("|")
    assert cut["argument_order"] == 100  # "X." is right wherever there is an answer
    assert cut["accuracy"] > whole["accuracy"]


def test_missing_predictions_are_said_and_wrong(predictions: Path) -> None:
    lines = predictions.read_text().splitlines(keepends=True)
    predictions.write_text("".join(line for line in lines if json.loads(line)["task"] != "first_word"))
    values, record = score(predictions, "--lmentry-truncate")
    assert record["coverage"]["missing"]["count"] == 24
    assert record["results"]["tasks"]["first_word"]["accuracy"]["value"] == 0
    assert values["lmentry_score"] is not None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["denominator"], "did you mean denominators?"),
        (["strict", "echo"], "strict and other names exclude one another; give one or the others"),
    ],
)
def test_a_repair_that_is_not_there_ends_it(predictions: Path, names: list[str], message: str) -> None:
    command = ["score", "--suite", "lmentry", "--data", "mini", "--predictions", predictions]
    result = here(*command, "--lmentry-scoring", *names)
    assert result.returncode == 2
    assert last_line(result.stderr).startswith("tuna-eval: --lmentry-scoring")
    assert message in last_line(result.stderr)
    assert "Traceback" not in result.stderr


def run_all(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    script = folder / "script.jsonl"
    script.write_text('{"reply": "yes"}\n')
    command = ["run", "--model", script, "--engine", "scripted", "--suite", "all", "--data", "mini", "--json"]
    return here(*command, "--output", folder / "out", *words)


def test_a_glob_may_match_in_one_suite_only(tmp_path: Path) -> None:
    result = run_all(tmp_path, "--tasks", "first_*", "--limit", 3)
    assert result.returncode == 0, result.stderr
    assert list(json.loads(result.stdout)) == ["lmentry"]
    (record,) = (json.loads(file.read_text()) for file in tmp_path.glob("out/runs/*/*/*/record.json"))
    assert record["config"]["tasks"] == ["first_*"]
    assert set(record["results"]["tasks"]) == {file.stem for file in MINI.glob("first_*.json")}
    assert record["identity"]["sampling"]["max_new_tokens"] == 49


def test_a_glob_that_matches_nowhere_ends_it(tmp_path: Path) -> None:
    result = run_all(tmp_path, "--tasks", "first_*", "frist_word")
    assert result.returncode == 2
    assert "no task matches 'frist_word'; did you mean first_word" in last_line(result.stderr)
    assert not list(tmp_path.glob("out/runs/*"))


def test_the_repairs_and_tasks_are_listed() -> None:
    listing = here("ls", "lmentry-scoring").stdout.splitlines()
    assert listing[0] == "lmentry-scoring:"
    names = [line.split(":")[0].strip() for line in listing[1:]]
    assert names[:2] == ["official", "strict"]
    assert len(names) == 2 + 15
    assert {"non_ascii", "echo", "denominators", "rounding"} < set(names)
    tasks = here("ls", "tasks", "--data", "mini").stdout
    assert {file.stem for file in MINI.glob("*.json")} <= set(tasks.split())


def test_a_run_is_scored_anew_with_the_selection_it_was_made_with(tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text('{"reply": "yes"}\n')
    command = ["run", "--model", script, "--engine", "scripted", "--suite", "lmentry", "--data", "mini"]
    made = here(*command, "--limit", 3, "--tasks", "any_*", "--output", tmp_path / "out", "--json")
    (folder,) = tmp_path.glob("out/runs/*/lmentry/*")
    for place in (folder, folder / "samples.jsonl"):
        anew = here("score", "--suite", "lmentry", "--predictions", place, "--json")
        assert json.loads(anew.stdout) == json.loads(made.stdout)
        assert "have no prediction" not in anew.stderr
    other = here("score", "--suite", "lmentry", "--predictions", folder, "--data-dir", MINI.parent)
    assert other.returncode == 2
    assert "the run answered the data 'mini'" in last_line(other.stderr)
