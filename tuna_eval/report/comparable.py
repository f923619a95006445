"""Whether two runs may stand side by side: the same benchmark, prompts, metric, judge and coverage, or what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuna_eval.judge.verdicts import MIN_COVERAGE
from tuna_eval.metrics.signature import are_comparable, comparable_part
from tuna_eval.schema import RunRecord

Kind = Literal["suite", "version", "data", "prompts", "decoding", "metric", "judge", "coverage", "verdicts"]

# The signature of a metric that no judge has filled.
_UNJUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two runs of a benchmark differ, so that their numbers do not compare.

    Attributes:
        kind: what it is about; "metric" and "judge" name it in `subject`.
        subject: what differs, in words ("prompt format", "signature of rougeL").
        first, second: what it is in the first and in the second run; `second` "" where it is about one run alone.
    """

    kind: Kind
    subject: str
    first: str
    second: str

    @property
    def text(self) -> str:
        """In one line: "prompt format: alpaca, not chat"."""
        return f"{self.subject}: {self.first}" + (f", not {self.second}" if self.second else "")


def differences(first: RunRecord, second: RunRecord) -> tuple[Difference, ...]:
    """Everything in which two complete runs differ and that makes their numbers incomparable; empty if they compare.

    Engine, machine, library versions, seed and the implementation of a metric are no difference: they are what a
    comparison may be about, or are held equal by tests. A metric that only one of the runs has is none either.

    Args:
        first: the run in question.
        second: the one it is compared with.
    """
    if first.suite != second.suite:
        return (Difference("suite", "benchmark", first.suite, second.suite),)
    found = [
        *_unequal("version", "task version", first.version, second.version),
        *_prompts(first, second),
        *_decoding(first, second),
        *_metrics(first, second),
        *_judges(first, second),
        *_coverage(first, second),
        *_too_few_verdicts(first, second),
    ]
    return tuple(found)


def judging_of(record: RunRecord) -> Mapping[str, Any]:
    """What a judged run tells of its judge (see `judged_result`); empty where no judge was asked."""
    breakdown = record.results.get("breakdown")
    judging = breakdown.get("judging") if isinstance(breakdown, dict) else None
    return judging if isinstance(judging, dict) else {}


def signatures_of(record: RunRecord) -> dict[str, str]:
    """How each metric of a run was computed, by metric."""
    found = record.results.get("signatures")
    return {name: str(text) for name, text in found.items()} if isinstance(found, dict) else {}


def describe_coverage(record: RunRecord) -> str:
    """What of the benchmark a run covers: "12 of 119 tasks, 24 of 24 examples, limit 2 a task"."""
    own = record.coverage
    limit = f", limit {own['limit']} a task" if own.get("limit") else ""
    tasks = f"{own.get('tasks')} of {own.get('expected_tasks')} tasks"
    return f"{tasks}, {own.get('scored')} of {own.get('examples')} examples{limit}"


def _unequal(kind: Kind, subject: str, first: object, second: object) -> list[Difference]:
    if first == second:
        return []
    return [Difference(kind, subject, _said(first), _said(second))]


def _said(value: object) -> str:
    return "unknown" if value in (None, "") else str(value)


def _prompts(first: RunRecord, second: RunRecord) -> list[Difference]:
    """What differs in what the models were asked; the hash of all prompts decides, the settings say why.

    Predictions made elsewhere have no prompts: two such files are told apart by everything else.
    """
    hashes = [record.identity.get("prompts_sha256") for record in (first, second)]
    if None not in hashes and hashes[0] == hashes[1]:
        return []
    found = _unequal("data", "data", first.config.get("data"), second.config.get("data"))
    if not found:
        key = "data_commits"
        commits = [(record.config.get(key) or {}) for record in (first, second)]
        own = [dict(each) if isinstance(each, dict) else {} for each in commits]
        found = _unequal("data", "revision of the data", _commits(own[0]), _commits(own[1]))
    found += _unequal("prompts", "prompt format", first.config.get("format"), second.config.get("format"))
    for key, subject in (
        ("truncation", "what is cut from a prompt that is too long"),
        ("max_source_tokens", "limit of a prompt in tokens"),
        ("system", "system message"),
    ):
        found += _unequal("prompts", subject, first.config.get(key), second.config.get(key))
    if not found and hashes[0] != hashes[1] and not _coverage(first, second):
        found.append(Difference("prompts", "hash of the prompts", *(_short(each) for each in hashes)))
    return found


