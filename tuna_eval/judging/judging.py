"""Judging a run: pairs, judgments, verdicts, report. Killed anywhere and started again, it goes on where it was.

The judging id is a hash of the judge, its prompts and all questions and answers, so that the same command resumes and a
changed one begins anew. What only says how many judgments are wanted or how replies are read (orders, repeats, parser,
tolerance) is no part of it: a reply that is paid for serves them all. Where some answers were added or changed, a new
judging takes the judgments of all other pairs from the run's earlier ones, and asks for the rest.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tuna_eval.errors import DataError
from tuna_eval.judge.judgment_log import JudgmentLog
from tuna_eval.judge.protocols import Ask, Comparer, Pair, Question, Verdict, VerdictRules
from tuna_eval.judge.report import JudgeUsage, JudgingReport, report
from tuna_eval.judge.verdicts import Tally, verdicts
from tuna_eval.judging.folder import JudgingFolder, choices_of
from tuna_eval.llm.prices import Price
from tuna_eval.provenance import environment
from tuna_eval.run import Progress, now
from tuna_eval.schema import JSON
from tuna_eval.store import digest

LISTED = 20  # ids that a record spells out; counts are always whole


@dataclass(frozen=True)
class Match:
    """Two systems' answers to the same questions.

    Attributes:
        questions: all that were asked, ids unique.
        candidate, baseline: answers by question id; a question that lacks one of them is not judged.
    """

    questions: Sequence[Question]
    candidate: Mapping[str, str]
    baseline: Mapping[str, str]

    @cached_property
    def answered(self) -> list[Question]:
        """The questions that both have answered.

        Raises:
            DataError: there are none, or two questions have the same id.
        """
        if len({question.id for question in self.questions}) < len(self.questions):
            raise DataError("two questions have the same id", cure="give each question an id of its own")
        both = [q for q in self.questions if q.id in self.candidate and q.id in self.baseline]
        if not both:
            raise DataError(
                f"candidate ({len(self.candidate)} answers) and baseline ({len(self.baseline)} answers) have no answer "
                f"to the same of the {len(self.questions)} questions",
                cure="check that both are answers to this benchmark",
            )
        return both

    def pair(self, question: Question) -> Pair:
        """The two answers to a question."""
        return Pair(question, self.candidate[question.id], self.baseline[question.id])

    @cached_property
    def pairs_sha256(self) -> dict[str, str]:
        """Hash of each answered question with its reference and its answers, by question id."""
        return {question.id: digest(asdict(self.pair(question))) for question in self.answered}

    @cached_property
    def sha256(self) -> str:
        """Hash of everything that is judged."""
        found = hashlib.sha256()
        for question in self.answered:
            found.update(json.dumps(asdict(self.pair(question))).encode())
        return found.hexdigest()


@dataclass(frozen=True)
class Judged:
    """A judging that is done, or as far as the judge answered.

    Attributes:
        folder: where it is stored.
        judge: what tables call the judge.
        signature: of the protocol.
        report: counts by state and category, coverage, significance, biases.
        usage: what the judge was asked and used, over all sessions; judgments that were taken over are included.
        cost: US dollars at list prices; None if they are not known.
    """

    folder: Path
    judge: str
    signature: str
    report: JudgingReport
    usage: JudgeUsage
    cost: float | None


def judging_folder(run_folder: Path, match: Match, comparer: Comparer) -> JudgingFolder:
    """Where a judging of a run is stored: equal judges and answers have equal folders, on every machine."""
    return JudgingFolder(run_folder / "judged" / digest([dict(comparer.fingerprint()), match.sha256])[:16])


def judge(
    match: Match,
    comparer: Comparer,
    rules: VerdictRules,
    run_folder: Path,
    progress: Progress,
    *,
    price: Price | None = None,
    given: Mapping[str, JSON] | None = None,
) -> Judged:
    """Has every pair judged that is not judged yet, and sums up.

    Judgments that failed on the way to the judge ("api_error") are asked again, others never.

    Args:
        match: what to judge.
        comparer: the judge.
        rules: the orders to judge in, and how the judgments are read and combined.
        run_folder: of the candidate's run.
        progress: is told how far it is.
        price: of the judge, where it is known.
        given: further settings for the record, such as the baseline's name; no secret, no path.

    Raises:
        TunaError: answers, judge or folder are at fault. Judgments that were there are stored.
    """
    questions = match.answered
    for question in questions:
        rules.check(question)
    folder = judging_folder(run_folder, match, comparer)
    with folder.locked():
        folder.write_pairs(match.pair(question) for question in questions)
        log = JudgmentLog(folder.judgments_file, questions, match.pairs_sha256)
        log.read(repair=True)
        record = _begin(folder, match, comparer, rules) | {"given": dict(given or {})}
        if reused := _take_over(folder, comparer, log):
            record["reused"] += reused
            progress.note(f"{reused} judgments of the same pairs are taken over from earlier judgings of this run")
        pending = sum(1 for _ in pending_asks(match, questions, comparer, rules, log))
        total = len(questions) * len(rules.orders) * comparer.repeats
        progress.note(f"judge {comparer.name}: {total} judgments, {pending} to go; judging {folder.path}")
        if pending:
            session = {"started": now(), "judgments": 0, "seconds": 0.0}
            record["sessions"].append(session)
            folder.write_record(record)
            try:
                progress.begin(f"judged by {comparer.name}", done=total - pending, total=total)
                _ask(comparer, pending_asks(match, questions, comparer, rules, log), log, session, progress)
            finally:
                progress.end()
                folder.write_record(record)
            log.read()
        return conclude(folder, record, log, match.questions, rules, price)


def pending_asks(
    match: Match, questions: Sequence[Question], comparer: Comparer, rules: VerdictRules, log: JudgmentLog
) -> Iterator[Ask]:
    """What has no judgment yet. Repeats come one after the other: each is sampled with a seed of its own."""
    for repeat in range(comparer.repeats):
        for question in questions:
            for order in rules.orders:
                if not log.is_made(question.id, order, repeat):
                    yield Ask(match.pair(question), order, repeat)


def _take_over(folder: JudgingFolder, comparer: Comparer, log: JudgmentLog) -> int:
    """Copies what the same judge has said about the same pairs in other judgings of the run; how many."""
    found = 0
    others = folder.logs_of_the_same_judge(comparer.fingerprint())
    if not others:
        return 0
    with log.appender() as append:
        for judgment in log.reusable(others):
            append(judgment)
            found += 1
    if found:
        log.read()
    return found


def _ask(
    comparer: Comparer, asks: Iterator[Ask], log: JudgmentLog, session: dict[str, Any], progress: Progress
) -> None:
    """Stores each judgment as it comes."""
    began = time.perf_counter()
    try:
        with log.appender() as append:
            for judgment in comparer.compare(asks):
                append(judgment)
                session["judgments"] += 1
                progress.advance()
    finally:
        session["seconds"] = round(time.perf_counter() - began, 3)


def _begin(folder: JudgingFolder, match: Match, comparer: Comparer, rules: VerdictRules) -> dict[str, Any]:
    """The record of a judging that begins or goes on: earlier sessions are kept, settings are those of today."""
    earlier = folder.read_record() if folder.has_record() else {}
    lacking = [q.id for q in match.questions if q.id not in match.candidate or q.id not in match.baseline]
    return {
        "judging_id": folder.path.name,
        "status": "judging",
        "judge": comparer.name,
        "identity": dict(comparer.fingerprint()),
        "answers_sha256": match.sha256,
        "signature": rules.signature,
        "choices": asdict(choices_of(rules.signature)),
        "repeats": comparer.repeats,
        "started": earlier.get("started", now()),
        "sessions": earlier.get("sessions", []),
        "reused": earlier.get("reused", 0),
        "environment": environment(),
        "without_answers": {"count": len(lacking), "ids": lacking[:LISTED]},
    }


def conclude(
    folder: JudgingFolder,
    record: dict[str, Any],
    log: JudgmentLog,
    questions: Sequence[Question],
    rules: VerdictRules,
    price: Price | None,
) -> Judged:
    """Reads all judgments once more, one question at a time, and writes what they come to."""
    lengths = folder.lengths()

    def found() -> Iterator[Verdict]:
        for question, judgments in log.of([question for question in questions if question.id in lengths]):
            made = [rules.reread(judgment, question) for judgment in judgments]
            for verdict in verdicts(made, [question], rules.combine, rules.orders):
                write(verdict)
                yield verdict

    with folder.verdict_writer() as write:
        results = report(found(), questions, lengths, rules.orders)
    tally, usage = results.tally, log.usage
    repeats = range(int(record["repeats"]))
    is_made = all(log.is_made(id, order, repeat) for repeat in repeats for order in rules.orders for id in lengths)
    is_whole = is_made and tally.api_error == 0
    cost = price.cost(usage.prompt_tokens, usage.completion_tokens) if price else None
    record |= {
        "status": "complete" if is_whole else "incomplete",
        "finished": now(),
        "results": _as_json(results),
        "usage": asdict(usage) | {"cost": cost},
        "price": asdict(price) if price else None,
    }
    folder.write_record(record)
    return Judged(folder.path, record["judge"], record["signature"], results, usage, cost)


def _as_json(results: JudgingReport) -> dict[str, Any]:
    """A report with what its properties say."""

    def with_rates(counted: Tally) -> dict[str, Any]:
        rates = {"coverage": counted.coverage, "not_judged": counted.not_judged, "win_rate": counted.counts.win_rate}
        return asdict(counted) | rates

    return asdict(results) | {
        "tally": with_rates(results.tally),
        "categories": {category: with_rates(counted) for category, counted in results.categories.items()},
    }
