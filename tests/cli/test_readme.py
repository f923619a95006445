"""Every command of tuna-eval that README, docs and --help show is run, on a real model and the built-in sample."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from command_line import ROOT, environment, here

from documentation import commands, filled
from human_study import saved
from openai_server import OpenAIServer
from tuna_eval.llm.models import resolve_model
from tuna_eval.report.human.files import read_key

QUICK = ["--data", "mini", "--limit", "1", "--max-new-tokens", "4", "--engine", "hf"]
ONE_TASK = {"superni": "task9001_mini_textual_entailment", "lmentry": "first_letter", "vicuna_qa": "generic"}
BASELINE = ROOT / "benchmarks/mini/vicuna/baseline_answers.jsonl"
QUESTIONS = [str(number) for number in range(1, 10)]  # of the built-in sample


def make_targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def run(words: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """A command from the checkout's folder: ours in this process, another in one of its own."""
    if words[0] == "tuna-eval":
        with chdir(ROOT):
            return here(*words[1:], env=variables)
    offline = environment(HF_HUB_OFFLINE="1", **variables)
    words = [sys.executable, "-m", *words]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, env=offline)


def suites(words: list[str]) -> list[str]:
    """The benchmarks that a command names."""
    return [name for name in ONE_TASK if name in words or "all" in words]


def test_the_readme_shows_commands() -> None:
    assert len(commands()) > 8


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make ")])
def test_make_targets_exist(command: str) -> None:
    assert command.split()[1] in make_targets()  # CI itself runs `make demo` and `make test`


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith(("tuna-eval ls", "tuna-eval data list"))])
def test_listing_commands(command: str) -> None:
    result = run(shlex.split(command))
    assert result.returncode == 0, result.stderr
    assert result.stdout


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("tuna-eval data fetch")])
def test_fetching_brings_the_data_or_says_why_not(command: str, tmp_path: Path) -> None:
    result = run(shlex.split(command), TUNA_CACHE=str(tmp_path))
    offline = result.returncode == 2 and "cannot be reached" in result.stderr.splitlines()[-1]
    assert result.returncode == 0 or offline, result.stderr


@pytest.mark.model
@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("tuna-eval run")])
def test_run_commands(command: str, tmp_path: Path) -> None:
    words = filled(command, {"CKPT": str(resolve_model("demo").folder), "FILE": str(BASELINE)})
    tasks = [ONE_TASK[name] for name in suites(words)]
    judging = ["--judge-engine", "hf"] if "--judge" in words else []
    result = run([*words, *QUICK, *judging, "--tasks", *tasks, "--output", str(tmp_path)])
    assert result.returncode == 0, result.stderr
    for name in suites(words):
        assert list(tmp_path.glob(f"runs/*/{name}*/*/record.json"))
    assert len(list(tmp_path.glob("runs/*/vicuna_qa/*/judged/*/judging.json"))) == len(judging) / 2


SCORING = [c for c in commands() if c.startswith("tuna-eval score")]


@pytest.mark.parametrize("command", [c for c in SCORING if "vicuna_qa" not in c])
def test_score_commands(command: str, tmp_path: Path) -> None:
    task = json.loads((ROOT / f"benchmarks/mini/superni/tasks/{ONE_TASK['superni']}.json").read_text())
    ids = {"superni": task["Instances"][0]["id"], "lmentry": "1"}
    file = tmp_path / "predictions.jsonl"
    words = [str(file) if word == "FILE" else word for word in shlex.split(command)]
    (suite,) = suites(words)
    file.write_text(json.dumps({"task": ONE_TASK[suite], "id": ids[suite], "prediction": "neutral"}) + "\n")
    result = run([*words, "--data", "mini"])
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def judge_server() -> Iterator[OpenAIServer]:
    with OpenAIServer(lambda prompt: "Both are fine. [[C]]", key="sk-readme") as server:
        yield server


