"""What neighbours' tools are given, and that it says the same when it is read back."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.prompts import ALPACA
from tuna_train.data.export import EXPORTS, ExportOptions, pairs_of, write_export
from tuna_train.data.formats import read_examples
from tuna_train.data.ranked import Candidate, RankedExample, competition_ranks, rank_by_score

# Best to worst: b, then a and c tied, then d; e was never ranked.
SUM = RankedExample(
    id="7",
    instruction="Add the numbers.",
    input="2 and 3",
    original="5",
    candidates=(
        Candidate("a", score=1.0, rank=1),
        Candidate("b", score=3.0, rank=0),
        Candidate("c", score=1.0, rank=1),
        Candidate("d", score=0.5, rank=3),
        Candidate("e"),
    ),
)
PROMPT = ALPACA.render("Add the numbers.", "2 and 3")


def export(folder: Path, to: str, examples: list[RankedExample], **options: Any) -> list[dict[str, Any]]:
    file = folder / "out.jsonl"
    write_export(file, examples, to, ExportOptions(**options))
    return [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("all", ["ba", "bc", "bd", "ad", "cd"]),
        ("best-vs-rest", ["ba", "bc", "bd"]),
        ("best-vs-worst", ["bd"]),
    ],
)
def test_pairs_leave_ties_and_the_unranked_out(choice: Any, expected: list[str], tmp_path: Path) -> None:
    assert [better.text + worse.text for better, worse in pairs_of(SUM, choice)] == expected
    records = export(tmp_path, "dpo", [SUM], pairs=choice)
    assert [r["chosen"] + r["rejected"] for r in records] == expected
    assert {r["prompt"] for r in records} == {PROMPT}


def test_each_format_in_its_own_keys(tmp_path: Path) -> None:
    one = {"pairs": "best-vs-worst"}
    user, good, bad = (
        [{"role": role, "content": text}]
        for role, text in (("user", "Add the numbers.\n2 and 3"), ("assistant", "b"), ("assistant", "d"))
    )
    assert export(tmp_path, "dpo", [SUM], prompt="messages", **one) == [
        {"prompt": user, "chosen": good, "rejected": bad}
    ]
    assert export(tmp_path, "trl-reward", [SUM], prompt="messages", **one) == [
        {"chosen": user + good, "rejected": user + bad}
    ]
    assert export(tmp_path, "trl-reward", [SUM], **one) == [{"chosen": f"{PROMPT}b", "rejected": f"{PROMPT}d"}]
    assert export(tmp_path, "openrlhf", [SUM], prompt="plain", **one) == [
        {"prompt": "Add the numbers.\n2 and 3", "chosen": "b", "rejected": "d", "margin": 2.5}
    ]
    unscored = replace(SUM, candidates=tuple(replace(c, score=None) for c in SUM.candidates))
    assert [r["margin"] for r in export(tmp_path, "openrlhf", [unscored], **one)] == [0.0]
    assert export(tmp_path, "alpaca", [SUM]) == [{"instruction": "Add the numbers.", "input": "2 and 3", "output": "5"}]
    assert [r["output"] for r in export(tmp_path, "alpaca", [SUM], response="all")] == ["5", "b", "a", "c", "d", "e"]
    assert export(tmp_path, "sharegpt", [SUM], response="best") == [
        {
            "id": "7",
            "conversations": [
                {"from": "human", "value": "Add the numbers.\n2 and 3"},
                {"from": "gpt", "value": "b"},
            ],
        }
    ]
    assert export(tmp_path, "tuna-training", [SUM]) == [
        {"id": "7", "instruction": PROMPT, "output": ["b", "a", "c", "d"], "score": [3.0, 1.0, 1.0, 0.5]}
    ]


def test_scores_that_contradict_the_ranks_are_replaced_by_them(tmp_path: Path) -> None:
    wrong = RankedExample("0", "Do.", candidates=(Candidate("x", score=9.0, rank=1), Candidate("y", score=1.0, rank=0)))
    [record] = export(tmp_path, "tuna-training", [wrong])
    assert (record["output"], record["score"]) == (["y", "x"], [0.0, -1.0])


def test_examples_that_lack_what_a_format_needs_are_counted(tmp_path: Path) -> None:
    bare = RankedExample("1", "Do.")
    for to, records in {"dpo": 5, "alpaca": 1, "tuna-training": 1, "ranked": 2}.items():
        written = write_export(tmp_path / f"{to}.jsonl", [SUM, bare], to)
        assert (written.examples, written.records, written.without) == (2, records, to != "ranked")


def test_the_released_trainer_gets_equal_numbers_of_outputs(tmp_path: Path) -> None:
    fewer = RankedExample("8", "Do.", candidates=(Candidate("x", rank=0), Candidate("y", rank=1)))
    file = tmp_path / "train.json"
    with pytest.raises(DataError, match=r"example 8: 2 ranked candidates, those before it 4.*--candidates 4"):
        write_export(file, [SUM, fewer], "tuna-training")
    assert not list(tmp_path.iterdir())


def test_unknown_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown format 'dop'"):
        write_export(tmp_path / "x.jsonl", [SUM], "dop")
    with pytest.raises(ConfigError, match="ranked data is JSON Lines"):
        write_export(tmp_path / "x.json", [SUM], "ranked")


WORDS = st.text(min_size=1, max_size=12).filter(lambda text: "###" not in text)
SCORES = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=5)


@st.composite
def ranked_examples(draw: st.DrawFn) -> RankedExample:
    """Distinct texts with scores that rank them, ties among them; an input or none."""
    scores = draw(SCORES)
    texts = draw(st.lists(WORDS, min_size=len(scores), max_size=len(scores), unique=True))
    candidates = [Candidate(text, score=score) for text, score in zip(texts, scores, strict=True)]
    return RankedExample(
        "0", draw(WORDS), draw(st.just("") | WORDS), original=draw(WORDS), candidates=rank_by_score(candidates)
    )


@pytest.mark.parametrize("container", ["json", "jsonl"])
@pytest.mark.parametrize("to", EXPORTS)
@settings(max_examples=50, deadline=None)
@given(example=ranked_examples())
def test_what_is_written_reads_back_as_the_same(
    to: str, container: str, example: RankedExample, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if to == "ranked" and container == "json":
        return
    file = tmp_path_factory.getbasetemp() / f"round-{to}.{container}"
    written = write_export(file, [example], to)
    found = list(read_examples(file)) if written.records else []
    if to == "ranked":
        assert found == [example]
    elif to in ("alpaca", "sharegpt"):
        assert [e.original for e in found] == [example.original]
    elif to == "tuna-training":
        assert [e.id for e in found] == ["0"]
        assert {(c.text, c.score, c.rank) for c in found[0].candidates} == {
            (c.text, c.score, c.rank) for c in example.candidates
        }
    else:
        chosen = [tuple(c.text for c in e.candidates) for e in found]
        rank = {c.text: c.rank for c in example.candidates}
        expected = [(a, b) for a, b in combinations(rank, 2) if rank[a] != rank[b]]
        assert {frozenset(pair) for pair in chosen} == {frozenset(pair) for pair in expected}
        assert all(rank[a] < rank[b] for a, b in chosen)  # type: ignore[operator]
    if to != "sharegpt":  # which has no input of its own
        assert {(e.instruction, e.input) for e in found} <= {(example.instruction, example.input)}


@settings(max_examples=50, deadline=None)
@given(SCORES)
def test_ranks_count_the_better_ones(scores: list[float]) -> None:
    assert competition_ranks(scores) == [sum(other > score for other in scores) for score in scores]
