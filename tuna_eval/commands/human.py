"""What `tuna-eval human` does with its parsed options."""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tuna_eval.commands.data import print_text
from tuna_eval.commands.judge import questions_of
from tuna_eval.datasets import resolve
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.judge.protocols import Question
from tuna_eval.judging.reviews import read_answers
from tuna_eval.report.human.export import export_page
from tuna_eval.report.human.scores import (
    HumanScores,
    question_correlation,
    read_judge_scores,
    score_files,
    write_scores,
)
from tuna_eval.store import RunFolder
from tuna_eval.tasks.vicuna import read_questions


def human_export_command(options: argparse.Namespace) -> int:
    """`tuna-eval human export`: one page on which people rank anonymous answers."""
    systems: dict[str, Mapping[str, str]] = {}
    places = [_place(word) for word in options.systems]
    for name, place in places:
        answers = read_answers(place)
        name = name or answers.name
        if name in systems:
            raise ConfigError(f"two systems are called {name!r}", place=str(place), cure="write NAME=RUN for one")
        systems[name] = answers.texts
    questions = _questions([place for _, place in places], options)
    answered = [q for q in questions if all(q.id in texts for texts in systems.values())]
    if not answered:
        problem = f"none of the {len(questions)} questions has an answer of all {len(systems)} systems"
        raise DataError(problem, cure="check --data and --data-dir, and that the runs are finished")
    seed = secrets.randbits(63) if options.seed is None else options.seed
    export = export_page(systems, answered, options.out, seed)
    print_text(f"page: {export.page} ({export.systems} systems, {export.questions} of {len(questions)} questions)")
    print_text(f"key:  {export.key} (keep it; without it no ranking can be scored)")
    if export.revealing:
        print_text(f"warning: answers to {', '.join(export.revealing)} name a system")
    return 0


def _place(word: str) -> tuple[str, Path]:
    """A system's name, "" if its answers tell it, and where they are."""
    name, equals, place = word.partition("=")
    return (name, Path(place)) if equals and not Path(word).exists() else ("", Path(word))


def _questions(places: Sequence[Path], options: argparse.Namespace) -> list[Question]:
    """Those of the data that is named, else of the first run among the systems."""
    if options.data is None and options.data_dir is None:
        for place in places:
            record = RunFolder(place).read_record()
            if record is not None:
                return questions_of(record, options)
    return read_questions(resolve("vicuna", options.data or "full", options.data_dir))


def human_score_command(options: argparse.Namespace) -> int:
    """`tuna-eval human score`: what people's rankings come to."""
    judge, by_question = read_judge_scores(options.judge_scores) if options.judge_scores else (None, {})
    found = score_files(options.files, options.key, judge=judge)
    if by_question:
        found = replace(found, judge_by_question=question_correlation(found, by_question))
    if options.out:
        write_scores(found, options.out)
    if options.json:
        print_text(json.dumps(asdict(found)))
        return 0
    for line in _lines(found):
        print_text(line)
    return 0


def _lines(found: HumanScores) -> list[str]:
    lines = []
    for system in found.systems:
        better = f", better than {', '.join(system.better_than)} (p < 0.01)" if system.better_than else ""
        lines.append(f"{system.system}: {system.points:.2f} points{better}")
    agreement = found.agreement
    annotators = f"{len(found.annotators)} annotators" if len(found.annotators) > 1 else "1 annotator"
    questions = f"{agreement.n} of {agreement.n + agreement.skipped} questions"
    lines.append(f"{annotators}, Kendall's W {_number(agreement.w)} over {questions}")
    if found.judge:
        lines.append(f"Spearman correlation with the judge: {_number(found.judge.value)}")
    if found.judge_by_question:
        own = found.judge_by_question
        lines.append(f"question by question: {_number(own.mean)} (mean of {own.n}, {own.skipped} tied throughout)")
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
