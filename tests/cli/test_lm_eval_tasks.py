"""lm-eval users get the number that tuna-eval users get."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, here

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.models import resolve_model
from tuna_eval.llm.prompts import ALPACA
from tuna_eval.tasks.base import Tally
from tuna_eval.tasks.lm_eval_lmentry import load_lmentry, process_lmentry
from tuna_eval.tasks.lmentry.names import CORE, TASKS
from tuna_eval.tasks.lmentry.scoring import STRICT, score_prediction
from tuna_eval.tasks.lmentry.task import LMentry

MINI = ROOT / "benchmarks/mini"
FOLDER = ROOT / "benchmarks/lm_eval"
SUPERNI_TASKS, INSTANCES = ("task9001", "task9009", "task9010"), 2
LMENTRY_TASKS, PER_TEMPLATE = ("bigger_number", "word_after", "first_letter", "more_letters_length_diff_1"), 1


@pytest.fixture
def superni_data(tmp_path: Path) -> Path:
    """A few instances of a few tasks, so that both sides take seconds."""
    folder = tmp_path / "data" / "superni"
    (folder / "tasks").mkdir(parents=True)
    names = []
    for file in sorted((MINI / "superni/tasks").glob("*.json")):
        if file.stem.startswith(SUPERNI_TASKS):
            task = json.loads(file.read_text())
            task["Instances"] = task["Instances"][:INSTANCES]
            (folder / "tasks" / file.name).write_text(json.dumps(task))
            names.append(file.stem)
    (folder / "test_tasks.txt").write_text("\n".join(names) + "\n")
    return tmp_path / "data"


def copy_lmentry(folder: Path, sizes: Mapping[str, int]) -> Path:
    """Files of the sample with so many examples of each template; the folder that holds them."""
    (folder / "lmentry").mkdir(parents=True)
    for task, per_template in sizes.items():
        data = json.loads((MINI / "lmentry" / f"{task}.json").read_text())
        kept: dict[str, Any] = {}
        for template in range(len(data["settings"]["input_templates"])):
            of_template = {i: e for i, e in data["examples"].items() if e["metadata"]["template_id"] == template}
            kept |= dict(list(of_template.items())[:per_template])
        data["settings"]["num_examples_per_template"], data["examples"] = per_template, kept
        (folder / "lmentry" / f"{task}.json").write_text(json.dumps(data))
    return folder


def ours(*words: object) -> Any:
    """What our command prints."""
    return json.loads(here(*words, "--json", check=True).stdout)


def lm_eval_index(**metadata: object) -> Any:
    """lm-eval's index of the folder alone: its own 14,000 tasks would take half a minute."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata)


def run_lm_eval(
    tasks: Sequence[str], data_dir: Path, output: Path, *, batch_size: int, is_chat: bool = False
) -> dict[str, Any]:
    """lm-eval's results with the small model, by task, and its samples on disk.

    As its command does, but for the index of tasks; a test of the README runs the command itself.
    """
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    model = {"pretrained": str(resolve_model("demo").folder), "dtype": "float32"}
    tracker = EvaluationTracker(output_path=str(output))
    evaluated: Any = simple_evaluate(
        *("hf", model, list(tasks)),
        device="cpu",
        batch_size=batch_size,
        bootstrap_iters=0,
        apply_chat_template=is_chat,
        evaluation_tracker=tracker,
        task_manager=lm_eval_index(**model, data_dir=str(data_dir)),
    )
    tracker.save_results_aggregated(evaluated)
    for task, samples in evaluated["samples"].items():
        tracker.save_results_samples(task_name=task, samples=samples)
    results: dict[str, Any] = evaluated["results"]
    return results


def lmentry_examples(task: str) -> Mapping[str, Mapping[str, Any]]:
    return LMentry(MINI / "lmentry").read(task).examples


