"""What a ranking reply says: the released script's reading to the last case, and a reading that doubts more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuna_eval.judge.listwise_parsers import (
    PARSERS,
    ListReading,
    official_ranking,
    read_ranking,
    read_ranking_by_score,
    read_ranking_legacy,
)
from tuna_eval.judge.protocols import levels_to_ranks

Groups = list[list[int]]


def test_the_legacy_parser_reads_as_the_released_script_does(shared: Path) -> None:
    lines = (shared / "golden" / "tuna_rank_parse.jsonl").read_text().splitlines()
    for line in lines:
        golden = json.loads(line)
        found = official_ranking(golden["gpt_eval"])
        if golden["error"]:
            assert (found, golden["error"]) == (None, "IndexError")
            continue
        assert found is not None
        official = golden["rank_str"], golden["ranks"], golden["response_4"]
        assert (found.rank_str, list(found.ranks), found.reference) == official
    assert len(lines) == 10


@pytest.mark.parametrize(
    ("reply", "ranks"),
    [
        ("rank: [4, 0, 2, 1, 3]", (0, 2, 1, 3)),
        ("rank: [4, 1]", (None, 0, None, None)),
        ("rank: [10, 2]", None),  # upstream keeps label 10
        ("rank: [4]", None),  # nothing but the judge's own
        ("rank: [1, 1]", None),
        ("The rank: see below.\nrank: [4, 0, 1, 2, 3]", None),
        ("no marker", None),
    ],
)
def test_what_the_released_script_reads_is_a_ranking_only_if_it_is_one(
    reply: str, ranks: tuple[int | None, ...] | None
) -> None:
    found = read_ranking_legacy(reply, 4)
    assert (found and found.ranks) == ranks


@pytest.mark.parametrize(
    ("reply", "ranks", "confidence"),
    [
        # plain, and in the spellings that upstream trips over (protocol 4.5)
        ("rank: [4, 0, 2, 1, 3]", (0, 2, 1, 3), "high"),
        ("**rank:** [4, 1, 0, 3, 2]", (1, 0, 3, 2), "high"),
        ("rank [4, 3, 2, 1, 0]", (3, 2, 1, 0), "high"),
        ("Final ranking - [4, 0, 1, 2, 3]", (0, 1, 2, 3), "high"),
        ("The rank: see below.\nrank: [4, 0, 1, 2, 3]", (0, 1, 2, 3), "high"),
        ("rank: [Response 4, Response 0, Response 1, Response 2, Response 3].", (0, 1, 2, 3), "high"),
        ('rank: ["4", "0", "1", "2", "3"]', (0, 1, 2, 3), "high"),
        ("Ranking of the responses, best first:\n\n```\n[4, 0, 1, 2, 3]\n```", (0, 1, 2, 3), "high"),
        ("rank: [\n  4,\n  0,\n  1,\n  2,\n  3\n]", (0, 1, 2, 3), "high"),
        ("rank: [4 (15), 0 (12), 1 (9/15), 2 (score: 8), 3 (1 point)]", (0, 1, 2, 3), "high"),
        # chains and ties
        ("Rank: 4 > 2 > 0 = 1 > 3", (1, 1, 0, 3), "high"),
        ("rank: Response 4 > Response 2 > Response 0 = Response 1 > Response 3", (1, 1, 0, 3), "high"),
        ("rank: 4, 2, 0, 1, 3", (1, 2, 0, 3), "high"),
        ("rank: [4, (0, 1), 2, 3]", (0, 0, 2, 3), "high"),
        ("rank: [4, [0, 1, 2], 3]", (0, 0, 0, 3), "high"),
        ("rank: [4 &gt; 0 &gt; 1 = 2 &gt; 3]", (0, 1, 1, 3), "high"),
        ("ranking: [4=0, 1, 2, 3]", (0, 1, 2, 3), "high"),  # as good as the judge's own
        # duplicates
        ("Response 3 is a duplicate of Response 1.\nrank: [4, 1, 0, 2]", (2, 0, 3, 0), "high"),
        ("Responses 0, 1, and 2 are identical.\nrank: [4, 1, 3]", (0, 0, 0, 3), "high"),
        ("Duplicates: Response 1 and Response 3.\nrank: [4, 1, 0, 2]", (2, 0, 3, 0), "high"),
        ("rank: [4, 0, 1]\n\n(Response 2 and 3 are duplicates of 1.)", (0, 1, 1, 1), "high"),
        ("Response 0 is identical to Response 4.\nrank: [4, 1, 2, 3]", (0, 1, 2, 3), "high"),
        ("Responses 0 and 1 are identical.\nrank: [4, 0, 1, 2, 3]", (0, 0, 2, 3), "high"),  # both kept, side by side
        ("Responses 0 and 1 are identical.\nrank: [4, 0, 2, 1, 3]", (0, 2, 1, 3), "low"),  # told apart all the same
        ("There are no duplicates: Response 0 and 1 are not identical.\nrank: [4, 0, 2, 3]", (0, None, 1, 2), "low"),
        ("rank: [4, 1]", (None, 0, None, None), "low"),
        # what deserves a second look
        ("rank: [4, 0, 1, 2, 3]\nOn reflection:\nrank: [4, 1, 0, 2, 3]", (1, 0, 2, 3), "low"),
        ("rank: [4, 0, 1, 2, 3]\nOnce more, the rank: [4, 0, 1, 2, 3]", (0, 1, 2, 3), "high"),
        ("I am done.\n[4, 0, 1, 2, 3]", (0, 1, 2, 3), "low"),
        ("<think>rank: [3, 2, 1, 0]</think>rank: [4, 0, 1, 2, 3]", (0, 1, 2, 3), "high"),
        # no ranking
        ("", None, ""),
        ("rank: [i, j, k, l, m]", None, ""),
        ("rank: [0, 0, 1, 2, 3]", None, ""),
        ("rank: [5, 0, 1, 2, 3]", None, ""),
        ("rank: [4]", None, ""),
        ("rank: []", None, ""),
        ("rank: [4, 0, 1", None, ""),
        ("rank: 1", None, ""),
        ("rank: [3 < 2 < 1 < 0]", None, ""),
        ("rank: [4, 0, 1, 2, 3]\nNo, wrong:\nrank: [0, 0, 7]", None, ""),  # which one is meant, nobody knows
        ("<think>rank: [4, 0, 1, 2, 3]", None, ""),
        ("I rank Response 4 first, then 2.", None, ""),
        ("Response 0: [12]\nResponse 1: [9]", None, ""),
        ("rank: [1.5, 0, 2]", None, ""),
    ],
)
def test_spellings(reply: str, ranks: tuple[int | None, ...] | None, confidence: str) -> None:
    found = read_ranking(reply, 4)
    assert (found and found.ranks) == ranks
    assert found is None or found.confidence == confidence


@pytest.mark.parametrize(
    ("line", "score"),
    [
        ("Response 0: [12]", 12),
        ("**Response 0:** [12]", 12),
        ("- Response 0: 12", 12),
        ("Response 0: 12/15", 12),
        ("Response 0: [12/15]", 12),
        ("Response 0: [4 + 5 + 3 = 12]", 12),
        ("Response 0: 4 + 5 + 3 = 12", 12),
        ("Response 0: [5, 4, 3]", 12),
        ("Response 0 (a poem): [ 11.5 ]", 11.5),
        ("Response 0: overall score: [12]", 12),
        ("Response 0: [0]", 0),
        ("Response 0: relevance 5, details 4, accuracy 3. Overall: [12]", 12),
        ("Response 0: I refer to [3] and [4].", None),
        ("Response 0: [16]", None),
        ("Response 0: twelve", None),
        ("###Response 0: 12", None),  # the heading of a text
        ("Response 0:\n12", None),
        ("Response 0: 12 apples", None),
    ],
)
def test_scores(line: str, score: float | None) -> None:
    found = read_ranking(f"{line}\nrank: [2, 0, 1]", 2)
    assert found is not None
    assert found.scores == (score, None)


def test_equal_scores_are_ties_where_that_is_asked_for() -> None:
    reply = "\n".join(f"Response {k}: [{s}]" for k, s in enumerate((9, 12, 9, 4, 15))) + "\nrank: [4, 1, 0, 2, 3]"
    assert read_ranking(reply, 4) == ListReading((1, 0, 2, 3), (9, 12, 9, 4))
    tied = read_ranking_by_score(reply, 4)
    assert tied is not None
    assert tied.ranks == (1, 0, 1, 3)
    contradicted = read_ranking_by_score(reply.replace("[12]", "[3]"), 4)
    assert contradicted is not None
    assert (contradicted.ranks, contradicted.confidence) == ((1, 0, 2, 3), "low")


@st.composite
def listings(draw: st.DrawFn) -> tuple[int, Groups]:
    """A number of responses, and all of them and the judge's own in groups of ties, best first."""
    count = draw(st.integers(2, 6))
    labels = draw(st.permutations(range(count + 1)))
    cuts = sorted(draw(st.sets(st.integers(1, count), min_size=0, max_size=count)))
    return count, [list(labels[a:b]) for a, b in zip([0, *cuts], [*cuts, count + 1], strict=True)]


