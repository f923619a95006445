"""Every format is recognised by its content, in both containers, and what is no format is told by file and line."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documentation import ROOT
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.prompts import ALPACA
from tuna_train.data.formats import FORMATS, read_examples
from tuna_train.data.json_records import read_records
from tuna_train.data.ranked import Candidate, RankedExample, read_ranked, to_line, write_ranked
from tuna_train.data.rendered import unrender

ADD = ALPACA.render("Add the numbers.", "2 and 3")
CAPITAL = ALPACA.render("Name the capital of France.")


def example(**values: Any) -> RankedExample:
    return RankedExample(**{"id": "0", "instruction": "Add the numbers.", "input": "2 and 3", **values})


RANKED = example(
    original="5",
    candidates=(Candidate("5.", "m", tokens=2, logprob=-0.5, score=1.0, rank=0), Candidate("6")),
    provenance={"seed": 1},
)

# Each format: a record as its files hold it, and the example it stands for.
SAMPLES: dict[str, tuple[dict[str, Any], RankedExample]] = {
    "ranked": (json.loads(to_line(RANKED)), RANKED),
    "tuna-probabilistic": (
        {
            "orig": {"instruction": "Add the numbers.", "input": "2 and 3", "output": "5"},
            "text": ["5.", "It is 5."],
            "avg_token_prob": [-0.25, -0.5],
            "length": [2, 4],
            "logprob": [-0.5, -2.0],
        },
        example(
            original="5",
            candidates=(
                Candidate("5.", "text-davinci-003", tokens=2, logprob=-0.5),
                Candidate("It is 5.", "text-davinci-003", tokens=4, logprob=-2.0),
            ),
        ),
    ),
    "gpt-4-ranking": (
        {
            "prompt": f"{ADD}\n\n###Response 0:\n6\n ...",
            "instruct": ADD,
            "generation": ["6", "5", "It is 5."],
            "id": 17,
            "gpt_eval": "close-ended ... rank: [3, 1, 2, 0]",
            "rank_str": "[3, 1, 2, 0]",
            "ranks": [3, 1, 2, 0],
            "response_4": "The sum is 5.",
        },
        example(
            id="17",
            candidates=(
                Candidate("6", "output 0", rank=2),
                Candidate("5", "output 1", rank=0),
                Candidate("It is 5.", "output 2", rank=1),
            ),
            provenance={
                "ranked_by": "gpt-4",
                "reply": "close-ended ... rank: [3, 1, 2, 0]",
                "ranking": [3, 1, 2, 0],
            },
        ),
    ),
    "tuna-training": (
        {"id": 3, "instruction": ADD, "output": ["6", "5", "five"], "score": [-2, -0.5, -0.5]},
        example(
            id="3",
            candidates=(
                Candidate("6", "output 0", score=-2.0, rank=2),
                Candidate("5", "output 1", score=-0.5, rank=0),
                Candidate("five", "output 2", score=-0.5, rank=0),
            ),
        ),
    ),
    "tuna-samples": (
        {"id": 3, "instruction": ADD, "output": ["6", "5"], "rouge": [0.0, 0.0]},
        example(id="3", candidates=(Candidate("6", "output 0"), Candidate("5", "output 1"))),
    ),
    "preference-pairs": (
        {"prompt": ADD, "chosen": "5", "rejected": "6"},
        example(candidates=(Candidate("5", "chosen", rank=0), Candidate("6", "rejected", rank=1))),
    ),
    "scored-completions": (
        {
            "source": "made here",
            "instruction": "Add the numbers. 2 and 3",
            "completions": [
                {"model": "a", "response": "6", "overall_score": 1.5},
                {"model": "b", "response": "5", "overall_score": "8"},
            ],
        },
        example(
            instruction="Add the numbers. 2 and 3",
            input="",
            candidates=(Candidate("6", "a", score=1.5, rank=1), Candidate("5", "b", score=8.0, rank=0)),
        ),
    ),
    "responses-by-model": (
        {
            "id": 0,
            "dataset": "made here",
            "instruction": "Add the numbers.",
            "input": "2 and 3",
            "outputs": {"text_davinci_003": "5", "a": "6", "b": "It is 5.", "c": "?"},
            "gpt4_preference": {"a": 0, "b": 1},
        },
        example(
            candidates=(
                Candidate("5", "text_davinci_003", score=0.5, rank=1),
                Candidate("6", "a", score=0.0, rank=2),
                Candidate("It is 5.", "b", score=1.0, rank=0),
                Candidate("?", "c"),
            )
        ),
    ),
    "sharegpt": (
        {
            "id": "c1",
            "conversations": [
                {"from": "human", "value": "Add 2 and 3."},
                {"from": "gpt", "value": "5"},
                {"from": "human", "value": "And 4?"},
                {"from": "gpt", "value": "9"},
            ],
        },
        example(id="c1", instruction="Add 2 and 3.", input="", original="5"),
    ),
    "self-instruct": (
        {"id": "seed_1", "instruction": "Add the numbers.", "instances": [{"input": "2 and 3", "output": "5"}]},
        example(id="seed_1", original="5"),
    ),
    "alpaca": (
        {"instruction": "Add the numbers.", "input": "2 and 3", "output": "5"},
        example(original="5"),
    ),
}


def written(folder: Path, records: list[dict[str, Any]], container: str) -> Path:
    file = folder / f"data.{container}"
    if container == "json":
        file.write_text(json.dumps(records, indent=2), encoding="utf-8")
    else:
        file.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return file


def test_every_format_has_a_sample() -> None:
    assert set(SAMPLES) == set(FORMATS)


@pytest.mark.parametrize("container", ["json", "jsonl"])
@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_recognised_and_read(name: str, container: str, tmp_path: Path) -> None:
    record, expected = SAMPLES[name]
    file = written(tmp_path, [record], container)
    assert list(read_examples(file)) == [expected]
    assert list(read_examples(file, format=name)) == [expected]
    assert next(name for name, row in FORMATS.items() if row.recognise(record)) == name


def test_the_stored_key_of_the_ranking_may_be_rank(tmp_path: Path) -> None:
    record, expected = SAMPLES["gpt-4-ranking"]
    old = {("rank" if key == "ranks" else key): value for key, value in record.items()}
    assert list(read_examples(written(tmp_path, [old], "json"))) == [expected]


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ([3, 1, 0], [1, 0, None]),  # response 2 is a duplicate of another: left out by GPT-4
        ([1, 1, 0], [None] * 3),
        ([3, 1, 0, 2, 1, 0], [None] * 3),  # prose behind the ranking
        ([4, 1, 0], [None] * 3),
        ([3], [None] * 3),
        ([], [None] * 3),
    ],
)
def test_a_polluted_ranking_is_counted_and_never_guessed(
    ranks: list[int], expected: list[int | None], tmp_path: Path
) -> None:
    file = written(tmp_path, [{**SAMPLES["gpt-4-ranking"][0], "ranks": ranks}], "jsonl")
    dropped = Counter[str]()
    [found] = read_examples(file, dropped=dropped)
    assert [candidate.rank for candidate in found.candidates] == expected
    assert dropped.total() == (expected == [None] * 3)


def test_the_original_is_what_the_user_says_it_is(tmp_path: Path) -> None:
    by_model = written(tmp_path, [SAMPLES["responses-by-model"][0]], "jsonl")
    assert [e.original for e in read_examples(by_model, original="text_davinci_003")] == ["5"]
    training = written(tmp_path, [SAMPLES["tuna-training"][0]], "jsonl")
    assert [e.original for e in read_examples(training, original="output 2")] == ["five"]
    reference = written(tmp_path, [SAMPLES["gpt-4-ranking"][0]], "jsonl")
    [found] = read_examples(reference, original="response_4")
    assert (found.original, len(found.candidates)) == ("The sum is 5.", 3)
    own = tmp_path / "own.jsonl"
    write_ranked(own, [RANKED])
    for file in (by_model, own):
        with pytest.raises(ConfigError, match="no example has a response of 'gpt-5'"):
            list(read_examples(file, original="gpt-5"))


def test_an_instruction_with_several_instances_becomes_several_examples(tmp_path: Path) -> None:
    instances = [{"input": "", "output": "a"}, {"input": "x", "output": "b"}]
    file = written(tmp_path, [{"id": "s", "instruction": "Do.", "instances": instances}], "json")
    found = list(read_examples(file))
    assert [(e.id, e.input, e.original) for e in found] == [("s/0", "", "a"), ("s/1", "x", "b")]


def test_what_a_conversation_loses_is_counted(tmp_path: Path) -> None:
    question, answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    system = {"role": "system", "content": "Be kind."}
    records = [{"messages": m} for m in ([system, question, answer], [answer, question], [question, answer, question])]
    dropped = Counter[str]()
    found = list(read_examples(written(tmp_path, records, "jsonl"), dropped=dropped))
    assert [(e.id, e.instruction, e.original) for e in found] == [("0", "Hi", "Hello"), ("2", "Hi", "Hello")]
    assert dropped == {
        "system messages": 1,
        "conversations that do not begin with a question and its answer": 1,
        "conversations cut after their first answer": 1,
        "turns after the first answer": 1,
    }


def test_pairs_of_messages_and_equal_scores(tmp_path: Path) -> None:
    question = {"role": "user", "content": "Hi"}
    sides = {side: [question, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    records = [sides, {**sides, "prompt": "Hi", "score_chosen": 7, "score_rejected": 7.0}]
    dropped = Counter[str]()
    first, second = read_examples(written(tmp_path, records, "jsonl"), dropped=dropped)
    assert (first.instruction, [c.rank for c in first.candidates]) == ("Hi", [0, 1])
    assert [(c.text, c.score, c.rank) for c in second.candidates] == [("chosen", 7, 0), ("rejected", 7, 0)]
    assert dropped == {"pairs with equal scores, read as ties": 1}


def test_the_documented_record_can_be_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^```json\n(.*?)\n```$", text, flags=re.MULTILINE)
    (row,) = re.findall(r"^\| `ranked` \| (.*) \|$", text, flags=re.MULTILINE)
    assert all(field in row for field in json.loads(line))
    file = tmp_path / "documented.jsonl"
    file.write_text(line + "\n", encoding="utf-8")
    (found,) = read_examples(file)
    assert found.original
    assert [c.rank for c in found.ranked] == [0, 1]


BROKEN = {
    '[{"instruction": "a", "output": "b"},\n {"instruction": "c", "output": 5}]': r":2: record 2: output is 5, not",
    '{"instruction": "a", "output": "b"}\n{"instruction": "c"\n': r":2: not valid JSON",
    '[\n{"instruction": "a", "output": "b"},\n{"instruction": "a" "output"}]': r":3: not valid JSON",
    '[{"instruction": "a", "output": "b"}': r":1: a comma or \] expected",
    '[{"instruction": "a", "output": "b"}] x': r"text after the end",
    '[{"instruction": "a", "output": "b"}, 7]': r":1: record 2: a JSON object expected, not 7",
    '{"question": "a", "answer": "b"}': r":1: no known format has the fields question, answer; known formats: ranked",
    '{"id": "1", "instruction": "a", "candidates": []}': r':1: no schema, .* write "schema": "tuna-ranked/1" into',
    '{"id": "1", "schema": "mine", "candidates": []}': r":1: schema 'mine', expected 'tuna-ranked/1'",
    '{"instruction": "plain", "output": ["a"], "score": [1]}': r":1: instruction is not an Alpaca prompt",
    f'{{"instruction": {json.dumps(ADD)}, "output": ["a", "b"], "score": [1]}}': r"score has 1 entries for 2 responses",
    f'{{"instruction": {json.dumps(ADD)}, "output": ["a"], "score": [NaN]}}': r"nan, not a finite number",
    "  \n": "the file is empty",
    "\xff": "not valid JSON|not UTF-8",
}


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_told_in_one_line(content: str, tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=BROKEN[content]) as told:
        list(read_examples(file))
    assert str(file) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_missing_file_and_an_unknown_format_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        list(read_examples(tmp_path / "nowhere.json"))
    with pytest.raises(ConfigError, match="unknown format 'alpacca'"):
        list(read_examples(written(tmp_path, [SAMPLES["alpaca"][0]], "json"), format="alpacca"))


def test_an_array_is_read_piece_by_piece(tmp_path: Path) -> None:
    """Elements across the borders of what is read at once, one of them far longer, with lines counted throughout."""
    long = {"text": "é" * 3_000_000}
    records = [{"n": n, "text": "line\n" * 50} for n in range(6_000)]
    file = written(tmp_path, [*records, long, {"n": -1}], "json")
    found = list(read_records(file))
    assert [record for _, record in found] == [*records, long, {"n": -1}]
    lines = file.read_text(encoding="utf-8").splitlines()
    places = [int(place.rsplit(":")[-2]) for place, _ in found]
    assert places == [n for n, line in enumerate(lines, 1) if line == "  {"]


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS)
def test_a_rendered_prompt_gives_itself_back(instruction: str, input: str) -> None:
    rendered = ALPACA.render(instruction, input)
    found = unrender(rendered)
    assert found is not None
    assert ALPACA.render(*found) == rendered
    if "### Input:" not in instruction:
        assert found == (instruction, input)


def test_what_was_not_rendered_is_not_taken_apart() -> None:
    assert unrender("Add 2 and 3.") is None
    assert unrender(CAPITAL.removesuffix("### Response:")) is None
    assert unrender(f"{CAPITAL}\n") == ("Name the capital of France.", "")


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("rank", -1, "a candidate's rank is -1, not a whole number from 0"),
        ("rank", 0.5, "a candidate's rank is 0.5, not a whole number"),
        ("tokens", True, "a candidate's tokens is True, not a finite number"),
        ("logprob", float("-inf"), "a candidate's logprob is -inf, not a finite number"),
        ("score", "7", "a candidate's score is '7', not a finite number"),
        ("text", None, "a candidate's text must be a text"),
        ("colour", "red", "not a ranked example"),
    ],
)
def test_a_broken_candidate_is_told(field: str, value: object, problem: str, tmp_path: Path) -> None:
    record = json.loads(to_line(RANKED))
    record["candidates"][1][field] = value
    with pytest.raises(DataError, match=problem) as told:
        list(read_ranked(written(tmp_path, [record], "jsonl")))
    assert "data.jsonl:1:" in str(told.value)


NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
CANDIDATES = st.builds(
    Candidate, text=st.text(max_size=20), source=st.text(max_size=5), tokens=st.none() | st.integers(0, 99),
    logprob=NUMBERS, score=NUMBERS, rank=st.none() | st.integers(0, 5),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=20), st.none() | st.text(max_size=20), st.lists(CANDIDATES, max_size=4))))
def test_the_contract_survives_its_file(tmp_path_factory: pytest.TempPathFactory, drawn: list[Any]) -> None:
    """Any text: half a surrogate pair, line separators, NUL."""
    file = tmp_path_factory.getbasetemp() / "contract.jsonl"
    examples = [
        replace(RANKED, id=str(n), instruction=text, original=original, candidates=tuple(candidates))
        for n, (text, original, candidates) in enumerate(drawn)
    ]
    assert write_ranked(file, examples) == len(examples)
    assert list(read_ranked(file)) == examples


def test_the_real_files_are_read_whole(shared: Path) -> None:
    counts = {}
    for file in sorted((shared / "data").glob("*.jsonl")):
        dropped = Counter[str]()
        counts[file.name] = len(list(read_examples(file, dropped=dropped)))
        assert not dropped
    assert counts == {
        "alpaca_eval_responses.jsonl": 805,
        "self_instruct_seed_tasks.jsonl": 175,
        "self_instruct_user_oriented.jsonl": 252,
    }


def test_the_documents_name_every_format() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    table = text.partition("| format | fields |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"`([\w-]+)`", table)) == sorted(FORMATS)
