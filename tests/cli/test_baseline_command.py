"""`tuna-eval baseline`: names for runs, and what a gate makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import here, last_line
from gate_runs import run_words, superni_rules, two_models


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the two models of `two_models`."""
    return two_models(tmp_path_factory.mktemp("baseline") / "results")


def test_a_baseline_has_a_name(results: Path, tmp_path: Path) -> None:
    own = tmp_path / "results"
    shutil.copytree(results, own)
    at = ("--results", own)
    assert here("baseline", "show", *at).stdout.startswith("no baseline is set")
    assert here("baseline", "set", "main", own / "runs/good", *at).returncode == 0
    stored = json.loads((own / "baselines/main.json").read_text())
    assert [entry["suite"] for entry in stored["runs"]] == ["superni_0shot"]
    assert (own / stored["runs"][0]["path"] / "record.json").is_file()
    assert str(tmp_path) not in json.dumps(stored)
    assert here("gate", own / "runs/worse", "--baseline", "main", *at).returncode == 1
    assert here("gate", own / "runs/good", "--baseline", "main", *at).returncode == 0
    before = (own / "baselines/main.json").read_text()
    here("baseline", "set", "main", own / "runs/good", *at)
    assert (own / "baselines/main.json").read_text() == before
    told = here("baseline", "set", "main", own / "runs/worse", *at).stdout
    assert "superni_0shot: worse, runs/worse/" in told
    assert "no longer" not in told
    changed = json.loads((own / "baselines/main.json").read_text())
    assert changed["runs"][0]["model"] == "worse"
    assert changed["earlier"][0]["runs"] == stored["runs"]
    shown = here("baseline", "show", "main", *at).stdout
    assert "worse" in shown
    assert "changed once)" in shown
    here("baseline", "set", "main", own / "runs/good", *at)
    assert "changed 2 times)" in here("baseline", "show", "main", *at).stdout


def test_a_baseline_that_loses_a_benchmark_says_so(results: Path, tmp_path: Path) -> None:
    own = tmp_path / "results"
    shutil.copytree(results, own)
    (place,) = (own / "runs/good/superni_0shot").iterdir()
    other = own / "runs/good/lmentry" / place.name
    shutil.copytree(place, other)
    file = other / "record.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "suite": "lmentry"}))
    words = ("baseline", "set", "main")
    whole = here(*words, own / "runs/good", "--results", own).stdout.splitlines()
    assert [line.split(":")[0].strip() for line in whole[1:]] == ["lmentry", "superni_0shot"]
    part = here(*words, place, "--results", own).stdout.splitlines()
    assert [line.strip() for line in part[1:]] == [
        f"superni_0shot: good, {place.relative_to(own).as_posix()}",
        "no longer in it: lmentry",
    ]
    again = here(*words, place, "--results", own).stdout
    assert again.splitlines() == part[:2]


def test_a_baseline_notices_that_its_run_is_another(results: Path, tmp_path: Path) -> None:
    own = tmp_path / "results"
    shutil.copytree(results, own)
    at = ("--results", own)
    here("baseline", "set", "main", own / "runs/good", *at)
    again = here(*run_words(own, "good", superni_rules(9)))  # resumed: scored anew, and the same
    assert again.returncode == 0
    assert here("gate", own / "runs/good", "--baseline", "main", *at).returncode == 0
    (file,) = (own / "runs/good").glob("*/*/record.json")
    record = json.loads(file.read_text())
    record["results"]["metrics"]["rougeL"]["value"] -= 10
    file.write_text(json.dumps(record))
    assert "has changed" in last_line(here("gate", own / "runs/worse", "--baseline", "main", *at).stderr)
    file.unlink()
    assert "is gone" in last_line(here("gate", own / "runs/worse", "--baseline", "main", *at).stderr)
    for words, said in (
        (("gate", own / "runs/worse", "--baseline", "mian"), "no run and no baseline 'mian'"),
        (("baseline", "set", "a/b", own / "runs/worse"), "cannot name a baseline"),
        (("baseline", "set", "b", results / "runs/worse"), "not in the results folder"),
        (("baseline", "set", "b", own / "nothing"), "no such folder"),
    ):
        result = here(*words, *at)
        assert result.returncode == 2
        assert said in last_line(result.stderr)


def test_a_baseline_shows_what_became_of_its_runs(results: Path, tmp_path: Path) -> None:
    own = tmp_path / "results"
    shutil.copytree(results, own)
    at = ("--results", own)
    assert here("baseline", "set", "main", own / "runs/good", *at).stdout.endswith("\n")
    (file,) = (own / "runs/good").glob("*/*/record.json")
    record = json.loads(file.read_text())
    for text, said in (
        (json.dumps(record), ""),
        (json.dumps({**record, "version": "other"}), " (changed)"),
        (json.dumps({**record, "status": "generating"}), " (unfinished)"),
        ("{", " (broken)"),
        (None, " (gone)"),
    ):
        file.unlink() if text is None else file.write_text(text)
        shown = here("baseline", "show", *at)
        assert shown.returncode == 0
        assert (
            last_line(shown.stdout).strip() == f"superni_0shot: good, {file.parent.relative_to(own).as_posix()}{said}"
        )
        gated = here("gate", own / "runs/worse", "--baseline", "main", *at)
        assert gated.returncode == (2 if said else 1)


def test_only_the_benchmarks_that_are_compared_have_to_be_what_they_were(results: Path, tmp_path: Path) -> None:
    own = tmp_path / "results"
    shutil.copytree(results, own)
    at = ("--results", own)
    (place,) = (own / "runs/good/superni_0shot").iterdir()
    other = own / "runs/good/vicuna_qa" / place.name  # answers that are judged after the name was set
    shutil.copytree(place, other)
    file = other / "record.json"
    record = {**json.loads(file.read_text()), "suite": "vicuna_qa"}
    file.write_text(json.dumps(record))
    assert here("baseline", "set", "main", own / "runs/good", *at).returncode == 0
    words = ("gate", own / "runs/worse", "--baseline", "main", *at)
    for text in (
        json.dumps({**record, "version": "judged"}),
        json.dumps({**record, "status": "generating"}),
        "{",
        None,
    ):
        file.unlink() if text is None else file.write_text(text)
        assert here(*words, "--suite", "superni").returncode == 1
        missing = here(*words)
        assert missing.returncode == 2
        assert "the baseline has vicuna_qa, of which the candidate has no run" in last_line(missing.stderr)
        allowed = here(*words, "--allow-missing", "--format", "json")
        assert allowed.returncode == 1
        assert json.loads(allowed.stdout)["left_out"] == {"vicuna_qa": "no run of the candidate"}
    shutil.copytree(own / "runs/worse/superni_0shot", own / "runs/worse/vicuna_qa")
    (candidate,) = (own / "runs/worse/vicuna_qa").glob("*/record.json")
    candidate.write_text(json.dumps({**json.loads(candidate.read_text()), "suite": "vicuna_qa"}))
    assert "is gone" in last_line(here(*words).stderr)
    assert here(*words, "--suite", "superni").returncode == 1
