"""lm-eval users get the number that tuna-eval users get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuna_eval.llm.models import resolve_model

ROOT = Path(__file__).resolve().parents[2]
TASKS, INSTANCES = ("task9001", "task9009", "task9010"), 3


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A few instances of a few tasks, so that both sides take seconds."""
    folder = tmp_path / "data" / "superni"
    (folder / "tasks").mkdir(parents=True)
    names = []
    for file in sorted((ROOT / "benchmarks/mini/superni/tasks").glob("*.json")):
        if file.stem.startswith(TASKS):
            task = json.loads(file.read_text())
            task["Instances"] = task["Instances"][:INSTANCES]
            (folder / "tasks" / file.name).write_text(json.dumps(task))
            names.append(file.stem)
    (folder / "test_tasks.txt").write_text("\n".join(names) + "\n")
    return tmp_path / "data"


def run(*words: object) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-m", *map(str, words)], capture_output=True, text=True, check=False, env=environment
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.model
@pytest.mark.parametrize(("shots", "format"), [(0, "chat"), (2, "plain")])
def test_lm_eval_gives_the_same_scores(shots: int, format: str, data_dir: Path, tmp_path: Path) -> None:
    folder = resolve_model("demo").folder
    ours = json.loads(
        run(
            *("tuna_eval.cli", "run", "--model", folder, "--engine", "hf", "--suite", "superni", "--shots", shots),
            *("--format", format, "--data-dir", data_dir, "--output", tmp_path / "ours", "--json"),
        )
    )[f"superni_{shots}shot"]
    task = f"tuna_superni_{shots}shot"
    run(
        *("lm_eval", "--model", "hf", "--model_args", f"pretrained={folder},dtype=float32", "--device", "cpu"),
        *(
            "--include_path",
            ROOT / "benchmarks/lm_eval",
            "--tasks",
            task,
            "--metadata",
            json.dumps({"data_dir": str(data_dir)}),
        ),
        *("--batch_size", 9, "--output_path", tmp_path / "theirs"),
        *(["--apply_chat_template"] if format == "chat" else []),
    )
    (file,) = (tmp_path / "theirs").rglob("results_*.json")
    theirs = json.loads(file.read_text())["results"][task]
    assert ours["rougeL"] > 0
    for metric, value in ours.items():
        assert theirs[f"{metric},none"] == pytest.approx(value, abs=1e-9)
