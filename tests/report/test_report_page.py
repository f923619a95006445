"""What the report page holds: every sample with its prompt, rebuilt and checked, verdicts, refusals, provenance."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from report_page_runs import HOSTILE, chunk_of, index_of, suite_of

from tuna_eval.cli import main
from tuna_eval.console import ConsoleProgress
from tuna_eval.llm.scripted_engine import Rule, ScriptedEngine
from tuna_eval.report.page.build import MODULES, VENDORED, page_script
from tuna_eval.report.page.prompts import PromptSource
from tuna_eval.report.page.samples import shared_start
from tuna_eval.run import RunSettings, plan, run
from tuna_eval.schema import Prompt, RunRecord
from tuna_eval.store import RunFolder, prompt_sha256
from tuna_eval.tasks.catalog import SuiteOptions, open_suites

PAGE = files("tuna_eval.report.page")


@pytest.fixture(scope="module")
def page(reported_runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["report", *map(str, reported_runs), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def index(page: Path) -> dict[str, Any]:
    return index_of(page)


def only(folder: Path, suite: str) -> RunFolder:
    (found,) = (folder / suite).iterdir()
    return RunFolder(found)


def test_every_sample_with_the_prompt_that_was_sent(
    page: Path, index: dict[str, Any], reported_runs: list[Path]
) -> None:
    folder = only(reported_runs[0], "superni_2shot")
    stored = {(line["task"], line["id"]): line for line in map(json.loads, folder.samples_file.open())}
    scores = {(line["task"], line["id"]): line for line in map(json.loads, folder.scores_file.open())}
    suite = suite_of(index, "superni_2shot")
    columns = chunk_of(page, suite["columns"])
    assert suite["size"] == len(stored) == len(columns["ids"]) == 120
    ids = iter(zip(columns["ids"], columns["runs"][str(suite["runs"][0])]["score"], strict=True))
    for task in suite["tasks"]:
        texts = chunk_of(page, task["chunk"])
        own = texts["runs"][str(suite["runs"][0])]
        asked = texts["prompts"][own["prompts"]]
        for place in range(task["size"]):
            id, score = next(ids)
            line = stored[task["name"], id]
            text = asked["before"] + asked["middles"][place] + asked["after"]
            assert prompt_sha256(Prompt(text)) == line["prompt_sha256"]
            assert (asked["states"][place], own["outputs"][place]) == ("exact", line["output"])
            assert score == pytest.approx(scores[task["name"], id]["rougeL"], abs=1e-6)
            assert asked["references"][place]
    for suite in index["suites"]:
        assert all(facts["exact"] == suite["size"] for facts in suite["prompts"].values())


def test_shared_prompts_are_stored_once(page: Path, index: dict[str, Any]) -> None:
    task = suite_of(index, "superni_0shot")["tasks"][0]
    texts = chunk_of(page, task["chunk"])
    assert [run["prompts"] for run in texts["runs"].values()] == [0, 0, 1]  # the third was asked in another format
    assert "### Instruction" in texts["prompts"][0]["before"]
    assert "### Instruction" not in texts["prompts"][1]["before"]


def test_the_same_runs_make_the_same_page(page: Path, reported_runs: list[Path], tmp_path: Path) -> None:
    again = tmp_path / "deep" / "again.html"
    assert main(["report", *map(str, reported_runs), "--out", str(again)]) == 0
    assert again.read_bytes() == page.read_bytes()


def test_judgments_biases_and_coverage(page: Path, index: dict[str, Any], reported_runs: list[Path]) -> None:
    (run,) = (run for run in index["runs"] if (run["name"], run["suite"]) == ("steady", "vicuna_qa"))
    (judging,) = run["judgings"]
    folder = only(reported_runs[0], "vicuna_qa").path
    (record,) = (json.loads(file.read_text()) for file in folder.glob("judged/*/judging.json"))
    assert judging["results"] == record["results"]
    assert (judging["baseline"], judging["counts"]) == ("written-by-hand", True)
    questions = chunk_of(page, judging["transcripts"])
    assert {question["state"] for question in questions} == {"lose"}
    for question in questions:
        assert question["candidate"] == "zebra"
        assert all((question["question"], question["baseline"], question["category"]))
        replies = {judgment["order"]: judgment["reply"] for judgment in question["judgments"]}
        expected = {"candidate-first": f"[[B]] {HOSTILE}", "baseline-first": f"[[A]] {HOSTILE}"}
        assert replies == expected


def test_runs_that_do_not_compare_say_why(index: dict[str, Any]) -> None:
    numbers = {run["name"]: n for n, run in enumerate(index["runs"]) if run["suite"] == "superni_0shot"}
    refused = index["pairs"][f"{numbers['plain']}-{numbers['steady']}"]
    assert refused["differences"] == ["prompt format: plain, not alpaca"]
    assert refused["change"] is None
    tested = index["pairs"][f"{numbers['hostile']}-{numbers['steady']}"]
    assert tested["differences"] == []
    assert tested["change"]["metric"] == "rougeL"
    assert tested["change"]["difference"] < 0
    assert tested["change"]["interval"]["high"] < 0


def test_provenance(index: dict[str, Any], reported_runs: list[Path]) -> None:
    for place, suite in ((0, "superni_0shot"), (2, "superni_0shot")):
        folder = only(reported_runs[place], suite)
        (facts,) = (
            own["provenance"]
            for own in index["runs"]
            if (own["name"], own["suite"]) == (reported_runs[place].name, suite)
        )
        assert facts["files_sha256"] == {
            name: hashlib.sha256((folder.path / name).read_bytes()).hexdigest()
            for name in ("record.json", "samples.jsonl", "scores.jsonl")
        }
        record = folder.read_record()
        assert record is not None
        assert facts["identity"] == record.identity
        assert facts["environment"]["packages"] == record.environment["packages"]


def test_without_the_data_the_rest_is_shown(
    reported_runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = only(reported_runs[0], "superni_0shot")
    record = source.read_record()
    assert record is not None
    copy = RunFolder(tmp_path / "run")
    copy.path.mkdir()
    for file in (source.samples_file, source.scores_file):
        (copy.path / file.name).write_bytes(file.read_bytes())
    copy.write_record(replace(record, config={**record.config, "data": "copy"}))
    out = tmp_path / "page.html"
    assert main(["report", str(copy.path), "--out", str(out)]) == 0
    assert (
        "note: no prompts of steady (superni_0shot): --data-dir: the run used a copy of the data"
        in capsys.readouterr().err
    )
    suite = suite_of(index_of(out), "superni_0shot")
    texts = chunk_of(out, suite["tasks"][0]["chunk"])
    assert texts["prompts"][0]["middles"] == [None] * 10
    assert all(texts["runs"]["0"]["outputs"])
    assert suite["prompts"]["0"]["missing"] == 120


class Characters:
    """A tokenizer with a token for each character."""

    def encode(self, prompt: Prompt) -> list[int]:
        return [ord(character) for character in prompt.text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


class Chatting(ScriptedEngine):
    """An engine whose model has a chat template."""

    @staticmethod
    def chat(text: str, system: str = "") -> str:  # type: ignore[override]
        return f"<|system|>{system}You are helpful.<|user|>{text}<|assistant|>"


def run_with(
    engine: ScriptedEngine, out: Path, format: str, **options: Any
) -> tuple[RunRecord, dict[tuple[str, str], str]]:
    """The record of a run of Super-NI, and the hash of each of its prompts."""
    (suite,) = open_suites(["superni"], SuiteOptions(data="mini", shots=(2,), **options))
    made = plan(suite, engine, RunSettings("own", out, format=format, given={"data": "mini"}))
    hashes = {(p.task, p.id): sha for p, sha in zip(made.prompts, made.hashes, strict=True)}
    return run(made, engine, ConsoleProgress()).record, hashes


def states_of(record: RunRecord, hashes: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    prompts = PromptSource().of(record)
    return {key: prompts.of(*key, sha).state for key, sha in hashes.items()}


def test_a_chat_template_is_told_from_the_first_prompt(tmp_path: Path) -> None:
    record, hashes = run_with(Chatting((Rule("yes"),)), tmp_path, "chat")
    assert record.config["format"] == "chat"
    assert set(states_of(record, hashes).values()) == {"exact"}
    unknown = replace(record, prompts={**record.prompts, "first": "something else"})
    assert "chat template" in PromptSource().of(unknown).problem


def test_prompts_without_demonstrations_and_cut_ones(tmp_path: Path) -> None:
    engine = ScriptedEngine((Rule("yes"),), encoder=Characters())
    record, hashes = run_with(engine, tmp_path, "alpaca", max_source_tokens=700)
    lists: Any = record.prompts
    shortened, cut = (set(lists[key]["ids"]) for key in ("demonstrations_dropped", "truncated"))
    assert shortened - cut
    for (task, id), state in states_of(record, hashes).items():
        assert state == ("changed" if f"{task} {id}" in cut else "exact")


@pytest.mark.parametrize(
    ("texts", "shared"), [([], ""), (["ab"], "ab"), (["abc", "ab"], "ab"), (["b", "a"], ""), (["aXc", "aYc"], "a")]
)
def test_what_texts_begin_with(texts: list[str], shared: str) -> None:
    assert shared_start(texts) == shared


def test_libraries_are_those_that_are_named() -> None:
    readme = (PAGE / "vendor/README.md").read_text()
    named = dict(re.findall(r"\| (\S+\.js) \|.*\| ([0-9a-f]{64}) \|", readme))
    assert {f"vendor/{name}" for name in named} == set(VENDORED)
    for name, sha in named.items():
        assert hashlib.sha256((PAGE / "vendor" / name).read_bytes()).hexdigest() == sha


def test_modules_are_all_there_and_write_no_markup() -> None:
    assert {own.name for own in PAGE.iterdir() if own.name.endswith(".js")} == set(MODULES)
    for name in MODULES:
        text = (PAGE / name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|dangerously", text), name
        assert len(text.splitlines()) <= 300
    assert not re.search(r"^(import|export)\b|sourceMappingURL", page_script(), re.MULTILINE)


def test_modules_see_what_stands_before_them() -> None:
    exported: dict[str, set[str]] = {}
    for name in MODULES:
        text = (PAGE / name).read_text()
        for names, source in re.findall(r"^import \{([^}]*)\} from \"\./(\S+)\";$", text, re.MULTILINE):
            assert {own.strip() for own in names.split(",") if own.strip()} <= exported[source], (name, source)
        found = re.findall(r"^export (?:async )?(?:const|function) (?:(\w+)|\{([^}]*)\})", text, re.MULTILINE)
        exported[name] = {own.strip() for single, several in found for own in (single, *several.split(","))}
    everything = [name for names in exported.values() for name in names if name]
    assert len(everything) == len(set(everything))


def test_runs_that_were_judged_against_each_other(reported_runs: list[Path], tmp_path: Path) -> None:
    baseline, judge = only(reported_runs[0], "vicuna_qa").path, reported_runs[0].parents[1] / "judge.jsonl"
    candidate = tmp_path / "candidate"
    shutil.copytree(only(reported_runs[1], "vicuna_qa").path, candidate)
    asked = ["judge", candidate, "--baseline", baseline, "--judge", judge, "--judge-engine", "scripted"]
    assert main([*map(str, asked)]) == 0
    out = tmp_path / "page.html"
    assert main(["report", str(baseline), str(candidate), "--out", str(out)]) == 0
    index = index_of(out)
    assert [run["name"] for run in index["runs"]] == ["steady", "hostile"]
    pair = index["pairs"]["1-0"]
    assert (pair["differences"], pair["head_to_head"]) == ([], True)
    assert pair["change"]["metric"] == "net_wins"
    assert pair["change"]["difference"] == 100.0  # "zebra" loses to whatever does not say it
    assert index["pairs"]["0-1"]["differences"] == ["system compared with: written-by-hand, not steady"]
    assert [judging["counts"] for judging in index["runs"][1]["judgings"]] == [True, False]


def test_sources_of_data_are_no_systems_and_blank_texts_no_column(reported_runs: list[Path], tmp_path: Path) -> None:
    stats, out = tmp_path / "stats.json", tmp_path / "page.html"
    costs = [{"item": "one", "usd": 3.0}, {"item": "two", "usd": 4.0, "model": "own"}]
    for rows, texts in ((costs[:1], []), (costs, ["own"])):
        stats.write_text(json.dumps({"cost": rows}))
        assert main(["report", str(only(reported_runs[0], "vicuna_qa").path), str(stats), "--out", str(out)]) == 0
        index = index_of(out)
        assert index["systems"] == 1
        assert [value["text"] for value in index["values"] if value["metric"] == "model"] == texts


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    human = tmp_path / "scores.json"
    human.write_text(json.dumps({"systems": [{"system": "a", "points": 1.0, "better_than": []}]}))
    for words, message in (
        (["report", str(tmp_path / "none"), "--out", str(tmp_path / "x.html")], "no such folder"),
        (["report", str(human), "--out", str(tmp_path / "x.html")], "no run among these"),
    ):
        assert main(words) == 2
        told = capsys.readouterr().err
        assert message in told
        assert "Traceback" not in told
