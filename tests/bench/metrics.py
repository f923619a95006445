"""How much faster the metrics are than the packages whose numbers they equal, measured side by side in one process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from tuna_eval.metrics.bertscore import BertScorer
from tuna_eval.metrics.rouge import best_rouge

Pairs = Sequence[tuple[str, Sequence[str]]]
"""Predictions, each with its references."""


# About what a limit of 128 new tokens leaves of a prediction, in words.
_LONGEST_PREDICTION = 90


def task_pairs(folder: Path, limit: int = 100) -> list[tuple[str, list[str]]]:
    """Pairs from Super-NI task files: what two copying baselines would answer, beside the instance's references.

    The predictions of one half are the instance's input, of the other half the output of the instance before; so texts
    are real, labels of classification tasks repeat, and no model is needed. Predictions are cut as generation is.

    Args:
        folder: holds the task files (`*.json`, official format).
        limit: instances taken from each.
    """
    pairs = []
    for path in sorted(folder.glob("*.json")):
        instances = json.loads(path.read_text(encoding="utf-8"))["Instances"][:limit]
        for place, instance in enumerate(instances):
            prediction = instance["input"] if place % 2 else instances[place - 1]["output"][0]
            pairs.append((" ".join(prediction.split()[:_LONGEST_PREDICTION]), list(instance["output"])))
    return pairs


def response_pairs(file: Path, limit: int = 1000) -> list[tuple[str, list[str]]]:
    """Pairs of whole answers of two systems to one question, as the diversity filter compares them.

    Args:
        file: JSON Lines with a mapping "outputs" from system to answer.
        limit: number of pairs.
    """
    pairs: list[tuple[str, list[str]]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        answers = list(json.loads(line)["outputs"].values())
        pairs.extend((first, [second]) for first, second in pairwise(answers))
    step = max(1, len(pairs) // limit)
    return pairs[::step][:limit]


def bertscore_speed_ratio(pairs: Pairs, model: str, layer: int, rounds: int = 3) -> dict[str, float]:
    """Time of bert-score over time of our engine, same encoder and threads, default batch sizes; repeated texts stay.

    Examples with an empty text are left out, since bert-score crashes on them with transformers 5.

    Args:
        pairs: predictions with references.
        model: folder or hub id of an encoder.
        layer: of the encoder.
        rounds: how often each is run.

    Returns:
        `bertscore_speed_ratio`: wall-clock time; `bertscore_cpu_ratio`: processor time over all threads;
        `bertscore_largest_difference`: between the two packages' F1; `bertscore_pairs`: texts compared.
    """
    from bert_score import BERTScorer

    full = [pair for pair in pairs if all(text.strip() for text in (pair[0], *pair[1]))]
    predictions, references = [pair[0] for pair in full], [list(pair[1]) for pair in full]
    package, ours = BERTScorer(model_type=model, num_layers=layer), BertScorer(model, layer)
    seconds = alternate(
        {
            "package": lambda: package.score(predictions, references),
            "ours": lambda: ours.score(predictions, references),
        },
        rounds,
    )
    found = zip(package.score(predictions, references)[2].tolist(), ours.score(predictions, references), strict=True)
    return {
        "bertscore_speed_ratio": seconds["package"][0] / seconds["ours"][0],
        "bertscore_cpu_ratio": seconds["package"][1] / seconds["ours"][1],
        "bertscore_largest_difference": max(abs(theirs - own) for theirs, own in found),
        "bertscore_pairs": float(sum(map(len, references))),
    }


def rouge_speed_ratio(pairs: Pairs, rounds: int = 5) -> dict[str, float]:
    """Time of rouge-score over time of each fast engine, ROUGE-1 and ROUGE-L with stemmer.

    Every text is scored by both, and repeated pairs are left out, since the engines would score them once.

    Returns:
        `rouge_speed_ratio` (rouge-score-rs engine), `rouge_pure_speed_ratio` (python engine): wall-clock time;
        `rouge_cpu_ratio`, `rouge_pure_cpu_ratio`: processor time over all threads; `rouge_pairs`: texts compared.
    """
    distinct = dict.fromkeys((prediction, tuple(references)) for prediction, references in pairs)
    predictions, references = [pair[0] for pair in distinct], [pair[1] for pair in distinct]
    engines = ("rouge-score", "rouge-score-rs", "python")
    subjects = {engine: partial(best_rouge, predictions, references, engine=engine) for engine in engines}
    seconds = alternate(subjects, rounds)
    slow, fast, pure = seconds["rouge-score"], seconds["rouge-score-rs"], seconds["python"]
    return {
        "rouge_speed_ratio": slow[0] / fast[0],
        "rouge_pure_speed_ratio": slow[0] / pure[0],
        "rouge_cpu_ratio": slow[1] / fast[1],
        "rouge_pure_cpu_ratio": slow[1] / pure[1],
        "rouge_pairs": float(sum(map(len, references))),
    }


def alternate(subjects: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median wall-clock and processor seconds of each subject, run in turn (A B A B ...) after one warm-up each."""
    for run in subjects.values():
        run()
    wall: dict[str, list[float]] = {name: [] for name in subjects}
    processor: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, run in subjects.items():
            start = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - start[0])
            processor[name].append(time.process_time() - start[1])
    return {name: (median(wall[name]), median(processor[name])) for name in subjects}
