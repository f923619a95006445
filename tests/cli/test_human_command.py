"""`tuna-eval human` as a user meets it: the page from runs and files, rankings scored, and what can go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from command_line import here, tuna_eval
from vicuna_runs import BASELINE, run_words

from human_study import saved
from tuna_eval.report.human.files import read_key

QUESTIONS = [str(number) for number in range(1, 10)]
Places = Sequence[Sequence[str]]


def refused(*words: object) -> str:
    """The one line of a command that ends with exit code 2."""
    result = here(*words)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of Vicuna QA on the built-in questions, by models called tuna and llama."""
    folder = tmp_path_factory.mktemp("runs")
    for name, reply in (("tuna", "By heart."), ("llama", "I am llama, and I do not know.")):
        (folder / name).write_text(json.dumps({"reply": reply}) + "\n")
        assert here(*run_words(folder / name, folder)).returncode == 0
    tuna, llama = (next(folder.glob(f"runs/{name}/vicuna_qa/*")) for name in ("tuna", "llama"))
    return tuna, llama


@pytest.fixture
def page(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    """The page of both runs and of a file of answers."""
    page = tmp_path / "page.html"
    result = here("human", "export", *runs, BASELINE, "--out", page, "--seed", 5)
    assert result.returncode == 0, result.stderr
    assert "3 systems, 9 of 9 questions" in result.stdout
    return page


@pytest.fixture
def rank(page: Path) -> Callable[[str, Mapping[str, Places]], Path]:
    """Writes what an annotator saves."""
    key = page.with_name("page.key.json")
    return lambda annotator, order: saved(page.with_name(f"{annotator}.json"), key, annotator, order)


TUNA_FIRST: Places = [["tuna"], ["written-by-hand"], ["llama"]]
HAND_FIRST: Places = [["written-by-hand"], ["tuna", "llama"]]


def test_two_runs_and_a_file_become_one_page(page: Path) -> None:
    text = page.read_text()
    key = read_key(page.with_name("page.key.json"))
    assert (key.systems, key.seed, list(key.answers)) == (("llama", "tuna", "written-by-hand"), 5, QUESTIONS)
    assert "By heart." in text
    assert "tuna" not in text.partition('type="application/json"')[2]  # the page does not say whose answers they are
    assert all(token in text for token in key.answers["1"])


def test_answers_that_name_a_system_are_pointed_out(runs: tuple[Path, Path], tmp_path: Path) -> None:
    result = here("human", "export", *runs, "--out", tmp_path / "page.html")
    assert f"warning: answers to {', '.join(QUESTIONS)} name a system" in result.stdout
    result = here("human", "export", f"a={runs[0]}", f"b={runs[1]}", "--out", tmp_path / "other.html")
    assert "warning" not in result.stdout
    assert read_key(tmp_path / "other.key.json").systems == ("a", "b")


def test_a_question_that_one_system_lacks_is_left_out(runs: tuple[Path, Path], tmp_path: Path) -> None:
    some = tmp_path / "some.jsonl"
    some.write_text("".join(json.dumps({"id": id, "prediction": "Yes."}) + "\n" for id in ("2", "7", "81")))
    result = here("human", "export", runs[0], some, "--out", tmp_path / "page.html")
    assert "2 systems, 2 of 9 questions" in result.stdout
    assert list(read_key(tmp_path / "page.key.json").answers) == ["2", "7"]


def test_the_seed_is_random_and_repeats_a_page(runs: tuple[Path, Path], page: Path, tmp_path: Path) -> None:
    export = ["human", "export", *runs, BASELINE, "--out"]
    first, again = tmp_path / "first.html", tmp_path / "again.html"
    assert here(*export, first).returncode == 0
    key = read_key(tmp_path / "first.key.json")
    assert key.seed != 5
    assert first.read_text() != page.read_text()
    assert here(*export, again, "--seed", key.seed).returncode == 0
    assert again.read_text() == first.read_text()
    assert "holds the key of another export" in refused(*export, page)  # the first key is not lost


def test_two_annotators_are_scored(page: Path, rank: Callable[..., Path]) -> None:
    files = [rank("ann", dict.fromkeys(QUESTIONS, TUNA_FIRST)), rank("bob", dict.fromkeys(QUESTIONS, HAND_FIRST))]
    key, out = page.with_name("page.key.json"), page.with_name("scores.json")
    result = tuna_eval("human", "score", *files, "--key", key, "--out", out)
    # tuna (3 + 1.5) / 2, hand-written (2 + 3) / 2, llama (1 + 1.5) / 2; nine differences of one sign: p = 2 / 2**9
    assert result.stdout.splitlines() == [
        "written-by-hand: 2.50 points, better than tuna, llama (p < 0.01)",
        "tuna: 2.25 points, better than llama (p < 0.01)",
        "llama: 1.25 points",
        # ranks 1 2 3 and 2.5 1 2.5: sums 3.5, 3, 5.5 about 4 give S = 3.5; W = 12 S / (4 * 24 - 2 * 6) = 0.5
        "2 annotators, Kendall's W 0.50 over 9 of 9 questions",
    ]
    printed = json.loads(here("human", "score", *files, "--key", key, "--json").stdout)
    assert json.loads(out.read_text()) == {"schema_version": 1, **printed}
    assert printed["annotators"] == ["ann", "bob"]
    assert [system["points"] for system in printed["systems"]] == [2.5, 2.25, 1.25]
    assert {d["comparison"]["p_value"] for d in printed["differences"]} == {2 / 2**9}


def test_correlation_with_a_judge(page: Path, rank: Callable[..., Path]) -> None:
    ann, key, scores = rank("ann", dict.fromkeys(QUESTIONS, TUNA_FIRST)), page.with_name("page.key.json"), page.parent
    score = ["human", "score", ann, "--key", key, "--judge-scores", scores / "judge.json"]
    by_system = {"tuna": 67.5, "written-by-hand": 40, "llama": 3}
    (scores / "judge.json").write_text(json.dumps(by_system))
    assert here(*score).stdout.endswith("Spearman correlation with the judge: 1.00\n")
    opposed = {name: -value for name, value in by_system.items()}
    (scores / "judge.json").write_text(json.dumps({"1": by_system, "2": opposed, "3": dict.fromkeys(by_system, 1)}))
    *_, whole, questions = here(*score).stdout.splitlines()
    assert whole == "Spearman correlation with the judge: –"  # every system has the same mean
    assert questions == "question by question: 0.00 (mean of 2, 1 tied throughout)"
    assert json.loads(here(*score, "--json").stdout)["judge_by_question"] == {"mean": 0, "n": 2, "skipped": 1}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        ("{", "not a JSON file"),
        ("[1, 2]", "not a judge's scores"),
        ('{"tuna": "good"}', "not a judge's scores"),
        ('{"tuna": 1}', "no score for system"),
        ('{"99": {"tuna": 1, "llama": 2, "written-by-hand": 3}}', "question '99' of the judge was ranked by nobody"),
    ],
)
def test_a_judges_scores_that_are_none(
    content: str | None, problem: str, page: Path, rank: Callable[..., Path]
) -> None:
    ann, file = rank("ann", dict.fromkeys(QUESTIONS, TUNA_FIRST)), page.with_name("judge.json")
    if content is not None:
        file.write_text(content)
    key = page.with_name("page.key.json")
    assert problem in refused("human", "score", ann, "--key", key, "--judge-scores", file)


