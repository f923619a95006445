"""Finished runs, human scores and published numbers as one frozen set of values: system x metric, with provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tuna_eval.report.comparable import describe_coverage, judging_of, signatures_of
from tuna_eval.report.paper import PaperResults, PublishedTable
from tuna_eval.report.runs import StoredRun
from tuna_eval.schema import Interval, RunRecord, Summary
from tuna_eval.store import read_result

if TYPE_CHECKING:
    import pandas as pd

Origin = Literal["run", "file", "paper"]


@dataclass(frozen=True, slots=True)
class System:
    """A row of a table: a model, and where its numbers are from. A run and a published row may share a name."""

    name: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a number needs to be compared with another; "" where it is not known.

    Attributes:
        version: of the benchmark.
        signature: how the metric was computed.
        prompts_sha256: of all prompts.
        format: of the prompts.
        judge, baseline: who compared the answers, with whose.
        coverage: what of the benchmark was scored, in words.
        place: the run's id, the file, or the paper's table.
    """

    version: str = ""
    signature: str = ""
    prompts_sha256: str = ""
    format: str = ""
    judge: str = ""
    baseline: str = ""
    coverage: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Value:
    """One number of one system.

    Attributes:
        suite, metric: what was measured.
        group: a category of the suite; "" for all of it.
        value: unrounded, in the unit; None where nothing was scored.
        unit: "percent", "fraction", "count", or a unit of its own.
        n: number of samples.
        interval: 95%, in the unit.
        text: what stands in the place of a number.
        better_than: the systems that it beats with p < 0.01, where people ranked them.
    """

    system: System
    suite: str
    metric: str
    value: float | None
    unit: str = "percent"
    group: str = ""
    n: int = 0
    interval: Interval | None = None
    text: str = ""
    better_than: tuple[str, ...] = ()
    provenance: Provenance = Provenance()


@dataclass(frozen=True)
class Frame:
    """Everything that is known of some systems.

    Attributes:
        values: of all systems; none twice.
        runs: by system and suite.
        positions: where a system stands on the axis of a figure (a training step, a data size, lambda), if told.
    """

    values: tuple[Value, ...]
    runs: Mapping[tuple[System, str], StoredRun] = field(default_factory=dict)
    positions: Mapping[System, float] = field(default_factory=dict)

    @cached_property
    def systems(self) -> tuple[System, ...]:
        """In the order in which they were given."""
        return tuple(dict.fromkeys(value.system for value in self.values))

    @cached_property
    def _by_key(self) -> dict[tuple[System, str, str, str], Value]:
        return {(value.system, value.suite, value.metric, value.group): value for value in self.values}

    def get(self, system: System, suite: str, metric: str, group: str = "") -> Value | None:
        """One number; None if the system has no such metric."""
        return self._by_key.get((system, suite, metric, group))

    def groups(self, suite: str) -> tuple[str, ...]:
        """The categories of a suite that some system has, in the order in which they come."""
        return tuple(dict.fromkeys(value.group for value in self.values if value.suite == suite and value.group))

    def joined(self, other: Frame) -> Frame:
        """The values of both, this frame's first."""
        return Frame(self.values + other.values, {**self.runs, **other.runs}, {**self.positions, **other.positions})

    def to_pandas(self) -> pd.DataFrame:
        """One line a value, its provenance beside it."""
        import pandas as pd

        return pd.DataFrame([_flat(value, self.positions.get(value.system)) for value in self.values])


def _flat(value: Value, position: float | None) -> dict[str, Any]:
    source, interval = value.provenance, value.interval
    return {
        "system": value.system.name,
        "origin": value.system.origin,
        "position": position,
        "suite": value.suite,
        "group": value.group,
        "metric": value.metric,
        "value": value.value,
        "unit": value.unit,
        "n": value.n,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "version": source.version,
        "signature": source.signature,
        "prompts_sha256": source.prompts_sha256,
        "format": source.format,
        "judge": source.judge,
        "baseline": source.baseline,
        "coverage": source.coverage,
        "place": source.place,
    }


def frame_of_runs(runs: Iterable[tuple[System, StoredRun]], positions: Mapping[System, float] | None = None) -> Frame:
    """The values of complete runs: overall, and by category where the suite has categories.

    Args:
        runs: one a system and suite, with the system's name.
        positions: see `Frame`.
    """
    values: list[Value] = []
    by_key: dict[tuple[System, str], StoredRun] = {}
    for system, found in runs:
        record = found.record
        by_key[system, record.suite] = found
        result = read_result(dict(record.results))
        signatures = signatures_of(record)
        groups: Mapping[str, Mapping[str, Summary]] = {"": result.metrics, **result.categories}
        for group, metrics in groups.items():
            for metric, summary in metrics.items():
                source = provenance_of(record, signatures.get(metric, ""))
                values.append(_of_summary(system, record.suite, metric, group, summary, source))
    return Frame(tuple(values), by_key, positions or {})


def _of_summary(system: System, suite: str, metric: str, group: str, summary: Summary, provenance: Provenance) -> Value:
    return Value(
        system,
        suite,
        metric,
        summary.value,
        unit=summary.unit,
        group=group,
        n=summary.n,
        interval=summary.interval,
        provenance=provenance,
    )


def provenance_of(record: RunRecord, signature: str) -> Provenance:
    """What a run's record says of one of its metrics."""
    judging = judging_of(record)
    return Provenance(
        version=record.version,
        signature=signature,
        prompts_sha256=str(record.identity.get("prompts_sha256", "")),
        format=str(record.config.get("format", "")),
        judge=str(judging.get("judge", "")),
        baseline=str(judging.get("baseline", "")),
        coverage=describe_coverage(record),
        place=record.run_id,
    )


def frame_of_paper(paper: PaperResults, table: PublishedTable) -> Frame:
    """The rows of one published table.

    Args:
        paper: all published numbers.
        table: one of them.
    """
    values = []
    for row, numbers in table.rows.items():
        system = System(row, "paper")
        better_than = tuple(table.extra.get("better_than", {}).get(row, ()))
        source = Provenance(place=f"Table {table.number}")
        for key, number in zip(table.columns, numbers, strict=True):
            column = paper.columns[key]
            made = replace(source, **_setting(paper.setting, column.suite))
            value = Value(system, column.suite, column.metric, number, column.unit, provenance=made)
            values.append(replace(value, better_than=better_than))
        if models := table.extra.get("models"):
            text = str(models.get(row, ""))
            values.append(Value(system, "ranked", "model", None, "", text=text, provenance=source))
    return Frame(tuple(values))


def _setting(setting: Mapping[str, str], suite: str) -> dict[str, str]:
    """How the paper measured a benchmark; nothing for what is none."""
    if suite == "vicuna_qa":
        return {"coverage": "all", **setting}
    return {"coverage": "all", "format": setting["format"]} if suite.startswith(("superni", "lmentry")) else {}
