"""A judging on disk: read anew, compared with another one, and what is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answers import MARKS, REVIEW, Watched, all_asks, always_first, longer, many, over_http, record_of, swapped

from openai_server import OpenAIServer
from tuna_eval.disk import read_lines
from tuna_eval.errors import DataError, EngineError, StoreError
from tuna_eval.judge.engine_judge import EngineComparer
from tuna_eval.judge.judgment_log import JudgmentLog
from tuna_eval.judge.likelihood import LikelihoodRules
from tuna_eval.judge.pairwise import open_protocol
from tuna_eval.judge.protocols import Ask, Judgment, Question
from tuna_eval.judging.judging import Match, judge, judging_folder
from tuna_eval.judging.reparse import judge_agreement, reparse
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions
from tuna_eval.llm.prices import Price
from tuna_eval.llm.scripted_engine import Rule, ScriptedEngine


def test_reading_anew_changes_the_outcome_without_a_call(tmp_path: Path) -> None:
    match = many(10)
    with OpenAIServer(lambda prompt: "Scores: 9/10 and 4/10") as server:
        engine = ApiEngine(ApiOptions(server.base_url, "judge"))
        legacy = open_protocol("review-2023", parser="legacy")
        price = Price("", 3.0, 5.0, None, "", "given by the user")
        first = judge(match, EngineComparer(engine, legacy), legacy, tmp_path, Watched(), price=price)
        asked = sum(server.calls.values())
        before = (first.folder / "judgments.jsonl").read_bytes()
        assert (first.report.tally.unparsable, first.report.tally.coverage) == (10, 0.0)
        anew = reparse(first.folder, match.questions, REVIEW)
        assert (anew.report.tally.counts.win, anew.report.tally.coverage) == (10, 1.0)
        assert sum(server.calls.values()) == asked == 10
    assert (first.folder / "judgments.jsonl").read_bytes() == before
    assert record_of(anew)["signature"] == REVIEW.signature != first.signature
    usage = anew.usage
    assert anew.cost == pytest.approx((3.0 * usage.prompt_tokens + 5.0 * usage.completion_tokens) / 1e6)
    assert anew.cost == first.cost
    assert reparse(first.folder, match.questions, legacy).report == first.report


def test_reading_anew_needs_the_same_protocol_and_questions(tmp_path: Path) -> None:
    judged, _ = over_http(many(4), longer, tmp_path)
    with pytest.raises(DataError, match="made with judge:pairwise-v2, cannot be read as judge:review-2023"):
        reparse(judged.folder, many(4).questions, REVIEW)
    with pytest.raises(DataError, match="cannot be read as judge:likelihood"):
        reparse(judged.folder, many(4).questions, LikelihoodRules())
    with pytest.raises(DataError, match="question 'q3' was judged and is not among those given"):
        reparse(judged.folder, many(3).questions, MARKS)
    with pytest.raises(DataError, match="no judging here"):
        reparse(tmp_path, many(4).questions, MARKS)
    assert reparse(judged.folder, many(6).questions, MARKS).report.tally.not_judged == 2


def test_kappa_between_two_judgings_of_the_same_answers(tmp_path: Path) -> None:
    match = many(12)
    one, _ = over_http(match, longer, tmp_path)
    same, _ = over_http(match, longer, tmp_path / "elsewhere")
    kappa = judge_agreement(one.folder, same.folder)
    assert (kappa.kappa, kappa.n) == (1.0, 12)
    blind, _ = over_http(match, always_first, tmp_path / "blind")
    assert judge_agreement(one.folder, blind.folder).kappa == 0.0  # ties throughout agree by chance alone
    other, _ = over_http(swapped(match), longer, tmp_path)
    with pytest.raises(DataError, match="other answers were judged"):
        judge_agreement(one.folder, other.folder)
    with pytest.raises(DataError, match="no finished judging here"):
        judge_agreement(one.folder, tmp_path)


def scripted(reply: str = "[[A]]") -> EngineComparer:
    return EngineComparer(ScriptedEngine([Rule(reply)]), MARKS)


def test_answers_that_are_missing_lower_the_coverage(tmp_path: Path) -> None:
    match = many(5)
    partial = Match(match.questions, dict(list(match.candidate.items())[:3]), match.baseline)
    judged = judge(partial, scripted(), MARKS, tmp_path, Watched(), given={"baseline": "gpt-3.5"})
    assert (judged.report.tally.asked, judged.report.tally.not_judged, judged.report.tally.coverage) == (5, 2, 0.6)
    record = record_of(judged)
    assert record["without_answers"] == {"count": 2, "ids": ["q3", "q4"]}
    assert (record["status"], record["given"]) == ("complete", {"baseline": "gpt-3.5"})
    with pytest.raises(DataError, match="no answer to the same of the 5 questions"):
        judge(Match(match.questions, {}, match.baseline), scripted(), MARKS, tmp_path, Watched())
    twice = Match([*match.questions, match.questions[0]], match.candidate, match.baseline)
    with pytest.raises(DataError, match="two questions have the same id"):
        judge(twice, scripted(), MARKS, tmp_path, Watched())


def test_nothing_is_asked_before_every_question_is_known_to_have_its_reference(tmp_path: Path) -> None:
    match = many(3)
    questions = [*match.questions[:2], replace(match.questions[2], category="math")]
    with OpenAIServer() as server:
        comparer = EngineComparer(ApiEngine(ApiOptions(server.base_url, "judge")), MARKS)
        with pytest.raises(DataError, match=r"question q2 \(math\) has no reference answer"):
            judge(Match(questions, match.candidate, match.baseline), comparer, MARKS, tmp_path, Watched())
        assert server.log == []
    assert list(tmp_path.iterdir()) == []


class Breaking:
    """A judge that fails for good after two judgments, and looks whether anybody else may judge meanwhile."""

    name = "breaking"
    repeats = 1

    def __init__(self, match: Match, folder: Path) -> None:
        self.match, self.folder = match, folder

    def fingerprint(self) -> dict[str, Any]:
        return {"judge": "breaking"}

    def compare(self, asks: Iterable[Ask]) -> Iterator[Judgment]:
        for number, ask in enumerate(asks):
            if number == 2:
                with pytest.raises(StoreError, match="another process is writing this judging"):
                    judge(self.match, self, MARKS, self.folder, Watched())
                raise EngineError("out of money")
            yield Judgment(ask.pair.question.id, ask.order, ask.repeat, "win", reply="[[A]]")


def test_a_judge_that_fails_for_good_leaves_what_it_said_and_nobody_else_may_write(tmp_path: Path) -> None:
    match, watched = many(3), Watched()
    judge_of_two = Breaking(match, tmp_path)
    with pytest.raises(EngineError, match="out of money"):
        judge(match, judge_of_two, MARKS, tmp_path, watched)
    assert (watched.done, watched.total) == (2, 6)
    folder = judging_folder(tmp_path, match, judge_of_two)
    assert [line["id"] for line in read_lines(folder.judgments_file)] == ["q0", "q0"]
    record = folder.read_record()
    assert (record["status"], record["sessions"][0]["judgments"]) == ("judging", 2)


def test_a_strange_line_is_an_error_with_its_place(tmp_path: Path) -> None:
    judged = judge(many(2), scripted(), MARKS, tmp_path, Watched())
    file = judged.folder / "judgments.jsonl"
    whole = file.read_text()
    for strange, problem in (
        ('{"id": "q0"}\n', r"judgments.jsonl:5: not a judgment"),
        (whole.splitlines()[0].replace('"q0"', '"q9"') + "\n", "question 'q9', which was not asked"),
    ):
        file.write_text(whole + strange)
        with pytest.raises(DataError, match=problem):
            judge(many(2), scripted(), MARKS, tmp_path, Watched())
    file.write_text(whole)
    (judged.folder / "judging.json").write_text("{}")
    with pytest.raises(StoreError, match="not the record of a judging"):
        reparse(judged.folder, many(2).questions, MARKS)


def test_the_id_follows_judge_questions_and_answers(tmp_path: Path) -> None:
    match = many(3)
    ids = {judging_folder(tmp_path, m, scripted()).path.name for m in (match, many(3), swapped(match), many(2))}
    assert len(ids) == 3
    assert judging_folder(tmp_path, match, scripted("[[B]]")).path.name not in ids
    other = [Question("q0", "writing", "Another question?"), *match.questions[1:]]
    assert judging_folder(tmp_path, Match(other, match.candidate, match.baseline), scripted()).path.name not in ids


def test_a_log_holds_places_and_leaves_the_replies_on_disk(tmp_path: Path) -> None:
    match, repeats = many(100), 20
    log = JudgmentLog(tmp_path / "judgments.jsonl", match.questions)
    with log.appender() as append:
        for ask in [replace(ask, repeat=repeat) for repeat in range(repeats) for ask in all_asks(match)]:
            append(Judgment(ask.pair.question.id, ask.order, ask.repeat, "tie", (7.5, 7.5), reply="word " * 100))
    tracemalloc.start()
    log.read()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert log.usage.judgments == 200 * repeats
    assert held < 200 * repeats * 16
    found = {question.id: judgments for question, judgments in log.of(match.questions)}
    assert {len(judgments) for judgments in found.values()} == {2 * repeats}
    assert all(judgment.scores == (7.5, 7.5) and judgment.id == id for id, made in found.items() for judgment in made)
