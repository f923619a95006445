"""`tuna-eval run` and `tuna-eval score` as a user meets them: a real server, real kills, processes where it matters."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import command, environment, here, last_line, tuna_eval

from openai_faults import Fault, first
from openai_server import OpenAIServer

RUN = ["run", "--suite", "superni"]
MINI_PROMPTS = 120  # 12 tasks of 10 instances


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "script.jsonl"
    file.write_text('{"reply": "neutral", "contains": "entailment"}\n{"reply": "The harbour"}\n')
    return file


def scripted(script: Path, output: Path, *words: object) -> list[object]:
    return [*RUN, "--model", script, "--engine", "scripted", "--data", "mini", "--output", output, *words]


def records(output: Path) -> dict[str, dict[str, object]]:
    return {r["suite"]: r for r in (json.loads(f.read_text()) for f in output.glob("runs/*/*/*/record.json"))}


def test_json_is_one_object_and_the_rest_goes_to_stderr(script: Path, tmp_path: Path) -> None:
    result = tuna_eval(*scripted(script, tmp_path / "out", "--json", "--suite", "all"))
    values = json.loads(result.stdout)
    assert list(values) == ["superni_0shot", "superni_2shot", "lmentry", "vicuna_qa"]
    assert set(values["superni_0shot"]) == {"exact_match", "rouge1", "rougeL"}
    assert 0 < values["superni_0shot"]["rougeL"] < 100
    assert "first prompt (alpaca)" in result.stderr
    assert "120 of 120 examples" in result.stderr
    assert "984 of 984 examples" in result.stderr


def test_a_record_says_what_was_done(script: Path, tmp_path: Path) -> None:
    here(*scripted(script, tmp_path / "out", "--shots", 2, "--limit", 3), check=True)
    record = records(tmp_path / "out")["superni_2shot"]
    assert record["status"] == "complete"
    assert record["prompts"]["count"] == record["coverage"]["scored"] == 36
    assert record["prompts"]["first"].endswith("### Response:")
    assert record["config"]["shots"] == 2
    assert record["identity"]["engine"]["engine"] == "scripted"
    assert record["environment"]["packages"]["torch"]
    signature = record["results"]["signatures"]["rougeL"]
    assert signature.startswith("rougeL|stem:yes|refs:max")
    assert record["config"]["data"] == "mini"
    assert record["config"]["limit"] == record["coverage"]["limit"] == 3
    assert str(tmp_path) not in json.dumps(record)


def test_a_scoring_option_changes_the_scores_and_the_record_but_not_the_run(script: Path, tmp_path: Path) -> None:
    script.write_text('{"reply": "neutral. Because it says so"}\n')
    words = scripted(script, tmp_path / "out", "--shots", 0, "--json")
    before = json.loads(here(*words, check=True).stdout)["superni_0shot"]["exact_match"]
    after = json.loads(here(*words, "--cut-at-first-period", check=True).stdout)["superni_0shot"]["exact_match"]
    assert before == 0 < after
    (record,) = records(tmp_path / "out").values()
    assert record["scoring"]["settings"]["cut_at_first_period"] is record["config"]["cut_at_first_period"] is True
    assert len(record["sessions"]) == 1


def test_a_reply_cut_in_the_middle_of_a_character_is_stored_and_scored(tmp_path: Path) -> None:
    with OpenAIServer(reply=lambda prompt: "half \ud83d line\u2028end") as server:
        words = [*RUN, "--model", "m", "--base-url", server.base_url, "--data", "mini", "--shots", 0, "--limit", 1]
        here(*words, "--output", tmp_path, check=True)
        here(*words, "--output", tmp_path, check=True)
        assert len(server.log) == 12
    rows = [json.loads(line) for line in _samples(tmp_path).read_text().splitlines()]
    assert {row["output"] for row in rows} == {"half \ud83d line\u2028end"}


def test_equal_prompts_are_asked_once_and_answered_everywhere(tmp_path: Path) -> None:
    folder = tmp_path / "superni"
    (folder / "tasks").mkdir(parents=True)
    instances = [{"id": f"i{i}", "input": "the same", "output": [str(i)]} for i in range(5)]
    task = {"Categories": ["Title Generation"], "Definition": ["Name it."], "Instances": instances}
    (folder / "tasks/task1_a.json").write_text(json.dumps(task))
    (folder / "test_tasks.txt").write_text("task1_a\n")
    with OpenAIServer() as server:
        words = [*RUN, "--model", "m", "--base-url", server.base_url, "--data-dir", tmp_path, "--shots", 0]
        here(*words, "--output", tmp_path / "out", check=True)
        assert len(server.log) == 1
    assert len(_samples(tmp_path / "out").read_text().splitlines()) == 5


def test_a_partial_copy_of_the_data_says_so(shared: Path, script: Path, tmp_path: Path) -> None:
    words = [*RUN, "--model", script, "--engine", "scripted", "--data-dir", shared / "benchmarks", "--limit", 1]
    result = here(*words, "--shots", 0, "--output", tmp_path, check=True)
    assert "18 of 119 tasks" in result.stderr
    assert records(tmp_path)["superni_0shot"]["coverage"]["expected_tasks"] == 119


def test_a_session_that_fails_is_recorded(tmp_path: Path) -> None:
    with OpenAIServer(faults=lambda call: Fault.status(500) if call.number > 30 else None) as server:
        words = [*RUN, "--model", "m", "--base-url", server.base_url, "--data", "mini", "--shots", 0]
        here(*words, "--output", tmp_path, "--max-retries", 0, "--concurrency", 1)
    (record,) = records(tmp_path).values()
    assert record["status"] == "generating"
    assert [session["replies"] for session in record["sessions"]] == [30]


def test_the_spend_cap_stops_the_run(tmp_path: Path) -> None:
    with OpenAIServer() as server:
        words = [*RUN, "--model", "m", "--base-url", server.base_url, "--data", "mini", "--output", tmp_path]
        words += ["--price-per-million-input", 100, "--price-per-million-output", 100, "--max-cost", 0.1]
        result = here(*words, "--concurrency", 1)
        assert result.returncode == 2
        assert "0.1" in last_line(result.stderr)
        assert 0 < len(server.log) < MINI_PROMPTS


def test_a_second_run_asks_nothing_and_a_changed_one_reuses_nothing(tmp_path: Path) -> None:
    with OpenAIServer() as server:
        words = [*RUN, "--model", "m", "--base-url", server.base_url, "--data", "mini", "--shots", 0, "--json"]
        words += ["--output", tmp_path]
        first_time = here(*words, check=True)
        assert len(server.log) == MINI_PROMPTS
        assert tuna_eval(*words).stdout == first_time.stdout  # a process that knows nothing but what is on disk
        assert len(server.log) == MINI_PROMPTS
        here(*words, "--max-new-tokens", 5, check=True)
        assert len(server.log) == 2 * MINI_PROMPTS
        here(*words, "--format", "plain", check=True)
        assert len(server.log) == 3 * MINI_PROMPTS


def test_killed_at_any_point_it_resumes_to_the_same_metrics(tmp_path: Path) -> None:
    concurrency, random_source = 4, random.Random(7)
    with OpenAIServer(latency=0.02) as server:
        words = [*RUN, "--model", "m", "--base-url", server.base_url, "--data", "mini", "--shots", 0, "--json"]
        words += ["--concurrency", concurrency, "--output"]
        whole = here(*words, tmp_path / "whole", check=True).stdout
        server.calls.clear()
        server.served.clear()
        kills = 0
        while kills < 3:
            process = subprocess.Popen(
                command(*words, tmp_path / "killed"), stderr=subprocess.DEVNULL, env=environment()
            )
            _wait_for_calls(server, sum(server.calls.values()) + 1 + random_source.randrange(15), process)
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
            _wait_until_idle(server)
        result = here(*words, tmp_path / "killed", check=True)
        assert result.stdout == whole
        samples = [json.loads(line) for line in _samples(tmp_path / "killed").read_text().splitlines()]
        assert len({(s["task"], s["id"]) for s in samples}) == len(samples) == MINI_PROMPTS
        # Only what was under way at a kill is asked again.
        assert sum(server.calls.values()) <= MINI_PROMPTS + kills * concurrency
        assert _scores(tmp_path / "killed").read_bytes() == _scores(tmp_path / "whole").read_bytes()


def _wait_for_calls(server: OpenAIServer, calls: int, process: subprocess.Popen[bytes]) -> None:
    while sum(server.calls.values()) < calls and process.poll() is None:
        time.sleep(0.005)


def _wait_until_idle(server: OpenAIServer) -> None:
    while server.in_flight:
        time.sleep(0.01)


def _samples(output: Path) -> Path:
    (file,) = output.glob("runs/*/*/*/samples.jsonl")
    return file


def _scores(output: Path) -> Path:
    return _samples(output).with_name("scores.jsonl")


def test_a_server_that_fails_for_good_ends_the_run_and_the_replies_are_kept(tmp_path: Path) -> None:
    with OpenAIServer(faults=lambda call: Fault.status(500) if call.number > 60 else None) as server:
        words = [*RUN, "--model", "m", "--base-url", server.base_url, "--data", "mini", "--shots", 0]
        words += ["--output", tmp_path, "--max-retries", 0, "--concurrency", 2]
        result = here(*words)
        assert result.returncode == 2
        assert "500" in last_line(result.stderr)
        assert "Traceback" not in result.stderr
        stored = len(_samples(tmp_path).read_text().splitlines())
        assert 58 <= stored <= 60
        server.faults = None
        before = len(server.log)
        here(*words, check=True)
        assert len(server.log) - before == MINI_PROMPTS - stored


FAULTS: dict[str, tuple[Fault, str]] = {
    "401": (Fault.status(401), "401"),
    "429": (Fault.status(429), "429"),
    "500": (Fault.status(500), "500"),
    "html": (Fault.html(), "HTML"),
    "half a JSON body": (Fault.half_json(), "JSON"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_bad_server_is_one_line(kind: str, tmp_path: Path) -> None:
    fault, expected = FAULTS[kind]
    with OpenAIServer(faults=first(10_000, fault)) as server:
        words = [*RUN, "--model", "m", "--base-url", server.base_url, "--data", "mini", "--output", tmp_path]
        result = here(*words, "--max-retries", 0, "--timeout", 1, "--concurrency", 2)
    assert result.returncode == 2
    assert expected in last_line(result.stderr)
    assert "Traceback" not in result.stderr


def test_a_silent_server_does_not_keep_the_process(tmp_path: Path) -> None:
    with OpenAIServer(faults=first(10_000, Fault.slow(5))) as server:
        words = [*RUN, "--model", "m", "--base-url", server.base_url, "--data", "mini", "--output", tmp_path]
        result = tuna_eval(*words, "--max-retries", 0, "--timeout", 0.5, "--concurrency", 2, check=False)
    assert result.returncode == 2
    assert "0.5 s" in last_line(result.stderr)
    assert "Traceback" not in result.stderr


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    words = ["run", "--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--data", "mini", "--output", tmp_path]
    result = here(*words, "--max-retries", 0)
    assert result.returncode == 2
    assert "127.0.0.1:9" in last_line(result.stderr)


def bad_inputs(folder: Path) -> dict[str, tuple[list[object], str]]:
    empty = folder / "empty-model"
    empty.mkdir()
    (empty / "config.json").write_text("{}")
    (empty / "model.safetensors").write_text("")
    (folder / "a-run").mkdir()
    record = {"schema_version": 1, "model": "m", "suite": "s", "version": "1", "status": "complete", "started": ""}
    (folder / "a-run/record.json").write_text(json.dumps({**record, "run_id": "abc"}))
    not_a_folder = folder / "occupied"
    not_a_folder.write_text("")
    mini = ["--data", "mini", "--output", folder / "out"]
    return {
        "missing model": (["run", "--model", "/no/such/model", *mini], "no such model: /no/such/model"),
        "no tokenizer": (["run", "--model", empty, *mini], "the model has no tokenizer"),
        "unknown suite": (["run", "--model", "demo", "--suite", "supernl", *mini], "did you mean superni?"),
        "unknown task": (
            ["run", "--model", "demo", "--tasks", "task9001_mini_textual_entailmnt", *mini],
            "did you mean task9001_mini_textual_entailment",
        ),
        "limit 0": (["run", "--model", "demo", "--limit", "0", *mini], "--limit 0 leaves nothing to run"),
        "unknown engine": (["run", "--model", "demo", "--engine", "vlm", *mini], "did you mean vllm?"),
        "unknown format": (
            ["run", "--model", folder / "script.jsonl", "--engine", "scripted", "--format", "apaca", *mini],
            "unknown prompt format 'apaca'",
        ),
        "negative shots": (["run", "--model", "demo", "--shots", "-1", *mini], "is negative"),
        "output is a file": (
            ["run", "--model", "demo", "--data", "mini", "--output", not_a_folder / "results"],
            "cannot be written",
        ),
        "no data": (["run", "--model", "demo", "--data-dir", folder / "nowhere", *mini[2:]], "no such folder"),
        "no predictions": (
            ["score", "--suite", "superni", "--data", "mini", "--predictions", folder / "nothing.jsonl"],
            "nothing.jsonl: no such file",
        ),
        "ignored option": (
            ["run", "--model", folder / "script.jsonl", "--engine", "scripted", "--dtype", "float16", *mini],
            "engine scripted does not heed --dtype",
        ),
        "scores over a run": (
            [
                "score",
                "--suite",
                "superni",
                *mini[:2],
                "--predictions",
                folder / "a-run/record.json",
                "--output",
                folder / "a-run",
            ],
            "the folder holds the run abc",
        ),
        "cap without prices": (
            ["run", "--model", "m", "--base-url", "http://127.0.0.1:9", "--max-cost", "1", *mini],
            "price",
        ),
    }


BAD_INPUTS = [
    "missing model",
    "no tokenizer",
    "unknown suite",
    "unknown task",
    "limit 0",
    "unknown engine",
    "unknown format",
    "negative shots",
    "output is a file",
    "no data",
    "no predictions",
    "ignored option",
    "scores over a run",
    "cap without prices",
]


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_one_line_and_exit_code_2(case: str, tmp_path: Path, script: Path) -> None:
    words, message = bad_inputs(tmp_path)[case]
    result = here(*words)
    assert result.returncode == 2
    assert message in last_line(result.stderr)
    assert last_line(result.stderr).startswith("tuna-eval: ")
    assert "Traceback" not in result.stderr


def test_a_mistake_ends_a_process_with_one_line_and_exit_code_2(tmp_path: Path) -> None:
    words, message = bad_inputs(tmp_path)["unknown suite"]
    result = tuna_eval(*words, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("tuna-eval: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def predictions(folder: Path, lines: Sequence[object]) -> Path:
    file = folder / "predictions.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def mini_instances() -> list[tuple[str, str, str]]:
    rows = []
    for file in sorted((Path(__file__).parents[2] / "benchmarks/mini/superni/tasks").glob("*.json")):
        instances = json.loads(file.read_text())["Instances"]
        rows += [(file.stem, instance["id"], instance["output"][0]) for instance in instances]
    return rows


def score(file: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return here("score", "--suite", "superni", "--data", "mini", "--predictions", file, *words)


def test_perfect_predictions_score_100(tmp_path: Path) -> None:
    lines = [{"task": t, "id": i, "prediction": f" {o}\n"} for t, i, o in reversed(mini_instances())]
    result = score(predictions(tmp_path, lines), "--json", "--output", tmp_path / "scored")
    assert json.loads(result.stdout) == {"superni": {"exact_match": 100.0, "rouge1": 100.0, "rougeL": 100.0}}
    assert "warning" not in result.stderr
    assert len((tmp_path / "scored/scores.jsonl").read_text().splitlines()) == MINI_PROMPTS
    assert json.loads((tmp_path / "scored/record.json").read_text())["coverage"]["scored"] == MINI_PROMPTS


def test_what_does_not_match_is_reported(tmp_path: Path) -> None:
    rows = mini_instances()
    lines: list[object] = [{"task": t, "id": i, "prediction": o} for t, i, o in rows[:-3]]
    lines += [{"task": rows[0][0], "id": rows[0][1], "prediction": "wrong"}]
    lines += [
        {"task": rows[0][0], "id": "no-such-id", "prediction": ""},
        {"task": "task1_x", "id": "y", "prediction": ""},
    ]
    result = score(predictions(tmp_path, lines), "--json")
    assert json.loads(result.stdout)["superni"]["exact_match"] == 100.0
    assert f"3 ids have no prediction: {rows[-3][0]} {rows[-3][1]}" in result.stderr
    assert "2 ids are not in the data: task1_x y" in result.stderr
    assert "no-such-id" in result.stderr
    assert f"1 ids are there twice: {rows[0][0]} {rows[0][1]}" in result.stderr
    assert "117 of 120 examples" in result.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"task": "a", "id"', "predictions.jsonl:2: not valid JSON"),
        ('["a"]', "predictions.jsonl:2: a JSON object expected"),
        ('{"id": "a", "prediction": "b"}', 'predictions.jsonl:2: no "task"'),
        (
            '{"task": "task9001_mini_textual_entailment", "id": "a", "prediction": null}',
            'predictions.jsonl:2: no "prediction"',
        ),
        ('{"task": "task9001_mini_textual_entailment", "prediction": "b"}', 'predictions.jsonl:2: no "id"'),
    ],
)
def test_a_broken_prediction_is_named_with_its_line(line: str, message: str, tmp_path: Path) -> None:
    task, id, output = mini_instances()[0]
    result = score(predictions(tmp_path, [{"task": task, "id": id, "prediction": output}, line]))
    assert result.returncode == 2
    assert message in last_line(result.stderr)


def test_predictions_for_other_data_are_refused(tmp_path: Path) -> None:
    result = score(predictions(tmp_path, [{"task": "task1", "id": "a", "prediction": "b"}]))
    assert result.returncode == 2
    assert "no prediction belongs to the data (task1 a)" in last_line(result.stderr)


def test_a_run_can_be_scored_anew_from_its_samples(script: Path, tmp_path: Path) -> None:
    run = json.loads(here(*scripted(script, tmp_path, "--shots", 0, "--json"), check=True).stdout)["superni_0shot"]
    result = score(_samples(tmp_path), "--json")
    assert json.loads(result.stdout) == {"superni_0shot": run}
    assert "the run answered superni_0shot" in last_line(score(_samples(tmp_path), "--shots", 2).stderr)


def test_predictions_of_so_many_shots_are_a_run_of_them(tmp_path: Path) -> None:
    rows = [{"task": t, "id": i, "prediction": o} for t, i, o in mini_instances()]
    halves = {"first": rows[: len(rows) // 2], "second": rows[len(rows) // 2 :]}
    for name, lines in halves.items():
        (tmp_path / f"in-{name}").mkdir()
        file = predictions(tmp_path / f"in-{name}", lines)
        result = score(file, "--shots", 2, "--output", tmp_path / name, "--json")
        assert list(json.loads(result.stdout)) == ["superni_2shot"]
    first, second = (tmp_path / name for name in halves)
    assert json.loads((first / "record.json").read_text())["suite"] == "superni_2shot"
    # As many tasks and examples, but not the same ones.
    refused = here("gate", second, "--baseline", first)
    assert refused.returncode == 2
    assert "hash of the tasks and ids scored" in last_line(refused.stderr)
    assert here("gate", first, "--baseline", first).returncode == 0
    table = here("table", f"a={first}", f"b={second}", "--baseline-row", "a").stdout
    assert "| a | – | 100.0" in table
    assert "does not compare with a (hash of the tasks and ids scored: " in table
    lmentry = here("score", "--suite", "lmentry", "--predictions", file, "--shots", 2)
    assert "lmentry has no --shots" in last_line(lmentry.stderr)
    vicuna = here("score", "--suite", "vicuna_qa", "--predictions", file, "--shots", 0)
    assert "--shots has no meaning for stored reviews" in last_line(vicuna.stderr)


def test_vicuna_answers_are_greedy_or_sampled_as_asked(script: Path, tmp_path: Path) -> None:
    words = ["run", "--suite", "vicuna_qa", "--model", script, "--engine", "scripted", "--data", "mini", "--output"]
    here(*words, tmp_path / "greedy", check=True)
    here(*words, tmp_path / "sampled", "--vicuna-temperature", 0.7, check=True)
    found = [records(tmp_path / name)["vicuna_qa"] for name in ("greedy", "sampled")]
    assert [each["identity"]["sampling"]["temperature"] for each in found] == [0.0, 0.7]  # type: ignore[index]
    assert found[0]["run_id"] != found[1]["run_id"]


def test_protocols_are_listed_with_their_parsers_and_orders() -> None:
    lines = here("ls", "protocols", check=True).stdout.splitlines()
    (review,) = (line for line in lines if line.startswith("  review-2023: "))
    assert review.endswith("parsers tolerant, legacy; orders candidate-first, baseline-first, both")
    (pairwise,) = (line for line in lines if line.startswith("  pairwise-v2: "))
    assert pairwise.endswith("parsers tolerant, official; orders both")
    assert any(line.startswith("  likelihood: ") for line in lines)
