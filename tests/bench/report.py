"""`make bench-report`: how often the gate stops a model that is no worse, whether it sees a drop, and its time.

False alarms and power are counted over simulated pairs of full-size runs (`synthetic_runs`), each with tasks, systems
and samples of its own: 119 tasks of Super-NI and 25 of LMentry, and a gate over both. False alarms are counted too
where it is hardest: few questions with a judge's three verdicts, and few tasks of unequal size that stray far. The time
is that of `tuna-eval gate` over two models' runs of 11,810 and 62,703 samples, start of the process included. What
`tuna-eval report` takes is measured by `report_page`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.bench.record import record
from tests.bench.report_page import page_figures
from tests.bench.synthetic_runs import TASK_SPREAD, Scores, lmentry_breakdown, synthetic_pair, write_runs
from tuna_eval.metrics.paired import FloatArray, compare_paired
from tuna_eval.report.gate import GateOptions, shared_level, suite_verdict
from tuna_eval.report.gate_samples import Measured, PairedScores, TaskScores, mean_difference
from tuna_eval.tasks.lmentry.paired import lmentry_difference, read_counts

PLANTED = 3.0  # points of ROUGE-L
SUITES = 2
SAMPLES = 11_810 + 62_703  # that the timed gate reads of each model


def superni_scores(candidate: Scores, baseline: Scores) -> PairedScores:
    """What a gate reads from the two runs' files of Super-NI."""
    tasks = {
        task: TaskScores(tuple(map(str, range(len(own)))), 100 * own, 100 * baseline.superni[task])
        for task, own in candidate.superni.items()
    }
    means = [
        float(np.concatenate([getattr(own, side) for own in tasks.values()]).mean())
        for side in ("candidate", "baseline")
    ]
    return PairedScores("superni_2shot", "task", (Measured("rougeL", *means, mean_difference(tasks, "task")),), {})


def lmentry_scores(candidate: Scores, baseline: Scores) -> PairedScores:
    """The same of LMentry."""
    own, other = (read_counts(lmentry_breakdown(side.lmentry), ()) for side in (candidate, baseline))
    values = [system.aspects().score or 0.0 for system in (own, other)]
    measured = Measured("lmentry_score", *values, lmentry_difference(own, other, "lmentry_score"))
    return PairedScores("lmentry", "task", (measured,), {})


def false_alarms(nulls: int, resamples: int, seed: int) -> dict[str, float]:
    """Percent of the pairs of equal systems that a gate over both benchmarks stops, and each benchmark by itself."""
    rng = np.random.default_rng(seed)
    options = GateOptions(resamples=resamples)
    shared = shared_level(options.level, SUITES)
    stopped = {"gate": 0, "superni": 0, "lmentry": 0}
    for number in range(nulls):
        pair = synthetic_pair(rng)
        read: dict[str, Callable[[Scores, Scores], PairedScores]] = {
            "superni": superni_scores,
            "lmentry": lmentry_scores,
        }
        scores = {name: of(*pair) for name, of in read.items()}
        failed = [not suite_verdict(own, options, shared, 0.0).passed for own in scores.values()]
        stopped["gate"] += any(failed)
        for name, own in scores.items():
            stopped[name] += not suite_verdict(own, options, options.level, 0.0).passed
        if (number + 1) % 500 == 0:
            print(f"{number + 1} nulls: {stopped}", file=sys.stderr, flush=True)
    return {
        "gate_false_alarm_percent": 100 * stopped["gate"] / nulls,
        "gate_false_alarm_percent_superni": 100 * stopped["superni"] / nulls,
        "gate_false_alarm_percent_lmentry": 100 * stopped["lmentry"] / nulls,
    }


def verdicts(rng: np.random.Generator, questions: int) -> PairedScores:
    """What a judge says of equal systems head to head, as a gate reads it of Vicuna QA: many ties, or hardly any."""
    tie = rng.uniform(0.05, 0.5)
    net = rng.choice([100.0, 0.0, -100.0], questions, p=[(1 - tie) / 2, tie, (1 - tie) / 2])
    return equal_scores("vicuna_qa", "sample", {"all": (net, np.zeros(questions))})


def uneven_tasks(rng: np.random.Generator, tasks: int) -> PairedScores:
    """Tasks of 10 to 1,000 samples, whose means stray between equal systems by Student's t with three degrees."""
    sizes = np.exp(rng.uniform(np.log(10), np.log(1000), tasks)).astype(int)
    effects = TASK_SPREAD * rng.standard_t(3, (2, tasks))
    samples = [[rng.normal(50 + effect, 30, size) for effect, size in zip(own, sizes, strict=True)] for own in effects]
    return equal_scores(
        "superni_0shot", "task", {f"task{i:03}": pair for i, pair in enumerate(zip(*samples, strict=True))}
    )


