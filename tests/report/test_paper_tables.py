"""The published tables come out of paper_results.yaml digit for digit: held against the paper's own text."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from tuna_eval.report.frame import Frame
from tuna_eval.report.layouts import LAYOUTS
from tuna_eval.report.paper import paper_results
from tuna_eval.report.rounding import whole_percents
from tuna_eval.report.tables import Table, make_table
from tuna_eval.report.writers.markdown import write_markdown

TEXT = "paper/tuna_2310.13385.txt"


def published(layout: str) -> Table:
    return make_table(Frame(()), LAYOUTS[layout], with_paper=True)


def lines(table: Table) -> list[str]:
    """The rows as the text of the paper has them: a subscript behind a blank and before none, a gap as "-"."""
    found = []
    for row in table.rows:
        cells = [cell.text + (f" ({cell.delta})" if cell.delta else "") for cell in row.cells]
        found.append(" ".join([row.label.replace("_c (", " c(").replace("_", " "), *cells]).replace("–", "-"))
    return found


def printed(shared: Path, caption: str) -> list[str]:
    """The lines of the paper between a table's heads and its caption."""
    text = (shared / TEXT).read_text(encoding="utf-8")
    above = text[: text.index(f"\n{caption}")].splitlines()
    heads = max(i for i, line in enumerate(above) if line.startswith("0-shot 2-shot"))
    return above[heads + 1 :]


@pytest.mark.parametrize(
    ("layout", "caption"),
    [("main", "Table 1:"), ("combinations", "Table 3:"), ("prm", "Table 8:")],
)
def test_rows_equal_the_paper(shared: Path, layout: str, caption: str) -> None:
    wanted = printed(shared, caption)
    own = lines(published(layout))
    assert len(own) == len(wanted)
    assert own == wanted


def test_rlhf_and_bertscore_equal_the_paper(shared: Path) -> None:
    text = (shared / TEXT).read_text(encoding="utf-8").splitlines()
    for layout in ("rlhf", "bertscore"):
        for line in lines(published(layout)):
            assert line in text


def test_human_scores_equal_the_paper(shared: Path) -> None:
    text = (shared / TEXT).read_text(encoding="utf-8")
    (line,) = re.findall(r"^Score (2\.13.*)$", text, flags=re.MULTILINE)
    cells = [row.cells[0] for row in published("human").rows]
    # The text of the paper has no blank behind an asterisk.
    assert " ".join(cell.text + "".join(cell.marks) for cell in cells).replace("∗ ", "∗") == line


def test_lengths_and_cost_equal_the_paper(shared: Path) -> None:
    text = (shared / TEXT).read_text(encoding="utf-8")
    for line in lines(published("lengths")):
        assert f"\n{line}\n" in text
    for row in published("cost").rows:
        num, model, price = (cell.text.replace("–", "-") for cell in row.cells)
        assert f"\n{row.label} {num} {model} {price.removeprefix('$')}$\n" in text


def test_every_other_table_is_there_in_full(shared: Path) -> None:
    text = (shared / TEXT).read_text(encoding="utf-8")
    tables = paper_results().tables
    assert sorted(tables) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    penalties = tables[5].rows
    assert "β " + " ".join(penalties) in text
    assert "NLL " + " ".join(f"{value:.2f}" for (value,) in penalties.values()) in text  # type: ignore[str-format]
    for row, (rate, epochs, batch, warmup) in tables[7].rows.items():
        spelled = f"{rate:.0e}".replace("e-0", "e-")
        assert f"\n{row.replace('_', ' ')} {spelled} {epochs} {batch} {warmup}\n" in text


@pytest.mark.parametrize("layout", ["main", "combinations", "prm"])
def test_bold_is_the_two_best_of_each_column(layout: str) -> None:
    """The captions: "numbers in bold indicate the top-2 results"; the paper's text does not show which they are."""
    table = published(layout)
    for number, head in enumerate(table.heads):
        cells = [row.cells[number] for row in table.rows]
        values = sorted({cell.number for cell in cells if cell.number is not None}, reverse=head.title != "Lose")
        bold = {cell.number for cell in cells if cell.is_top}
        assert bold == (set() if head.title == "Tie" else set(values[:2])), head


def test_bold_of_the_main_table_by_hand() -> None:
    bold = {row.label: [cell.text for cell in row.cells if cell.is_top] for row in published("main").rows}
    assert {label: texts for label, texts in bold.items() if texts} == {
        "InstructGPT 175B": ["52.1", "48.4"],
        "+ PPO-sim": ["79%", "16%"],
        "Tuna_p": ["39.4", "35.0"],
        "Tuna_c": ["46.6"],
        "Tuna": ["38.7", "86%", "10%"],
    }


def test_differences_are_those_of_the_printed_numbers() -> None:
    for layout in ("main", "combinations", "prm"):
        table = published(layout)
        (alpaca,) = (row for row in table.rows if row.label == "Alpaca")
        deltas = [
            (cell.delta, cell.number - base.number)
            for row in table.rows
            for cell, base in zip(row.cells, alpaca.cells, strict=True)
            if cell.delta and cell.number is not None and base.number is not None
        ]
        assert len(deltas) == 3 * (len(table.rows) - (5 if layout == "main" else 1))
        assert all(Decimal(text) == value for text, value in deltas)


def test_published_shares_are_counts_of_80_rounded_together() -> None:
    shares = {
        tuple(round(value) for value in numbers[-3:] if value is not None)
        for table in (1, 3, 8, 10)
        for numbers in paper_results().tables[table].rows.values()
    } - {()}
    assert len(shares) == 16
    splits = [(win, lose, 80 - win - lose) for win in range(81) for lose in range(81 - win)]
    found = {share: [split for split in splits if whole_percents(split) == share] for share in shares}
    assert all(len(fitting) == 1 for fitting in found.values())
    one_by_one = {tuple(round(100 * count / 80) for count in split) for split in splits}
    assert len(shares - one_by_one) == 5


def test_markdown_of_the_main_table() -> None:
    rows = write_markdown(published("main")).splitlines()
    assert "| Tuna\\_p | **39.4** (+3.4) | 43.9 (-0.6) | **35.0** (+3.6) | 68% | 27% | 5% |" in rows
    assert "| LLaMA | 11.0 | 23.6 | 26.3 | 4% | 92% | 4% |" in rows
