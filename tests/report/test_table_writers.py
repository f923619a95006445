"""Tables as CSV, HTML and Markdown: numbers and notes arrive, and any name survives."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_runs import frame_of, judged, record_of

from tuna_eval.report.frame import Frame, System, Value
from tuna_eval.report.layouts import LAYOUTS, Column, Layout, layout_named
from tuna_eval.report.sources import read_frame
from tuna_eval.report.tables import Table, make_table
from tuna_eval.report.writers.markdown import write_markdown
from tuna_eval.report.writers.plain import write_csv, write_html


def hostile(label: str) -> Table:
    frame = Frame((Value(System(label, "file"), "s", "m", 1.0), Value(System("other", "file"), "s", "m", 2.0)))
    return make_table(frame, Layout(label or "t", (Column(label, label, "s", "m"),), None, label=label))


class Texts(HTMLParser):
    """The texts of an HTML fragment."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_data(self, data: str) -> None:
        self.found.append(data)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)


TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td", "strong"}


@settings(max_examples=40)
@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20))
def test_any_name_survives_html_and_csv(name: str) -> None:
    table = hostile(name)
    reader = Texts()
    reader.feed(write_html(table))
    reader.close()
    assert name in reader.found
    assert reader.tags <= TAGS
    lines = list(csv.reader(io.StringIO(write_csv(table))))
    for found in lines[0][1], lines[1][1]:
        assert found in (name, f"'{name}")
        assert found[0] not in "=+-@＝＋－＠"


def test_markdown_shows_names_as_they_are() -> None:
    line = write_markdown(hostile("a|b*c_d`e<f>[g]\\h")).splitlines()[-2]
    assert line == "| a\\|b\\*c\\_d\\`e\\<f\\>\\[g\\]\\\\h | 1.0 |"


def test_csv_has_numbers_differences_and_notes() -> None:
    frame = frame_of(old=[record_of("superni_0shot", 36.0)], new=[record_of("superni_0shot", 39.4), judged(54, 22, 4)])
    rows = list(csv.DictReader(io.StringIO(write_csv(make_table(frame, LAYOUTS["main"], baseline="old")))))
    assert rows[1]["Super NI 0-shot"] == "39.4"
    assert rows[1]["Super NI 0-shot difference"] == "+3.4"
    assert [rows[1][f"Vicuna QA {name}"] for name in ("Win", "Lose", "Tie")] == ["68", "27", "5"]
    assert rows[1]["notes"] == "judged by gpt-4 against Alpaca; Differences refer to old"
    assert rows[0]["notes"] == "Differences refer to old"
    assert rows[0]["Vicuna QA Win"] == ""


def test_csv_says_whose_the_published_numbers_are() -> None:
    rows = list(csv.DictReader(io.StringIO(write_csv(make_table(Frame(()), LAYOUTS["main"], with_paper=True)))))
    assert {row["notes"].startswith("Differences refer to Alpaca; Published numbers: Table 1 of ") for row in rows} == {
        True
    }


@pytest.mark.parametrize("name", ["=1+1", "+ PPO-sim", "-x", "@x", "\t=x", "\r\n+x", "＝1+1", "＠x"])
def test_no_text_of_a_csv_is_a_formula(name: str) -> None:
    label = System(name, "file")
    text = Value(label, "ranked", "model", None, "", text=name)
    frame = Frame((text, Value(label, "s", "m", -2.0), Value(System("a b", "file"), "s", "m", -1.5)))
    columns = Column(name, name, "ranked", "model", form="text"), Column("", "n", "s", "m", delta="always")
    table = make_table(frame, Layout("t", columns, None, label=name), baseline="a b")
    lines = list(csv.reader(io.StringIO(write_csv(table), newline="")))
    assert lines[0][1:3] == lines[1][1:3] == [f"'{name.strip()}"] * 2
    assert lines[1][3:5] == ["-2.0", "-0.5"]  # numbers stay numbers


def test_long_form_carries_provenance() -> None:
    table = frame_of(own=[judged(54, 22, 4)]).to_pandas()
    line = table[(table.metric == "win") & (table.group == "")].iloc[0]
    assert (line.system, line.value, line.n, line.judge, line.baseline) == ("own", 54, 80, "gpt-4", "Alpaca")
    assert line.coverage == "9 of 9 tasks, 80 of 80 examples"
    assert line.prompts_sha256 == "ab" * 32


def test_small_costs_units_and_further_ranks_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "stats.json"
    cost = {"item": "own", "usd": 0.004, "examples": 1500, "model": "m"}
    file.write_text(json.dumps({"lengths_by_rank": {"own": [5, 4, 3, 2, 1.5]}, "cost": [cost]}))
    frame = read_frame([str(file)])
    paid = make_table(frame, layout_named("cost", frame))
    assert [cell.text for cell in paid.rows[0].cells] == ["1.5K", "m", "<$0.01"]
    assert write_csv(paid).splitlines()[0] == "section,Data,Num (thousands),Model,Price (US dollars),notes"
    lengths = make_table(frame, layout_named("lengths", frame))
    assert [cell.text for cell in lengths.rows[0].cells] == ["5.0", "4.0", "3.0", "2.0", "1.5"]
    assert lengths.rows[0].label == "own"
    file.write_text(json.dumps({"lengths_by_rank": {"own": [5, 4]}, "length_unit": "words"}))
    frame = read_frame([str(file)])
    assert make_table(frame, layout_named("lengths", frame)).rows[0].label == "own (words)"
