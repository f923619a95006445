"""Times lm-eval's hf backend on given prompts, in a process of its own: vLLM binds the threads of its process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BATCH_SIZES = (4, 8, 16, 32)
PILOT_PROMPTS = 24


def seconds_at_best_batch_size(folder: Path, prompts: Sequence[str], max_new_tokens: int) -> tuple[float, int]:
    """Wall time of `generate_until` alone on all prompts, and the batch size that was fastest on a sample of them."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as job:
        json.dump({"folder": str(folder), "prompts": list(prompts), "max_new_tokens": max_new_tokens}, job)
        job.flush()
        words = [sys.executable, "-m", "tests.bench.lm_eval_hf", job.name]
        answer = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    result = json.loads(answer.strip().splitlines()[-1])
    return float(result["seconds"]), int(result["batch_size"])


def main() -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    settings = {"until": [], "max_gen_toks": job["max_new_tokens"], "do_sample": False}
    requests = [Instance("generate_until", {}, (text, settings), i) for i, text in enumerate(job["prompts"])]

    def seconds(batch_size: int, asked: list[Any]) -> float:
        lm = HFLM(pretrained=job["folder"], device="cpu", dtype="float32", batch_size=batch_size)
        start = time.perf_counter()
        lm.generate_until(asked, disable_tqdm=True)
        return time.perf_counter() - start

    sample = requests[:: max(1, len(requests) // PILOT_PROMPTS)]
    pilot = {size: seconds(size, sample) for size in BATCH_SIZES}
    print(f"lm-eval hf, {len(sample)} prompts, seconds by batch size: {pilot}", file=sys.stderr)
    best = min(pilot, key=lambda size: pilot[size])
    print(json.dumps({"seconds": seconds(best, requests), "batch_size": best}))


if __name__ == "__main__":
    main()
