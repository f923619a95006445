"""Lengths, similarity, agreement and cost, with arithmetic a reader can redo."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.models import LocalModel
from tuna_train.data.costs import MeanTokens, forecast, human_cost, mean_tokens, spent
from tuna_train.data.ranked import Candidate, RankedExample
from tuna_train.data.stats import Ranking, agreement, length_unit, measure
from tuna_train.data.stats_plot import plot_statistics

WORDS = length_unit("words")


def example(id: str, *texts_and_ranks: tuple[str, int | None], tokens: int | None = None) -> RankedExample:
    candidates = tuple(Candidate(text, rank=rank, tokens=tokens) for text, rank in texts_and_ranks)
    return RankedExample(id, "Do.", candidates=candidates)


def rankings(**ranks: dict[str, int]) -> dict[str, Ranking]:
    """By example the rank of each text."""
    examples = [example(id, *texts.items()) for id, texts in ranks.items()]
    return measure(examples, WORDS, keep_rankings=True).rankings


def test_lengths_by_rank() -> None:
    found = measure(
        [
            example("0", ("a b c", 1), ("a b c d e", 0), ("a", 2)),
            example("1", ("a", 0), ("a b c", 1)),
            example("2", ("not ranked at all", None)),
        ],
        WORDS,
    )
    assert found.lengths_by_rank == [3.0, 3.0, 1.0]  # (5 + 1) / 2, (3 + 3) / 2, 1
    assert found.length_counts == [2, 2, 1]
    assert (found.examples, found.ranked_examples, found.candidates) == (3, 2, 6)


def test_tied_candidates_share_their_mean_length() -> None:
    """Ranks 0, 0, 2: the two tied ones stand first and second in either order."""
    assert measure([example("0", ("a b c", 0), ("a", 0), ("a b", 2))], WORDS).lengths_by_rank == [2.0, 2.0, 2.0]


def test_of_equal_texts_the_best_rank_counts_for_agreement() -> None:
    ours = measure([example("0", ("same", 0), ("other", 1), ("same", 2))], WORDS, keep_rankings=True)
    theirs = measure([example("0", ("same", 0), ("other", 1))], WORDS, keep_rankings=True)
    found = agreement(ours.rankings, theirs.rankings)
    assert (found.kendall_tau, found.top1) == (1.0, 1.0)


def test_repeated_ids_are_counted() -> None:
    found = measure([example(id, ("a", 0)) for id in ("0", "1", "0", "0")], WORDS)
    assert (found.repeated_ids, found.to_json()["repeated_ids"]) == (2, 2)


def test_units_of_length() -> None:
    ranked = [example("0", ("Größe, don't 東京", 0), tokens=7)]
    assert measure(ranked, WORDS).lengths_by_rank == [5.0]  # größe don t 東 京
    assert measure(ranked, length_unit("tokens")).lengths_by_rank == [7.0]
    with pytest.raises(DataError, match="no recorded number of tokens"):
        measure([example("0", ("a", 0))], length_unit("tokens"))


@pytest.mark.model
def test_lengths_in_tokens_of_a_tokenizer(demo_model: LocalModel) -> None:
    unit = length_unit(str(demo_model.folder))
    assert unit.name == f"tokens of {demo_model.folder.name}"
    assert unit.measure(Candidate("The capital of France is Paris.")) == 7  # six words and a full stop
    with pytest.raises(ConfigError, match="no tokenizer '/nowhere/at/all'"):
        length_unit("/nowhere/at/all")


def test_similarity_is_the_mean_over_all_pairs() -> None:
    """a b / a b: 1. a b / c d: 0, twice. The second example's b c d / b: precision 1/3, recall 1, F1 1/2."""
    found = measure([example("0", ("a b", 0), ("c d", 1), ("a b", None)), example("1", ("b c d", 0), ("b", 1))], WORDS)
    assert found.pairs == 4
    assert found.similarity == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert (found.histogram[0], found.histogram[10], found.histogram[-1], sum(found.histogram)) == (2, 1, 1, 4)
    assert measure([], WORDS).similarity is None


def test_agreement_by_hand() -> None:
    """Of the six orders of three candidates against a > b > c: tau 1, 1/3, 1/3, -1/3, -1/3, -1; the best twice."""
    own = {f"{k}": {"a": 0, "b": 1, "c": 2} for k in range(6)}
    other = {f"{k}": {text: order.index(text) for text in "abc"} for k, order in enumerate(permutations("abc"))}
    found = agreement(rankings(**own), rankings(**other))
    assert (found.kendall_tau, found.top1) == (pytest.approx(0.0), pytest.approx(2 / 6))
    assert (found.examples, found.tau_examples, found.unmatched) == (6, 6, 0)
    same = agreement(rankings(**own), rankings(**own))
    assert (same.kendall_tau, same.top1) == (1.0, 1.0)


