"""The samples of a benchmark's runs as a page holds them: columns to sort and filter by, and texts task by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuna_eval.disk import read_lines
from tuna_eval.errors import DataError
from tuna_eval.judge.significance import WORTH
from tuna_eval.judging.folder import JudgingFolder
from tuna_eval.report.comparable import judging_of
from tuna_eval.report.gate_runs import judging_place
from tuna_eval.report.page.chunks import Chunks
from tuna_eval.report.page.prompts import STATES, Asked, RunPrompts
from tuna_eval.report.runs import StoredRun

VERDICT = "verdict"  # what a judged sample has instead of a metric
_NO_METRIC = {"schema_version", "task", "id"}
DECIMALS = 6  # of a score, as in the gate's flips


@dataclass(frozen=True, slots=True)
class StoredSample:
    """One sample of one run; what is not stored is None."""

    sha256: str
    output: str | None
    finish_reason: str | None
    logprob: float | None
    prompt_tokens: int | None
    values: Mapping[str, float]
    verdict: str = ""


NOTHING = StoredSample("", None, None, None, None, {})
Samples = Mapping[str, Mapping[str, StoredSample]]  # by task and id


def read_samples(run: StoredRun) -> Samples:
    """The scored samples of a run, in the order of its scores, which is that of the data.

    Raises:
        DataError: a line is broken, or a finished judging is gone.
    """
    outputs = {_key(line, run): line for line in read_lines(run.folder.samples_file)}
    verdicts = JudgingFolder(judging_place(run)).states() if judging_of(run.record) else {}
    found: dict[str, dict[str, StoredSample]] = {}
    for line in read_lines(run.folder.scores_file):
        task, id = _key(line, run)
        stored = outputs.get((task, id), {})
        found.setdefault(task, {})[id] = StoredSample(
            str(stored.get("prompt_sha256", "")),
            stored.get("output"),
            stored.get("finish_reason"),
            stored.get("logprob"),
            stored.get("prompt_tokens"),
            {name: value for name, value in line.items() if name not in _NO_METRIC},
            verdicts.get(id, ""),
        )
    return found


def _key(line: Mapping[str, Any], run: StoredRun) -> tuple[str, str]:
    try:
        return line["task"], line["id"]
    except KeyError as error:
        cure = "score the run anew"
        raise DataError(f"a line without {error}", place=str(run.folder.path), cure=cure) from error


@dataclass(frozen=True, slots=True)
class SampledRun:
    """A run with its samples and their prompts.

    Attributes:
        number: of the run on the page.
    """

    number: int
    run: StoredRun
    samples: Samples
    prompts: RunPrompts


def deciding_metric(runs: Sequence[SampledRun]) -> str:
    """The metric that samples are sorted by: ROUGE-L, else the first that is stored, else the judge's verdict."""
    every = (own for each in runs for task in each.samples.values() for own in task.values())
    names = next((list(own.values) for own in every if own.values), [])
    return "rougeL" if "rougeL" in names else names[0] if names else VERDICT


def pack_suite(suite: str, runs: Sequence[SampledRun], chunks: Chunks) -> dict[str, Any]:
    """What the page knows of a benchmark from the start; everything else goes into the chunks.

    Args:
        suite: its name.
        runs: of it, in the order of the page.
        chunks: get one piece with the columns of all samples, and one a task with the texts.
    """
    metric = deciding_metric(runs)
    tasks = [_Task(task, ids, runs, metric) for task, ids in _examples(runs)]
    columns = {
        str(each.number): {
            "score": [score for task in tasks for score in task.scores(each)],
            "finish": [task.sample(each, id).finish_reason or "" for task in tasks for id in task.ids],
        }
        for each in runs
    }
    categories = {task: name for each in runs for task, name in each.prompts.categories.items()}
    states: dict[int, Counter[str]] = {each.number: Counter() for each in runs}
    listed = [
        {
            "name": task.name,
            "category": categories.get(task.name, ""),
            "size": len(task.ids),
            "chunk": chunks.add(task.texts(states)),
        }
        for task in tasks
    ]
    return {
        "name": suite,
        "metric": metric,
        "runs": [each.number for each in runs],
        "size": sum(len(task.ids) for task in tasks),
        "tasks": listed,
        "columns": chunks.add({"ids": [id for task in tasks for id in task.ids], "runs": columns}),
        "prompts": {
            str(each.number): {
                "problem": each.prompts.problem,
                **{name: states[each.number][name] for name in STATES},
            }
            for each in runs
        },
    }


def _examples(runs: Sequence[SampledRun]) -> Iterator[tuple[str, list[str]]]:
    """Every task that some run has, with the ids of its examples: those of the first run, then what others add."""
    for task in dict.fromkeys(task for each in runs for task in each.samples):
        yield task, list(dict.fromkeys(id for each in runs for id in each.samples.get(task, {})))


@dataclass(frozen=True, slots=True)
class _Task:
    """One task in all runs."""

    name: str
    ids: list[str]
    runs: Sequence[SampledRun]
    metric: str

    def sample(self, each: SampledRun, id: str) -> StoredSample:
        return each.samples.get(self.name, {}).get(id, NOTHING)

    def scores(self, each: SampledRun) -> Iterator[float | None]:
        """What a sample is sorted by, in 0..1; None without one."""
        for id in self.ids:
            sample = self.sample(each, id)
            value = WORTH.get(sample.verdict) if self.metric == VERDICT else sample.values.get(self.metric)
            yield None if value is None else round(value, DECIMALS)

    def texts(self, states: Mapping[int, Counter[str]]) -> dict[str, Any]:
        """Prompts, references and outputs. Runs that were asked the same share the prompts."""
        shared: dict[tuple[Asked, ...], int] = {}
        by_run = {}
        for each in self.runs:
            samples = [self.sample(each, id) for id in self.ids]
            own = zip(self.ids, samples, strict=True)
            asked = tuple(each.prompts.of(self.name, id, sample.sha256) for id, sample in own)
            states[each.number].update(
                one.state for one, sample in zip(asked, samples, strict=True) if sample is not NOTHING
            )
            by_run[str(each.number)] = {
                "prompts": shared.setdefault(asked, len(shared)),
                "outputs": [sample.output for sample in samples],
                "values": [{k: round(v, DECIMALS) for k, v in sample.values.items()} for sample in samples],
                "verdicts": [sample.verdict for sample in samples],
                "tokens": [sample.prompt_tokens for sample in samples],
                "logprobs": [None if s.logprob is None else round(s.logprob, DECIMALS) for s in samples],
            }
        return {"prompts": [_packed(asked) for asked in shared], "runs": by_run}


def _packed(asked: Sequence[Asked]) -> dict[str, Any]:
    """Prompts of one task without what all of them begin and end with: instruction and demonstrations, often."""
    texts = [one.text for one in asked if one.text]
    before = shared_start(texts)
    after = shared_start([text[len(before) :][::-1] for text in texts])[::-1]
    return {
        "before": before,
        "after": after,
        "middles": [one.text[len(before) : len(one.text) - len(after)] if one.text else None for one in asked],
        "states": [one.state for one in asked],
        "references": [one.references for one in asked],
    }


def shared_start(texts: Sequence[str]) -> str:
    """What all texts begin with: what the first and the last in alphabetical order do."""
    if not texts:
        return ""
    first, last = min(texts), max(texts)
    size = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[:size]
