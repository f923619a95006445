"""The report page for everybody: axe finds nothing in light and dark, and 100,000 samples are no more than thirty."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tuna_eval.cli import main
from tuna_eval.schema import RunRecord, Sample, Score, SuiteResult, Summary
from tuna_eval.store import RunFolder

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.browser
GRID = "#samples-grid"
VIEWS = ("overview", "tasks", "samples", "compare", "judging", "provenance")


@pytest.fixture(scope="module")
def report(reported_runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "page.html"
    assert main(["report", *map(str, reported_runs), "--out", str(out)]) == 0
    return out


def open_view(context: BrowserContext, report: Path, view: str) -> Page:
    """A view with everything in it opened."""
    page = context.new_page()
    page.goto(f"{report.as_uri()}#{view}")
    if view in ("samples", "compare"):
        page.wait_for_selector(f"{GRID} .line")
        page.press(GRID, "Enter")
        page.wait_for_selector("#detail article")
    elif view == "judging":
        page.get_by_role("button", name="Open").first.click()
        page.wait_for_selector(".detail article")
    else:
        page.wait_for_selector("table")
    return page


@pytest.mark.parametrize("view", VIEWS)
def test_accessible_in_light_and_dark(context: BrowserContext, report: Path, view: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_view(context, report, view)
    for scheme, background in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 26)")):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        results = Axe().run(page)
        found = [(v["id"], v["impact"], [node["html"] for node in v["nodes"]]) for v in results.response["violations"]]
        assert found == []
        assert len(results.response["passes"]) > 15
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
    page.set_viewport_size({"width": 420, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_light_and_dark_by_hand(context: BrowserContext, report: Path) -> None:
    page = open_view(context, report, "overview")
    page.emulate_media(color_scheme="light")
    page.get_by_label("Colours", exact=True).select_option("dark")
    page.wait_for_selector(':root[data-scheme="dark"]')
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    page.reload()
    page.wait_for_selector(':root[data-scheme="dark"]')


def test_what_changes_is_said(context: BrowserContext, report: Path) -> None:
    from playwright.sync_api import expect

    page = open_view(context, report, "samples")
    page.get_by_label("Score from").fill("99")
    expect(page.locator("#said")).to_have_text(f"{page.inner_text('#listed')} listed")
    grid = page.get_by_role("grid")
    assert grid.get_attribute("aria-rowcount") == str(int(page.inner_text("#listed").split()[0]) + 1)
    assert grid.get_by_role("columnheader").all_inner_texts()[:2] == ["Task", "Sample"]


SAMPLES = 100_000


@pytest.fixture(scope="module")
def large_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of one run with 100,000 samples in 100 tasks."""
    folder = RunFolder(tmp_path_factory.mktemp("large") / "run")
    folder.path.mkdir()
    ids = [(f"task{i % 100:03}", str(i)) for i in sorted(range(SAMPLES), key=lambda i: i % 100)]
    with folder.appender() as append:
        append(Sample(task, id, "", f"answer of number {id}", None, "stop", None, None) for task, id in ids)
    folder.write_scores(Score(task, id, {"rougeL": int(id) / SAMPLES}) for task, id in ids)
    result = SuiteResult("superni_0shot", {"rougeL": Summary(50.0, None, SAMPLES)})
    folder.write_record(RunRecord("large", "superni_0shot", "1", "complete", "", "large", results=asdict(result)))
    out = folder.path.parent / "page.html"
    assert main(["report", str(folder.path), "--out", str(out)]) == 0
    return out


def test_100000_samples_stay_usable(context: BrowserContext, large_report: Path) -> None:
    from playwright.sync_api import expect

    page = context.new_page()
    page.goto(f"{large_report.as_uri()}#samples")
    page.wait_for_selector(f"{GRID} .line")
    assert page.inner_text("#listed") == "100,000 samples of 100,000"
    page.press(GRID, "End")
    last = page.locator(f'{GRID} [aria-rowindex="{SAMPLES + 1}"]')
    expect(last).to_contain_text("answer of number 99999")
    expect(last).to_be_in_viewport()
    page.locator(GRID).evaluate("grid => { grid.scrollTop = grid.scrollHeight / 2; }")
    expect(page.locator(f'{GRID} [aria-rowindex="{SAMPLES // 2}"]')).to_contain_text("answer of number")
    assert page.evaluate("document.querySelectorAll('#app *').length") < 600
    page.get_by_label("Order", exact=True).select_option("high")
    expect(page.locator(f"{GRID} .line").first).to_contain_text("answer of number 99999")
    page.get_by_label("Text", exact=True).fill("number 4242")
    expect(page.locator("#listed")).to_have_text("11 samples of 100,000")
    page.press(GRID, "Enter")
    expect(page.locator("#detail")).to_contain_text("answer of number 42429")
