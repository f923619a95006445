"""What a judging says, written into the record of the run that was judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from tuna_eval.errors import DataError
from tuna_eval.judge.bias import flip_rate
from tuna_eval.judge.protocols import BOTH_ORDERS, Judgment, Question, VerdictRules
from tuna_eval.judge.summary import metrics_of
from tuna_eval.judge.verdicts import MIN_COVERAGE, Tally, tally, tally_by_category, verdicts
from tuna_eval.judging.folder import JudgingFolder
from tuna_eval.judging.judging import Judged
from tuna_eval.schema import JSON, SuiteResult
from tuna_eval.store import RunFolder, digest
from tuna_eval.tasks.vicuna import VicunaQA

SUITE = VicunaQA.name


def judged_result(judged: Judged, baseline: str) -> SuiteResult:
    """The metrics of a judged run, by category too.

    Args:
        judged: the judging.
        baseline: what tables call the system that it was compared with.
    """
    report, folder = judged.report, JudgingFolder(judged.folder)
    flips = report.bias.flips.flip_rate if report.bias.flips else None
    judging: dict[str, JSON] = {
        "judging_id": judged.folder.name,
        "judge": judged.judge,
        "judge_sha256": judge_sha256(folder.read_record()["identity"]),
        "baseline": baseline,
        "baseline_sha256": digest(folder.baseline_answers()),
        "net_points": report.significance.points,
        "p_value": report.significance.p_value,
        "is_covered": (report.tally.coverage or 0.0) >= MIN_COVERAGE,
    }
    return _result(report.tally, report.categories, flips, judged.signature, judging)


def judge_sha256(identity: Mapping[str, Any]) -> str:
    """Hash of a judge: its model, prompts and parameters, wherever its server stands.

    Args:
        identity: the judge's fingerprint, as its judging's record has it.
    """
    engine = {key: value for key, value in dict(identity.get("engine", {})).items() if key != "server"}
    return digest({**identity, "engine": engine})


def reviewed_result(judgments: Sequence[Judgment], questions: Sequence[Question], rules: VerdictRules) -> SuiteResult:
    """The metrics of reviews that were made elsewhere.

    Raises:
        DataError: no question has all the reviews that its verdict needs.
    """
    found = verdicts(judgments, questions, rules.combine, rules.orders)
    if not found:
        raise DataError("no question has a review in every order", cure="check --protocol and --orders")
    flips = None
    if set(rules.orders) == set(BOTH_ORDERS):
        states = {(j.id, j.order): j.state for j in judgments if j.repeat == 0}
        in_orders = [[states.get((verdict.id, order), "") for verdict in found] for order in BOTH_ORDERS]
        flips = flip_rate(*in_orders).flip_rate
    by_category = tally_by_category(found, questions)
    return _result(tally(found, len(questions)), by_category, flips, rules.signature, {})


def _result(
    counted: Tally, categories: Mapping[str, Tally], flips: float | None, signature: str, judging: dict[str, JSON]
) -> SuiteResult:
    metrics = metrics_of(counted, flips)
    return SuiteResult(
        suite=SUITE,
        metrics=metrics,
        categories={name: metrics_of(own, None) for name, own in categories.items()},
        signatures=dict.fromkeys(metrics, signature),
        breakdown={"judging": judging} if judging else {},
    )


def store_judged(folder: RunFolder, result: SuiteResult) -> None:
    """Writes a judging's metrics into the run's record, in the place of "not judged".

    Raises:
        DataError: the folder holds no run of Vicuna QA.
        StoreError: the record is broken or cannot be written, or another process is writing the run.
    """
    with folder.locked():
        record = folder.read_record()
        if record is None or record.suite != SUITE:
            raise DataError(
                "no run of Vicuna QA here", place=str(folder.path), cure="give results/runs/MODEL/vicuna_qa/ID"
            )
        folder.write_record(replace(record, results=asdict(result)))
