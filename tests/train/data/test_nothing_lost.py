"""What a slip of the user or a fault of the server must not cost: the input, an output, a ranking, a whole drawing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from drawing import SeedServer, read, tuna_train, write_alpaca
from rankings import planted, rank, ranks, write

from openai_faults import Fault, for_prompts
from openai_judges import by_quality, responses_in
from openai_server import OpenAIServer
from tuna_train.data.ranked import Candidate, RankedExample, write_ranked
from tuna_train.data.replies import ReplyLog


def test_a_report_of_contamination_replaces_no_file(tmp_path: Path) -> None:
    source = write_alpaca(tmp_path / "in.jsonl", 2)
    before = source.read_bytes()
    ended = tuna_train("data", "contamination", source, "--data", "mini", "--out", source, check=False)
    assert (ended.returncode, source.read_bytes()) == (2, before)
    assert ended.stderr == f"tuna-train: {source}: is there already; choose another name, or remove it\n"


@pytest.mark.parametrize("options", [("--limit", "2"), ("--drop", "unparsable", "--limit", "3")])
def test_a_ranking_never_shrinks(options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = write(tmp_path, planted(4)), tmp_path / "out.jsonl"
    with OpenAIServer(by_quality) as server:
        assert rank(file, server.base_url) == 0
        before = out.read_bytes()
        assert rank(file, server.base_url, *options) == 2
        assert len(server.log) == 4
    assert out.read_bytes() == before
    assert "was made from more or other examples, such as 'e" in capsys.readouterr().err


def test_two_inputs_are_not_ranked_into_one_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = write(tmp_path, planted(4)), tmp_path / "out.jsonl"
    with OpenAIServer(by_quality) as server:
        assert rank(file, server.base_url, "--limit", "3") == 0
        before = out.read_bytes()
        others = [replace(e, candidates=(*e.candidates[1:], Candidate("Another, q13"))) for e in planted(4)]
        assert rank(write(tmp_path, others), server.base_url) == 2
        assert "was made from other texts: 3 examples differ" in capsys.readouterr().err
        out.unlink()  # killed before anything was written
        assert rank(file, server.base_url) == 2
        assert len(server.log) == 3
    assert not out.exists()
    assert before.count(b"\n") == 3


def test_one_refused_prompt_does_not_block_a_drawing(tmp_path: Path) -> None:
    source, out = write_alpaca(tmp_path / "in.jsonl", 5), tmp_path / "out.jsonl"
    with SeedServer(faults=for_prompts({"about 2.": Fault.status(400, message="too odd")})) as server:
        words = ("data", "sample", source, "--out", out, "--model", "m", "--base-url", server.base_url, "--n", 2)
        told = tuna_train(*words).stderr
        assert "1 examples have no candidates, because a request failed" in told
        assert "example 'e2'" in told
        assert "too odd" in told
        first = read(out)
        assert [len(example.candidates) for example in first] == [2, 2, 0, 2, 2]
        server.faults = None
        assert "2 first draws to go" in tuna_train(*words, "--dry-run").stderr
        tuna_train(*words)
        assert max(server.drawn[key] for key in server.drawn if "about 2." not in key[0]) == 1
        asked = len(server.log)
        tuna_train(*words)
        assert len(server.log) == asked
    second = read(out)
    assert [example for example in second if example.id != "e2"] == [e for e in first if e.id != "e2"]
    assert [example.id for example in second] == [f"e{n}" for n in range(5)]
    assert len(second[2].candidates) == 2
    assert "failed" not in second[2].provenance["sample"]  # type: ignore[operator]


def test_a_drawing_without_any_candidate_is_no_success(tmp_path: Path) -> None:
    source = write_alpaca(tmp_path / "in.jsonl", 2)
    with SeedServer(faults=for_prompts({"about": Fault.status(400, message="no")})) as server:
        words = ("--model", "m", "--base-url", server.base_url, "--n", 1)
        ended = tuna_train("data", "sample", source, "--out", tmp_path / "out.jsonl", *words, check=False)
    assert ended.returncode == 1


def test_two_orders_of_two_candidates_show_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, planted(16, candidates=2))
    with OpenAIServer(by_quality) as server:
        assert rank(file, server.base_url, "--orders", "2") == 0
        assert len({tuple(responses_in(call.prompt)) for call in server.log}) == 32
        assert "warning" not in capsys.readouterr().err
        assert rank(file, server.base_url, "--orders", "3") == 0
    assert "2 candidates have 2 orders: of 3 rankings some see an order again" in capsys.readouterr().err


def test_a_count_of_replies_keeps_none(tmp_path: Path) -> None:
    source, out = write_alpaca(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    with SeedServer() as server:
        tuna_train("data", "sample", source, "--out", out, "--model", "m", "--base-url", server.base_url, "--n", 2)
    log = ReplyLog(tmp_path / "out.jsonl.stage" / "replies.jsonl")
    counted = log.count()
    assert not any(log.take(f"e{n}") for n in range(3))
    log.read()
    assert counted == log.totals
    assert log.first_draws({"e0"}) == {"e1": 2, "e2": 2}


def test_a_conversion_erases_no_ranking(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_ranked(source, [RankedExample("7", "Do it.", candidates=(Candidate("a", rank=0), Candidate("b", rank=1)))])
    ended = tuna_train("data", "convert", source, out, "--beta", "1.3", check=False)
    assert (ended.returncode, out.exists()) == (2, False)
    assert "the candidates of example '7' have no log-probabilities" in ended.stderr


def test_examples_that_could_not_be_ranked_are_no_success(tmp_path: Path) -> None:
    file = write(tmp_path, planted(2))
    with OpenAIServer(lambda prompt: "Hard to say.") as server:
        assert rank(file, server.base_url) == 1  # none is ranked
    faults = for_prompts({"number 1.": Fault.status(400, message="no")})
    (tmp_path / "other").mkdir()
    file = write(tmp_path / "other", planted(2))
    with OpenAIServer(by_quality, faults) as server:
        assert rank(file, server.base_url) == 1
        assert rank(file, server.base_url, "--drop", "failed") == 0  # as asked
    assert list(ranks(file)) == ["e0"]
    report = json.loads((tmp_path / "other" / "out.jsonl.stage" / "report.json").read_text())
    assert report["failures"] == 2


def test_ranking_anew_replaces_no_other_file(tmp_path: Path) -> None:
    source, anew = tmp_path / "in.jsonl", tmp_path / "in.beta-1.jsonl"
    examples = [
        RankedExample(str(n), "Do it.", candidates=tuple(Candidate(t, tokens=3, logprob=-n - 1.0) for t in "ab"))
        for n in range(3)
    ]
    write_ranked(source, examples[:2])
    tuna_train("data", "teacher", source, "--betas", 1)
    write_ranked(source, examples)  # it grew
    tuna_train("data", "teacher", source, "--betas", 1)
    whole = anew.read_bytes()
    assert whole.count(b"\n") == 3
    for others in (examples[:2], examples[1:]):
        write_ranked(source, others)
        ended = tuna_train("data", "teacher", source, "--betas", 1, check=False)
        assert (ended.returncode, anew.read_bytes()) == (2, whole)
        assert f"{anew}: is there already and holds something else" in ended.stderr
