"""Which of two models' runs a gate compares, benchmark by benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.judging.folder import JudgingFolder
from tuna_eval.judging.reviews import read_answers
from tuna_eval.report.comparable import Difference, differences, judging_of
from tuna_eval.report.runs import StoredRun
from tuna_eval.tasks.vicuna import VicunaQA


@dataclass(frozen=True, slots=True)
class RunPair:
    """A run and the one it is measured against.

    Attributes:
        candidate, baseline: of one benchmark, and comparable.
        is_head_to_head: whether a judge compared the candidate's answers with the baseline's own.
    """

    candidate: StoredRun
    baseline: StoredRun
    is_head_to_head: bool = False


@dataclass(frozen=True, slots=True)
class Pairing:
    """What is compared, and what is not.

    Attributes:
        pairs: one for each benchmark, by name.
        left_out: why a benchmark that one of the two has is not compared, by name.
    """

    pairs: tuple[RunPair, ...]
    left_out: Mapping[str, str]


def pair_runs(candidates: Sequence[StoredRun], baselines: Sequence[StoredRun]) -> Pairing:
    """Finds for each benchmark that both have a pair of runs that compare, the newest first.

    Raises:
        ConfigError: no benchmark is in both, or none can be compared.
        DataError: the runs of a benchmark do not compare; the message says in what they differ.
    """
    own, other = _by_suite(candidates), _by_suite(baselines)
    left_out = {suite: "no run of the baseline" for suite in own if suite not in other}
    left_out |= {suite: "no run of the candidate" for suite in other if suite not in own}
    pairs = []
    for suite in sorted(own.keys() & other.keys()):
        pair = _pair(own[suite], other[suite])
        if pair is None:
            left_out[suite] = "not judged"
        else:
            pairs.append(pair)
    if not pairs:
        reasons = "; ".join(f"{suite}: {reason}" for suite, reason in sorted(left_out.items()))
        raise ConfigError(f"nothing to compare ({reasons})", cure="run or judge the same benchmarks for both")
    return Pairing(tuple(pairs), dict(sorted(left_out.items())))


def _by_suite(runs: Sequence[StoredRun]) -> dict[str, list[StoredRun]]:
    found: dict[str, list[StoredRun]] = {}
    for run in runs:
        found.setdefault(run.record.suite, []).append(run)
    return found


def _pair(candidates: Sequence[StoredRun], baselines: Sequence[StoredRun]) -> RunPair | None:
    """The first pair that compares; None if no run was ever judged, where a judge has the word.

    Raises:
        DataError: there is no such pair.
    """
    refused: list[tuple[StoredRun, StoredRun, Sequence[Difference]]] = []
    for candidate in candidates:
        for baseline in baselines:
            pair, found = _compared(candidate, baseline)
            if pair is not None:
                return pair
            refused.append((candidate, baseline, found))
    if not any(found for _, _, found in refused):
        return None
    raise _refusal(*next(each for each in refused if each[2]))


def _refusal(candidate: StoredRun, baseline: StoredRun, found: Sequence[Difference]) -> DataError:
    texts = "; ".join(difference.text for difference in found)
    cure = f"run both alike, or give one with the settings of {baseline.folder.path}"
    return DataError(f"the runs do not compare: {texts}", place=str(candidate.folder.path), cure=cure)


def check_before_judging(candidate: StoredRun, baseline: StoredRun) -> None:
    """Refuses answers that would not compare with the baseline's whatever a judge said, before it is asked.

    Raises:
        DataError: they do not compare.
    """
    if found := [each for each in differences(candidate.record, baseline.record) if each.kind != "judge"]:
        raise _refusal(candidate, baseline, found)


def _compared(candidate: StoredRun, baseline: StoredRun) -> tuple[RunPair | None, Sequence[Difference]]:
    """The pair if it compares; else what stands against it, which is nothing where only a judge is missing."""
    found = differences(candidate.record, baseline.record)
    if candidate.record.suite != VicunaQA.name:
        return (None, found) if found else (RunPair(candidate, baseline), ())
    if judging_of(candidate.record) and _is_judged_against(candidate, baseline):
        found = tuple(each for each in found if each.kind != "judge")
        return (None, found) if found else (RunPair(candidate, baseline, is_head_to_head=True), ())
    if found or not judging_of(candidate.record):
        return None, found
    return RunPair(candidate, baseline), ()


def _is_judged_against(candidate: StoredRun, baseline: StoredRun) -> bool:
    """Whether the answers that the candidate's were judged against are those of the baseline, word for word."""
    judged_against = JudgingFolder(judging_place(candidate)).baseline_answers()
    answers = read_answers(baseline.folder.path).texts
    return bool(judged_against) and all(answers.get(id) == text for id, text in judged_against.items())


def judging_place(run: StoredRun) -> Path:
    """The folder of the judging that a run's record tells of."""
    return run.folder.path / "judged" / str(judging_of(run.record)["judging_id"])
