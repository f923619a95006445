"""From runs to a table: what is printed, what is compared, what is bold, and what stands under it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import covered, frame_of, judged, record_of

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.report.frame import Frame, System, Value
from tuna_eval.report.layouts import LAYOUTS, Column, Layout, layout_named
from tuna_eval.report.rounding import printed, printed_difference, whole_percents
from tuna_eval.report.tables import Cell, Row, Table, make_table
from tuna_eval.schema import JSON, RunRecord

MAIN = LAYOUTS["main"]
SUITES = ("superni_0shot", "superni_2shot", "lmentry")


def scores(*values: float) -> list[RunRecord]:
    return [record_of(suite, value) for suite, value in zip(SUITES, values, strict=True)]


def row_of(table: Table, label: str) -> Row:
    return next(row for row in table.rows if row.label == label)


def notes_of(table: Table, cell: Cell) -> str:
    return "; ".join(note.text for note in table.notes if note.mark in cell.marks)


def test_differences_to_a_chosen_row() -> None:
    frame = frame_of(old=scores(36.04, 44.5, 31.4), new=scores(39.35, 43.9, 31.4))
    table = make_table(frame, MAIN, baseline="old")
    assert [cell.delta for cell in row_of(table, "old").cells] == [""] * 6
    new = row_of(table, "new").cells
    assert [f"{cell.text} ({cell.delta})" for cell in new[:3]] == ["39.4 (+3.4)", "43.9 (-0.6)", "31.4 (+0.0)"]
    assert [cell.text for cell in new[3:]] == ["–", "–", "–"]
    assert table.notes[0].text == "Differences refer to old."


def test_a_run_beside_the_published_rows() -> None:
    table = make_table(frame_of(own=[*scores(39.0, 50.0, 36.0), judged(70, 6, 4)]), MAIN, with_paper=True)
    assert [row.section for row in table.rows] == ["Published (Table 1)"] * 11 + ["Measured"]
    own = row_of(table, "own").cells
    assert [cell.is_top for cell in own] == [True, True, True, True, True, False]
    assert [cell.text for cell in own] == ["39.0", "50.0", "36.0", "88%", "7%", "5%"]
    assert not row_of(table, "Tuna").cells[0].is_top  # 38.7 is third now
    assert notes_of(table, own[3]) == "judged by gpt-4 against Alpaca"
    assert [cell.delta for cell in own] == ["+3.0", "+5.5", "+4.6", "", "", ""]  # as those of the published rows
    assert table.notes[0].text == "Differences refer to Alpaca."


def test_a_published_row_as_baseline_leaves_the_published_differences() -> None:
    frame = frame_of(own=scores(39.0, 50.0, 36.0))
    with_base = make_table(frame, MAIN, baseline="Alpaca", with_paper=True)
    assert [cell.delta for cell in row_of(with_base, "own").cells[:3]] == ["+3.0", "+5.5", "+4.6"]
    without = make_table(frame, MAIN, with_paper=True)
    for row in without.rows[:-1]:
        assert row_of(with_base, row.label).cells == row.cells


def test_a_run_as_baseline_of_the_published_rows() -> None:
    table = make_table(frame_of(own=scores(40.0, 40.0, 30.0)), MAIN, baseline="own", with_paper=True)
    assert [cell.delta for cell in row_of(table, "LLaMA").cells[:3]] == ["-29.0", "-16.4", "-3.7"]
    assert table.notes[0].text == "Differences refer to own."


@pytest.mark.parametrize(
    ("coverage", "text"),
    [
        (covered(119, 119, 238, 238, 2), "119 of 119 tasks, 238 of 238 examples, limit 2 a task"),
        (covered(118, 119, 11710, 11710), "118 of 119 tasks, 11710 of 11710 examples"),
        (covered(119, 119, 11809, 11810), "119 of 119 tasks, 11809 of 11810 examples"),
    ],
)
def test_partial_coverage_is_noted_and_neither_ranked_nor_compared(coverage: dict[str, JSON], text: str) -> None:
    part = replace(record_of("superni_0shot", 99.0), coverage=coverage)
    table = make_table(frame_of(own=[part]), MAIN, baseline="Alpaca", with_paper=True)
    cell = row_of(table, "own").cells[0]
    assert (cell.text, cell.delta, cell.is_top) == ("99.0", "", False)
    assert notes_of(table, cell).startswith(f"{text}; does not compare with the published numbers")
    assert row_of(table, "Tuna_p").cells[0].is_top


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "chat"}, "does not compare with old (prompt format: chat, not alpaca)"),
        ({"data": "mini"}, "does not compare with old (data: mini, not full)"),
    ],
)
def test_runs_that_do_not_compare_say_why(change: dict[str, str], text: str) -> None:
    old, new = record_of("superni_0shot", 30.0), record_of("superni_0shot", 90.0)
    new = replace(new, config={**new.config, **change}, identity={**new.identity, "prompts_sha256": "cd"})
    other = record_of("superni_0shot", 20.0)
    table = make_table(frame_of(old=[old], new=[new], other=[other]), MAIN, baseline="old")
    cell = row_of(table, "new").cells[0]
    assert (cell.text, cell.delta, cell.is_top) == ("90.0", "", False)
    assert text in notes_of(table, cell)
    assert row_of(table, "old").cells[0].is_top


@pytest.mark.parametrize(
    ("suite", "change", "text"),
    [
        ("superni_0shot", {"format": "chat"}, "prompt format: chat, not alpaca"),
        ("superni_0shot", {"cut_at_first_period": True}, "scored: what stands before the first full stop, not all"),
        ("lmentry", {"truncate": True}, "scored: what stands before the first newline and full stop, not all"),
        ("lmentry", {"scoring": "strict"}, "LMentry's scorers: strict, not official"),
        ("lmentry", {"data": "mini"}, "coverage: a part, not the whole benchmark"),
    ],
)
def test_what_the_paper_did_otherwise(suite: str, change: dict[str, object], text: str) -> None:
    record = record_of(suite, 99.0)
    record = replace(record, config={**record.config, "cut_at_first_period": False, **change})
    table = make_table(frame_of(own=[record]), MAIN, with_paper=True)
    cell = next(cell for cell in row_of(table, "own").cells if cell.number)
    assert f"does not compare with the published numbers ({text})" in notes_of(table, cell)
    assert not cell.is_top


@pytest.mark.parametrize(("judge", "is_top"), [("gpt-4", True), ("gpt-4-0314", True), ("gpt-4o", False)])
def test_a_judge_and_its_snapshots(judge: str, is_top: bool) -> None:
    table = make_table(frame_of(own=[judged(78, 1, 1, judge=judge)]), MAIN, with_paper=True)
    assert row_of(table, "own").cells[3].is_top is is_top


def test_signs_of_significance() -> None:
    def human(name: str, *beaten: str) -> Value:
        return Value(System(name, "file"), "human", "points", 3.0, "points", better_than=beaten)

    def signs(*values: Value, baseline: str = "", with_paper: bool = False) -> list[str]:
        rows = make_table(Frame(values), LAYOUTS["human"], baseline=baseline, with_paper=with_paper).rows[
            -len(values) :
        ]
        return ["".join(row.cells[0].marks) for row in rows]

    three = human("a", "b", "c"), human("b", "c"), human("c")
    assert signs(*three) == ["†", "", ""]
    assert signs(*three, baseline="c") == ["∗†", "∗", ""]
    assert signs(*three, baseline="b") == ["∗†", "", ""]
    assert signs(human("a", "gone")) == [""]
    assert signs(human("a", "Alpaca"), baseline="paper:Alpaca", with_paper=True) == [""]  # another Alpaca


def test_the_best_of_some_is_not_said_to_beat_the_published() -> None:
    values = [Value(System("a", "file"), "human", "points", 1.0, "points", better_than=("b",))]
    values.append(Value(System("b", "file"), "human", "points", 0.5, "points"))
    table = make_table(Frame(tuple(values)), LAYOUTS["human"], with_paper=True)
    assert [note.text for note in table.notes if note.mark == "†"] == [
        "better than all others of its section (p < 0.01)"
    ]
    assert row_of(table, "a").cells[0].marks == ("†",)


def test_another_judge_and_lost_verdicts_are_noted() -> None:
    frame = frame_of(a=[judged(54, 22, 4)], b=[judged(50, 16, 4, judge="gpt-4o", unparsable=10)])
    table = make_table(frame, MAIN)
    text = notes_of(table, row_of(table, "b").cells[3])
    assert "70 of 80 questions have a verdict, 10 unparsable" in text
    assert "judge: gpt-4o, not gpt-4" in text
    assert "too few questions with a verdict: 87.5%" in text
    assert notes_of(table, row_of(table, "a").cells[3]) == "judged by gpt-4 against Alpaca"


def test_the_baseline_decides_who_is_ranked() -> None:
    chat = record_of("superni_0shot", 90.0)
    chat = replace(chat, config={**chat.config, "format": "chat"}, identity={})
    frame = frame_of(chat=[chat], old=[record_of("superni_0shot", 30.0)], new=[record_of("superni_0shot", 40.0)])
    by_baseline = make_table(frame, MAIN, baseline="old")
    assert [row.cells[0].is_top for row in by_baseline.rows] == [False, False, True]
    by_first = make_table(frame, MAIN)  # the others do not compare with the first, which is alone then
    assert [row.cells[0].is_top for row in by_first.rows] == [False, False, False]


def test_answers_that_nobody_judged() -> None:
    record = replace(judged(1, 1, 1), results={**judged(1, 1, 1).results, "metrics": {}, "breakdown": {}})
    table = make_table(frame_of(a=[judged(54, 22, 4)], b=[record, *scores(1.0, 1.0, 1.0)]), MAIN)
    assert [cell.text for cell in row_of(table, "b").cells[3:]] == ["–", "–", "–"]


def test_equal_notes_share_a_mark() -> None:
    frame = frame_of(a=[judged(54, 22, 4)], b=[judged(40, 30, 10)])
    table = make_table(frame, MAIN)
    assert [note.mark for note in table.notes] == ["a"]
    assert row_of(table, "a").cells[3].marks == row_of(table, "b").cells[3].marks == ("a",)


def test_a_row_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no row 'Alpca'.*name one of own"):
        make_table(frame_of(own=scores(1, 2, 3)), MAIN, baseline="Alpca")


def test_a_run_goes_before_the_published_row_of_its_name() -> None:
    frame = frame_of(Alpaca=scores(30.0, 40.0, 30.0))
    by_run = make_table(frame, MAIN, baseline="Alpaca", with_paper=True)
    by_paper = make_table(frame, MAIN, baseline="paper:Alpaca", with_paper=True)
    assert row_of(by_run, "Tuna").cells[0].delta == "+8.7"
    assert row_of(by_paper, "Tuna").cells[0].delta == "+2.7"


def test_nothing_to_show() -> None:
    with pytest.raises(DataError, match="bertscore_f1 of superni_0shot"):
        make_table(frame_of(own=scores(1, 2, 3)), LAYOUTS["bertscore"])
    with pytest.raises(ConfigError, match=r"no layout 'mian'.*main"):
        layout_named("mian", Frame(()))
    with pytest.raises(ConfigError, match="the paper has no such table"):
        make_table(frame_of(own=[judged(1, 1, 1)]), layout_named("categories", Frame(())), with_paper=True)


def test_categories_are_rows() -> None:
    frame = frame_of(old=[judged(40, 40, 0)], new=[judged(60, 20, 0)])
    table = make_table(frame, layout_named("categories", frame), baseline="old")
    assert [(row.section, row.label) for row in table.rows] == [
        ("Vicuna QA", "math: win rate"),
        ("Vicuna QA", "coding: win rate"),
    ]
    assert [head.title for head in table.heads] == ["old", "new"]
    assert [cell.text for cell in table.rows[0].cells] == ["50.0", "75.0"]
    assert table.rows[0].cells[1].delta == "+25.0"
    assert [cell.is_top for cell in table.rows[0].cells] == [False, True]
    assert [cell.marks for cell in table.rows[0].cells] == [("a",), ("a",)]
    assert [note.text for note in table.notes if note.mark] == ["Vicuna QA: judged by gpt-4 against Alpaca"]


def best(*numbers: float) -> list[bool]:
    column = Column("", "x", "s", "m")
    values = [Value(System(str(i), "file"), "s", "m", number) for i, number in enumerate(numbers)]
    table = make_table(Frame(tuple(values)), Layout("t", (column,), None))
    return [row.cells[0].is_top for row in table.rows]


def test_what_is_bold() -> None:
    assert best(1.0, 3.0, 2.0) == [False, True, True]
    assert best(1.0, 2.0) == [False, True]  # the worst is never best
    assert best(1.0) == [False]
    assert best(2.0, 2.0, 2.0) == [False, False, False]
    assert best(3.0, 3.0, 2.0, 1.0) == [True, True, False, False]  # both are first, so nobody is second
    assert best(3.0, 2.0, 2.0, 1.0) == [True, True, True, False]
    assert best(2.04, 2.0, 1.0) == [True, True, False]  # equal as printed


@given(st.lists(st.integers(0, 500), min_size=1, max_size=6).filter(sum))
def test_shares_add_up_to_100_and_are_off_by_less_than_one(counts: list[int]) -> None:
    shares = whole_percents(counts)
    assert sum(shares) == 100
    assert all(abs(share - 100 * count / sum(counts)) < 1 for share, count in zip(shares, counts, strict=True))


@given(st.floats(-1000, 1000), st.floats(-1000, 1000))
def test_a_difference_is_what_a_reader_finds(first: float, second: float) -> None:
    own, other = printed(first, 1), printed(second, 1)
    assert own is not None
    assert other is not None
    text = printed_difference(own, other)
    assert text[0] in "+-"
    assert other + type(own)(text) == own