def _commits(commits: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {str(commit)[:12]}" for name, commit in sorted(commits.items()))


def _short(hash: object) -> str:
    return _said(hash)[:12]


def _decoding(first: RunRecord, second: RunRecord) -> list[Difference]:
    """How the replies were made: a limit of 4 tokens is another question than one of 128."""
    own, other = (record.identity.get("sampling") for record in (first, second))
    if not isinstance(own, dict) or not isinstance(other, dict):
        return []
    found: list[Difference] = []
    for key, subject in (
        ("max_new_tokens", "limit of a reply in tokens"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("stop", "stop strings"),
    ):
        found += _unequal("decoding", subject, own.get(key), other.get(key))
    return found


def _metrics(first: RunRecord, second: RunRecord) -> list[Difference]:
    """Metrics that both runs have and that were computed differently; those with one signature are named once."""
    own, other = signatures_of(first), signatures_of(second)
    by_pair: dict[tuple[str, str], list[str]] = {}
    for name in own:
        if name in other and not are_comparable(own[name], other[name]) and _UNJUDGED not in (own[name], other[name]):
            by_pair.setdefault((comparable_part(own[name]), comparable_part(other[name])), []).append(name)
    return [Difference("metric", f"signature of {', '.join(names)}", *pair) for pair, names in by_pair.items()]


def _judges(first: RunRecord, second: RunRecord) -> list[Difference]:
    """Another judge or another baseline; a judged run does not compare with one that is not.

    Names are what tables show; where both runs have the hashes, these decide whether equal names mean the same.
    """
    own, other = judging_of(first), judging_of(second)
    if not own and not other:
        return []
    if not own or not other:
        return _unequal("judge", "judge", own.get("judge", "none"), other.get("judge", "none"))
    found: list[Difference] = []
    for key, subject, behind in (
        ("judge", "judge", "hash of the judge's model and prompts"),
        ("baseline", "system compared with", "hash of the answers compared with"),
    ):
        named = _unequal("judge", subject, own.get(key), other.get(key))
        hashes = [judging.get(f"{key}_sha256") for judging in (own, other)]
        if not named and None not in hashes and hashes[0] != hashes[1]:
            named = [Difference("judge", f"{behind} ({own.get(key)})", *(_short(each) for each in hashes))]
        found += named
    return found


def _coverage(first: RunRecord, second: RunRecord) -> list[Difference]:
    """Other tasks or examples: other counts, or as many of others, where both runs tell which they scored."""
    found = _unequal("coverage", "coverage", *(describe_coverage(record) for record in (first, second)))
    hashes = [record.coverage.get("scored_sha256") for record in (first, second)]
    if found or None in hashes or hashes[0] == hashes[1]:
        return found
    return [Difference("coverage", "hash of the tasks and ids scored", *(_short(each) for each in hashes))]


def _too_few_verdicts(first: RunRecord, second: RunRecord) -> list[Difference]:
    """So few verdicts that a score says little, told once where both are alike; no comparison mends it."""
    few = [record for record in (first, second) if not judging_of(record).get("is_covered", True)]
    texts = dict.fromkeys(f"{_verdicts(record)}, at least {100 * MIN_COVERAGE:g}% are needed" for record in few)
    return [Difference("verdicts", "too few questions with a verdict", text, "") for text in texts]


def _verdicts(record: RunRecord) -> str:
    """The share of the questions that have a verdict."""
    metrics = record.results.get("metrics")
    own = metrics.get("coverage") if isinstance(metrics, dict) else None
    value = own.get("value") if isinstance(own, dict) else None
    return f"{value:.1f}%" if isinstance(value, int | float) else "unknown"
