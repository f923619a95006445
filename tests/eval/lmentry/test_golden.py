"""LMentry equals the official code: every golden verdict, and two predictors over the whole benchmark to each digit."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tuna_eval.schema import SuiteResult
from tuna_eval.tasks.base import Tally
from tuna_eval.tasks.lmentry.aspects import ADJACENT
from tuna_eval.tasks.lmentry.names import CORE, SUBSETS, TASKS
from tuna_eval.tasks.lmentry.scoring import score_prediction
from tuna_eval.tasks.lmentry.task import LMentry


def test_every_verdict_is_the_official_one(shared: Path) -> None:
    rows = [json.loads(line) for line in (shared / "golden/lmentry_scores.jsonl").read_text().splitlines()]
    assert len(rows) == 2387
    assert {row["task"] for row in rows} >= set(CORE)
    differing = [
        (row, verdict)
        for row in rows
        if (verdict := score_prediction(row["task"], row, row["prediction"], row["truncate"]))
        != (row["score"], row["certainty"])
    ]
    assert not differing, f"{len(differing)} differ, the first: {differing[0]}"


def golden_predictors(shared: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("lmentry_predictors", shared / "golden/lmentry_predictors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class EachFileOnce(LMentry):
    """Keeps the task that was read last: to parse the files is most of the time of the test below."""

    read = lru_cache(maxsize=1)(LMentry.read)


def test_the_whole_benchmark_comes_to_the_official_numbers(shared: Path) -> None:
    """One test of 110,703 predictions for each of two predictors."""
    predictors = {name: golden_predictors(shared).PREDICTORS[name] for name in ("first-opt", "echo")}
    suite, tallies = EachFileOnce(shared / "benchmarks/lmentry"), {name: Tally() for name in predictors}
    scored: Counter[str] = Counter()
    for task in suite.task_names():
        data, examples = suite.read(task).examples, suite.examples(task)
        for name, predict in predictors.items():
            outputs = [predict(task, example) for example in data.values()]
            tallies[name].add(task, suite.score(task, examples, outputs))
            scored[name] += len(outputs)
    assert scored == dict.fromkeys(predictors, 110_703)
    official = json.loads((shared / "golden/lmentry_full.json").read_text())
    for name, tally in tallies.items():
        result = suite.summarise(tally)
        for compare in (compare_templates, compare_places, compare_summary, compare_breakdown):
            compare(result, official[name])


def compare_templates(result: SuiteResult, official: dict[str, Any]) -> None:
    assert list(result.breakdown["tasks"]) == list(TASKS)
    assert set(official["per_task"]) == set(TASKS)
    for task, breakdown in result.breakdown["tasks"].items():
        sums: Counter[str] = Counter()
        for place, counts in enumerate(breakdown["templates"]):
            theirs = official["per_task"][task][f"template{place}"]
            ours = {
                "n_1s": counts["certain_right"] + counts["uncertain_right"],
                "n_0s": counts["certain_wrong"] + counts["uncertain_wrong"],
                "n_certain": counts["certain_right"] + counts["certain_wrong"],
                "n_certain_1s": counts["certain_right"],
                "n_certain_0s": counts["certain_wrong"],
            }
            assert ours == {name: theirs[name] for name in ours}, (task, place)
            assert round(counts["accuracy"], 1) == theirs["accuracy"], (task, place)
            sums.update(ours)
        theirs = official["per_task"][task]["task"]
        assert dict(sums) == {name: theirs[name] for name in sums}, task
        assert round(result.tasks[task]["accuracy"].value, 2) == theirs["accuracy"], task
        certainty = sums["n_certain"] / (sums["n_1s"] + sums["n_0s"])
        assert result.tasks[task]["certainty"].value == pytest.approx(100 * certainty, abs=1e-9)


def compare_places(result: SuiteResult, official: dict[str, Any]) -> None:
    assert len(official["argument_order_per_task"]) == 7
    for task, theirs in official["argument_order_per_task"].items():
        for place, counts in enumerate(result.breakdown["tasks"][task]["answer_index"]):
            assert counts["examples"] == counts["answered"] == theirs["bias"][f"n_answer_index_{place}"]
            assert counts["right"] == theirs["bias"][f"n_correct_answer_index_{place}"]
        assert result.breakdown["robustness"]["argument_order"][task] == theirs["robustness"]


def compare_summary(result: SuiteResult, official: dict[str, Any]) -> None:
    values = {name: summary.value for name, summary in result.metrics.items()}
    assert values["accuracy"] == official["accuracy"]
    assert values["robustness"] == official["robustness_rounded_1"]
    assert values["lmentry_score"] == official["lmentry_score_unrounded"]
    for aspect in ("argument_order", "argument_content", "template", "adjacent_tasks"):
        assert values[aspect] == official["aspects"][aspect]


def compare_breakdown(result: SuiteResult, official: dict[str, Any]) -> None:
    ours = result.breakdown["robustness"]
    assert ours["template"] == official["template_per_task"]
    assert list(ours["template"]) == list(CORE)
    assert ours["argument_content"] == official["argument_content_per_task"]
    assert set(ours["argument_content"]) == set(SUBSETS)
    assert ours["adjacent_tasks"] == official["adjacent_per_pair"]
    assert len(ours["adjacent_tasks"]) == 17
    assert ours["adjacent_kinds"] == {kind: official["aspects"][f"adjacent_{kind}"] for kind in ADJACENT}
