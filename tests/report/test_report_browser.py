"""The report page in a real browser: sort, filter, open, compare, read a judge, by mouse and by keyboard alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from report_page_runs import HOSTILE

from tuna_eval.cli import main
from tuna_eval.report.sources import read_frame

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser
GRID = "#samples-grid"


@pytest.fixture(scope="module")
def report(reported_runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "page.html"
    assert main(["report", *map(str, reported_runs), "--out", str(out), "--title", HOSTILE]) == 0
    return out


@pytest.fixture
def page(context: BrowserContext, report: Path) -> Page:  # nothing but the page is asked for: see `context`
    page = context.new_page()
    page.goto(report.as_uri())
    return page


def go(page: Page, view: str) -> None:
    page.click(f'nav a:text-is("{view}")')
    page.wait_for_selector(f'nav a[aria-current="page"]:text-is("{view}")')


def wait_for_focus(page: Page, selector: str) -> None:
    """The page decodes what it opens and then moves the focus: some frames after the click."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_be_focused()


def choose(page: Page, label: str, text: str) -> None:
    page.get_by_label(label, exact=True).select_option(label=text)


def cells(page: Page, column: int) -> list[str]:
    """A column of the list of samples, as far as it is in the page."""
    lines = page.locator(f"{GRID} .line").all()
    return [line.locator('[role="gridcell"]').nth(column).inner_text() for line in lines]


def scores_of(reported_runs: Sequence[Path], run: int, suite: str) -> dict[tuple[str, str], float]:
    """From the run's own file, in percent."""
    (folder,) = (reported_runs[run] / suite).iterdir()
    name = "rougeL" if suite.startswith("superni") else "accuracy"
    lines = map(json.loads, (folder / "scores.jsonl").open())
    return {(line["task"], line["id"]): 100 * line[name] for line in lines}


def test_overview_sorts_by_a_column(page: Page, reported_runs: list[Path]) -> None:
    table = page.locator("table", has=page.locator("caption", has_text="Super-NI, 0-shot"))
    values = {
        value.system.name: value.value
        for value in read_frame([str(run) for run in reported_runs]).values
        if (value.suite, value.metric, value.group) == ("superni_0shot", "rougeL", "")
    }
    shown = dict(zip(table.locator("tbody th").all_inner_texts(), table.locator("tbody tr").all(), strict=True))
    for name, value in values.items():
        assert shown[name].locator("td").nth(2).inner_text().startswith(f"{value:.1f} [")
    for order, is_falling in (("descending", True), ("ascending", False)):
        table.get_by_role("button", name="ROUGE-L").click()
        assert table.locator('th[aria-sort]:not([aria-sort="none"])').get_attribute("aria-sort") == order
        names = table.locator("tbody th").all_inner_texts()
        assert [values[name] for name in names] == sorted(values.values(), reverse=is_falling)  # type: ignore[type-var]
        assert page.inner_text("#said").endswith(order)
    assert "prompt format: plain, not alpaca" in page.inner_text(".refusal")


def test_a_task_leads_to_its_samples(page: Page, reported_runs: list[Path]) -> None:
    go(page, "Tasks")
    choose(page, "Benchmark", "Super-NI, 0-shot")
    scores = scores_of(reported_runs, 0, "superni_0shot")
    task = sorted({task for task, _ in scores})[3]
    table = page.locator("table", has=page.locator('caption:text-is("Tasks")'))
    row = table.locator("tr", has=page.get_by_role("link", name=task))
    own = [score for (name, _), score in scores.items() if name == task]
    assert row.locator("td").nth(2).inner_text() == f"{sum(own) / len(own):.1f}"
    row.get_by_role("link").click()
    page.wait_for_selector(f"{GRID} .line")
    assert page.inner_text("#listed") == "10 samples of 120"
    assert set(cells(page, 0)) == {task}
    page.go_back()
    page.wait_for_selector('h2:text-is("Tasks")')


