"""What stands in each table, by the names that users write. One literal row each; nothing registers itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tuna_eval.errors import ConfigError
from tuna_eval.report.frame import Frame
from tuna_eval.report.paper import Better
from tuna_eval.tasks.superni import EXACT_MATCH_CATEGORIES

# "share": one of win, lose and tie, whole percents that add up to 100. "thousands": 52 is printed 52K. Whole thousands
# and dollars are printed without decimals.
Form = Literal["number", "share", "thousands", "dollars", "text"]

# "always": also the published differences; "asked": those to a row that the user names, for the paper prints none.
Delta = Literal["always", "asked", "never"]


@dataclass(frozen=True, slots=True)
class Column:
    """One metric of a table.

    Attributes:
        head: what stands over it and its neighbours; "" for nothing.
        title: its own name.
        suite, metric: where its numbers are in a `Frame`.
        group: category of the suite; "" for all of it.
        decimals: digits behind the point.
        better: which direction is better; with "none" nothing is bold.
        delta: whether differences to the baseline stand in parentheses.
        form: how a number is printed.
    """

    head: str
    title: str
    suite: str
    metric: str
    group: str = ""
    decimals: int = 1
    better: Better = "high"
    delta: Delta = "never"
    form: Form = "number"


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of table.

    Attributes:
        title: its caption.
        columns: from left to right; empty where `by_category` makes them.
        paper_table: number of the paper's table of this kind; None if it has none.
        label: what its rows are.
        ranks: how many of the best are bold in the paper's table of this kind.
        by_category: whether a row is a category and a column a system.
    """

    title: str
    columns: tuple[Column, ...]
    paper_table: int | None
    label: str = "Model"
    ranks: int = 2
    by_category: bool = False


VICUNA = (
    Column("Vicuna QA", "Win", "vicuna_qa", "win", decimals=0, delta="asked", form="share"),
    Column("Vicuna QA", "Lose", "vicuna_qa", "lose", decimals=0, better="low", delta="asked", form="share"),
    Column("Vicuna QA", "Tie", "vicuna_qa", "tie", decimals=0, better="none", delta="asked", form="share"),
)
BENCHMARKS = (
    Column("Super NI", "0-shot", "superni_0shot", "rougeL", delta="always"),
    Column("Super NI", "2-shot", "superni_2shot", "rougeL", delta="always"),
    Column("LMentry", "LMentry Score", "lmentry", "lmentry_score", delta="always"),
    *VICUNA,
)

LAYOUTS: dict[str, Layout] = {
    "main": Layout("Performance on Super NI, LMentry and Vicuna QA", BENCHMARKS, 1),
    "combinations": Layout("Combinations of ranking data", BENCHMARKS, 3),
    "prm": Layout("Ranking data of proxy ranking models", BENCHMARKS, 8),
    "rlhf": Layout("Vicuna QA of RLHF models", VICUNA, 10, ranks=0),
    "bertscore": Layout(
        "BERTScore F1 on Super NI",
        (
            Column("", "0-shot", "superni_0shot", "bertscore_f1", decimals=3, delta="asked"),
            Column("", "2-shot", "superni_2shot", "bertscore_f1", decimals=3, delta="asked"),
        ),
        11,
        ranks=0,
    ),
    "human": Layout(
        "Human evaluation on Vicuna QA",
        (Column("", "Score", "human", "points", decimals=2, delta="asked"),),
        2,
        ranks=0,
    ),
    "cost": Layout(
        "Cost of ranking data",
        (
            Column("", "Num", "ranked", "examples", decimals=1, better="none", form="thousands"),
            Column("", "Model", "ranked", "model", better="none", form="text"),
            Column("", "Price", "ranked", "usd", decimals=2, better="none", form="dollars"),
        ),
        6,
        label="Data",
        ranks=0,
    ),
    "lengths": Layout(
        "Mean length of ranked responses, in tokens where a row says nothing else",
        tuple(Column("rank", str(rank), "ranked", f"rank_{rank}", better="none") for rank in (1, 2, 3, 4)),
        4,
        label="",
        ranks=0,
    ),
    "categories": Layout("Scores by category", (), None, label="Category", by_category=True),
}
SUITE_TITLES = {
    "superni": "Super NI",
    "superni_0shot": "Super NI 0-shot",
    "superni_2shot": "Super NI 2-shot",
    "lmentry": "LMentry",
    "vicuna_qa": "Vicuna QA",
}


def layout_named(name: str, frame: Frame) -> Layout:
    """A layout, its columns filled in where they depend on what was measured.

    Raises:
        ConfigError: there is no such layout.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"no layout {name!r}", place="--layout", cure=f"use one of {', '.join(LAYOUTS)}")
    layout = LAYOUTS[name]
    if name == "lengths":
        return replace(layout, columns=layout.columns + _further_ranks(frame, len(layout.columns)))
    return replace(layout, columns=_category_columns(frame)) if layout.by_category else layout


def _further_ranks(frame: Frame, shown: int) -> tuple[Column, ...]:
    """Columns of the ranks after those of the paper, where data has more responses."""
    found = {value.metric for value in frame.values if value.suite == "ranked"}
    count = sum(metric.startswith("rank_") for metric in found)
    ranks = range(shown + 1, count + 1)
    return tuple(Column("rank", str(rank), "ranked", f"rank_{rank}", better="none") for rank in ranks)


def _category_columns(frame: Frame) -> tuple[Column, ...]:
    """Each category under its own metric: exact match or ROUGE-L (Super-NI), win rate (Vicuna QA)."""
    suites = sorted({value.suite for value in frame.values if value.group})
    return tuple(
        Column(SUITE_TITLES.get(suite, suite), _title(suite, group), suite, _metric(suite), group, delta="always")
        for suite in suites
        for group in frame.groups(suite)
    )


def _metric(suite: str) -> str:
    return "win_rate" if suite == "vicuna_qa" else "official"


def _title(suite: str, group: str) -> str:
    words = group.replace("_", " ")
    if suite == "vicuna_qa":
        return f"{words}: win rate"
    return f"{words}: {'exact match' if group in EXACT_MATCH_CATEGORIES else 'ROUGE-L'}"