@pytest.mark.model
@pytest.mark.parametrize(("shots", "format"), [(0, "chat"), (2, "plain")])
def test_lm_eval_gives_the_same_scores(shots: int, format: str, superni_data: Path, tmp_path: Path) -> None:
    own = ours(
        *("run", "--model", resolve_model("demo").folder, "--engine", "hf", "--suite", "superni", "--shots", shots),
        *("--format", format, "--data-dir", superni_data, "--output", tmp_path / "ours"),
    )[f"superni_{shots}shot"]
    task, is_chat = f"tuna_superni_{shots}shot", format == "chat"
    theirs = run_lm_eval([task], superni_data, tmp_path / "theirs", batch_size=9, is_chat=is_chat)[task]
    assert own["rougeL"] > 0
    for metric, value in own.items():
        assert theirs[f"{metric},none"] == pytest.approx(value, abs=1e-9)


@pytest.mark.model
def test_lm_eval_gives_the_same_scores_on_lmentry(tmp_path: Path) -> None:
    data_dir = copy_lmentry(tmp_path / "data", dict.fromkeys(LMENTRY_TASKS, PER_TEMPLATE))
    at_home = ("--suite", "lmentry", "--data-dir", data_dir)
    model = ("--model", resolve_model("demo").folder, "--engine", "hf", "--format", "plain")
    printed = ours("run", *model, "--output", tmp_path / "ours", *at_home)
    (record,) = (tmp_path / "ours").rglob("record.json")
    own = json.loads(record.read_text())["results"]["tasks"]
    names = {task: f"tuna_lmentry_{task}" for task in LMENTRY_TASKS}
    theirs = run_lm_eval(list(names.values()), data_dir, tmp_path / "theirs", batch_size=6)
    assert set(own) == set(LMENTRY_TASKS)
    assert any(own[task]["accuracy"]["value"] > 0 for task in LMENTRY_TASKS)
    for task, name in names.items():
        for metric, summary in own[task].items():
            assert theirs[name][f"{metric},none"] == pytest.approx(summary["value"], abs=1e-9)

    # The way to robustness that benchmarks/README.md shows.
    rows = [json.loads(line) for file in (tmp_path / "theirs").rglob("samples_*.jsonl") for line in file.open()]
    predictions = tmp_path / "predictions.jsonl"
    converted = [{"task": r["doc"]["task"], "id": r["doc"]["id"], "prediction": r["resps"][0][0]} for r in rows]
    predictions.write_text("".join(json.dumps(row) + "\n" for row in converted))
    assert ours("score", "--predictions", predictions, *at_home) == printed


def test_every_lmentry_task_has_its_file() -> None:
    index = lm_eval_index(data="mini")
    names = {task: f"tuna_lmentry_{task}" for task in TASKS}
    assert {name for name in index.all_subtasks if "lmentry" in name} == set(names.values())
    groups = {name: index.load(name)["group_map"][name] for name in ("tuna_lmentry", "tuna_lmentry_subsets")}
    assert groups["tuna_lmentry"] == [names[task] for task in CORE]
    assert groups["tuna_lmentry_subsets"] == [names[task] for task in TASKS if task not in CORE]
    for task, name in names.items():
        built = index.load(name)["tasks"][name]
        assert {doc["task"] for doc in built.test_docs()} == {task}
        assert built.config.generation_kwargs["max_gen_toks"] == LMentry.max_new_tokens
        assert not built.config.generation_kwargs["do_sample"]


