"""What `tuna-eval gate` refuses, and how it says so: exit code 2 and one line, in every format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import here, last_line
from gate_runs import run, superni_rules, two_models


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the two models of `two_models`."""
    return two_models(tmp_path_factory.mktemp("refusals") / "results")


def models(results: Path) -> tuple[Path, Path]:
    return results / "runs/worse", results / "runs/good"


def test_runs_that_do_not_compare_are_refused(results: Path, tmp_path: Path) -> None:
    _, good = models(results)
    words = ("--suite", "superni", "--shots", 0)
    for name, more, said in (
        ("short", ("--limit", 5), "limit 5 a task"),
        ("chatty", ("--truncation", "left"), "left"),
        ("brief", ("--max-new-tokens", 5), "5, not 128"),
    ):
        other = run(tmp_path / "results", name, superni_rules(9), *words, *more)
        result = here("gate", other, "--baseline", good)
        if name == "chatty":  # nothing was cut: the prompts are the same, and so is what is compared
            assert result.returncode == 0
            continue
        assert result.returncode == 2, result.stdout
        assert "do not compare" in last_line(result.stderr)
        assert said in last_line(result.stderr)
        assert result.stdout == ""


def test_a_refusal_is_told_in_every_format(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, good = models(results)
    other = run(tmp_path / "results", "short", superni_rules(9), "--suite", "superni", "--shots", 0, "--limit", 5)
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    told = {
        name: here("gate", other, "--baseline", good, "--format", name) for name in ("text", "junit", "github", "json")
    }
    line = told["text"].stderr.removeprefix("tuna-eval: ").rstrip("\n")
    assert "limit 5 a task" in line
    assert told["text"].stdout == ""
    assert all((each.returncode, each.stderr) == (2, told["text"].stderr) for each in told.values())
    assert json.loads(told["json"].stdout) == {"schema_version": 1, "passed": None, "error": line}
    assert told["github"].stdout == f"::error title=gate refused::{line.replace('%', '%25')}\n"
    assert summary.read_text().startswith("## REFUSED")
    root = ElementTree.fromstring(told["junit"].stdout)
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["1", "0", "1", "0"]
    (error,) = root.iter("error")
    assert (error.get("message"), error.get("type")) == (line, "DataError")
    wrong = here("gate", good, "--baseline", good, "--level", 2, "--format", "json")
    assert "--level 2" in json.loads(wrong.stdout)["error"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"results": None}, '"results" of the record is None'),
        ({"coverage": []}, '"coverage" of the record is []'),
        ({"results": {"metrics": {"rougeL": None}}}, "no results that can be read"),
    ],
)
def test_a_broken_record_is_told_in_one_line(
    results: Path, tmp_path: Path, value: dict[str, object], said: str
) -> None:
    worse, good = models(results)
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    (file,) = copy.glob("*/*/record.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **value}))
    for words in ((copy, "--baseline", worse), (worse, "--baseline", copy)):
        result = here("gate", *words)
        assert result.returncode == 2, result.stderr
        (line,) = result.stderr.splitlines()
        assert said in line
        assert str(file) in line


def test_samples_without_an_output_are_told_in_one_line(results: Path, tmp_path: Path) -> None:
    worse, good = models(results)
    copy = tmp_path / "copy"
    shutil.copytree(worse, copy)
    (file,) = copy.glob("*/*/samples.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({k: v for k, v in line.items() if k != "output"}) + "\n" for line in lines))
    result = here("gate", copy, "--baseline", good)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert '"output"' in line
    assert str(file) in line


def test_other_benchmarks_other_samples_and_changed_scores_are_refused(results: Path, tmp_path: Path) -> None:
    worse, good = models(results)
    shots = run(tmp_path / "results", "shots", superni_rules(9), "--suite", "superni", "--shots", 2)
    assert "nothing to compare" in last_line(here("gate", shots, "--baseline", good).stderr)
    copy = tmp_path / "copy"
    shutil.copytree(worse, copy)
    (file,) = copy.glob("*/*/scores.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))
    assert "only this run scored" in last_line(here("gate", copy, "--baseline", good).stderr)
    zero = json.loads(lines[0])
    file.write_text("".join([json.dumps({**zero, "rougeL": 0.5}) + "\n", *lines[1:]]))
    result = here("gate", copy, "--baseline", good)
    assert result.returncode == 2
    assert "by the scores" in last_line(result.stderr)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-drop", "superni"], "SUITE=POINTS"),
        (["--max-drop", "superni=-1"], "0 or more"),
        (["--max-drop", "lmentry=1"], "lmentry is not compared"),
        (["--max-drop", "superni=1", "superni=2"], "superni has two drops"),
        (["--level", "0.7"], "--level 0.7"),
        (["--power", "1"], "--power 1"),
        (["--flips", "-1"], "--flips -1"),
        (["--suite", "superni", "lmentry"], "no run of lmentry"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(results: Path, words: list[str], said: str) -> None:
    _, good = models(results)
    result = here("gate", good, "--baseline", good, *words)
    assert result.returncode == 2
    assert said in last_line(result.stderr)
    assert len(result.stderr.strip().splitlines()) == 1
