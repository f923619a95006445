"""The paper's published numbers: benchmarks/paper_results.yaml, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import yaml

from tuna_eval.errors import DataError
from tuna_eval.manifests import builtin_dir

Better = Literal["high", "low", "none"]


@dataclass(frozen=True, slots=True)
class PublishedColumn:
    """What a column of a published table measures.

    Attributes:
        suite, metric: as results name them.
        unit: in words.
        better: which direction is better.
        decimals: as printed.
    """

    suite: str
    metric: str
    unit: str
    better: Better
    decimals: int


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One table of the paper.

    Attributes:
        number: of the table.
        title: from its caption.
        columns: keys of `PaperResults.columns`, from left to right.
        rows: the printed numbers by the name of the row; None where the paper prints "-".
        compared_to: the row that the differences in parentheses refer to; "" where the table has none.
        not_compared: rows that show no difference all the same.
        extra: what else the table tells, by row.
    """

    number: int
    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float | None, ...]]
    compared_to: str
    not_compared: tuple[str, ...]
    extra: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PaperResults:
    """All published numbers.

    Attributes:
        source: title, venue and arXiv number.
        setting: the prompt format, and the judge and baseline of Vicuna QA.
        columns: what each column measures.
        tables: by number.
    """

    source: Mapping[str, str]
    setting: Mapping[str, str]
    columns: Mapping[str, PublishedColumn]
    tables: Mapping[int, PublishedTable]


@cache
def paper_results() -> PaperResults:
    """What benchmarks/paper_results.yaml holds.

    Raises:
        DataError: the file is missing or inconsistent.
    """
    file = builtin_dir() / "paper_results.yaml"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        columns = {key: PublishedColumn(**values) for key, values in content["columns"].items()}
        tables = {number: _table(number, dict(values), columns) for number, values in content["tables"].items()}
        return PaperResults(content["source"], content["setting"], columns, tables)
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"not the published numbers ({error})", place=str(file), cure="restore the file") from error


def _table(number: int, values: dict[str, Any], columns: Mapping[str, PublishedColumn]) -> PublishedTable:
    names = tuple(values.pop("columns"))
    rows = {str(row): tuple(numbers) for row, numbers in values.pop("rows").items()}
    compared: Mapping[str, Any] = values.pop("compared_to", {})
    title = str(values.pop("title"))
    for row, numbers in rows.items():
        if len(numbers) != len(names):
            raise ValueError(f"table {number}, {row}: {len(numbers)} numbers in {len(names)} columns")
    if unknown := [name for name in names if name not in columns]:
        raise ValueError(f"table {number}: unknown column {unknown[0]}")
    left_out = tuple(compared.get("not", ()))
    if missing := [name for name in (*left_out, *filter(None, [compared.get("row")])) if name not in rows]:
        raise ValueError(f"table {number} has no row {missing[0]}")
    return PublishedTable(number, title, names, rows, str(compared.get("row", "")), left_out, values)