def test_filters(page: Page, reported_runs: list[Path]) -> None:
    from playwright.sync_api import expect

    go(page, "Samples")
    choose(page, "Benchmark", "Super-NI, 0-shot")
    scores = scores_of(reported_runs, 0, "superni_0shot")
    page.get_by_label("Score from").fill("50")
    high = [key for key, score in scores.items() if score >= 50]
    expect(page.locator("#listed")).to_have_text(f"{len(high)} samples of 120")
    page.get_by_label("to", exact=True).fill("40")
    assert page.inner_text("#listed") == "0 samples of 120"
    page.get_by_role("button", name="Clear").click()
    choose(page, "Order", "highest score first")
    found = [float(text) for text in cells(page, 2)]
    assert found == sorted(found, reverse=True)
    assert found[0] == 100
    choose(page, "Ended by", "stop")
    assert page.inner_text("#listed") == "120 samples of 120"
    page.get_by_label("Text", exact=True).fill("ZEBRA")  # in some outputs, and perhaps in an instruction
    expect(page.locator("#listed")).not_to_have_text("120 samples of 120")
    outputs = set(cells(page, 3))
    assert outputs == {"zebra"}
    choose(page, "Category", "textual entailment")
    choose(page, "Task", page.get_by_label("Task", exact=True).locator("option").nth(1).inner_text())
    assert 0 < int(page.inner_text("#listed").split()[0]) <= 10


def test_a_sample_with_everything(page: Page, reported_runs: list[Path]) -> None:
    go(page, "Samples")
    choose(page, "Benchmark", "Super-NI, 2-shot")
    page.locator(f"{GRID} .line").first.click()
    detail = page.locator("#detail")
    detail.locator("article").wait_for()
    (folder,) = (reported_runs[0] / "superni_2shot").iterdir()
    first = json.loads((folder / "record.json").read_text())["prompts"]["first"]
    assert detail.locator("p.text").last.inner_text() == first
    assert "exactly as sent" in detail.inner_text()
    wait_for_focus(page, "#detail-title")
    title = detail.locator("h3").inner_text()
    detail.get_by_role("button", name="Next").click()
    assert detail.locator("h3").inner_text() != title
    assert "Sample 2 of 120" in detail.inner_text()


def test_two_runs_with_the_largest_losses_first(page: Page, reported_runs: list[Path]) -> None:
    go(page, "Compare")
    choose(page, "Benchmark", "Super-NI, 0-shot")
    page.wait_for_selector(f"{GRID} .line")
    before, after = (scores_of(reported_runs, run, "superni_0shot") for run in (0, 1))
    changes = {key: after[key] - before[key] for key in before}
    flips = sorted(change for change in changes.values() if round(change, 3))
    assert page.inner_text("#listed") == f"{len(flips)} samples of 120"
    shown = [float(text.replace("−", "-")) for text in cells(page, 4)]
    assert shown == [round(change, 1) for change in flips[: len(shown)]]
    fallen = sum(change < 0 for change in flips)
    told = page.inner_text("#change")
    assert f"{fallen} samples fell" in told
    assert "90% interval [−" in told
    page.locator(f"{GRID} .line").first.click()
    sides = page.locator("#detail article").all()
    assert [side.locator("h4").inner_text() for side in sides] == ["steady", "hostile"]
    assert "Change: −" in page.inner_text("#detail")
    page.get_by_role("button", name="Swap").click()
    page.wait_for_selector(f'{GRID} [role="columnheader"]:text-is("Output of steady"):last-child')
    worst = float(page.locator(f"{GRID} .line [role=gridcell]").nth(4).inner_text().replace("−", "-"))
    assert worst == -round(max(flips), 1)


def test_runs_that_do_not_compare_have_no_change(page: Page) -> None:
    go(page, "Compare")
    choose(page, "Benchmark", "Super-NI, 0-shot")
    choose(page, "Run", "plain")
    page.wait_for_selector(".refusal")
    assert "plain does not compare with steady" in page.inner_text(".refusal")
    heads = page.locator(f'{GRID} [role="columnheader"]').all_inner_texts()
    assert "Change" not in heads
    assert page.get_by_label("Only flips").count() == 0
    assert page.inner_text("#listed") == "120 samples of 120"