def test_exports_that_cannot_be(runs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    tuna, llama = runs
    assert "no answers here" in refused("human", "export", tmp_path / "gone", llama, "--out", out)
    assert "two systems are called 'tuna'" in refused("human", "export", tuna, tuna, "--out", out)
    assert "1 systems to rank" in refused("human", "export", tuna, "--out", out)
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "99", "prediction": "Yes."}\n')
    line = refused("human", "export", tuna, other, "--out", out)
    assert "none of the 9 questions has an answer of all 2 systems" in line
    assert not out.exists()


def test_rankings_that_cannot_be_scored(page: Path, rank: Callable[..., Path], tmp_path: Path) -> None:
    key = page.with_name("page.key.json")
    ann = rank("ann", dict.fromkeys(QUESTIONS, TUNA_FIRST))
    assert "is also that of" in refused("human", "score", ann, ann, "--key", key)
    assert "cannot be read" in refused("human", "score", tmp_path / "gone.json", "--key", key)
    assert "not a file of kind" in refused("human", "score", ann, "--key", ann)
    unfinished = rank("bob", {**dict.fromkeys(QUESTIONS, TUNA_FIRST), "4": [["tuna"]]})
    assert "question '4' is unfinished: 1 of 3" in refused("human", "score", ann, unfinished, "--key", key)