def test_agreement_counts_only_what_both_ranked() -> None:
    first = rankings(x={"a": 0, "b": 1, "only here": 2}, y={"a": 0, "b": 1}, z={"a": 0, "b": 0}, u={"a": 0, "b": 1})
    second = rankings(x={" b": 0, "a": 1}, y={"a": 0, "c": 1}, z={"a": 0, "b": 1}, v={"a": 0, "b": 1})
    found = agreement(first, second)
    assert found.examples == 2  # x, turned round; z, tied by the first
    assert (found.kendall_tau, found.tau_examples) == (-1.0, 1)
    assert found.top1 == pytest.approx((0 + 1 / 2) / 2)
    assert found.unmatched == 3  # y has one candidate in common; u and v are in one file
    nothing = agreement({}, {})
    assert (nothing.kendall_tau, nothing.top1, nothing.examples) == (None, None, 0)


def test_people_cost_what_table_6_says() -> None:
    assert human_cost(1_000).usd == 1500.0
    assert human_cost(10, responses=2).usd == 2.5


def test_the_forecast_comes_near_table_6() -> None:
    """Table 4's lengths give the $275 of probabilistic ranking with prompts of 52 tokens; $380 is 13K rankings."""
    lengths = (55.8 + 54.3 + 52.5 + 49.4) / 4
    rows = forecast(
        MeanTokens(52.0, lengths, "by hand"),
        instructions=52_000,
        teacher="text-davinci-003",
        judged=13_000,
        judge="gpt-4",
    )
    assert [row.usd for row in rows] == [
        pytest.approx(52_000 * (52 + 212) * 20 / 1e6),  # 274.56
        pytest.approx(13_000 * (650 * 30 + 162 * 60) / 1e6),  # 379.86
        1500.0,
    ]
    assert [round(row.usd or 0) for row in rows] == [275, 380, 1500]


def test_a_model_without_a_price_has_no_cost() -> None:
    rows = forecast(MeanTokens(50, None, "by hand"), instructions=1, teacher="x", judged=1, judge="my-judge")
    assert [(row.usd, row.item) for row in rows[:-1]] == [(None, "contextual ranking, 1 instructions, my-judge")]
    assert "my-judge is not in the price list" in rows[0].source


def test_mean_tokens_are_those_of_the_data() -> None:
    short, long = (mean_tokens([example("0", ("word " * n, None))], "unknown-model") for n in (10, 20))
    assert short.prompt == long.prompt
    assert (long.response or 0) > 1.8 * (short.response or 0) > 0
    only_original = mean_tokens([RankedExample("0", "Do.", original="word " * 10)], "unknown-model")
    assert only_original.response == short.response
    with pytest.raises(DataError, match="no example"):
        mean_tokens([], "gpt-4")


def journal(folder: Path, lines: list[dict[str, Any]]) -> Path:
    file = folder / "ranked.jsonl"
    stage = folder / "ranked.jsonl.stage"
    stage.mkdir()
    (stage / "replies.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


def test_what_was_spent_is_in_the_journal(tmp_path: Path) -> None:
    assert spent(tmp_path / "ranked.jsonl") is None
    file = journal(
        tmp_path,
        [
            {"prompt_tokens": 1000, "tokens": 500, "served_model": "gpt-4-0613"},
            {"prompt_tokens": 1000, "completion_tokens": 500, "served_model": "gpt-4:some-deployment"},
            {"prompt_tokens": 7, "tokens": None, "served_model": "somebody's"},
        ],
    )
    with (tmp_path / "ranked.jsonl.stage" / "replies.jsonl").open("a") as torn:
        torn.write('{"prompt_tokens": 10')  # a crash, or the stage is still at work
    found = spent(file)
    assert found is not None
    assert found.usd == pytest.approx(2 * (1000 * 30 + 500 * 60) / 1e6)  # 0.12
    assert found.source == "3 replies, 2007 + 1000 tokens, 1 replies of models without a list price"


def test_replies_of_the_batch_api_cost_what_it_charges(tmp_path: Path) -> None:
    reply = {"prompt_tokens": 1000, "completion_tokens": 500, "served_model": "gpt-4"}
    found = spent(journal(tmp_path, [reply, {**reply, "batched": True}]))
    assert found is not None
    assert found.usd == pytest.approx(0.06 * (1 + 0.5))


def test_local_replies_have_no_price(tmp_path: Path) -> None:
    found = spent(journal(tmp_path, [{"prompt_tokens": 5, "tokens": 5, "served_model": ""}]))
    assert found is not None
    assert found.usd is None


def test_a_figure_is_drawn_or_the_format_refused(tmp_path: Path) -> None:
    found = measure([example("0", ("a b c", 0), ("a", 1))], WORDS)
    for name, start in (("f.png", b"\x89PNG"), ("f.pdf", b"%PDF"), ("f.svg", b"<?xml")):
        plot_statistics({"one": found, "none": measure([], WORDS)}, tmp_path / "new" / name)
        assert (tmp_path / "new" / name).read_bytes().startswith(start)
    with pytest.raises(ConfigError, match=r"no figure can be written as '\.xyz'"):
        plot_statistics({"one": found}, tmp_path / "f.xyz")
