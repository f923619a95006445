"""How long a report over two models' full-size runs takes to be written, and its page to be seen.

The runs are made by the harness, with an engine that answers any prompt by random words: 119 tasks of Super-NI in the
benchmark's format (11,810 instances, texts of a likely length that no model wrote) and the official data of LMentry
with its argument-content subsets, 110,703 examples, which is more than a model has to be asked (62,703).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.synthetic_runs import SUPERNI_TASKS
from tests.browser import headless_chromium
from tests.silent import Silent
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.llm.scripted_engine import ScriptedEngine
from tuna_eval.run import RunSettings, plan, run
from tuna_eval.schema import Completion, Prompt
from tuna_eval.tasks.catalog import SuiteOptions, open_suites

SUITES = ("superni", "lmentry")
MEAN_WORDS = 25  # of an answer


class RandomWords(ScriptedEngine):
    """Answers every prompt by random words, others for each seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(())
        self.seed = seed

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
        rng = np.random.default_rng(self.seed)
        for index in range(len(prompts)):
            yield Completion(index, _words(rng, 1 + rng.poisson(MEAN_WORDS)), None, "stop", -3.5, 200)


@cache
def _vocabulary() -> list[str]:
    rng, letters = np.random.default_rng(0), list("etaoinshrdlucmfwypvbgk")
    return ["".join(rng.choice(letters, length)) for length in rng.integers(2, 9, 5000)]


def _words(rng: np.random.Generator, count: int) -> str:
    known = _vocabulary()
    return " ".join(known[i] for i in rng.integers(0, len(known), count))


def write_superni(folder: Path) -> None:
    """A copy of Super-NI in its own format, in full size."""
    rng = np.random.default_rng(0)
    (folder / "tasks").mkdir(parents=True)
    (folder / "test_tasks.txt").write_text("".join(f"{task}\n" for task in SUPERNI_TASKS))
    for task, size in SUPERNI_TASKS.items():
        shown = [{"input": _words(rng, 60), "output": _words(rng, 5), "explanation": ""} for _ in range(2)]
        content: dict[str, Any] = {
            "Categories": ["Textual Entailment"],
            "Definition": [_words(rng, 70)],
            "Positive Examples": shown,
            "Negative Examples": [],
            "Instances": [
                {"id": f"{task}-{i}", "input": _words(rng, 80), "output": [_words(rng, 5)]} for i in range(size)
            ],
        }
        (folder / "tasks" / f"{task}.json").write_text(json.dumps(content))


def write_data(folder: Path, lmentry: Path) -> Path:
    """A folder with both benchmarks."""
    write_superni(folder / "superni")
    (folder / "lmentry").symlink_to(lmentry.resolve())
    return folder


def run_models(data: Path, results: Path) -> list[Path]:
    """Two models' runs of both benchmarks; their folders."""
    for seed in range(2):
        settings = RunSettings(f"model-{seed}", results, given={"data": "copy"})
        for suite in open_suites(SUITES, SuiteOptions(data_dir=data, shots=(2,))):
            engine = RandomWords(seed)
            run(plan(suite, engine, settings), engine, Silent())
    return sorted((results / "runs").iterdir())


def first_paint_seconds(page: Path) -> float:
    """From the opening of the page to its first picture, which holds the overview's scores."""
    with headless_chromium() as browser:
        opened = browser.new_page(viewport={"width": 1280, "height": 800})
        opened.goto(page.as_uri())
        opened.wait_for_selector("table")
        wait = "performance.getEntriesByName('first-contentful-paint').length > 0"
        opened.wait_for_function(wait)
        milliseconds = opened.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        browser.close()
    return float(milliseconds) / 1000


def page_figures(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of `tuna-eval report`, start of the process included, and of its page; medians."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(Path(folder) / "data", arguments.data_dir / "lmentry")
        places = run_models(data, Path(folder) / "results")
        page = Path(folder) / "page.html"
        words = [sys.executable, "-m", "tuna_eval.cli", "report", *map(str, places), "--out", str(page)]
        took = []
        for _ in range(arguments.repeats):
            began = time.perf_counter()
            told = subprocess.run([*words, "--data-dir", str(data)], capture_output=True, text=True, check=True).stderr
            took.append(time.perf_counter() - began)
        print(told, file=sys.stderr)
        paints = [first_paint_seconds(page) for _ in range(arguments.repeats)]
        size = page.stat().st_size / 1e6
    return {
        "report_seconds": float(np.median(took)),
        "report_first_paint_seconds": float(np.median(paints)),
        "report_megabytes": size,
    }
