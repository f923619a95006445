"""Answers and reviews that lie in files: what other programs wrote, and what our own runs left.

Answers: a run's folder or its samples.jsonl, FastChat's answer files of 2023 and of llm_judge, or plain
{"id", "prediction"}. Reviews: FastChat's of 2023, llm_judge's pairs, or our own judgments.jsonl.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from tuna_eval.disk import read_lines
from tuna_eval.errors import DataError
from tuna_eval.judge.protocols import Judgment, Order, Question, State, VerdictRules
from tuna_eval.judging.folder import StoredChoices, stored_choices
from tuna_eval.store import RunFolder
from tuna_eval.tasks.vicuna import VicunaQA

REVIEW_KEYS = {"question_id", "text", "answer1_id", "answer2_id"}
JUDGMENT_KEYS = {"id", "order", "repeat", "reply"}
PAIR_KEYS = {"question_id", "g1_judgment", "g2_judgment"}


@dataclass(frozen=True, slots=True)
class Answers:
    """One system's answers.

    Attributes:
        name: what tables call the system.
        texts: by question id.
    """

    name: str
    texts: Mapping[str, str]


def is_model_file(file: Path) -> bool:
    """Whether a file is something that answers, a GGUF model or a script, and does not hold answers."""
    if file.suffix == ".gguf":
        return True
    first = next(read_lines(file), {})
    return "reply" in first and first.keys() <= {"reply", "contains"}


def read_answers(place: Path) -> Answers:
    """The answers of a run's folder or of a file.

    Raises:
        DataError: there are none, a line is none, or the run answered another benchmark; names the place.
    """
    file = place / "samples.jsonl" if place.is_dir() else place
    cure = "give a run's folder (results/runs/MODEL/vicuna_qa/ID) or a file of answers"
    if not file.is_file():
        raise DataError("no answers here", place=str(place), cure=cure)
    record = RunFolder(file.parent).read_record() if file.name == "samples.jsonl" else None
    if record is not None and record.suite != VicunaQA.name:
        raise DataError(f"these are answers to {record.suite}", place=str(place), cure=cure)
    texts: dict[str, str] = {}
    name = ""
    for number, line in enumerate(read_lines(file), 1):
        id, text, model = _answer(line)
        if id is None or not isinstance(text, str):
            cure = 'write {"id", "prediction"} or {"question_id", "text"} on each line'
            raise DataError("no answer", place=f"{file}:{number}", cure=cure)
        if id in texts:
            raise DataError(f"a second answer to question {id}", place=f"{file}:{number}", cure="keep one of them")
        texts[id] = text
        name = name or model
    if not texts:
        raise DataError("no answers here", place=str(file), cure="is the run finished?")
    return Answers(name or (place.parent.parent.name if place.is_dir() else place.stem), texts)


def _answer(line: Mapping[str, Any]) -> tuple[str | None, object, str]:
    """The question, the text and the system of a line."""
    id = line.get("question_id", line.get("id"))
    text = line.get("output", line.get("prediction", line.get("text")))
    choices = line.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        turns = choices[0].get("turns")
        text = turns[0] if isinstance(turns, list) and turns else None
    return None if id is None else str(id), text, str(line.get("model_id", ""))


def check_reviews(place: Path) -> None:
    """Refuses what is no file.

    Raises:
        DataError: there is nothing, or a folder: of a run, whose answers are still to be judged, of a judging, or any.
    """
    cure = "give a file of reviews"
    if not place.is_dir():
        if not place.is_file():
            raise DataError("no such file", place=str(place), cure=cure)
        return
    if (place / "judgments.jsonl").is_file():
        cure = f"give {place / 'judgments.jsonl'}"
    elif (place / "samples.jsonl").is_file():
        cure = f"judge the run's answers: tuna-eval judge {place} --judge NAME --baseline RUN"
    raise DataError("a folder, and no file of reviews", place=str(place), cure=cure)


def choices_for(file: Path) -> StoredChoices:
    """The judging protocol that a file of reviews was made with, and how they were read.

    Raises:
        DataError: it holds no reviews, or judgments whose judging.json is not beside it.
    """
    line = next(read_lines(file), None)
    if line is None:
        raise DataError("no reviews here", place=str(file), cure="give a file of reviews")
    if line.keys() >= REVIEW_KEYS:
        return StoredChoices("review-2023", "default", "", "")
    if line.keys() >= PAIR_KEYS:
        return StoredChoices("pairwise-v2", "default", "", "")
    if not line.keys() >= JUDGMENT_KEYS:
        raise _no_review(f"{file}:1")
    return stored_choices(file.parent)


def _no_review(place: str) -> DataError:
    cure = "give FastChat's reviews or judgments.jsonl; answers are judged by tuna-eval judge"
    return DataError("no review", place=place, cure=cure)


def read_reviews(file: Path, questions: Sequence[Question], rules: VerdictRules) -> list[Judgment]:
    """The judgments of a file of reviews, each reply read as the rules say.

    Args:
        file: JSON Lines in one of the formats above. In those of others, assistant 1 or model 1 is the candidate.
        questions: those of the benchmark.
        rules: with the orders in which the answers were shown.

    Raises:
        DataError: a line is no review, or of a question that was not asked.
    """
    by_id = {question.id: question for question in questions}
    judgments = []
    for number, line in enumerate(read_lines(file), 1):
        for judgment in _judgments(line, f"{file}:{number}", rules):
            if judgment.id not in by_id:
                cure = "check --data and --data-dir"
                raise DataError(f"question {judgment.id} was not asked", place=f"{file}:{number}", cure=cure)
            judgments.append(rules.reread(judgment, by_id[judgment.id]))
    return judgments


def _judgments(line: Mapping[str, Any], place: str, rules: VerdictRules) -> Iterator[Judgment]:
    """The judgments of a line, still to be read."""
    if line.keys() >= REVIEW_KEYS:
        replies: dict[Order, Any] = {rules.orders[0]: line["text"]}
        id, repeat = line["question_id"], 0
    elif line.keys() >= PAIR_KEYS:
        replies = {"candidate-first": line["g1_judgment"], "baseline-first": line["g2_judgment"]}
        id, repeat = line["question_id"], 0
    elif line.keys() >= JUDGMENT_KEYS and line["order"] in get_args(Order):
        replies = {line["order"]: line["reply"]}
        id, repeat = line["id"], line["repeat"]
    else:
        raise _no_review(place)
    if not isinstance(repeat, int) or not all(isinstance(reply, str) for reply in replies.values()):
        raise _no_review(place)
    state: State = "api_error" if line.get("state") == "api_error" else "unparsable"
    for order, reply in replies.items():
        reason = str(line.get("finish_reason", ""))
        yield Judgment(str(id), order, repeat, state, reply=reply, finish_reason=reason)
