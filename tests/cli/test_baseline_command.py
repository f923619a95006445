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
    here("baseline", "set", "main", own / "runs/worse", *at)
    changed = json.loads((own / "baselines/main.json").read_text())
    assert changed["runs"][0]["model"] == "worse"
    assert changed["earlier"][0]["runs"] == stored["runs"]
    shown = here("baseline", "show", "main", *at).stdout
    assert "worse" in shown
    assert "changed 1 times" in shown


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
