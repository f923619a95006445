"""What the rows of a table are measured against: the user's row, the paper's own, and where neither compares."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report_runs import covered, frame_of, judged, record_of

from tuna_eval.errors import ConfigError
from tuna_eval.report.frame import Frame, Provenance, System, Value
from tuna_eval.report.layouts import LAYOUTS
from tuna_eval.report.tables import Cell, Row, Table, make_table
from tuna_eval.schema import RunRecord

MAIN = LAYOUTS["main"]


def row_of(table: Table, label: str) -> Row:
    return next(row for row in table.rows if row.label == label)


def notes_of(table: Table, cell: Cell) -> str:
    return "; ".join(note.text for note in table.notes if note.mark in cell.marks)


def on_a_part(value: float) -> RunRecord:
    return replace(record_of("superni_0shot", value), coverage=covered(119, 119, 238, 238, 2))


def test_published_rows_keep_their_own_where_the_baseline_does_not_compare() -> None:
    frame = frame_of(
        own=[on_a_part(50.0), record_of("lmentry", 30.0)], new=[on_a_part(60.0), record_of("lmentry", 32.0)]
    )
    table = make_table(frame, MAIN, baseline="own", with_paper=True)
    paper = make_table(Frame(()), MAIN, with_paper=True)
    for row in paper.rows:  # 0-shot is a part alone, 2-shot was not run
        assert row_of(table, row.label).cells[:2] == row.cells[:2]
    assert [row_of(table, name).cells[2].delta for name in ("LLaMA", "Tuna", "new")] == ["-3.7", "+4.7", "+2.0"]
    own, new = row_of(table, "own").cells[0], row_of(table, "new").cells[0]
    assert (own.delta, own.is_top, new.delta, new.is_top) == ("", False, "+10.0", True)
    assert notes_of(table, own) == notes_of(table, new)
    assert "does not compare with the published numbers (coverage" in notes_of(table, new)
    assert [note.text for note in table.notes[:2]] == [
        "Differences refer to own; those of published rows to Alpaca, where own does not compare with them.",
        "Bold: the best of each section by itself, where the two do not compare.",
    ]


def test_a_run_that_does_not_compare_with_the_paper_has_no_difference_to_it() -> None:
    table = make_table(frame_of(own=[on_a_part(50.0)]), MAIN, with_paper=True)
    assert row_of(table, "own").cells[0].delta == ""
    assert row_of(table, "Tuna").cells[0].delta == "+2.7"


def with_bertscore(name: str, value: float) -> Value:
    return Value(System(name, "run"), "superni_0shot", "bertscore_f1", value, "fraction")


def test_layouts_whose_published_table_has_no_differences_show_those_asked_for() -> None:
    three = (with_bertscore("a", 0.8), with_bertscore("b", 0.8127), with_bertscore("c", 0.79))
    table = make_table(Frame(three), LAYOUTS["bertscore"], baseline="a", with_paper=True)
    assert [row_of(table, name).cells[0].delta for name in "abc"] == ["", "+0.013", "-0.010"]
    alone = make_table(Frame(three), LAYOUTS["bertscore"])
    assert [(row.cells[0].delta, row.cells[0].is_top) for row in alone.rows] == [("", True), ("", True), ("", False)]
    judgings = frame_of(a=[judged(40, 40, 0)], b=[judged(60, 20, 0)])
    for layout in ("main", "rlhf"):
        cells = row_of(make_table(judgings, LAYOUTS[layout], baseline="a"), "b").cells[-3:]
        assert [(cell.delta, cell.is_top) for cell in cells] == [("+25", True), ("-25", True), ("+0", False)]


def test_points_of_another_study_do_not_compare() -> None:
    def points(name: str, value: float) -> Value:
        return Value(System(name, "file"), "human", "points", value, "points", provenance=Provenance(place="own.json"))

    frame = Frame((points("a", 3.0), points("b", 5.0)))
    table = make_table(frame, LAYOUTS["human"], baseline="a", with_paper=True)
    assert (row_of(table, "b").cells[0].delta, row_of(table, "b").cells[0].is_top) == ("+2.00", True)
    published = [row.cells[0] for row in table.rows if row.section != "Measured"]
    assert sum(cell.is_top for cell in published) == 2
    assert {cell.delta for cell in published} == {""}
    by_paper = make_table(frame, LAYOUTS["human"], baseline="Alpaca", with_paper=True)
    assert row_of(by_paper, "b").cells[0].delta == ""
    text = "does not compare with the published numbers (ranked by other people, among other answers)"
    assert notes_of(by_paper, row_of(by_paper, "b").cells[0]) == text


@pytest.mark.parametrize("layout", ["cost", "lengths"])
def test_layouts_without_differences_refuse_a_baseline(layout: str) -> None:
    with pytest.raises(ConfigError, match="--baseline-row: this layout shows no differences; leave it out"):
        make_table(Frame(()), LAYOUTS[layout], baseline="Alpaca", with_paper=True)
