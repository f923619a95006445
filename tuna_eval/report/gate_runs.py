"""Which of two models' runs a gate compares, benchmark by benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.judging.folder import JudgingFolder
from tuna_eval.judging.reviews import read_answers
from tuna_eval.report.comparable import Difference, Kind, differences, judging_of
from tuna_eval.report.runs import StoredRun, newest_of_each_suite
from tuna_eval.tasks.base import Suite
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What has to be compared.

    Attributes:
        suites: names of benchmarks ("superni" is every number of shots); none for all that the baseline has.
        allow_missing: whether a benchmark of the baseline may lack a run of the candidate.
        unfinished: runs of the candidate that were begun and are not complete.
        lost: benchmarks of the baseline whose runs are no longer what they were; the candidate has no run of them.
    """

    suites: Sequence[str] = ()
    allow_missing: bool = False
    unfinished: Sequence[StoredRun] = field(default_factory=tuple)
    lost: Sequence[str] = ()

    def has(self, run: StoredRun) -> bool:
        """Whether a run is of a benchmark that has to be compared."""
        return self.names(run.record.suite)

    def names(self, suite: str) -> bool:
        """Whether a benchmark has to be compared."""
        return not self.suites or any(names_suite(name, suite) for name in self.suites)


def names_suite(name: str, suite: str) -> bool:
    """Whether a name that a user gives means a benchmark: its own, or "superni" for any number of shots."""
    return name == suite or (suite.startswith(f"{name}_") and suite.endswith("shot"))


def pair_runs(candidates: Sequence[StoredRun], baselines: Sequence[StoredRun], wanted: Wanted = Wanted()) -> Pairing:
    """Pairs the candidate's newest run of each benchmark with the newest of the baseline's that compares.

    Args:
        candidates, baselines: complete runs, the newest first.
        wanted: of which benchmarks.

    Raises:
        ConfigError: no benchmark is in both, none can be compared, or the candidate lacks one.
        DataError: the runs of a benchmark do not compare (the message says in what they differ), or a newer run of the
            candidate is not complete.
    """
    newest = {run.record.suite: run for run in newest_of_each_suite(filter(wanted.has, candidates))}
    own = {suite: [run] for suite, run in newest.items()}
    other = _by_suite(list(filter(wanted.has, baselines)))
    expected = other.keys() | filter(wanted.names, wanted.lost)
    _check_names(wanted.suites, expected)
    _check_finished(newest, filter(wanted.has, wanted.unfinished))
    _check_missing(own.keys(), expected, wanted)
    left_out = dict.fromkeys(own.keys() - expected, "no run of the baseline")
    left_out |= dict.fromkeys(expected - own.keys(), "no run of the candidate")
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


def _check_names(names: Sequence[str], suites: Iterable[str]) -> None:
    for name in names:
        if not any(names_suite(name, suite) for suite in suites):
            raise ConfigError(f"the baseline has no run of {name}", place="--suite", cure="name another, or run it")


def _check_finished(newest: Mapping[str, StoredRun], unfinished: Iterable[StoredRun]) -> None:
    """Refuses an older run where a newer one of the candidate was begun and did not end."""
    for run in unfinished:
        complete = newest.get(run.record.suite)
        if complete is None or run.record.started > complete.record.started:
            older = f"; give {complete.folder.path} to gate the older run" if complete else ""
            raise DataError(
                f"the candidate's newest run of {run.record.suite} is not complete",
                place=str(run.folder.path),
                cure=f"run the same command again to finish it{older}",
            )


def _check_missing(own: Set[str], other: Set[str], wanted: Wanted) -> None:
    """A benchmark that was not run has not passed."""
    missing, both = sorted(other - own), sorted(own & other)
    if missing and both and not wanted.allow_missing:
        raise ConfigError(
            f"the baseline has {', '.join(missing)}, of which the candidate has no run",
            cure=f"run it, or gate without it: --suite {' '.join(both)}, or --allow-missing",
        )


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
    if all(difference.kind == "verdicts" for difference in found):
        cure = "judge again (tuna-eval judge), with a parser or a judge whose replies can be read"
    return DataError(f"the runs do not compare: {texts}", place=str(candidate.folder.path), cure=cure)


def check_before_running(
    suite: Suite, max_new_tokens: int | None, baselines: Sequence[StoredRun], *, format: str = "auto"
) -> None:
    """Refuses settings under which a run would not compare with any of the baseline's, before a model is asked.

    Args:
        suite: as it would be run.
        max_new_tokens: overrides the suite's limit of the reply.
        baselines: of any benchmark.
        format: prompt format; "auto" is known only when the model is.

    Raises:
        DataError: all of the benchmark's runs have other settings; the message says which.
    """
    own = [run for run in baselines if run.record.suite == suite.name]
    found = [_other_settings(suite, max_new_tokens or suite.max_new_tokens, format, run) for run in own]
    if own and all(found):
        texts = "; ".join(difference.text for difference in found[0])
        problem = f"runs of {suite.name} do not compare with the baseline: {texts}"
        raise DataError(problem, place=str(own[0].folder.path), cure="give the settings of the baseline")


def _other_settings(suite: Suite, max_new_tokens: int, format: str, baseline: StoredRun) -> list[Difference]:
    """What is known to differ from a baseline before anything is run."""
    sampling, coverage = baseline.record.identity.get("sampling"), baseline.record.coverage
    pairs: list[tuple[Kind, str, object, object]] = [
        ("coverage", "--limit", suite.limited_to(), coverage.get("limit")),
    ]
    if format != "auto":
        pairs.append(("prompts", "prompt format", format, baseline.record.config.get("format")))
    if isinstance(sampling, dict):
        pairs.append(("decoding", "limit of a reply in tokens", max_new_tokens, sampling.get("max_new_tokens")))
    return [
        Difference(kind, subject, *("none" if value is None else str(value) for value in (own, other)))
        for kind, subject, own, other in pairs
        if own != other
    ]


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
