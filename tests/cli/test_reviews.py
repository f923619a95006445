"""`tuna-eval score --suite vicuna_qa`: stored reviews of GPT-4, pairs of llm_judge, and our own judgments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import here, last_line, tuna_eval
from vicuna_runs import CANDIDATE, judge_words, judging_id, only_run, run_words, script_of, values_of

from openai_judges import always_first, longer
from openai_server import OpenAIServer


def score_words(file: Path, shared: Path, *more: object) -> list[object]:
    data = ["--data-dir", shared / "benchmarks"]
    return ["score", "--suite", "vicuna_qa", "--predictions", file, *data, "--json", *more]


def golden(shared: Path, name: str) -> Any:
    return json.loads((shared / "golden" / name).read_text())


def test_the_13_files_of_reviews_come_out_as_in_the_golden_table(shared: Path) -> None:
    folder = shared / "benchmarks/vicuna_bench/gpt4_review_2023/review"
    rows = golden(shared, "vicuna_reviews.json")
    assert {folder / row["file"] for row in rows} == set(folder.rglob("*.jsonl"))
    assert len(rows) == 13
    for row in rows:
        # Upstream counts a review that it cannot read as a tie.
        official, failed = row["reparsed"], len(row["unparsable_question_ids"])
        legacy = values_of(here(*score_words(folder / row["file"], shared, "--parser", "legacy")))
        assert legacy == {
            **{"win": official["a1_win"], "lose": official["a2_win"], "tie": official["tie"] - failed},
            **{"unparsable": failed, "coverage": 96.25, "flip_rate": None},
            "win_rate": pytest.approx(100 * official["a1_win"] / 77),
        }, row["file"]
        stored = row["stored"]
        tolerant = values_of(here(*score_words(folder / row["file"], shared)))
        assert tolerant == {
            **{"win": stored["a1_win"], "lose": stored["a2_win"], "tie": stored["tie"]},
            **{"unparsable": 0, "coverage": 100.0, "flip_rate": None},
            "win_rate": pytest.approx(100 * stored["a1_win"] / 80),
        }, row["file"]


def test_stored_reviews_in_a_process_of_its_own(shared: Path) -> None:
    file = shared / "benchmarks/vicuna_bench/gpt4_review_2023/review/others/review_llama_alpaca-13b.jsonl"
    result = tuna_eval(*score_words(file, shared))
    values = values_of(result)
    assert (values["win"], values["lose"], values["tie"]) == (19, 60, 1)
    assert "9 of 9 tasks, 80 of 80 examples" in result.stderr


MARKS = {"model_1": "AB", "model_2": "BA", "tie": "CC", "error": "DD"}  # in the first game and in the second


def pairs_file(shared: Path, file: Path) -> Path:
    """The golden rows as llm_judge stores them, with replies that say so."""
    with file.open("w") as stream:
        for row in golden(shared, "vicuna_pairwise.json")["rows"]:
            marks = {game: MARKS[row[f"{game}_winner"]][place] for place, game in enumerate(("g1", "g2"))}
            replies = {f"{game}_judgment": f"I weighed both. [[{mark}]]" for game, mark in marks.items()}
            stream.write(json.dumps(row | replies) + "\n")
    return file


@pytest.mark.parametrize("parser", ["tolerant", "official"])
def test_pairs_of_llm_judge_come_out_as_upstream_counts_them(shared: Path, tmp_path: Path, parser: str) -> None:
    result = here(*score_words(pairs_file(shared, tmp_path / "pairs.jsonl"), shared, "--parser", parser))
    values = values_of(result)
    summary = golden(shared, "vicuna_pairwise.json")["official_summary"]
    assert (values["win"], values["lose"], values["tie"]) == (summary["win"], summary["loss"], summary["tie"])
    assert values["win_rate"] == pytest.approx(100 * summary["win_rate"])
    assert values["coverage"] == pytest.approx(100 * summary["kept_rows"] / 80)
    assert values["unparsable"] == 7
    assert "11.25 (!)" in result.stderr


@pytest.mark.parametrize("reply", [longer, always_first])
def test_our_own_judgments_come_out_as_they_were_judged(tmp_path: Path, reply: Any) -> None:
    here(*run_words(script_of(tmp_path / "candidate.jsonl", CANDIDATE), tmp_path / "out"))
    run = only_run(tmp_path / "out")
    with OpenAIServer(reply) as server:
        judged = here(*judge_words(run, server.base_url))
    file = run / "judged" / judging_id(judged) / "judgments.jsonl"
    for folder, cure in (
        (run, f"tuna-eval judge {run} --judge NAME --baseline RUN"),
        (file.parent, f"give {file}"),
        (tmp_path, "give a file of reviews"),
    ):
        refused = here("score", "--suite", "vicuna_qa", "--predictions", folder, "--data", "mini")
        assert refused.returncode == 2
        (line,) = refused.stderr.splitlines()
        assert line.startswith(f"tuna-eval: {folder}: a folder, and no file of reviews; ")
        assert line.endswith(cure)
    words = ["score", "--suite", "vicuna_qa", "--predictions", file, "--data", "mini", "--json"]
    assert values_of(here(*words)) == values_of(judged)


def test_what_holds_no_reviews_is_one_line_and_exit_code_2(shared: Path, tmp_path: Path) -> None:
    answers = shared / "benchmarks/vicuna_bench/gpt4_review_2023/answer/answer_bard.jsonl"
    (empty := tmp_path / "empty.jsonl").write_text("")
    (broken := tmp_path / "broken.jsonl").write_text("{\n")
    review = {"question_id": 99, "text": "8 9", "answer1_id": "a", "answer2_id": "b"}
    (stranger := tmp_path / "stranger.jsonl").write_text(json.dumps(review) + "\n")
    for file, said in (
        (answers, "no review; give FastChat's reviews or judgments.jsonl"),
        (empty, "no reviews here"),
        (broken, "broken.jsonl:1: not valid JSON"),
        (stranger, "stranger.jsonl:1: question 99 was not asked"),
        (tmp_path / "nowhere.jsonl", "no such file"),
    ):
        result = here(*score_words(file, shared))
        assert (result.returncode, result.stdout) == (2, ""), file
        assert said in last_line(result.stderr), file
        assert last_line(result.stderr).startswith("tuna-eval: "), file
    result = here(*score_words(answers, shared, "--output", tmp_path / "scored"))
    assert "--output has no meaning for stored reviews" in last_line(result.stderr)
    assert result.returncode == 2
