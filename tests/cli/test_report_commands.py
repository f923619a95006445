"""`tuna-eval table`, `plot` and `trend` on real runs: the scripted engine on the built-in sample, judged by another."""

from __future__ import annotations

import csv
import io
import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import here, last_line, tuna_eval
from vicuna_runs import BASELINE, record_of, script_of

from tuna_eval.report.layouts import LAYOUTS
from tuna_eval.report.sources import read_frame

# Wins with "Yes", loses with "No", whichever place it has.
JUDGE = [
    {"contains": "<answer-of-A>\nYes", "reply": "[[A]]"},
    {"contains": "<answer-of-B>\nYes", "reply": "[[B]]"},
    {"contains": "<answer-of-A>\nNo", "reply": "[[B]]"},
    {"contains": "<answer-of-B>\nNo", "reply": "[[A]]"},
    {"reply": "[[C]]"},
]
ANSWERS = {
    "checkpoint-100": [{"contains": "language", "reply": "Yes"}, {"reply": "No"}],
    "checkpoint-20": [
        {"contains": "bicycle", "reply": "Even so."},
        {"contains": "word", "reply": "Yes"},
        {"reply": "No"},
    ],
}

WANTED = ("superni_2shot", "", "rougeL")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints on all benchmarks, judged."""
    folder = tmp_path_factory.mktemp("results")
    judge = script_of(folder / "judge.jsonl", JUDGE)
    for name, rules in ANSWERS.items():
        script = script_of(folder / f"{name}.jsonl", rules)
        words = ["run", "--model", script, "--name", name, "--engine", "scripted", "--data", "mini", "--output", folder]
        judging = ["--judge", judge, "--judge-engine", "scripted", "--baseline", BASELINE]
        assert here(*words, "--suite", "all", *judging).returncode == 0
    return folder


def runs(results: Path) -> list[Path]:
    return sorted((results / "runs").iterdir())


def table(*words: object) -> str:
    result = here("table", *words)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def rows_of(text: str) -> dict[str, list[str]]:
    """The rows of a Markdown table by label."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {line[0]: line[1:] for line in lines}


def values(run: Path) -> Mapping[str, float]:
    metrics = record_of(run)["results"]["metrics"]
    return {name: summary["value"] for name, summary in metrics.items()}


def test_a_model_beside_the_paper(results: Path) -> None:
    text = table(results / "runs/checkpoint-100", "--with-paper")
    rows = rows_of(text)
    assert rows["Tuna"] == ["**38.7** (+2.7)", "45.0 (+0.5)", "34.7 (+3.3)", "**86%**", "**10%**", "4%"]
    (run,) = (results / "runs/checkpoint-100").glob("superni_0shot/*")
    own = rows["checkpoint-100"]
    assert own[0].startswith(f"{values(run)['rougeL']:.1f}<sup>")
    assert [cell.split("<")[0] for cell in own[3:]] == ["11%", "89%", "0%"]  # 1, 8 and 0 of 9
    assert "12 of 12 tasks, 120 of 120 examples, built-in sample; does not compare with the published numbers" in text
    assert "judge: judge.jsonl, not gpt-4" in text


def test_checkpoints_and_their_difference(results: Path) -> None:
    rows = rows_of(table(*runs(results), "--baseline-row", "checkpoint-20"))
    found = {}
    for name in ANSWERS:
        (run,) = (results / f"runs/{name}").glob("lmentry/*")
        found[name] = round(values(run)["lmentry_score"], 1)
    difference = found["checkpoint-100"] - found["checkpoint-20"]
    assert f"({difference:+.1f})" in rows["checkpoint-100"][2]
    assert "(" not in rows["checkpoint-20"][2]


def test_a_run_by_itself_and_by_another_name(results: Path) -> None:
    (run,) = (results / "runs/checkpoint-100").glob("superni_2shot/*")
    rows = rows_of(table(f"my model={run}"))
    assert rows["my model"][0] == "–"
    assert rows["my model"][1][0].isdigit()


def test_every_format_and_a_file(results: Path, tmp_path: Path) -> None:
    for format in ("markdown", "latex", "csv", "html"):
        file = tmp_path / "deep" / f"table.{format}"
        assert table(*runs(results), "--format", format, "--out", file) == ""
        assert file.read_text(encoding="utf-8") == table(*runs(results), "--format", format)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "deep/table.csv").read_text(encoding="utf-8"))))
    assert [row["Model"] for row in rows] == [run.name for run in runs(results)]
    assert r"\documentclass" in table(*runs(results), "--format", "latex", "--standalone")


def test_categories_under_their_own_metric(results: Path) -> None:
    text = table(*runs(results), "--layout", "categories")
    (run,) = (results / "runs/checkpoint-100").glob("superni_0shot/*")
    for category, metrics in record_of(run)["results"]["categories"].items():
        (line,) = [r for r in text.splitlines() if category.replace("_", " ") in r][:1]
        assert f"| {metrics['official']['value']:.1f}" in line.replace("**", "")
    assert "| *Vicuna QA* |" in text


