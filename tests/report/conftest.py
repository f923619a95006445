"""A browser for the pages that reports are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ranking_page import QUESTIONS, SYSTEMS
from report_page_runs import make_runs

from browser import headless_chromium
from tuna_eval.report.human.export import export_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One headless Chromium for the session; every test opens its own context in it."""
    with headless_chromium() as browser:
        yield browser


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return export_page(SYSTEMS, QUESTIONS, tmp_path / "page.html", 5).page


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """An empty profile; at the end nothing but the page itself must have been asked for."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    requests: list[str] = []
    failures: list[str] = []
    context.on("request", lambda request: requests.append(request.url))
    context.on("weberror", lambda error: failures.append(str(error.error)))
    context.on("console", lambda message: failures.append(message.text) if message.type == "error" else None)
    yield context
    context.close()
    assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}
    assert {url.rsplit("/", 1)[-1] for url in requests if url.startswith("file:")} == {"page.html"}
    assert failures == []


@pytest.fixture
def page(context: BrowserContext, exported: Path) -> Page:
    page = context.new_page()
    page.goto(exported.as_uri())
    return page


@pytest.fixture(scope="session")
def reported_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs for the report page; tests only read them."""
    return make_runs(tmp_path_factory.mktemp("results"))
