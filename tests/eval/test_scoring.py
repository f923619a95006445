"""Scoring streams: its memory is that of one task, however many there are."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path

from tuna_eval.scoring import score_outputs
from tuna_eval.store import RunFolder
from tuna_eval.tasks.superni import SuperNI

INSTANCES = 60


def benchmark(folder: Path, tasks: int) -> tuple[SuperNI, Path]:
    """A Super-NI folder with long outputs, and predictions for it in random order."""
    (folder / "tasks").mkdir(parents=True)
    words = [f"word{i}" for i in range(400)]
    source = random.Random(0)
    lines = []
    for number in range(tasks):
        name = f"task{number:03}_x"
        instances = [
            {"id": f"{name}-{i}", "input": " ".join(words[:50]), "output": [" ".join(source.sample(words, 120))]}
            for i in range(INSTANCES)
        ]
        task = {"Categories": ["Title Generation"], "Definition": ["Do it."], "Instances": instances}
        (folder / "tasks" / f"{name}.json").write_text(json.dumps(task))
        lines += [{"task": name, "id": i["id"], "prediction": " ".join(source.sample(words, 300))} for i in instances]
    source.shuffle(lines)
    (folder / "test_tasks.txt").write_text("".join(f"task{n:03}_x\n" for n in range(tasks)))
    predictions = folder / "predictions.jsonl"
    predictions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return SuperNI(folder, shots=None), predictions


def peak(folder: Path, tasks: int) -> int:
    suite, predictions = benchmark(folder, tasks)
    tracemalloc.start()
    scoring = score_outputs(suite, predictions, RunFolder(folder / "out"))
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert scoring.coverage.scored == tasks * INSTANCES
    return highest


def test_peak_memory_does_not_grow_with_the_number_of_tasks(tmp_path: Path) -> None:
    # From 35 tasks on, the bootstrap of the overall mean fills its workspace of fixed size twice.
    few, many = peak(tmp_path / "few", 36), peak(tmp_path / "many", 72)
    text_added = (tmp_path / "many/predictions.jsonl").stat().st_size // 2
    # Each further sample costs its place in the index and one number a metric, not its text.
    assert many - few < text_added / 8


def test_which_examples_were_scored_is_told_whatever_their_order(tmp_path: Path) -> None:
    suite, predictions = benchmark(tmp_path, 2)
    lines = predictions.read_text().splitlines(keepends=True)

    def scored(order: list[str]) -> str:
        predictions.write_text("".join(order))
        return score_outputs(suite, predictions, None).coverage.scored_sha256

    whole = scored(lines)
    assert len(whole) == 64
    assert scored(sorted(lines)) == whole
    assert len({whole, scored(lines[1:]), scored(lines[:-1])}) == 3
