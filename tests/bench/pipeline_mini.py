"""`make pipeline-mini`: from instructions to a scored checkpoint with the small real model.

The model samples four diverse answers to 50 real instructions (vLLM), a judge behind a local OpenAI-compatible server
(vLLM's own) ranks them, the model is trained on the ranking, and tuna-eval scores it before and after. Every command
resumes, so that the whole does. The judge is the likelihood judge: a model of this size cannot write a ranking.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.record import record
from tuna_eval.llm.models import resolve_model

ROOT = Path(__file__).resolve().parents[2]
INSTRUCTIONS = ROOT.parent / "shared" / "data" / "self_instruct_user_oriented.jsonl"
SERVED = "judge"
TRAINING = ["batch_size=10", "micro_batch=2", "learning_rate=1e-5", "save_steps=2", "logging_steps=1"]


def tuna(program: str, *words: str) -> None:
    """Runs one command of the pipeline in a process of its own."""
    print(f"$ {program.replace('_', '-').removesuffix('.cli')} {' '.join(words)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", program, *words], check=True, cwd=ROOT)


@contextmanager
def served_judge(log: Path, port: int) -> Iterator[str]:
    """vLLM's OpenAI server with the small real model; its base URL."""
    words = ["--model", str(resolve_model("demo").folder), "--served-model-name", SERVED, "--dtype", "float32"]
    words += ["--max-model-len", "2048", "--enforce-eager", "--host", "127.0.0.1", "--port", str(port)]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "2", **os.environ}
    url = f"http://127.0.0.1:{port}/v1"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            until_it_answers(f"{url}/models", server, log)
            yield url
        finally:
            server.terminate()
            server.wait(60)


def until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"the server stopped; see {log}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(2)
    raise SystemExit(f"the server did not answer within 5 minutes; see {log}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--instructions", type=Path, default=INSTRUCTIONS)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--port", type=int, default=8427, help="of the judge; on another it counts as another judge")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "pipeline_mini")
    arguments = parser.parse_args()
    out, start = arguments.out, time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    sampled, ranked, model = out / "sampled.jsonl", out / "ranked.jsonl", out / "tuna_c"
    seconds: dict[str, float] = {}

    def done(stage: str) -> None:
        nonlocal start
        seconds[f"{stage}_seconds"], start = time.monotonic() - start, time.monotonic()

    sampling = ["--model", "demo", "--engine", "vllm", "--limit", str(arguments.limit), "--max-new-tokens", "128"]
    tuna("tuna_train.cli", "data", "sample", str(arguments.instructions), *sampling, "--out", str(sampled))
    done("sample")
    if not (model / "training.json").exists():
        with served_judge(out / "server.log", arguments.port) as url:
            tokenizer = str(resolve_model("demo").tokenizer_folder)
            judge = ["--ranker", f"likelihood:{SERVED}", "--judge-base-url", url, "--judge-tokenizer", tokenizer]
            tuna("tuna_train.cli", "data", "rank", str(sampled), *judge, "--out", str(ranked))
    done("rank")
    tuna("tuna_train.cli", "rank", "model=demo", "format=chat", f"data={ranked}", *TRAINING, f"output={model}")
    done("train")
    for checkpoint in ("demo", str(model)):
        scoring = ["--suite", "superni", "lmentry", "--data", "mini", "--limit", "5", "--output", str(out / "results")]
        tuna("tuna_eval.cli", "run", "--model", checkpoint, "--engine", "vllm", *scoring)
    done("score")
    tuna("tuna_train.cli", "data", "stats", str(ranked))
    steps = json.loads((model / "training.json").read_text(encoding="utf-8"))["steps"]
    figures = {**seconds, "minutes": sum(seconds.values()) / 60, "training_steps": steps}
    record("pipeline_mini", figures, {"limit": arguments.limit})


if __name__ == "__main__":
    main()
