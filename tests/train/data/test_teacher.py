"""Ranking by a teacher's probability: Eq. 3 by hand, the sweep, a real server's log-probabilities, given responses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from drawing import SeedServer, instructions, read, tuna_train, write_alpaca
from hypothesis import given
from hypothesis import strategies as st

from openai_faults import Fault, always
from openai_tokens import logprob, tokenize
from tuna_eval.errors import ConfigError, DataError
from tuna_train.data.ranked import Candidate, RankedExample, write_ranked
from tuna_train.data.teacher import check_beta, length_normalized, rank, rerank
from tuna_train.losses import teacher_score

# tuna_method.md 4.3: (log p, |r|), and the order that each beta gives.
GOLDEN = [(-10.0, 10), (-66.0, 60), (-36.0, 30), (-1.9, 2)]
ORDERS = {1.0: [3, 0, 1, 2], 1.3: [1, 2, 0, 3]}


def example(pairs: list[tuple[float, int]], finishes: list[str] | None = None) -> RankedExample:
    candidates = tuple(Candidate(f"r{i}", "m", tokens, total) for i, (total, tokens) in enumerate(pairs))
    draws: Any = [{"finish": finish} for finish in finishes or ["stop"] * len(pairs)]
    return RankedExample("e", "Do.", "", None, candidates, {"teacher": {"candidates": draws}, "other": "stays"})


def order(ranked: RankedExample) -> list[int]:
    return [int(candidate.text[1:]) for candidate in ranked.ranked]


@pytest.mark.parametrize("beta", ORDERS)
def test_the_order_is_that_of_the_golden_case(beta: float) -> None:
    ranked = rank(example(GOLDEN), beta)
    assert order(ranked) == ORDERS[beta]
    assert [c.score for c in ranked.candidates] == [pytest.approx(lp / n**beta) for lp, n in GOLDEN]
    assert [c.text for c in ranked.candidates] == ["r0", "r1", "r2", "r3"]  # the order they were made in stays
    assert ranked.provenance["other"] == "stays"
    made: Any = ranked.provenance["teacher"]
    assert (made["beta"], made["rank_cut"], len(made["candidates"])) == (beta, True, 4)


@given(st.floats(-1e4, 0), st.integers(1, 4096), st.floats(0, 3))
def test_the_score_is_that_of_the_losses(total: float, tokens: int, beta: float) -> None:
    tensor = teacher_score(torch.tensor([total], dtype=torch.float64), torch.tensor([tokens]), beta)
    assert length_normalized(total, tokens, beta) == pytest.approx(float(tensor), rel=1e-12)


def test_a_larger_penalty_favours_the_longer_of_two_equally_probable_responses() -> None:
    assert order(rank(example([(-10.0, 5), (-10.0, 50)]), 0.5)) == [1, 0]
    assert rank(example([(-10.0, 5), (-10.0, 50)]), 0.0).candidates[1].rank == 0
    with pytest.raises(ValueError, match="0 tokens"):
        length_normalized(-1.0, 0)
    for wrong in (-0.1, math.inf, math.nan):
        with pytest.raises(ConfigError, match="--beta"):
            check_beta(wrong)


def test_replies_that_were_cut_can_be_left_out() -> None:
    cut = example(GOLDEN, ["stop", "length", "stop", "stop"])
    assert order(rank(cut)) == ORDERS[1.3]
    left = rank(cut, rank_cut=False)
    assert order(left) == [2, 0, 3]
    assert left.candidates[1].rank is left.candidates[1].score is None
    assert order(rank(left)) == ORDERS[1.3]  # nothing is lost


def test_a_sweep_makes_a_file_for_each_beta_and_asks_nobody(tmp_path: Path) -> None:
    file = tmp_path / "ranked.jsonl"
    write_ranked(file, [rank(example(GOLDEN))])
    before = file.read_bytes()
    result = tuna_train("data", "teacher", file, "--betas", 0.9, 1.0, 1.3)
    assert "beta 0.9" in result.stderr
    found = {beta: read(tmp_path / f"ranked.beta-{beta:g}.jsonl") for beta in (0.9, 1.0, 1.3)}
    assert [order(found[beta][0]) for beta in (1.0, 1.3)] == [ORDERS[1.0], ORDERS[1.3]]
    assert file.read_bytes() == before


def test_responses_without_log_probabilities_cannot_be_ranked_anew(tmp_path: Path) -> None:
    write_ranked(tmp_path / "r.jsonl", [RankedExample("x", "Do.", candidates=(Candidate("a"),))])
    with pytest.raises(DataError, match=r"example 'x' have no log-probabilities; .*--given"):
        rerank(tmp_path / "r.jsonl", [1.0])
    result = tuna_train("data", "teacher", tmp_path / "r.jsonl", check=False)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "--betas" in result.stderr


def teach(server: SeedServer, source: Path, out: Path, *words: object, check: bool = True) -> Any:
    model = ("--model", "m", "--base-url", server.base_url, "--max-retries", 0)
    return tuna_train("data", "teacher", source, "--out", out, *model, *words, check=check)


def test_a_servers_replies_are_ranked_by_its_log_probabilities(tmp_path: Path) -> None:
    source, out = write_alpaca(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    with SeedServer() as server:
        teach(server, source, out, "--betas", 1.0)
        assert server.drawn.total() == len(server.drawn) == 12
        assert {call.body["temperature"] for call in server.log} == {1.0}
    for found, asked in zip(read(out), instructions(3), strict=True):
        assert (found.id, found.instruction, found.original) == (asked.id, asked.instruction, "Yes.")
        for candidate in found.candidates:
            tokens = tokenize(candidate.text)
            assert candidate.tokens == len(tokens)
            assert candidate.logprob == pytest.approx(sum(logprob(t, i) for i, t in enumerate(tokens)))
            assert candidate.score == pytest.approx((candidate.logprob or 0) / len(tokens) ** 1.3)
        scores = [candidate.score or 0.0 for candidate in found.ranked]
        assert scores == sorted(scores, reverse=True)
    assert len(read(tmp_path / "out.beta-1.jsonl")) == 3


def test_a_server_without_log_probabilities_is_told_in_one_line(tmp_path: Path) -> None:
    source = write_alpaca(tmp_path / "in.jsonl", 30)
    with SeedServer(faults=always(Fault("no_logprobs"))) as server:
        result = teach(server, source, tmp_path / "out.jsonl", "--concurrency", 2, check=False)
        assert len(server.log) < 10
    assert result.returncode == 2
    assert "without log-probability" in result.stderr
    assert "Traceback" not in result.stderr


def test_given_responses_are_scored_with_their_end(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    texts = ("red", "red and blue", "")
    write_ranked(source, [RankedExample("x", "Name colours.", candidates=tuple(map(Candidate, texts)))])
    with SeedServer() as server:
        result = teach(server, source, out, "--given", check=False)
        assert "--eos" in result.stderr  # nobody here knows what ends a response
        teach(server, source, out, "--given", "--eos", ".")
        asked = len(server.log)
        teach(server, source, out, "--given", "--eos", ".")
        assert len(server.log) == asked == 3
    (found,) = read(out)
    prompts = [call.prompt for call in server.log]
    for candidate, text in zip(found.candidates, texts, strict=True):
        (whole,) = (prompt for prompt in prompts if prompt.endswith(f"### Response:{text}."))
        tokens = tokenize(whole)
        start = len(tokenize(whole.removesuffix(f"{text}.")))
        assert candidate.logprob == pytest.approx(sum(logprob(t, i) for i, t in enumerate(tokens) if i >= start))
        assert candidate.tokens == len(tokens) - start
    assert sorted(c.rank for c in found.candidates if c.rank is not None) == [0, 1, 2]
