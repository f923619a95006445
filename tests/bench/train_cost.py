"""What a ranking step costs: over the number of candidates, packed and padded, and in memory on a large vocabulary.

`make bench-train` runs it after the comparison with the released step; each memory figure is of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.bench.record import record
from tuna_train.losses import objective
from tuna_train.packing import TokenizedInstruction, collate
from tuna_train.scoring import enable_packing, response_logprobs
from tuna_train.training.host_memory import give_back_freed_memory, keep_freed_memory

FIGURE = Path(__file__).resolve().parents[2] / "results" / "figures" / "train_cost.svg"
PROMPT, RESPONSE = 256, 64  # tokens
NUMBERS = (1, 2, 3, 4, 6, 8)
OKABE_ITO = {"packed": "#0072B2", "padded": "#D55E00"}


def instruction(candidates: int, vocabulary: int, seed: int) -> TokenizedInstruction:
    """Random tokens; the first candidate is the original response."""
    random = np.random.default_rng(seed)
    draw = lambda length: random.integers(3, vocabulary, length).tolist()  # noqa: E731
    responses = [draw(RESPONSE) for _ in range(candidates)]
    return TokenizedInstruction(str(seed), draw(PROMPT), responses, range(candidates), 0)


def step(model: Any, instructions: Sequence[TokenizedInstruction], *, packed: bool) -> float:
    """Forward and backward of one ranking step; seconds."""
    start = time.perf_counter()
    batch = collate(instructions, packed=packed)
    objective(response_logprobs(model, batch), batch.wanted).total.backward()
    return time.perf_counter() - start


def seconds_by_candidates(repeats: int) -> dict[str, list[float]]:
    """Seconds of a step of one instruction by number of candidates, the fastest of several."""
    from tests.bench.train import small_llama

    model = small_llama()
    enable_packing(model)
    best: dict[str, list[float]] = {"packed": [], "padded": []}
    for number in NUMBERS:
        group = [instruction(number, model.config.vocab_size, seed=number)]
        times: dict[str, list[float]] = {"packed": [], "padded": []}
        for _ in range(repeats):
            for kind, taken in times.items():
                taken.append(step(model, group, packed=kind == "packed"))
        for kind, taken in times.items():
            best[kind].append(min(taken))
        print(f"{number} candidates: {best['packed'][-1]:.2f} s, {best['padded'][-1]:.2f} s", file=sys.stderr)
    return best


def line_through(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Intercept and slope of the least-squares line over the number of candidates, and the share it explains."""
    slope, intercept = np.polyfit(NUMBERS, seconds, 1)
    left = np.asarray(seconds) - (intercept + slope * np.asarray(NUMBERS))
    return float(intercept), float(slope), float(1 - left.var() / np.var(seconds))


def draw(seconds: dict[str, list[float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 9, "svg.hashsalt": "tuna"})
    figure, axes = pyplot.subplots(figsize=(4, 3), layout="constrained")
    for (kind, values), marker in zip(seconds.items(), "os", strict=True):
        axes.plot(NUMBERS, values, marker=marker, color=OKABE_ITO[kind], label=kind)
    axes.set_xlabel(f"candidates of {RESPONSE} tokens to a prompt of {PROMPT}")
    axes.set_ylabel("seconds a step")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})


def gemma_step(threads: int, checkpointing: bool) -> None:
    """The second optimizer step of a random Gemma-3-270M, 4 instructions of 5 candidates at once, in this process."""
    from transformers import AutoModelForCausalLM, Gemma3TextConfig

    torch.set_num_threads(threads)
    config = Gemma3TextConfig(
        vocab_size=262_144,
        hidden_size=640,
        intermediate_size=2_048,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=512,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa").train()
    enable_packing(model)
    keep_freed_memory()  # as the trainer does, and gives back
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    taken = 0.0
    for instructions, candidates in ((1, 1), (4, 5)):  # the states of AdamW are there from the first step on
        group = [instruction(candidates, config.vocab_size, seed) for seed in range(instructions)]
        taken = step(model, group, packed=True)
        give_back_freed_memory()
        optimizer.step()
        optimizer.zero_grad()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    weights = sum(p.numel() for p in model.parameters())
    print(json.dumps({"peak_gib": peak / 2**30, "seconds": taken, "weights": weights}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gemma", choices=["plain", "checkpointing"], help="only the step of Gemma's size, here")
    arguments = parser.parse_args()
    if arguments.gemma:
        gemma_step(arguments.threads, arguments.gemma == "checkpointing")
        return
    torch.set_num_threads(arguments.threads)
    seconds = seconds_by_candidates(arguments.repeats)
    draw(seconds)
    gemma = {}
    for way in ("plain", "checkpointing"):
        command = [sys.executable, "-m", "tests.bench.train_cost", "--gemma", way, "--threads", str(arguments.threads)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        gemma |= {f"gemma_{way}_{name}": value for name, value in json.loads(output.splitlines()[-1]).items()}
    packed, padded = line_through(seconds["packed"]), line_through(seconds["padded"])
    figures = {
        "packed_seconds_a_candidate": packed[1],
        "padded_seconds_a_candidate": padded[1],
        "packed_linear_r2": packed[2],
        "candidate_cost_ratio": padded[1] / packed[1],
        "candidate_token_ratio": (PROMPT + RESPONSE) / RESPONSE,
        **gemma,
    }
    record("train", figures, {"repeats": arguments.repeats, "threads": arguments.threads}, part="cost")


if __name__ == "__main__":
    main()
