"""Laws of mixtures: slices partition, counts add up, a seed decides the order, and the record says what was done."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuna_eval.errors import ConfigError, DataError
from tuna_train.data.contamination import EvaluationPrompt, PromptIndex, Screen
from tuna_train.data.mixture import Input, Mixed, MixOptions, mix, parse_input
from tuna_train.data.mixture_file import MixtureFile, make_mixture
from tuna_train.data.originals import ORIGINAL_POLICIES, distinct_candidates, with_original
from tuna_train.data.ranked import Candidate, RankedExample, competition_ranks, read_ranked, write_ranked


def ranked(*texts: str, scores: bool = False) -> tuple[Candidate, ...]:
    """Candidates of which the first is best; with scores n, n-1, ..."""
    return tuple(
        Candidate(text, score=float(len(texts) - place) if scores else None, rank=place)
        for place, text in enumerate(texts)
    )


def data_file(folder: Path, name: str, count: int, **values: Any) -> Path:
    file = folder / f"{name}.jsonl"
    write_ranked(file, [RankedExample(f"{n}", f"Task {n}.", original=f"{name} {n}", **values) for n in range(count)])
    return file


def mixed(*inputs: Input, **options: Any) -> list[RankedExample]:
    return list(mix(inputs, MixOptions(**options), Mixed()))


def originals(examples: list[RankedExample]) -> list[str | None]:
    return [example.original for example in examples]


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    return data_file(tmp_path, "ten", 10)


ENDS = st.none() | st.integers(-12, 12)


@settings(max_examples=100, deadline=None)
@given(start=ENDS, stop=ENDS)
def test_a_slice_is_pythons(start: int | None, stop: int | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "ten.jsonl"
    if not file.exists():
        data_file(file.parent, "ten", 10)
    word = f"{file}@{'' if start is None else start}:{'' if stop is None else stop}"
    assert originals(mixed(parse_input(word))) == [f"ten {n}" for n in range(10)][start:stop]


def test_first_and_last_are_disjoint_and_make_the_whole(ten: Path) -> None:
    first = mixed(parse_input(str(ten), first=3))
    last = mixed(parse_input(str(ten), last=7))
    assert not {e.id for e in first} & {e.id for e in last}
    assert originals(first + last) == [f"ten {n}" for n in range(10)]
    assert len(mixed(parse_input(str(ten), last=99))) == 10
    assert parse_input(f"{ten}@:2", last=5) == Input(ten, None, 2)  # its own slice goes before


def test_nonsense_slices_are_told(ten: Path) -> None:
    with pytest.raises(ConfigError, match="--first 0 leaves nothing"):
        parse_input(str(ten), first=0)
    with pytest.raises(ConfigError, match="exclude each other"):
        parse_input(str(ten), first=1, last=1)


def test_the_mixtures_of_table_3(tmp_path: Path) -> None:
    """At a thousandth: mix-Tuna-52K has each instruction once, mix-Tuna-104K twice, with two rankings of it."""
    contextual, prob, prm = (data_file(tmp_path, name, 52) for name in ("contextual", "prob", "prm"))
    mix_52 = mixed(Input(contextual, stop=13), Input(prob, start=-39))
    assert originals(mix_52) == [f"contextual {n}" for n in range(13)] + [f"prob {n}" for n in range(13, 52)]
    assert len({e.instruction for e in mix_52}) == len({e.id for e in mix_52}) == 52
    mix_104 = mixed(Input(contextual, stop=13), Input(prm, start=-39), Input(prob))
    assert len(mix_104) == len({e.id for e in mix_104}) == 104
    assert len({e.instruction for e in mix_104}) == 52
    assert mix_104[52].id == "0-2"
    assert mix_104[52].provenance["mixture"] == [{"input": "prob.jsonl", "position": 0, "id": "0"}]


def test_a_mixture_of_mixtures_keeps_its_history(ten: Path, tmp_path: Path) -> None:
    write_ranked(tmp_path / "one.jsonl", mixed(Input(ten, start=4)))
    [example, *_] = mixed(Input(tmp_path / "one.jsonl"))
    assert example.provenance["mixture"] == [
        {"input": "ten.jsonl", "position": 4},
        {"input": "one.jsonl", "position": 0},
    ]


def test_deduplication_goes_by_content(tmp_path: Path) -> None:
    texts = ["Add 1 + 1.", "add  1 + 1.", "ＡＤＤ 1 + 1.", "Add 1 - 1.", "Add 1 + 1."]
    file, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_ranked(file, [RankedExample(str(n), text, input="x" * (n == 4)) for n, text in enumerate(texts)])
    write_ranked(other, [RankedExample("z", "ADD 1 + 1.")])
    assert [e.id for e in mixed(Input(file), Input(other))] == ["0", "1", "2", "3", "4", "z"]
    assert [e.id for e in mixed(Input(file), Input(other), deduplicate="within")] == ["0", "3", "4", "z"]
    assert [e.id for e in mixed(Input(file), Input(other), deduplicate="across")] == ["0", "3", "4"]


def test_every_example_is_accounted_for(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    write_ranked(
        file,
        [
            RankedExample("0", "Outside the slice."),
            RankedExample("1", "Same.", original="o", candidates=ranked("x", "y")),
            RankedExample("2", "Same.", candidates=ranked("x", "y")),
            RankedExample("3", "One candidate too few.", candidates=ranked("x", "x ")),
            RankedExample("4", "What is two and two, asked of all models?", candidates=ranked("x", "y")),
        ],
    )
    index = PromptIndex([EvaluationPrompt("bench", "q1", "What is two and two; asked of ALL models")], n=5)
    found = Mixed()
    options = MixOptions(deduplicate="within", distinct=True, candidates=2)
    kept = list(mix([Input(file, start=1)], options, found, screen=index.overlap))
    assert [e.id for e in kept] == ["1"]
    assert found.inputs == [
        {
            "read": 5,
            "in slice": 4,
            "used": 1,
            "dropped: same instruction and input": 1,
            "without an original response": 1,
            "candidates dropped: same text": 1,
            "dropped: another number of ranked candidates": 1,
            "dropped: overlaps evaluation prompts": 1,
        }
    ]
    assert [(id, overlap.benchmark, overlap.ngrams) for id, overlap in found.contaminated] == [("4", "bench", 5)]


BASE = RankedExample("0", "Do.", original="o", candidates=ranked("a", "b", scores=True))


def ranks(example: RankedExample) -> dict[str, int | None]:
    return {candidate.text: candidate.rank for candidate in example.candidates}


@pytest.mark.parametrize(
    ("policy", "score", "expected"),
    [
        ("keep", None, {"a": 0, "b": 1}),
        ("target", None, {"a": 0, "b": 1}),
        ("best", None, {"a": 1, "b": 2, "o": 0}),
        ("worst", None, {"a": 0, "b": 1, "o": 2}),
        ("score", 1.5, {"a": 0, "b": 2, "o": 1}),
        ("score", 2.0, {"a": 0, "b": 2, "o": 0}),
    ],
)
def test_the_original_takes_the_rank_it_is_given(policy: Any, score: float | None, expected: dict[str, int]) -> None:
    found = with_original(BASE, policy, score)
    assert ranks(found) == expected
    assert found.original == "o"


def test_an_original_that_is_a_candidate_already_is_not_doubled() -> None:
    example = RankedExample("0", "Do.", original="b", candidates=ranked("a", "b ", "c", scores=True))
    assert ranks(with_original(example, "target")) == {"a": 0, "c": 1}
    assert ranks(with_original(example, "best")) == {"a": 1, "c": 2, "b ": 0}
    assert ranks(with_original(example, "worst")) == {"a": 0, "c": 1, "b ": 2}
    assert ranks(with_original(example, "keep")) == {"a": 0, "b ": 1, "c": 2}


def test_the_unranked_stay_unranked_and_scores_are_needed_for_a_score() -> None:
    example = RankedExample("0", "Do.", original="o", candidates=(*ranked("a"), Candidate("u")))
    assert ranks(with_original(example, "worst")) == {"a": 0, "u": None, "o": 1}
    with pytest.raises(DataError, match="example 0: its candidates have ranks but no scores"):
        with_original(example, "score", 1.0)


def test_without_an_original_nothing_changes() -> None:
    bare = RankedExample("0", "Do.", candidates=ranked("a", "b"))
    assert all(with_original(bare, policy, 1.0) == bare for policy in ORIGINAL_POLICIES)


RANKS = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 4)), max_size=6)


@settings(max_examples=100, deadline=None)
@given(RANKS)
def test_of_equal_candidates_the_best_is_kept(drawn: list[tuple[str, int | None]]) -> None:
    places = iter(competition_ranks([-rank for _, rank in drawn if rank is not None]))
    before = RankedExample(
        "0", "Do.", candidates=tuple(Candidate(t, rank=None if r is None else next(places)) for t, r in drawn)
    )
    after = distinct_candidates(before)
    best = {t: min([r for u, r in drawn if u == t and r is not None], default=None) for t, _ in drawn}
    kept = {t: r for t, r in best.items() if r is not None}
    assert sorted(c.text for c in after.candidates) == sorted(best)
    expected = dict(zip(kept, competition_ranks([-rank for rank in kept.values()]), strict=True))
    assert {t: r for t, r in ranks(after).items() if r is not None} == expected


def test_every_response_becomes_an_example(tmp_path: Path) -> None:
    write_ranked(tmp_path / "a.jsonl", [BASE])
    found = mixed(Input(tmp_path / "a.jsonl"), every_response=True)
    assert [(e.id, e.original, e.candidates) for e in found] == [("0/0", "o", ()), ("0/1", "a", ()), ("0/2", "b", ())]


def make(file: Path, *inputs: Input, originals: Path | None = None, **options: Any) -> bytes:
    make_mixture(MixtureFile(file, inputs, MixOptions(**options), originals=originals))
    return file.read_bytes()


def test_the_seed_decides_the_order(ten: Path, tmp_path: Path) -> None:
    first, again, other, plain = (
        make(tmp_path / name, Input(ten), **options)
        for name, options in {
            "1.jsonl": {"shuffle": True, "seed": 1},
            "2.jsonl": {"shuffle": True, "seed": 1},
            "3.jsonl": {"shuffle": True, "seed": 2},
            "4.jsonl": {"seed": 1},
        }.items()
    )
    assert first == again
    assert len({first, other, plain}) == 3
    assert sorted(first.splitlines()) == sorted(other.splitlines()) == sorted(plain.splitlines())
    assert [e.id for e in read_ranked(tmp_path / "4.jsonl")] == [f"{n}" for n in range(10)]


def test_the_record_says_what_a_mixture_is_made_of(ten: Path, tmp_path: Path) -> None:
    content = make(tmp_path / "out" / "mix.jsonl", Input(ten, stop=4), Input(ten, start=-2), original_as="target")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["mix.jsonl", "mix.jsonl.mixture.json"]
    record = json.loads((tmp_path / "out" / "mix.jsonl.mixture.json").read_text())
    sha = hashlib.sha256(ten.read_bytes()).hexdigest()
    assert record["inputs"] == [
        {"file": "ten.jsonl", "sha256": sha, "slice": ":4"},
        {"file": "ten.jsonl", "sha256": sha, "slice": "-2:"},
    ]
    assert [counts["used"] for counts in record["examples"]] == [4, 2]
    assert record["options"]["original_as"] == "target"
    assert record["output"] == {
        "file": "mix.jsonl",
        "sha256": hashlib.sha256(content).hexdigest(),
        "examples": 6,
    }
    assert str(tmp_path) not in json.dumps(record)


def test_the_same_mixture_is_not_made_twice_and_another_never_replaces_it(ten: Path, tmp_path: Path) -> None:
    file = tmp_path / "mix.jsonl"
    make(file, Input(ten))
    before = file.stat().st_mtime_ns
    make(file, Input(ten))
    assert file.stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="made of something else"):
        make(file, Input(ten), shuffle=True)
    data_file(tmp_path, "ten", 11)
    with pytest.raises(ConfigError, match="made of something else"):
        make(file, Input(ten))
    file.write_text("mine\n")
    with pytest.raises(ConfigError, match="made of something else"):
        make(file, Input(ten))


def test_a_broken_input_leaves_no_mixture(ten: Path, tmp_path: Path) -> None:
    with ten.open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(DataError, match=r"ten\.jsonl:11"):
        make(tmp_path / "mix.jsonl", Input(ten), shuffle=True)
    assert [file.name for file in tmp_path.iterdir()] == ["ten.jsonl"]
    with pytest.raises(DataError, match=r"nowhere\.jsonl: cannot be read"):
        make(tmp_path / "mix.jsonl", Input(tmp_path / "nowhere.jsonl"))


def test_originals_are_found_in_another_file(tmp_path: Path) -> None:
    bare = tmp_path / "bare.jsonl"
    write_ranked(bare, [RankedExample("a", "task 1."), RankedExample("b", "Task 99.", candidates=ranked("x"))])
    make(tmp_path / "mix.jsonl", Input(bare), originals=data_file(tmp_path, "ten", 10), original_as="worst")
    first, second = read_ranked(tmp_path / "mix.jsonl")
    assert (first.original, ranks(first)) == ("ten 1", {"ten 1": 0})
    assert (second.original, ranks(second)) == (None, {"x": 0})


def test_a_screened_mixture_records_what_it_was_screened_against(tmp_path: Path, ten: Path) -> None:
    index = PromptIndex([EvaluationPrompt("vicuna", "1", "one two three four five")], n=4)
    write_ranked(ten, [RankedExample("0", "Say: one two three four!"), RankedExample("1", "Say one two, three.")])
    screen = Screen(index, {"vicuna": 1}, {"lmentry": "not fetched"})
    record = make_mixture(MixtureFile(tmp_path / "mix.jsonl", [Input(ten)], screen=screen))
    assert record["screened"] == {"prompts": {"vicuna": 1}, "ngram": 4, "unchecked": ["lmentry"]}
    assert record["contaminated"] == [
        {"id": "0", "benchmark": "vicuna", "prompt": "1", "words": "one two three four", "ngrams": 1}
    ]
    assert [e.id for e in read_ranked(tmp_path / "mix.jsonl")] == ["1"]