def test_the_newest_complete_run_of_a_suite(results: Path, tmp_path: Path) -> None:
    model = tmp_path / "runs" / "checkpoint-100"
    shutil.copytree(results / "runs/checkpoint-100", model)
    (old,) = model.glob("superni_0shot/*")
    for name, finished, status in (("newer", "2100-01-01T00:00:00+00:00", "complete"), ("broken", "", "generating")):
        record = record_of(old)
        record |= {"run_id": name, "status": status, "scoring": {"finished": finished}}
        (model / "superni_0shot" / name).mkdir()
        (model / "superni_0shot" / name / "record.json").write_text(json.dumps(record))
    frame = read_frame([str(model)])
    found = {suite: run.folder.path.name for (_, suite), run in frame.runs.items()}
    assert found["superni_0shot"] == "newer"
    assert sorted(found) == ["lmentry", "superni_0shot", "superni_2shot", "vicuna_qa"]
    assert here("table", model / "superni_0shot" / "broken").stderr.endswith(
        "run the same command again to finish it\n"
    )


def test_human_scores(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    systems = [("Tuna", 3.8, ["Tuna_p", "Alpaca"]), ("Tuna_p", 2.98, ["Alpaca"]), ("Alpaca", 2.131, [])]
    content = [{"system": name, "points": points, "better_than": beaten} for name, points, beaten in systems]
    file.write_text(json.dumps({"schema_version": 1, "systems": content}))
    text = table(file, "--layout", "human", "--baseline-row", "Alpaca")
    rows = rows_of(text)
    assert rows["Tuna"] == ["**3.80** (+1.67)<sup>∗,†</sup>"]
    assert (rows["Tuna\\_p"], rows["Alpaca"]) == (["**2.98** (+0.85)<sup>∗</sup>"], ["2.13"])
    assert "better than Alpaca (p \\< 0.01)" in text


def test_statistics_of_ranking_data(tmp_path: Path) -> None:
    file = tmp_path / "stats.json"
    cost = [
        {"item": "Contextual", "usd": 380.5, "source": "prices", "examples": 13000, "model": "gpt-4"},
        {"item": "Mine"},
    ]
    file.write_text(json.dumps({"lengths_by_rank": {"own": [66.44, None, 51.0]}, "cost": cost}))
    assert rows_of(table(file, "--layout", "lengths"))["own"] == ["66.4", "–", "51.0", "–"]
    rows = rows_of(table(file, "--layout", "cost", "--with-paper"))
    assert rows["Contextual"] == ["13K", "gpt-4", "\\$380.50"]
    assert rows["Mine"] == ["–", "–", "–"]
    assert rows["Probabilistic Ranking"] == ["52K", "text-davinci-003", "\\$275"]


def test_a_trend_in_the_order_of_the_steps(results: Path, tmp_path: Path) -> None:
    picture = tmp_path / "trend.svg"
    result = here("trend", *runs(results), "--plot", picture)
    assert [label for label in rows_of(result.stdout) if label.isdigit()] == ["20", "100"]
    assert "Training step" in " ".join(ET.parse(picture).getroot().itertext())
    found = json.loads(here("trend", *runs(results), "--format", "json").stdout)
    assert [line["step"] for line in found if line["metric"] == "win" and not line["group"]] == [20, 100]
    (run,) = (results / "runs/checkpoint-20").glob("superni_2shot/*")
    (line,) = [one for one in found if (one["step"], one["suite"], one["group"], one["metric"]) == (20, *WANTED)]
    assert (line["value"], line["signature"]) == (
        values(run)["rougeL"],
        record_of(run)["results"]["signatures"]["rougeL"],
    )
    assert len(list(csv.reader(io.StringIO(here("trend", *runs(results), "--format", "csv").stdout)))) == 3
    assert '<th scope="row">20</th>' in here("trend", *runs(results), "--format", "html").stdout
    latex = here("trend", *runs(results), "--format", "latex", "--baseline-row", "checkpoint-20").stdout
    assert r"\caption{Scores by training step.}" in latex
    assert "Differences refer to checkpoint-20." in latex


def test_a_trend_without_steps_keeps_the_order_given(results: Path, tmp_path: Path) -> None:
    new, old = (results / "runs" / name for name in ANSWERS)
    copies = []
    for name, source in (("final", new), ("start", old)):
        (run,) = source.glob("superni_0shot/*")
        record = record_of(run) | {"model": name}
        copy = tmp_path / name
        shutil.copytree(run, copy)
        (copy / "record.json").write_text(json.dumps(record))
        copies.append(copy)
    result = here("trend", *copies)
    assert list(rows_of(result.stdout))[-2:] == ["1: final", "2: start"]
    assert "they stand in the order given" in result.stdout
    assert list(rows_of(here("trend", f"a=30:{copies[0]}", f"b=7:{copies[1]}").stdout))[-2:] == ["7: b", "30: a"]
    for step, copy in zip((900, 70), copies, strict=True):  # runs that lie inside the checkpoints they are of
        (copy.parent / f"c{step}" / "eval").mkdir(parents=True)
        shutil.move(copy, copy.parent / f"c{step}" / "eval" / "run")
        (copy.parent / f"c{step}" / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    inside = [tmp_path / f"c{step}" / "eval" / "run" for step in (900, 70)]
    assert list(rows_of(here("trend", *inside).stdout))[-2:] == ["70: start", "900: final"]


def test_figures_of_runs(results: Path, tmp_path: Path) -> None:
    for figure, words, shown in (
        ("lambda", ["--x", 0.1, 5], ["λ", "0.1", "ROUGE-L", "LMentry score", "win"]),
        ("data-size", ["--x", 0, 13000], ["Number of examples", "10000"]),
        ("categories", [], ["textual entailment", "checkpoint-20", "Win rate (%)"]),
        ("radar", [], ["roleplay", "checkpoint-100"]),
        ("trend", [], ["Training step"]),
        ("length-win", [], ["Mean length of an answer (characters)", "checkpoint-20"]),
    ):
        out = tmp_path / f"{figure}.svg"
        result = here("plot", *runs(results), "--figure", figure, *words, "--out", out)
        assert result.returncode == 0, result.stderr
        texts = [" ".join((text or "").split()) for text in ET.parse(out).getroot().itertext()]
        assert [word for word in shown if word not in texts] == []


def test_a_figure_of_runs_that_do_not_compare_says_so(results: Path, tmp_path: Path) -> None:
    (run,) = (results / "runs/checkpoint-100").glob("superni_0shot/*")
    record = record_of(run) | {"model": "checkpoint-200", "version": "2"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "record.json").write_text(json.dumps(record))
    out = tmp_path / "x.pdf"
    result = here("plot", run, tmp_path / "other", "--figure", "trend", "--out", out)
    assert result.returncode == 0
    said = "checkpoint-200 does not compare with checkpoint-100 (task version: 2, not 1)"
    assert result.stderr == f"warning: superni_0shot: {said}\n"
    assert out.is_file()


def test_mistakes_are_one_line(results: Path, tmp_path: Path) -> None:
    (run,) = (results / "runs/checkpoint-100").glob("superni_0shot/*")
    first, second = runs(results)
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    strange = tmp_path / "strange.json"
    strange.write_text('{"lengths_by_rank": {"own": ["many"]}}')
    human = tmp_path / "human.json"
    human.write_text('{"systems": [{"system": "Tuna", "points": 3, "better_than": []}]}')
    cases: list[tuple[list[object], str]] = [
        (["table"], "name runs, or give --with-paper"),
        (["table", tmp_path / "none"], "no such folder; give results/runs/MODEL"),
        (["table", tmp_path], "no run here"),
        (["table", broken], "not a JSON file"),
        (["table", BASELINE], "not a JSON file"),
        (["table", strange, "--layout", "lengths"], "'many' is no number"),
        (["table", run, "--layout", "mian"], "no layout 'mian'"),
        (["table", run, "--layout", "human"], "nothing here has points of human"),
        (["table", run, "--baseline-row", "Alpaca"], "no row 'Alpaca'"),
        (["table", run, "--standalone"], "add --format latex"),
        (["table", f"same={first}", f"same={second}"], "are called 'same'"),
        (["table", f"={run}"], "has no name or no path"),
        (["table", run, "--out", broken / "x"], "cannot be written"),
        (["table", run, "--out", run / "record.json"], "the folder of a run"),
        (["report", run, "--out", run / "judged/1/judging.json"], "the folder of a run"),
        (["plot", run, "--figure", "trend", "--out", run / "x.svg"], "the folder of a run"),
        (["plot", run, "--figure", "trend", "--out", tmp_path / "x.jpg"], "end it in .pdf, .svg or .png"),
        (["plot", run, "--figure", "lambda", "--out", tmp_path / "x.pdf"], "has no place on the x axis"),
        (["plot", run, "--figure", "lambda", "--x", "1", "2", "--out", tmp_path / "x.pdf"], "2 places for 1 systems"),
        (["plot", run, "--figure", "radar", "--x", "1", "--out", tmp_path / "x.pdf"], "takes no --x"),
        (["plot", run, "--figure", "length-win", "--out", tmp_path / "x.pdf"], "no judged answers"),
        (["trend", f"a=5:{first}", f"b=5:{second}"], "a and b are both of step 5"),
        (["trend", human], "Tuna is no run, and has no place in a series"),
        (["plot", run, human, "--figure", "trend", "--out", tmp_path / "x.pdf"], "Tuna is no run"),
        (["table", f"name={human}", "--layout", "human"], "names its systems itself"),
    ]
    for words, message in cases:
        result = here(*words)
        assert result.returncode == 2, words
        assert message in last_line(result.stderr), result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
    assert not list(tmp_path.glob("x.*"))


def test_help_names_every_layout() -> None:
    text = " ".join(tuna_eval("table", "--help").stdout.split())
    assert [name for name in LAYOUTS if name not in text] == []