def test_a_judge_and_every_reply(page: Page) -> None:
    go(page, "Judging")
    panels = page.locator(".panel").all_inner_texts()
    assert "Lose\n9" in panels[0]
    assert "9 of 9 (100.0%)" in panels[1]
    assert "The answer shown first wins\n50.0%" in panels[2]
    choose(page, "Verdict", "lose")
    page.get_by_role("button", name="Open").first.click()
    transcript = page.locator(".detail")
    wait_for_focus(page, ".detail h3")
    assert transcript.locator("h3").inner_text().endswith(": lose")
    assert transcript.locator("article h4").all_inner_texts() == [
        "steady",
        "written-by-hand",
        "Reply with steady shown first",
        "Reply with written-by-hand shown first",
    ]
    assert transcript.locator("p.text").last.inner_text().startswith("[[A]] </script>")
    page.keyboard.press("Escape")
    assert transcript.count() == 0


def test_provenance_side_by_side(page: Page) -> None:
    go(page, "Provenance")
    choose(page, "Benchmark", "Super-NI, 0-shot")
    page.get_by_label("Only what differs").check()
    names = page.locator(".provenance tbody th").all_inner_texts()
    assert "≠ config › format" in names
    assert not [name for name in names if name.endswith("environment › python")]
    page.get_by_label("Only what differs").uncheck()
    page.get_by_label("Text", exact=True).fill("samples.jsonl")
    assert page.locator(".provenance tbody tr").count() == 1


def test_by_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the content"
    page.keyboard.press("Enter")
    wait_for_focus(page, "#main")
    page.keyboard.press("Shift+Tab")
    for _ in range(10):
        page.keyboard.press("Shift+Tab")
        if page.locator(":focus").inner_text() == "Compare":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{GRID} .line")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator(":focus").get_attribute("id") == "samples-grid":
            break
    grid = page.locator(GRID)
    for key, active in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("Home", 0)):
        page.keyboard.press(key)
        assert grid.get_attribute("aria-activedescendant") == f"row-{active}"
    page.keyboard.press("End")
    last = int(grid.get_attribute("aria-rowcount") or 0) - 2
    page.wait_for_selector(f'#row-{last}[aria-selected="true"]')
    page.keyboard.press("PageUp")
    assert grid.get_attribute("aria-activedescendant") != f"row-{last}"
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail article")
    wait_for_focus(page, "#detail-title")
    page.keyboard.press("ArrowRight")
    assert "Sample 2 of" in page.inner_text("#detail")
    page.keyboard.press("Escape")
    assert page.locator("#detail").count() == 0
    wait_for_focus(page, "#samples-grid")
    assert grid.get_attribute("aria-activedescendant") == "row-1"


def test_what_a_model_says_is_text(page: Page) -> None:
    from playwright.sync_api import expect

    assert page.inner_text("h1") == " ".join(HOSTILE.split())
    go(page, "Samples")
    choose(page, "Benchmark", "Super-NI, 0-shot")
    choose(page, "Run", "hostile")
    choose(page, "Order", "lowest score first")
    expect(page.locator(f"{GRID} .line").first.locator('[role="gridcell"]').nth(3)).to_contain_text("</script>")
    page.locator(f"{GRID} .line").first.click()
    shown = page.locator("#detail article p.text")
    shown.wait_for()
    assert shown.evaluate("p => p.textContent") == HOSTILE
    assert shown.evaluate("p => [getComputedStyle(p).whiteSpace, p.childElementCount]") == ["pre-wrap", 0]
    assert page.evaluate("window.ran") is None
    assert page.locator("img").count() == 0


def test_no_string_can_become_markup(chromium: Browser, report: Path) -> None:
    own = chromium.new_page()  # a page of its own, because the browser logs what it refuses
    own.goto(report.as_uri())
    attempt = "(() => { try { document.body.innerHTML = 'x'; return ''; } catch (error) { return error.name; } })()"
    assert own.evaluate(attempt) == "TypeError"
    own.close()