@pytest.mark.parametrize("task", ["first_letter", "word_containing"])
def test_lm_eval_sends_our_prompts(task: str) -> None:
    inputs = [example["input"] for example in lmentry_examples(task).values()]
    expected = {
        "plain": inputs,
        "alpaca": [ALPACA.render(text.strip()) for text in inputs],
        "chat": [f"<user>{text.strip()}<assistant>" for text in inputs],
    }

    def template(turns: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        assert add_generation_prompt
        (turn,) = turns
        return f"<{turn['role']}>{turn['content']}<assistant>"

    for format, prompts in expected.items():
        (built,) = lm_eval_index(data="mini", prompt_format=format).load(f"tuna_lmentry_{task}")["tasks"].values()
        chat = {"apply_chat_template": True, "chat_template": template} if format == "chat" else {}
        assert [built.fewshot_context(doc, 0, **chat) for doc in built.test_docs()] == prompts


def test_some_inputs_have_white_space_to_lose() -> None:
    assert any(e["input"] != e["input"].strip() for e in lmentry_examples("first_letter").values())


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize(("scoring", "repairs"), [("strict", STRICT), (["echo", "negation"], {"echo", "negation"})])
def test_a_reply_is_scored_as_asked(truncate: bool, scoring: str | list[str], repairs: set[str]) -> None:
    verdicts = set()
    for names, chosen in (("official", frozenset()), (scoring, frozenset(repairs))):
        loaded = load_lmentry(
            task="first_word", data="mini", lmentry_truncate=truncate, lmentry_scoring=names, pretrained="any"
        )
        for doc in loaded["test"]:
            example, answer = lmentry_examples("first_word")[doc["id"]], doc["references"][0]
            for reply in (answer, f"lol.\n{answer}", f'First word: "{answer}"', f"**{answer}**", doc["prompt"], ""):
                verdict = score_prediction("first_word", example, reply, truncate, chosen)
                scores = {"accuracy": 100.0 * verdict.score, "certainty": 100.0 * verdict.certainty}
                assert process_lmentry(doc, [reply]) == scores
                verdicts.add((names == "official", reply == answer, verdict))
    assert len(verdicts) > 3  # right and wrong ones, whichever way they are scored


def test_the_group_has_the_accuracy_of_the_suite(tmp_path: Path) -> None:
    """With lm-eval's dummy model, which always answers "lol", and with tasks of unequal size."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.dummy import DummyLM

    sizes = {task: 1 + place % 3 for place, task in enumerate(TASKS)}
    data_dir = copy_lmentry(tmp_path, sizes)
    loaded = lm_eval_index(data_dir=str(data_dir)).load("tuna_lmentry")
    results = evaluate(DummyLM(), loaded, bootstrap_iters=0)["results"]
    suite, tally = LMentry(data_dir / "lmentry"), Tally()
    for task in CORE:
        examples = suite.examples(task)
        tally.add(task, suite.score(task, examples, ["lol"] * len(examples)))
    own = suite.summarise(tally)
    unrounded: Any = own.breakdown["unrounded"]
    assert unrounded["accuracy"] > 0
    assert results["tuna_lmentry"]["accuracy,none"] == pytest.approx(unrounded["accuracy"], abs=1e-9)
    for task in CORE:
        for metric in ("accuracy", "certainty"):
            value = results[f"tuna_lmentry_{task}"][f"{metric},none"]
            assert value == pytest.approx(own.tasks[task][metric].value, abs=1e-9)


@pytest.mark.parametrize(
    ("metadata", "error", "says"),
    [
        ({"data": "some"}, ConfigError, "use full or mini"),
        ({"data": "mini", "prompt_format": "auto"}, ConfigError, "chat together with --apply_chat_template"),
        ({"data": "mini", "lmentry_scoring": "strikt"}, ConfigError, "did you mean strict"),
        ({"data": "mini", "lmentry_truncate": "false"}, ConfigError, "use true or false"),
        ({"data_dir": "NOWHERE"}, DataError, "no such folder"),
    ],
)
def test_metadata_that_means_nothing_is_refused(
    metadata: dict[str, Any], error: type[Exception], says: str, tmp_path: Path
) -> None:
    if "data_dir" in metadata:
        metadata = {"data_dir": str(tmp_path / "nowhere")}
    with pytest.raises(error, match=says):
        load_lmentry(task="word_after", **metadata)


def test_a_copy_without_the_task_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"word_before\.json"):
        load_lmentry(task="word_before", data_dir=str(copy_lmentry(tmp_path, {"word_after": 1})))
