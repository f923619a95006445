"""`make real-run`: the small real model, tuned on real instructions and then on a teacher's ranking, measured held out.

The commands of docs/training.md, one after the other; each resumes, so that the whole does. The teacher is a model of
another family that orders the stored answers of five systems by its length-normalised likelihood of them (Eq. 3).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuna_train.data.ranked import RankedExample, read_ranked, write_ranked

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
# The systems whose answers are short: two cores score and train on some hundred tokens a second.
SYSTEMS = {"text_davinci_003", "text_davinci_001", "alpaca-7b", "falcon-7b-instruct", "alpaca-farm-ppo-sim-gpt4-20k"}
SMALL_STEP = ["batch_size=8", "micro_batch=2", "max_length=2048", "save_steps=10", "logging_steps=1"]


def tuna_train(words: list[str]) -> float:
    """Runs a command; seconds."""
    print(f"$ tuna-train {' '.join(words)}", file=sys.stderr, flush=True)
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "tuna_train.cli", *words], check=True, cwd=ROOT)
    return time.monotonic() - start


def of_short_systems(example: RankedExample) -> RankedExample:
    return replace(example, candidates=tuple(c for c in example.candidates if c.source in SYSTEMS))


def prepared(out: Path, teacher: str, examples: int) -> dict[str, Path]:
    """Training and held-out files, made once."""
    names = ("sft", "sft_heldout", "answers", "scored", "ranked", "ranked_heldout")
    files = {name: out / f"{name}.jsonl" for name in names}
    seeds, all_answers = out / "seed_tasks.jsonl", out / "all_answers.jsonl"
    heldout = examples // 4
    stages = [
        (seeds, ["convert", str(DATA / "self_instruct_seed_tasks.jsonl"), str(seeds)]),
        (files["sft"], ["mix", f"{seeds}@:150", "--out", str(files["sft"])]),
        (files["sft_heldout"], ["mix", f"{seeds}@150:", "--out", str(files["sft_heldout"])]),
        (
            all_answers,
            ["convert", str(DATA / "alpaca_eval_responses.jsonl"), str(all_answers), "--original", "text_davinci_003"],
        ),
    ]
    for file, words in stages:
        if not file.exists():
            tuna_train(["data", *words])
    if not files["answers"].exists():
        write_ranked(files["answers"], map(of_short_systems, read_ranked(all_answers)))
    # The command itself resumes.
    scoring = ["--model", teacher, "--given", "--engine", "hf", "--limit", str(examples + heldout)]
    tuna_train(["data", "teacher", str(files["answers"]), *scoring, "--out", str(files["scored"])])
    for name, part in (("ranked", f"@:{examples}"), ("ranked_heldout", f"@{examples}:")):
        if not files[name].exists():
            tuna_train(["data", "mix", f"{files['scored']}{part}", "--out", str(files[name])])
    return files


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--teacher", required=True, help="a model of another family than the student's")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "real_run")
    parser.add_argument(
        "--examples", type=int, default=64, help="ranked examples to train on; a quarter more is held out"
    )
    parser.add_argument("--epochs", type=int, default=2, help="over the ranked examples")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    files = prepared(arguments.out, arguments.teacher, arguments.examples)
    sft, ranked = arguments.out / "sft", arguments.out / "ranked"
    data = [f"data={files['sft']}", f"eval_data={files['sft_heldout']}"]
    tuna_train(["sft", "model=demo", *data, *SMALL_STEP, f"output={sft}"])
    data = [f"data={files['ranked']}", f"eval_data={files['ranked_heldout']}", f"epochs={arguments.epochs}"]
    tuna_train(["rank", f"model={sft}", *data, *SMALL_STEP, f"output={ranked}"])
    print(json.dumps({"minutes": (time.monotonic() - start) / 60, "sft": figures(sft), "rank": figures(ranked)}))


if __name__ == "__main__":
    main()
