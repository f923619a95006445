"""`make bench-parity`: whether two engines say the same, and where the first differing reply parts."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.bench.record import record


@dataclass(frozen=True)
class Agreement:
    """How far the replies of two runs agree.

    Attributes:
        compared: prompts answered in both runs.
        equal: of them, with the same token ids.
        first_divergence: the first differing reply, and the token at which it parts; "" if there is none.
    """

    compared: int
    equal: int
    first_divergence: str

    @property
    def percent(self) -> float:
        return 100.0 * self.equal / self.compared


def samples(file: Path) -> dict[tuple[str, str], dict[str, object]]:
    lines = (json.loads(line) for line in file.read_bytes().splitlines())
    return {(line["task"], line["id"]): line for line in lines}


def compare(first: Path, second: Path) -> Agreement:
    """Compares two samples.jsonl of one suite."""
    ours, theirs = samples(first), samples(second)
    shared = sorted(ours.keys() & theirs.keys())
    differing = [key for key in shared if ours[key]["token_ids"] != theirs[key]["token_ids"]]
    divergence = ""
    if differing:
        a, b = ours[differing[0]], theirs[differing[0]]
        place = common_length(a["token_ids"], b["token_ids"])
        divergence = f"{' '.join(differing[0])} at token {place}: {a['output']!r} against {b['output']!r}"
    return Agreement(len(shared), len(shared) - len(differing), divergence)


def common_length(first: object, second: object) -> int:
    assert isinstance(first, list)
    assert isinstance(second, list)
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def main() -> None:
    """Runs the command of the README with both engines, and records the share of equal replies for each suite."""
    parser = argparse.ArgumentParser()
    shared = Path(__file__).resolve().parents[3] / "shared" / "benchmarks"
    parser.add_argument("--data-dir", type=Path, default=shared if shared.is_dir() else None)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--limit", default="5", help="instances a task")
    arguments = parser.parse_args()
    data = ["--data-dir", str(arguments.data_dir)] if arguments.data_dir else ["--data", "mini"]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as output:
        for engine in ("vllm", "hf"):
            words = ["run", "--model", arguments.model, "--engine", engine, "--suite", "superni", "--shots", "0", "2"]
            words += ["--limit", arguments.limit, *data, "--output", f"{output}/{engine}", "--dtype", "float32"]
            subprocess.run([sys.executable, "-m", "tuna_eval.cli", *words], check=True)
        divergences = {}
        for suite in ("superni_0shot", "superni_2shot"):
            first, second = (next(Path(output, e).glob(f"runs/*/{suite}/*/samples.jsonl")) for e in ("vllm", "hf"))
            agreement = compare(first, second)
            print(
                f"{suite}: {agreement.equal} of {agreement.compared} equal; {agreement.first_divergence}",
                file=sys.stderr,
            )
            divergences[suite] = agreement.first_divergence
            figures[f"engine_agreement_percent_{suite}"] = agreement.percent
    record("parity", figures, {"model": arguments.model, "limit": arguments.limit, "first_divergence": divergences})


if __name__ == "__main__":
    main()