PROSE = st.sampled_from(
    [
        "",
        "The instruction is open-ended.\n\n",
        "I weighed relevance (0 to 5) and accuracy. No two say the same.\n",
        "###Response 9:\nOnce there were 3 bears.\n\nThey ate 4 bowls.\n\n",
        "日本語の説明 – 1, 2, 3.\n",
    ]
)


def spelled(groups: Groups, style: str) -> str:
    match style:
        case "brackets":
            return (
                "rank: [" + ", ".join(f"[{', '.join(map(str, g))}]" if len(g) > 1 else str(g[0]) for g in groups) + "]"
            )
        case "equals":
            return "**Rank:** [" + ", ".join(" = ".join(map(str, g)) for g in groups) + "]"
        case "chain":
            return "Final ranking: " + " > ".join(" = ".join(f"Response {k}" for k in g) for g in groups)
        case _:
            return "ranking: " + " > ".join("=".join(map(str, g)) for g in groups) + "."


def ranks_of(count: int, groups: Groups) -> tuple[int | None, ...]:
    place = {label: n for n, group in enumerate(groups) for label in group}
    return levels_to_ranks([place[label] for label in range(count)])


@given(listings(), st.sampled_from(["brackets", "equals", "chain", "tight"]), PROSE, PROSE)
def test_a_rendered_ranking_is_read_as_it_was_meant(
    listed: tuple[int, Groups], style: str, before: str, after: str
) -> None:
    count, groups = listed
    if style in ("chain", "tight") and sum(map(len, groups)) < 2:
        return
    found = read_ranking(f"{before}{spelled(groups, style)}\n\n{after}", count)
    assert found is not None
    assert (found.ranks, found.confidence, found.duplicates) == (ranks_of(count, groups), "high", ())


