"""The report as one HTML file that needs no network and no server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

from tuna_eval.report.frame import Frame
from tuna_eval.report.human.files import write_text
from tuna_eval.report.inline import inert_json, inline_page
from tuna_eval.report.page.chunks import Chunks
from tuna_eval.report.page.content import page_content

VENDORED = ("vendor/preact.min.umd.js", "vendor/preact-hooks.umd.js")  # see vendor/README.md
# In the order in which they see each other. Each is an ES module for whoever reads, lints or tests it; in the page
# they are one script, because a policy that allows one script by its hash allows no imports.
MODULES = (
    "base.js",
    "store.js",
    "table.js",
    "overview.js",
    "tasks.js",
    "rows.js",
    "grid.js",
    "detail.js",
    "filters.js",
    "samples.js",
    "transcripts.js",
    "judging.js",
    "provenance.js",
    "app.js",
)
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?:async )?(?:const|function) (?:(\w+)|\{\s*([^}]*?),?\s*\})", re.MULTILINE)
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Report:
    """What was written.

    Attributes:
        page: the file.
        runs, samples: how many it shows; a sample that several runs have counts once.
        problems: why prompts could not be rebuilt, by the run's name and benchmark.
    """

    page: Path
    runs: int
    samples: int
    problems: dict[str, str]


def write_report(frame: Frame, out: Path, title: str = "Tuna report", data_dir: Path | None = None) -> Report:
    """Writes the page; the same runs make the same file.

    Args:
        frame: see `read_frame`.
        out: the page's file; its folder is created if need be.
        title: of the page.
        data_dir: a copy of the benchmarks' data, for runs that used one.

    Raises:
        ConfigError: there is no run.
        DataError, StoreError: a run's files are broken, or the page cannot be written.
    """
    chunks = Chunks()
    content = page_content(frame, title, data_dir, chunks)
    folder = package_files("tuna_eval.report.page")
    template, style = ((folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.css"))
    parts = {"index": inert_json(content), "chunks": chunks.as_html()}
    write_text(out, inline_page(template, style, page_script(), parts))
    problems = {
        f"{content['runs'][int(number)]['name']} ({suite['name']})": str(facts["problem"])
        for suite in content["suites"]
        for number, facts in suite["prompts"].items()
        if facts["problem"]
    }
    return Report(out, len(content["runs"]), sum(suite["size"] for suite in content["suites"]), problems)


def page_script() -> str:
    """The libraries, then the modules."""
    folder = package_files("tuna_eval.report.page")
    libraries = [_SOURCE_MAP.sub("", (folder / name).read_text(encoding="utf-8")) for name in VENDORED]
    modules = [_enclosed((folder / name).read_text(encoding="utf-8")) for name in MODULES]
    return "\n".join([*libraries, '(() => {\n"use strict";', *modules, "})();\n"])


def _enclosed(module: str) -> str:
    """A module as a scope of its own, whose exports the modules behind it see."""
    names = ", ".join(name for names in _EXPORT.findall(module) for name in names if name)
    body = re.sub(r"^export ", "", _IMPORT.sub("", module), flags=re.MULTILINE)
    return f"const {{ {names} }} = (() => {{\n{body}return {{ {names} }};\n}})();"