@pytest.fixture(scope="module")
def study(judge_server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the placeholders stand for: answers, two judgings of them, and people's rankings."""
    folder = tmp_path_factory.mktemp("study")
    script, server = folder / "script.jsonl", ["--judge-base-url", judge_server.base_url]
    script.write_text('{"reply": "The first is better. [[A]]"}\n')
    answer = ["tuna-eval", "run", "--suite", "vicuna_qa", "--data", "mini", "--model", str(script)]
    made = [run([*answer, "--engine", "scripted", "--output", str(folder)])]
    (own,) = folder.glob("runs/*/vicuna_qa/*")
    judge = ["tuna-eval", "judge", str(own), "--baseline", str(BASELINE), "--judge"]
    made.append(run([*judge, "gpt-4", *server], OPENAI_API_KEY="sk-readme"))
    (first,) = own.glob("judged/*")
    made.append(run([*judge, str(script), "--judge-engine", "scripted"]))
    (second,) = set(own.glob("judged/*")) - {first}
    page, key = folder / "page.html", folder / "page.key.json"
    made.append(run(["tuna-eval", "human", "export", str(own), str(BASELINE), "--out", str(page)]))
    assert [each.returncode for each in made] == [0] * 4, [each.stderr for each in made]
    better = {id: [[name] for name in read_key(key).systems] for id in QUESTIONS}
    annotators = {f"{name}.json": str(saved(folder / f"{name}.json", key, name, better)) for name in ("ANN", "BOB")}
    files = {"FILE": str(BASELINE), "REVIEWS": str(first / "judgments.jsonl"), "page.html": str(folder / "new.html")}
    judgings = {"JUDGING": first.name, "OTHER": second.name}
    return {"RUN": str(own), **judgings, **files, **annotators, "page.key.json": str(key)}


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("tuna-eval judge")])
def test_judge_commands(command: str, study: dict[str, str], judge_server: OpenAIServer) -> None:
    words = filled(command, study)
    server = ["--judge-base-url", judge_server.base_url] if "--judge" in words else []
    result = run([*words, *server], OPENAI_API_KEY="sk-readme")
    assert result.returncode == 0, result.stderr
    assert ("at most $" if "--dry-run" in words else "win/lose/tie") in result.stderr
    assert ("kappa" in result.stderr) == ("--agreement" in words)


@pytest.mark.parametrize("command", [c for c in SCORING if "vicuna_qa" in c])
def test_review_commands(command: str, study: dict[str, str]) -> None:
    result = run([*filled(command, study), "--data", "mini"])
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["vicuna_qa"]["tie"] == len(QUESTIONS)


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("tuna-eval human")])
def test_human_commands(command: str, study: dict[str, str]) -> None:
    result = run(filled(command, study))
    assert result.returncode == 0, result.stderr
    assert ("page:" if "export" in command else "2.00 points") in result.stdout


@pytest.mark.model
@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("lm_eval")])
def test_lm_eval_commands(command: str, tmp_path: Path) -> None:
    folder = str(resolve_model("demo").folder)
    data = str(ROOT / "benchmarks/mini")
    words = shlex.split(command.replace("CKPT", folder).replace('"DIR"', f'"{data}"'))
    result = run([*words, "--limit", "1", "--device", "cpu", "--output_path", str(tmp_path)])
    assert result.returncode == 0, result.stderr[-3000:]
    assert "rougeL" in result.stdout


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of two models under results, and a baseline named main."""
    folder = tmp_path_factory.mktemp("measured")
    for name, reply in (("CANDIDATE", "neutral"), ("BASELINE", "entailment")):
        script = folder / f"{name}.jsonl"
        script.write_text(json.dumps({"reply": reply}) + "\n")
        words = ["run", "--model", script, "--name", name, "--suite", "superni", "lmentry", "--engine", "scripted"]
        here(*words, "--data", "mini", "--limit", "1", "--output", folder / "results", check=True)
    with chdir(folder):
        here("baseline", "set", "main", "results/runs/BASELINE", check=True)
    return folder


SHOWN = ("table", "plot", "trend", "report", "gate", "baseline")


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith(tuple(f"tuna-eval {n}" for n in SHOWN))])
def test_commands_that_show_and_gate(command: str, measured: Path) -> None:
    runs = iter(["results/runs/CANDIDATE", "results/runs/BASELINE"] * 2)
    words = [next(runs) if word == "RUN" else word for word in filled(command, {"NAME": "BASELINE"})]
    with chdir(measured):
        result = here(*words[1:])
        assert result.returncode == (1 if words[1] == "gate" and "CANDIDATE fell" in result.stdout else 0), (
            result.stderr
        )
        for option in {"--out", "--plot"} & set(words):
            assert Path(words[words.index(option) + 1]).stat().st_size > 100


def test_every_command_is_tested() -> None:
    tested = ["data list", "data fetch", "ls", "run", "score", "judge", "human", *SHOWN]
    elsewhere = [
        "tuna-train ",
        "torchrun ",
        "tuna-eval watch ",
    ]  # tests/train/test_training_docs.py, test_github_workflow
    starts = ("make ", "source ", "lm_eval", *elsewhere, *(f"tuna-eval {name}" for name in tested))
    assert [c for c in commands() if not c.startswith(starts)] == []