@given(listings(), st.data())
def test_a_planted_contradiction_gives_low_confidence(listed: tuple[int, Groups], data: st.DataObject) -> None:
    count, groups = listed
    labels = [label for group in groups for label in group]
    level = {label: len(groups) - n for n, group in enumerate(groups) for label in group}

    def reply(scores: Sequence[int]) -> str:
        stated = "\n".join(
            f"Response {label}: [{score}]" for label, score in zip(range(count + 1), scores, strict=True)
        )
        return f"{stated}\n{spelled(groups, 'equals')}"

    honest = [level[label] for label in range(count + 1)]
    found = read_ranking(reply(honest), count)
    assert found is not None
    assert (found.confidence, found.scores) == ("high", tuple(map(float, honest[:count])))
    raised = data.draw(st.sampled_from(labels))
    better = [label for label in labels if level[label] >= level[raised] and label != raised]
    if not better:
        return
    planted = [15 if label == raised else score for label, score in enumerate(honest)]
    found = read_ranking(reply(planted), count)
    assert found is not None
    assert (found.ranks, found.confidence) == (ranks_of(count, groups), "low")


@given(listings(), st.data())
def test_a_left_out_duplicate_has_the_rank_of_the_one_that_was_kept(
    listed: tuple[int, Groups], data: st.DataObject
) -> None:
    count, groups = listed
    labels = [group[0] for group in groups]
    if len(labels) < 3:
        return
    singles = [[label] for label in labels]
    gone, kept = data.draw(st.permutations([label for label in labels if label != count]))[:2]
    wanted = {label: place for place, label in enumerate(label for label in labels if label != gone)}
    wanted[gone] = wanted[kept]
    said = data.draw(
        st.sampled_from(
            [
                f"Response {gone} is a duplicate of Response {kept}.",
                f"Responses {kept} and {gone} are duplicates.",
                f"Response {kept} and Response {gone} are nearly identical, so I keep the former.",
                f"Duplicate responses: {kept}, {gone}",
            ]
        )
    )
    found = read_ranking(f"{said}\n{spelled([s for s in singles if s != [gone]], 'equals')}", count)
    assert found is not None
    assert found.duplicates == (tuple(sorted((gone, kept))),)
    shown = [wanted.get(label) for label in range(count)]
    assert found.ranks == levels_to_ranks(shown)
    assert found.confidence == ("high" if None not in shown else "low")


FRAGMENTS = [
    *("rank: ", "Ranking", "[", "]", "(", ")", ">", "=", ",", "and ", "\n", "Response ", "###Response 4:\n", "0", "1"),
    *("2", "3", "4", "17", "duplicates of ", "are identical", " not ", "[12]", ": ", "```", "<think>", "</think>", "٣"),
]
REPLIES = st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=60).map("".join))


@given(REPLIES, st.integers(1, 6), st.sampled_from(list(PARSERS)))
def test_no_text_raises_and_every_reading_is_a_ranking(reply: str, count: int, parser: str) -> None:
    found = PARSERS[parser](reply, count)
    if found is None:
        return
    assert len(found.ranks) == len(found.scores) == count
    known = sorted(rank for rank in found.ranks if rank is not None)
    assert known
    assert found.ranks == levels_to_ranks(found.ranks)  # competition ranks: each is the number of better ones
    assert all(score is None or 0 <= score <= 15 for score in found.scores)
    assert all(len(group) > 1 and set(group) <= set(range(count + 1)) for group in found.duplicates)
    if parser != "legacy" and None in found.ranks:
        assert found.confidence == "low"


@pytest.mark.parametrize(
    "piece",
    ["rank ", "rank: [", "rank: 1, ", "response 1: ", "Response 1 is ", "Responses 1, ", "1, ", "duplicates are ", " "],
)
def test_no_rubbish_is_read_for_long(piece: str) -> None:
    """Of a pattern that looks back and forth these would be hours."""
    assert read_ranking(piece * 20_000, 4) is None
    assert read_ranking("rank: (" + piece * 20_000, 4) is None
