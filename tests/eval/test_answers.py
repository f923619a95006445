"""Answers and questions from files: many formats are read, and what is none is told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuna_eval.errors import DataError
from tuna_eval.judge.pairwise import open_protocol
from tuna_eval.judge.protocols import Question
from tuna_eval.judging.reviews import read_answers, read_reviews
from tuna_eval.schema import RunRecord
from tuna_eval.store import RunFolder
from tuna_eval.tasks.vicuna import read_questions


def lines(file: Path, *values: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(value) + "\n" for value in values))
    return file


@pytest.mark.parametrize(
    "line",
    [
        {"question_id": 7, "text": "hello", "model_id": "m"},
        {"question_id": 7, "model_id": "m", "choices": [{"index": 0, "turns": ["hello"]}]},
        {"id": "7", "prediction": "hello", "model_id": "m"},
        {"task": "math", "id": "7", "output": "hello", "model_id": "m"},
    ],
)
def test_an_answer_in_each_format(tmp_path: Path, line: dict[str, object]) -> None:
    answers = read_answers(lines(tmp_path / "a.jsonl", line))
    assert answers.name == "m"
    assert answers.texts == {"7": "hello"}


@pytest.mark.parametrize(
    "line",
    [
        {"question_id": 7, "text": None},
        {"question_id": 7, "text": 5},
        {"text": "hello"},
        *({"question_id": 7, "choices": [{"turns": turns}]} for turns in (5, {"a": 1}, "abc", [], [None])),
    ],
)
def test_a_line_that_is_no_answer_is_named(tmp_path: Path, line: dict[str, object]) -> None:
    file = lines(tmp_path / "a.jsonl", {"question_id": 1, "text": "fine"}, line)
    with pytest.raises(DataError, match=r"a\.jsonl:2: no answer; write"):
        read_answers(file)


def test_two_answers_to_a_question_are_refused(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", {"id": 1, "prediction": "a"}, {"id": "1", "prediction": "b"})
    with pytest.raises(DataError, match=r"a\.jsonl:2: a second answer to question 1"):
        read_answers(file)


@pytest.mark.parametrize("by_file", [False, True])
def test_a_run_of_another_benchmark_is_no_answer(tmp_path: Path, by_file: bool) -> None:
    """Its ids may be the questions' by chance."""
    folder = RunFolder(tmp_path / "run")
    folder.write_record(RunRecord("m", "lmentry", "1", "complete", "2026-01-01"))
    samples = lines(folder.samples_file, {"task": "first_word", "id": "1", "output": "He"})
    with pytest.raises(DataError, match="these are answers to lmentry"):
        read_answers(samples if by_file else folder.path)


REVIEW = {"question_id": 1, "answer1_id": "a", "answer2_id": "b", "text": "8 9"}
JUDGMENT = {"id": "1", "order": "candidate-first", "repeat": 0, "reply": "8 9"}


@pytest.mark.parametrize("line", [REVIEW, JUDGMENT])
def test_a_review_in_each_format(tmp_path: Path, line: dict[str, object]) -> None:
    rules = open_protocol("review-2023")
    (judgment,) = read_reviews(lines(tmp_path / "r.jsonl", line), [Question("1", "generic", "Why?")], rules)
    assert (judgment.state, judgment.scores) == ("lose", (8.0, 9.0))


@pytest.mark.parametrize(
    "line",
    [
        {**REVIEW, "text": None},
        {**JUDGMENT, "repeat": None},
        {**JUDGMENT, "repeat": "x"},
        {**JUDGMENT, "order": "a"},
        {},
    ],
)
def test_a_line_that_is_no_review_is_named(tmp_path: Path, line: dict[str, object]) -> None:
    rules = open_protocol("review-2023")
    with pytest.raises(DataError, match=r"r\.jsonl:1: no review"):
        read_reviews(lines(tmp_path / "r.jsonl", line), [Question("1", "generic", "Why?")], rules)


@pytest.mark.parametrize(
    ("question", "reference", "problem"),
    [
        ({"turns": 5}, None, "question 1 has no text"),
        ({"turns": []}, None, "question 1 has no text"),
        ({}, None, "question 1 has no text"),
        ({"turns": ["Why?"]}, {"choices": []}, "no answer to question 1"),
        ({"turns": ["Why?"]}, {"choices": [{"turns": 5}]}, "no answer to question 1"),
    ],
)
def test_a_broken_question_is_named(
    tmp_path: Path, question: dict[str, object], reference: dict[str, object] | None, problem: str
) -> None:
    lines(tmp_path / "question.jsonl", {"question_id": 1, "category": "math", **question})
    if reference:
        lines(tmp_path / "reference_answer/own.jsonl", {"question_id": 1, **reference})
    with pytest.raises(DataError, match=problem):
        read_questions(tmp_path)
