"""Records that real files hold: half filled, with a score missing, with the id of another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from drawing import tuna_train
from rankings import planted

from tuna_eval.errors import ConfigError, DataError
from tuna_train.data.diversity import Policy
from tuna_train.data.formats import read_examples
from tuna_train.data.ranked import read_ranked, to_line, write_ranked
from tuna_train.data.sample import DrawSettings

RENDERED = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nSay it.\n\n### Response:"
)


def array(folder: Path, records: Sequence[Any]) -> Path:
    file = folder / "data.json"
    file.write_text(json.dumps(records))
    return file


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["provenance"], None, "provenance is None, not an object"),
        (["provenance"], [], r"provenance is \[\], not an object"),
        (["candidates", 0, "source"], 7, "a candidate's source must be a text"),
        (["candidates", 0, "source"], None, "a candidate's source must be a text"),
    ],
)
def test_what_is_of_the_wrong_type_is_told_with_its_place(
    path: list[Any], value: object, problem: str, tmp_path: Path
) -> None:
    record = json.loads(to_line(planted(1)[0]))
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps(record) + "\n")
    with pytest.raises(DataError, match=rf"data\.jsonl:1: {problem}"):
        list(read_ranked(file))


def test_a_record_of_an_array_is_named_by_its_number(tmp_path: Path) -> None:
    good = {"instruction": "Do it.", "input": "", "output": "Yes."}
    with pytest.raises(DataError, match=r"data\.json:1: record 3: output is 7, not a text"):
        list(read_examples(array(tmp_path, [good, good, {**good, "output": 7}])))


def test_the_first_ranking_that_is_a_list_counts_and_none_leaves_unranked(tmp_path: Path) -> None:
    record = {"instruct": RENDERED, "generation": ["a", "b"], "gpt_eval": "", "response_4": ""}
    lists: list[dict[str, Any]] = [{"ranks": None, "rank": [1, 0]}, {"ranks": None}, {}, {"ranks": [0, 1], "rank": 3}]
    dropped = Counter[str]()
    found = list(read_examples(array(tmp_path, [{**record, **more} for more in lists]), dropped=dropped))
    assert [tuple(c.rank for c in e.candidates) for e in found] == [(1, 0), (None, None), (None, None), (0, 1)]
    assert [*dropped.values()] == [2]


def test_a_completion_whose_score_is_not_available_is_unscored(tmp_path: Path) -> None:
    completions = [
        {"response": "a", "overall_score": "N/A"},
        {"response": "b", "overall_score": 4.0},
        {"response": "c", "overall_score": "N/A", "fine-grained_score": 5.0},
    ]
    dropped = Counter[str]()
    [found] = read_examples(array(tmp_path, [{"instruction": "Do.", "completions": completions}]), dropped=dropped)
    assert [(c.score, c.rank) for c in found.candidates] == [(None, None), (4.0, 1), (5.0, 0)]
    assert dropped.total() == 1


def test_repeated_ids_are_told_and_mix_renames_them(tmp_path: Path) -> None:
    file, renamed = tmp_path / "twice.jsonl", tmp_path / "renamed.jsonl"
    write_ranked(file, [*planted(2), planted(1)[0]])
    out = ("--out", tmp_path / "ranked.jsonl")
    told = tuna_train("data", "rank", file, *out, "--ranker", "gpt-4", check=False).stderr
    assert f"tuna-train: {file}: two examples have the id 'e0'; " in told
    assert f"tuna-train data mix {file} --out NEW" in told
    assert "1 examples have an id" in tuna_train("data", "convert", file, tmp_path / "other.jsonl").stderr
    assert "1 examples have an id" in tuna_train("data", "stats", file).stdout
    tuna_train("data", "mix", file, "--out", renamed)
    assert len({example.id for example in read_ranked(renamed)}) == 3


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    for tau in (float("nan"), -1.0, 0.0, 2.0):
        with pytest.raises(ConfigError, match="--tau"):
            Policy(tau=tau)
    for top_p in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="--top-p"):
            DrawSettings("sample", "m", "alpaca", top_p=top_p)
    file = array(tmp_path, [{"instruction": "Do it.", "input": "", "output": "Yes."}])
    words = ("--out", tmp_path / "out.jsonl", "--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--dry-run")
    told = tuna_train("data", "sample", file, *words, "--temperature", 1.9, check=False)
    assert (told.returncode, "temperature of 2.1, and servers take 2 at most" in told.stderr) == (2, True)
    tuna_train("data", "sample", file, *words, "--temperature", 1.8)
    tuna_train("data", "teacher", file, *words, "--temperature", 2)


def test_an_empty_array_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.json: the array is empty"):
        list(read_examples(array(tmp_path, [])))


def test_a_released_record_keeps_its_own_id(tmp_path: Path) -> None:
    orig = {"instruction": "Say it.", "input": "", "output": "It."}
    record = {"orig": orig, "text": ["a"], "length": [1], "logprob": [-1.0]}
    records = [record, {**record, "id": "mine"}, {**record, "id": "mine", "orig": {**orig, "id": "theirs"}}]
    assert [example.id for example in read_examples(array(tmp_path, records))] == ["0", "mine", "theirs"]
