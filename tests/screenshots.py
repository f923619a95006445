"""`python -m tests.screenshots`: the pictures of the report page that the README shows.

The runs are real: the demo model in two precisions on a part of the built-in sample, with the transformers engine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.browser import headless_chromium

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
PRECISIONS = ("float32", "bfloat16")
SIZE = {"width": 1280, "height": 800}


def tuna_eval(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "tuna_eval.cli", *map(str, words)], check=True)


def make_page(folder: Path, limit: int) -> Path:
    """The report of both runs."""
    for precision in PRECISIONS:
        model = ("--model", "demo", "--engine", "hf", "--dtype", precision, "--name", f"demo-{precision}")
        asked = ("--suite", "superni", "lmentry", "--data", "mini", "--limit", limit)
        tuna_eval("run", *model, *asked, "--output", folder)
    runs = [folder / "runs" / f"demo-{precision}" for precision in PRECISIONS]
    tuna_eval("report", *runs, "--out", folder / "page.html")
    return folder / "page.html"


def take(page_file: Path) -> None:
    """Overview, and the comparison with its first flip opened, in light colours."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with headless_chromium() as browser:
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(f"{page_file.as_uri()}#overview")
        page.wait_for_selector("table")
        page.screenshot(path=FOLDER / "report-overview.png")
        page.goto(f"{page_file.as_uri()}#compare?suite=superni_2shot")
        page.wait_for_selector("#samples-grid .line")
        page.locator("#samples-grid .line").first.click()
        page.wait_for_selector("#detail article")
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=FOLDER / "report-compare.png")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, default=4, help="samples a task")
    parser.add_argument("--page", type=Path, help="a page that is there, instead of new runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        take(arguments.page or make_page(Path(folder), arguments.limit))


if __name__ == "__main__":
    main()
