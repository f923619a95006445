"""`make bench-train`: our ranking step beside a re-creation of the released one, on the same model, data and threads.

The released step forwards every candidate with its prompt, padded to the longest of the micro-batch, takes the full
log-softmax of all logits, and Hugging Face's token-mean loss over all logits again. Each side runs in a process of its
own, so that its peak memory is its own; both compute the released objective over the same groups of instructions, so
that losses and gradients compare.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.bench.record import record
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.models import resolve_model
from tuna_eval.llm.prompts import ALPACA
from tuna_eval.schema import Prompt
from tuna_train.losses import objective
from tuna_train.packing import TokenizedInstruction, collate
from tuna_train.scoring import enable_packing, response_logprobs
from tuna_train.training.host_memory import keep_freed_memory

LAYERS, CANDIDATES, MAX_TOKENS = 4, 5, 512  # 512: model_max_length of the released code
MARGIN = 0.1


def tokenized(responses: Path, count: int) -> list[TokenizedInstruction]:
    """Instructions spread evenly over the file, five systems' answers each, ranked as they stand."""
    encoder = HFEncoder.of(resolve_model("demo"))
    lines = responses.read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines[:: len(lines) // count][:count]:
        entry = json.loads(line)
        prompt = encoder.encode(Prompt(ALPACA.render(entry["instruction"])))
        texts = list(entry["outputs"].values())[:CANDIDATES]
        room = MAX_TOKENS - len(prompt)
        candidates = [[*ids, encoder.tokenizer.eos_token_id][:room] for ids in encoder.encode_plain(texts)]
        found.append(TokenizedInstruction(str(entry["id"]), prompt, candidates, range(len(candidates)), 0))
    return found


def small_llama() -> Any:
    """A random Llama of four layers with the width and the vocabulary of SmolLM2-135M."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1_536,
        num_hidden_layers=LAYERS,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").train()


def released_loss(model: Any, group: Sequence[TokenizedInstruction]) -> Tensor:
    """The loss of one micro-batch as the released code computes it."""
    lines = [(list(i.prompt), list(c)) for i in group for c in i.candidates]
    length = max(len(prompt) + len(response) for prompt, response in lines)
    ids = torch.zeros(len(lines), length, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for line, (prompt, response) in enumerate(lines):
        end = len(prompt) + len(response)
        ids[line, :end], mask[line, :end] = torch.tensor(prompt + response), 1
        labels[line, len(prompt) : end] = torch.tensor(response)
    output = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False)
    logprobs, targets = output.logits[:, :-1].log_softmax(-1), labels[:, 1:]
    unmasked = targets != -100
    picked = logprobs.gather(-1, targets.clamp_min(0).unsqueeze(-1)).squeeze(-1) * unmasked
    scores = (picked.sum(-1) / unmasked.sum(-1)).view(len(group), CANDIDATES)
    loss = output.loss
    for gap in range(1, CANDIDATES):
        better, worse = scores[:, :-gap], scores[:, gap:]
        criterion = torch.nn.MarginRankingLoss(MARGIN * gap)
        loss = loss + criterion(better, worse, torch.ones_like(better))
    assert isinstance(loss, Tensor)
    return loss


def released_step(model: Any, groups: Sequence[Sequence[TokenizedInstruction]]) -> float:
    total = 0.0
    for group in groups:
        loss = released_loss(model, group) / len(groups)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def packed_step(model: Any, groups: Sequence[Sequence[TokenizedInstruction]], at_once: int) -> float:
    """The same loss, `at_once` instructions at a time."""
    total = 0.0
    for group in groups:
        totals = collate(group, packed=True).wanted.totals()
        for start in range(0, len(group), at_once):
            batch = collate(group[start : start + at_once], packed=True)
            logprobs = response_logprobs(model, batch)
            loss = objective(logprobs, batch.wanted, MARGIN, 1.0, "released", "all", totals).total / len(groups)
            loss.backward()
            total += loss.item()
    return total


def run_side(arguments: argparse.Namespace) -> None:
    """One side in this process: prints seconds, peak memory and loss, and saves the gradients."""
    torch.set_num_threads(arguments.threads)
    records = tokenized(arguments.responses, arguments.instructions)
    size = arguments.micro_batch
    groups = [records[i : i + size] for i in range(0, len(records), size)]
    model = small_llama()
    keep_freed_memory()  # as the trainer does; both sides, so that it is not what is measured
    step: Callable[[Any], float]
    if arguments.side == "packed":
        enable_packing(model)
        step = lambda groups: packed_step(model, groups, arguments.at_once)  # noqa: E731
    else:
        step = lambda groups: released_step(model, groups)  # noqa: E731
    step([[records[0]]])  # warm-up
    model.zero_grad(set_to_none=False)
    start = time.perf_counter(), time.process_time()
    loss = step(groups)
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    torch.save({name: p.grad for name, p in model.named_parameters()}, arguments.gradients)
    print(json.dumps({"wall": seconds[0], "processor": seconds[1], "peak_bytes": peak, "loss": loss}))


def measure(side: str, arguments: argparse.Namespace, gradients: Path) -> dict[str, float]:
    options = {name: str(value) for name, value in vars(arguments).items()} | {
        "side": side,
        "gradients": str(gradients),
    }
    command = [sys.executable, "-m", "tests.bench.train"]
    command += [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    values: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    print(f"{side}: {values}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return values


def gradient_difference(ours: Path, theirs: Path) -> float:
    """Largest difference of a weight's gradient, relative to that gradient's norm."""
    mine, released = torch.load(ours), torch.load(theirs)
    return max(float((mine[name] - grad).norm() / grad.norm()) for name, grad in released.items())


def main() -> None:
    parser = argparse.ArgumentParser()
    shared = Path(__file__).resolve().parents[3] / "shared" / "data" / "alpaca_eval_responses.jsonl"
    parser.add_argument("--responses", type=Path, default=shared)
    parser.add_argument("--instructions", type=int, default=16, help="of a step")
    parser.add_argument("--micro-batch", type=int, default=4, help="instructions at a time in the released step")
    parser.add_argument("--at-once", type=int, default=2, help="instructions at a time in our step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", choices=["both", "packed", "released"], default="both")
    parser.add_argument("--gradients", type=Path, help="of one side, where to save them")
    arguments = parser.parse_args()
    if arguments.side != "both":
        run_side(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        files = {side: Path(folder) / f"{side}.pt" for side in ("packed", "released")}
        packed, released = (measure(side, arguments, file) for side, file in files.items())
        difference = gradient_difference(files["packed"], files["released"])
    figures = {
        "ranking_step_speed_ratio": released["wall"] / packed["wall"],
        "ranking_step_processor_ratio": released["processor"] / packed["processor"],
        "ranking_step_memory_ratio": released["peak_bytes"] / packed["peak_bytes"],
        "packed_instructions_per_second": arguments.instructions / packed["wall"],
        "packed_peak_bytes": packed["peak_bytes"],
        "packed_loss_difference": abs(packed["loss"] - released["loss"]),
        "packed_gradient_difference": difference,
        "load_average": os.getloadavg()[0],
    }
    settings = {name: value for name, value in vars(arguments).items() if isinstance(value, int)}
    record("train", figures, settings)


if __name__ == "__main__":
    main()