def equal_scores(suite: str, unit: str, pairs: Mapping[str, tuple[FloatArray, FloatArray]]) -> PairedScores:
    """Scores of a candidate and a baseline by task, in points."""
    tasks = {task: TaskScores(tuple(map(str, range(len(own)))), own, other) for task, (own, other) in pairs.items()}
    statistic = mean_difference(tasks, unit)
    difference = float(statistic.reweighted(np.ones((1, statistic.units)))[0])
    return PairedScores(suite, unit, (Measured("points", difference, 0.0, statistic),), {})


def calibration_figures(arguments: argparse.Namespace) -> dict[str, float]:
    """False alarms in percent at a nominal 5 where units are few, coarse, or of unequal size with heavy tails."""
    options = GateOptions(resamples=arguments.resamples)
    drawn: Mapping[str, tuple[Callable[[np.random.Generator, int], PairedScores], Sequence[int]]] = {
        "questions": (verdicts, (80, 20, 8, 5)),
        "uneven_tasks": (uneven_tasks, (25, 12, 8)),
    }
    figures = {}
    for name, (draw, sizes) in drawn.items():
        for units in sizes:
            rng = np.random.default_rng([3, units])
            found = (suite_verdict(draw(rng, units), options, options.level, 0.0) for _ in range(arguments.nulls))
            stopped = sum(not verdict.passed for verdict in found)
            figures[f"gate_false_alarm_percent_{units}_{name}"] = 100 * stopped / arguments.nulls
            print(figures, file=sys.stderr, flush=True)
    return figures


def power(pairs: int, resamples: int, seed: int) -> dict[str, float]:
    """How often drops on Super-NI are caught: one of 3 points, and one of the size said to be caught in 80 of 100."""
    rng = np.random.default_rng(seed)
    options = GateOptions(resamples=resamples)
    caught, predicted, detectable, at_detectable = 0, [], [], 0
    for _ in range(pairs):
        pair = synthetic_pair(rng, drop=PLANTED)
        (own,) = superni_scores(*pair).metrics
        found = compare_paired(own.statistic, level=options.level, resamples=resamples, seed=options.seed)
        predicted.append(found.power(PLANTED) or 0.0)
        detectable.append(found.detectable_drop(options.power) or 0.0)
        caught += found.is_drop
    for _ in range(pairs):
        pair = synthetic_pair(rng, drop=float(np.mean(detectable)))
        at_detectable += not suite_verdict(superni_scores(*pair), options, options.level, 0.0).passed
    return {
        "gate_power_percent_3_points": 100 * caught / pairs,
        "gate_predicted_power_percent_3_points": 100 * float(np.mean(predicted)),
        "gate_detectable_drop_points": float(np.mean(detectable)),
        "gate_power_percent_at_detectable_drop": 100 * at_detectable / pairs,
    }


def seconds(repeats: int) -> dict[str, float]:
    """The median time of `tuna-eval gate` over two models with both benchmarks in full size."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        pair = zip(("candidate", "baseline"), synthetic_pair(np.random.default_rng(0), drop=1.0), strict=True)
        places = [write_runs(results, name, scores, core_only=True) for name, scores in pair]
        words = [sys.executable, "-m", "tuna_eval.cli", "gate", str(places[0]), "--baseline", str(places[1])]
        took = []
        for _ in range(repeats):
            began = time.perf_counter()
            result = subprocess.run(words, capture_output=True, text=True, check=False)
            took.append(time.perf_counter() - began)
            assert result.returncode in (0, 1), result.stderr
    return {"gate_seconds": float(np.median(took))}


def gate_figures(arguments: argparse.Namespace) -> dict[str, float]:
    figures = seconds(arguments.repeats)
    print(figures, file=sys.stderr, flush=True)
    figures |= power(arguments.pairs, arguments.resamples, seed=1)
    return figures | false_alarms(arguments.nulls, arguments.resamples, seed=2)


# Each part is measured by itself with --part, or all in this order.
PARTS: Mapping[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "gate": gate_figures,
    "calibration": calibration_figures,
    "page": page_figures,
}
REPORT_SAMPLES = 11_810 + 110_703  # of each model on the page


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=PARTS, help="only this one; the figures of the others are kept")
    parser.add_argument("--nulls", type=int, default=4000, help="pairs of equal systems; 1,000 leave a point of chance")
    parser.add_argument("--pairs", type=int, default=400, help="pairs with a planted drop")
    parser.add_argument(
        "--resamples", type=int, default=1999, help="in the simulations; the gate's own default is 9999"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of what is timed")
    shared = Path(__file__).resolve().parents[3] / "shared" / "benchmarks"
    parser.add_argument("--data-dir", type=Path, default=shared, help="holds LMentry's official data, for the page")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    for name, part in PARTS.items():
        if arguments.part in (None, name):
            figures |= part(arguments)
            print(figures, file=sys.stderr, flush=True)
    settings = {key: value for key, value in vars(arguments).items() if key not in ("part", "data_dir")}
    settings |= {"gate_samples": SAMPLES, "report_samples": REPORT_SAMPLES}
    record("report", figures, settings, part=arguments.part or "")


if __name__ == "__main__":
    main()
