"""What is done with judgings that are stored: reading their replies anew, and comparing two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tuna_eval.errors import DataError
from tuna_eval.judge.agreement import Kappa, cohens_kappa
from tuna_eval.judge.judgment_log import JudgmentLog
from tuna_eval.judge.protocols import Question, VerdictRules
from tuna_eval.judging.folder import JudgingFolder, choices_of
from tuna_eval.judging.judging import Judged, Match, conclude
from tuna_eval.llm.prices import Price


def reparse(folder: Path, questions: Sequence[Question], rules: VerdictRules) -> Judged:
    """Reads the stored replies of a judging anew, as other rules say, without a call; judging.json is rewritten.

    Args:
        folder: of the judging.
        questions: those that were judged with.
        rules: of the same protocol, with another parser, tolerance or set of orders.

    Raises:
        DataError: there is no judging, it was made with another protocol, or the questions are not those judged.
        StoreError: the record is broken, or another process is writing here.
    """
    files = JudgingFolder(folder)
    if not files.has_record():
        raise DataError("no judging here", place=str(folder), cure="name a folder below judged/ of a run")
    with files.locked():
        record = files.read_record()
        made, wanted = (signature.partition("|")[0] for signature in (record["signature"], rules.signature))
        if made != wanted:
            raise DataError(f"made with {made}, cannot be read as {wanted}", place=str(folder), cure=f"use {made}")
        known, judged = {question.id for question in questions}, files.lengths()
        if lacking := [id for id in judged if id not in known]:
            problem = f"question {lacking[0]!r} was judged and is not among those given"
            raise DataError(problem, place=str(folder), cure="give all questions that were judged")
        log = JudgmentLog(files.judgments_file, [question for question in questions if question.id in judged])
        log.read(repair=True)
        record["signature"] = read_anew(record["signature"], rules.signature)
        record["choices"] = asdict(choices_of(record["signature"]))
        record.pop("agreement", None)  # of the verdicts as they were read before
        price = Price(**record["price"]) if record.get("price") else None
        return conclude(files, record, log, questions, rules, price)


def read_anew(made: str, wanted: str) -> str:
    """The signature of replies to the prompts of one signature that are read as another says."""
    asked = {part.partition(":")[0]: part for part in made.split("|") if part.startswith(("wording:", "prompts:"))}
    return "|".join(asked.get(part.partition(":")[0], part) for part in wanted.split("|"))


def changes_of_reading(made: str, wanted: str) -> str:
    """What two signatures differ in, such as "parser:official instead of parser:legacy"; "" if in nothing."""
    before, after = made.split("|"), read_anew(made, wanted).split("|")
    new, old = (
        " ".join(part for part in one if part not in other) for one, other in ((after, before), (before, after))
    )
    return f"{new} instead of {old}" if new or old else ""


def check_agreement(other: Path, match: Match | None = None) -> None:
    """Raises the error that `judge_agreement` would raise for a judging that another is to be compared with.

    Args:
        other: folder of the judging.
        match: what is to be judged, where that is known.

    Raises:
        DataError: the judging is not there or not finished, or judged other answers.
    """
    folder = JudgingFolder(other)
    folder.states()
    if match is not None and folder.read_record()["answers_sha256"] != match.sha256:
        raise DataError("other answers were judged here", place=str(other), cure="judge the same pair")


def judge_agreement(first: Path, second: Path) -> Kappa:
    """Cohen's kappa between two judgings of the same answers.

    Args:
        first, second: folders of the judgings.

    Raises:
        DataError: a judging is not there or not finished, or they judged different answers.
    """
    folders = JudgingFolder(first), JudgingFolder(second)
    one, other = (folder.states() for folder in folders)
    if len({folder.read_record()["answers_sha256"] for folder in folders}) > 1:
        raise DataError(f"other answers were judged than in {second}", place=str(first), cure="judge the same pair")
    both = [id for id in one if id in other]
    return cohens_kappa([one[id] for id in both], [other[id] for id in both])


def store_agreement(first: Path, second: Path) -> Kappa:
    """As `judge_agreement`, and keeps the answer in the record of the first judging under "agreement"."""
    kappa = judge_agreement(first, second)
    folder = JudgingFolder(first)
    with folder.locked():
        record = folder.read_record()
        folder.write_record(record | {"agreement": {"with": second.resolve().name, **asdict(kappa)}})
    return kappa


def describe_kappa(kappa: Kappa) -> str:
    """Kappa as text, with the reason where there is none."""
    if kappa.kappa is not None:
        return f"Cohen's kappa {kappa.kappa:.3f} over {kappa.n} questions"
    reason = "both judges say one and the same throughout" if kappa.n else "no question has a verdict of both"
    return f"Cohen's kappa – over {kappa.n} questions ({reason})"
