"""What RUN may be: names, places on an axis, and paths, whatever characters they have."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from report_runs import judged, record_of, store

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.report.frame import System
from tuna_eval.report.notes import note_on
from tuna_eval.report.runs import complete_runs
from tuna_eval.report.sources import Named, parse_word, read_frame
from tuna_eval.schema import SuiteResult, Summary


@pytest.mark.parametrize(
    ("word", "name", "position", "path"),
    [
        ("runs/a", "", None, "runs/a"),
        ("my model=runs/a", "my model", None, "runs/a"),
        ("0.1:runs/a", "", 0.1, "runs/a"),
        ("a=13000:runs/a", "a", 13000.0, "runs/a"),
        ("a=1e-3:runs/a", "a", 0.001, "runs/a"),
        ("a=-1:runs/a", "a", -1.0, "runs/a"),
        ("a=b=c", "a", None, "b=c"),
        ("a=x:runs/a", "a", None, "x:runs/a"),
        ("a=.5:runs/a", "a", None, ".5:runs/a"),
    ],
)
def test_words(word: str, name: str, position: float | None, path: str) -> None:
    assert parse_word(word) == Named(name, position, Path(path))


def test_a_path_that_is_there_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("beta=1.3", "7:x"):
        Path(name).mkdir()
        assert parse_word(name) == Named("", None, Path(name))
    assert parse_word("a=7:x") == Named("a", None, Path("7:x"))


@pytest.mark.parametrize("word", ["=runs/a", "a=", " =x"])
def test_half_a_name(word: str) -> None:
    with pytest.raises(ConfigError, match="has no name or no path"):
        parse_word(word)


def test_several_words_of_one_model_are_one_system(tmp_path: Path) -> None:
    first = store(tmp_path, record_of("superni_0shot", 30.0))
    other = store(tmp_path, replace(record_of("lmentry", 31.0), model="other"))
    second = store(tmp_path, record_of("lmentry", 32.0))
    frame = read_frame([str(first), f"0.5:{other}", str(second), str(second)])
    own, another = System("own", "run"), System("other", "run")
    assert frame.systems == (own, another)
    assert frame.positions == {another: 0.5}
    found = [frame.get(own, "superni_0shot", "rougeL"), frame.get(own, "lmentry", "lmentry_score")]
    assert [value.value for value in found if value] == [30.0, 32.0]
    assert found[0] is not None
    assert found[0].provenance.signature == "rougeL|stem:yes|impl:python|v1"
    assert found[0].provenance.format == "alpaca"


def test_newest_first(tmp_path: Path) -> None:
    for day in (2, 3, 1):
        finished = {"finished": f"2026-01-0{day}T00:00:00+00:00"}
        store(tmp_path, replace(judged(1, 2, 3), run_id=str(day), scoring=finished))
    store(tmp_path, replace(judged(1, 2, 3), run_id="9", status="generating"))
    for place in ("own", "own/vicuna_qa"):
        found = complete_runs(tmp_path / "runs" / place)
        assert [run.record.run_id for run in found] == ["3", "2", "1"]
    (run,) = read_frame([str(tmp_path / "runs/own")]).runs.values()
    assert note_on(run) == "the newest of 3 runs; judged by gpt-4 against Alpaca"
    with pytest.raises(DataError, match="the run is not complete"):
        complete_runs(tmp_path / "runs/own/vicuna_qa/9")


def test_a_missing_lmentry_score_is_explained(tmp_path: Path) -> None:
    results = asdict(SuiteResult("lmentry", {"lmentry_score": Summary(None, None, 41)}))
    store(tmp_path, replace(record_of("lmentry"), results=results))
    (run,) = read_frame([str(tmp_path / "runs/own")]).runs.values()
    assert note_on(run) == "no LMentry score: robustness needs more examples a task"
