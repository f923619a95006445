"""`tuna-train data rank`: what is asked, what is written, and what it costs, over a real HTTP server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rankings import planted, rank, ranks, write

from openai_faults import Fault, for_prompts
from openai_judges import by_quality, planted_quality, responses_in
from openai_server import OpenAIServer
from tuna_eval.disk import read_lines
from tuna_eval.judge.listwise_parsers import PARSERS
from tuna_train.cli import main
from tuna_train.commands import data_rank_options as rank_options
from tuna_train.data import ranking_report
from tuna_train.data.ranked import Candidate, RankedExample, competition_ranks, read_ranked

PRICED = ("--judge-price-per-million-input", "30", "--judge-price-per-million-output", "60")


def by_planted_quality(examples: list[RankedExample]) -> dict[str, tuple[int, ...]]:
    return {e.id: tuple(competition_ranks([planted_quality(c.text) for c in e.candidates])) for e in examples}


def journal(file: Path) -> list[dict[str, object]]:
    return list(read_lines(file.parent / "out.jsonl.stage" / "replies.jsonl"))


def report(file: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((file.parent / "out.jsonl.stage" / "report.json").read_text())
    return found


def test_candidates_get_the_judges_ranks_and_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = planted(12)
    twice = Candidate("The same, q3")
    examples += [
        RankedExample("dup", "Say it.", candidates=(twice, Candidate("Other, q5"), twice, Candidate("Third, q1"))),
        RankedExample("alone", "Say it.", original="yes", candidates=(Candidate("One", rank=0, score=1.0),)),
    ]
    file = write(tmp_path, examples)
    with OpenAIServer(by_quality, model="gpt-4-0314") as server:
        assert rank(file, server.base_url, "--json", *PRICED) == 0
        assert len(server.log) == 13
    assert ranks(file) == by_planted_quality(examples[:12]) | {"dup": (1, 0, 1, 3), "alone": (None,)}
    written = list(read_ranked(tmp_path / "out.jsonl"))
    assert [(e.id, e.instruction, e.input, e.original) for e in written] == [
        (e.id, e.instruction, e.input, e.original) for e in examples
    ]
    assert [c.score for c in written[0].candidates] == [planted_quality(c.text) for c in examples[0].candidates]
    assert [c.score for c in written[12].candidates] == [3, 5, 3, 1]
    ranking = written[0].provenance["ranking"]
    assert isinstance(ranking, dict)
    assert ranking["ranker"] == "gpt-4"
    assert ranking["models"] == ["gpt-4-0314"]
    assert (ranking["state"], ranking["confidence"], ranking["shown"]) == ("ranked", "high", [[0, 1, 2, 3]])
    printed = json.loads(capsys.readouterr().out)
    assert printed == report(file)
    assert printed["states"] == {"ranked": 13, "unparsable": 0, "refused": 0, "failed": 0, "alone": 1, "open": 0}
    assert (printed["examples"], printed["ties"], printed["duplicates"]) == (14, 1, 1)
    used = printed["usage"]
    assert printed["cost"] == pytest.approx((30 * used["prompt_tokens"] + 60 * used["completion_tokens"]) / 1e6)


def test_more_orders_ask_only_what_is_new_and_their_agreement_is_told(tmp_path: Path) -> None:
    examples = planted(6)
    file = write(tmp_path, examples)

    def prefers_the_first(prompt: str) -> str:
        return by_quality(prompt) if "number 0." in prompt else "rank: [4, 0, 1, 2, 3]"

    with OpenAIServer(prefers_the_first) as server:
        assert rank(file, server.base_url) == 0
        assert rank(file, server.base_url, "--orders", "3") == 0
        assert len(server.log) == 18
        shown = {(str(line["id"]), line["repeat"]): line["shown"] for line in journal(file)}
        texts = {example.id: [c.text for c in example.candidates] for example in examples}
        seen = {tuple(responses_in(call.prompt)) for call in server.log}
        assert rank(file, server.base_url, "--orders", "2") == 0
        assert len(server.log) == 18
    assert {tuple(texts[id][place] for place in order) for (id, _), order in shown.items()} == seen  # type: ignore[attr-defined]
    assert all(shown[example.id, 0] == [0, 1, 2, 3] for example in examples)
    assert all(len({str(shown[example.id, repeat]) for repeat in range(3)}) == 3 for example in examples)
    assert ranks(file)["e0"] == by_planted_quality(examples)["e0"]
    first = next(read_ranked(tmp_path / "out.jsonl")).provenance["ranking"]
    assert isinstance(first, dict)
    assert (first["orders"], first["order_agreement"], len(first["shown"])) == (2, pytest.approx(1), 2)  # type: ignore[arg-type]
    agreement = report(file)["order_agreement"]
    assert isinstance(agreement, float)
    assert agreement < 1  # five of six see nothing but the place


def test_shuffled_candidates_keep_their_ranks(tmp_path: Path) -> None:
    examples = planted(8)
    file = write(tmp_path, examples)
    with OpenAIServer(by_quality) as server:
        assert rank(file, server.base_url, "--shuffle", "--seed", "7") == 0
        assert rank(file, server.base_url, "--shuffle", "--seed", "8") == 2  # other orders would be other replies
    assert ranks(file) == by_planted_quality(examples)
    assert any(line["shown"] != [0, 1, 2, 3] for line in journal(file))


def test_what_cannot_be_read_is_asked_for_once_more_in_another_order_and_never_guessed(tmp_path: Path) -> None:
    examples = planted(5)
    file = write(tmp_path, examples)
    first: set[str] = set()

    def reply(prompt: str) -> str:
        if "number 1." in prompt:
            return "They are all fine."
        if "number 2." in prompt and not first:
            first.add(prompt)
            return "rank: [0, 0, 1]"
        return by_quality(prompt)

    with OpenAIServer(reply) as server:
        assert rank(file, server.base_url, "--judge-concurrency", "1") == 0
        assert len(server.log) == 7
        assert {call.body["seed"] for call in server.log} == {0, 1}
        assert max(server.calls.values()) == 1  # no prompt twice
        assert rank(file, server.base_url) == 0
        assert len(server.log) == 7
        wanted = by_planted_quality(examples) | {"e1": (None,) * 4}
        assert ranks(file) == wanted
        assert report(file)["states"] == {
            "ranked": 4,
            "unparsable": 1,
            "refused": 0,
            "failed": 0,
            "alone": 0,
            "open": 0,
        }
        assert report(file)["retried"] == 2
        assert rank(file, server.base_url, "--drop", "unparsable") == 0
        assert len(server.log) == 7
    assert list(ranks(file)) == ["e0", "e2", "e3", "e4"]
    assert report(file)["dropped"] == 1


def test_low_confidence_is_kept_and_counted_or_dropped(tmp_path: Path) -> None:
    file = write(tmp_path, planted(3))

    def contradicts_itself(prompt: str) -> str:
        return by_quality(prompt) + ("\nOr rather, rank: [4, 0, 1, 2, 3]" if "number 1." in prompt else "")

    with OpenAIServer(contradicts_itself) as server:
        assert rank(file, server.base_url) == 0
        assert ranks(file)["e1"] == (0, 1, 2, 3)
        assert [c.score for c in list(read_ranked(tmp_path / "out.jsonl"))[1].candidates] == [None] * 4
        assert report(file)["low_confidence"] == 1
        assert rank(file, server.base_url, "--drop", "low-confidence") == 0
        assert len(server.log) == 3
    assert list(ranks(file)) == ["e0", "e2"]


def test_what_failed_on_the_way_is_asked_again_by_the_next_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = planted(4)
    file = write(tmp_path, examples)
    with OpenAIServer(by_quality, for_prompts({"number 2.": Fault.status(400, message="no")})) as server:
        assert rank(file, server.base_url) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert "1 have no reply (the journal says why): run the same command again" in told
        assert "3 replies (1 more requests failed), " in told
        assert ranks(file)["e2"] == (None,) * 4
        server.faults = None
        assert rank(file, server.base_url) == 0
        assert len(server.log) == 5
    assert ranks(file) == by_planted_quality(examples)
    assert len(journal(file)) == 5


def test_stored_replies_are_read_anew_without_a_call(tmp_path: Path) -> None:
    file = write(tmp_path, planted(4))
    with OpenAIServer(lambda prompt: "rank: [4, 0 = 1, 2, 3]") as server:
        assert rank(file, server.base_url, "--limit", "3") == 0
        assert set(ranks(file).values()) == {(0, 0, 2, 3)}
        assert rank(file, server.base_url, "--reparse", "--parser", "legacy") == 1  # e3 is open
        assert ranks(file) == {f"e{n}": (0, 1, 2, 3) for n in range(3)} | {"e3": (None,) * 4}
        assert report(file)["states"]["open"] == 1  # type: ignore[index]
        assert len(server.log) == 3


def test_in_parts_or_at_once_the_same_is_written(tmp_path: Path) -> None:
    examples = planted(5)
    parts, whole = (write(tmp_path / name, examples) for name in ("parts", "whole"))
    with OpenAIServer(lambda prompt: by_quality(prompt) if "number 3." not in prompt else "None.") as server:
        for options in (["--limit", "2"], ["--limit", "4", "--orders", "2"], ["--orders", "3"]):
            assert rank(parts, server.base_url, *options) == 0
        assert rank(whole, server.base_url, "--orders", "3", "--judge-concurrency", "2") == 0
    assert (tmp_path / "parts" / "out.jsonl").read_bytes() == (tmp_path / "whole" / "out.jsonl").read_bytes()
    assert report(parts) == report(whole)


def test_a_changed_example_is_the_only_one_that_is_asked_again(tmp_path: Path) -> None:
    examples = planted(4)
    file = write(tmp_path, examples)
    with OpenAIServer(by_quality) as server:
        assert rank(file, server.base_url) == 0
        examples[1] = replace(examples[1], candidates=(Candidate("New, q13"), *examples[1].candidates[1:]))
        changed = [examples[n] for n in (3, 1, 0, 2)]
        write(tmp_path, changed)
        assert rank(file, server.base_url) == 0
        assert len(server.log) == 5
    assert list(ranks(file).items()) == list(by_planted_quality(changed).items())


def test_a_dry_run_sends_and_writes_nothing_and_the_cap_holds_over_sessions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = planted(40)
    file = write(tmp_path, examples)
    capped = (*PRICED, "--judge-max-new-tokens", "120", "--judge-concurrency", "2", "--judge-max-cost")
    with OpenAIServer(by_quality) as server:
        assert rank(file, server.base_url, *PRICED, "--dry-run") == 0
        told = " ".join(capsys.readouterr().err.split())
        assert "40 requests" in told
        assert "about $" in told
        assert (len(server.log), list(tmp_path.iterdir())) == (0, [file])
        assert rank(file, server.base_url, *capped, "0.30") == 2
        assert "the spend cap is reached" in capsys.readouterr().err
        first = len(server.log)
        assert rank(file, server.base_url, *capped, "0.30") == 2
        assert len(server.log) == first > 5
        assert not (tmp_path / "out.jsonl").exists()
        assert rank(file, server.base_url, *capped, "10") == 0
        assert len(server.log) == 40
    assert ranks(file) == by_planted_quality(examples)


def test_a_likelihood_ranks_too(tmp_path: Path) -> None:
    file = write(tmp_path, planted(2, candidates=3))
    with OpenAIServer() as server:
        assert rank(file, server.base_url, ranker="likelihood:m") == 0
        asked = len(server.log)
        assert rank(file, server.base_url, ranker="likelihood:m") == 0
        assert len(server.log) == asked
    for example in read_ranked(tmp_path / "out.jsonl"):
        scores = [c.score for c in example.candidates]
        assert None not in scores
        assert [c.rank for c in example.candidates] == competition_ranks([s for s in scores if s is not None])


@pytest.mark.model
def test_a_proxy_ranking_model_ranks_too(tmp_path: Path) -> None:
    from tiny_models import save_model
    from tiny_prm import save_prm
    from tuna_train.prm.ranker import open_prm

    prm = save_prm(save_model(tmp_path / "base", single="<s> $A", has_template=True), tmp_path / "prm")
    examples = [replace(planted(1)[0], candidates=tuple(map(Candidate, ("Paris", "the cat sat", "Paris", "seven"))))]
    file = write(tmp_path, [*examples, replace(planted(2)[1], instruction="word " * 400)])
    command = ["data", "rank", str(file), "--out", str(tmp_path / "out.jsonl"), "--ranker", f"prm:{prm}"]
    assert main(command) == 1  # the second prompt is too long
    first, second = read_ranked(tmp_path / "out.jsonl")
    (direct,) = open_prm(prm).rank_all(examples)
    assert direct.scores is not None
    assert [c.score for c in first.candidates] == list(direct.scores)
    assert [c.rank for c in first.candidates] == competition_ranks(direct.scores)
    assert second.provenance["ranking"]["state"] == "failed"  # type: ignore[index, call-overload]
    assert "leaves no room" in str(journal(file)[1]["reply"])


def test_mistakes_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    file = write(tmp_path, planted(2))
    command = ["data", "rank", str(file), "--out", str(tmp_path / "out.jsonl"), "--ranker"]
    for options, problem in (
        (["gpt-4"], "no key for the judge"),
        (["gpt-4", "--orders", "0"], "--orders 0 ranks nothing"),
        (["gpt-4", "--parser", "strict"], "use one of tolerant, ties-by-score, legacy"),
        (["gpt-4", "--limit", "0"], "--limit: 0 examples"),
        (["gpt-4", "--ranking-prompt", "nowhere.yaml"], "nowhere.yaml: cannot read these judge prompts"),
        (["prm:nowhere", "--judge-temperature", "1"], "--judge-temperature: a proxy ranking model writes nothing"),
        (["likelihood:gpt-4", "--batch"], "--batch: a likelihood judge writes nothing"),
    ):
        assert main([*command, *options]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("tuna-train: ")
        assert problem in error
    write(tmp_path, [*planted(2), planted(1)[0]])
    assert main([*command, "gpt-4"]) == 2
    assert "two examples have the id 'e0'" in capsys.readouterr().err


def test_the_options_name_what_there_is() -> None:
    assert tuple(PARSERS) == rank_options.PARSERS
    assert ranking_report.DROPPABLE == rank_options.DROPPABLE
