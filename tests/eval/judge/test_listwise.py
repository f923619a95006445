"""A judge that ranks: what it is asked, over HTTP, and what its replies come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from openai_batches import BatchServer
from openai_faults import Fault, for_prompts
from openai_judges import by_quality, responses_in
from openai_server import OpenAIServer
from openai_tokens import PieceEncoder
from tuna_eval.errors import ConfigError, DataError, EngineError
from tuna_eval.judge.factory import JudgeOptions
from tuna_eval.judge.likelihood import LikelihoodComparer
from tuna_eval.judge.list_judgments import ListAsk, ListJudgment, ListRanker
from tuna_eval.judge.listwise import CHUNK, EngineRanker, ListwiseProtocol, by_likelihood
from tuna_eval.judge.listwise_templates import ranking_template
from tuna_eval.judge.protocols import Ranker, Ranking
from tuna_eval.judge.ranker_factory import open_ranker
from tuna_eval.judge.templates import OWN
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions
from tuna_eval.llm.batch_engine import BatchEngine, BatchSettings
from tuna_eval.llm.prompts import ALPACA
from tuna_eval.llm.scripted_engine import Rule, ScriptedEngine
from tuna_eval.llm.vllm_engine import VllmEngine
from tuna_eval.schema import ContinuationRequest, ContinuationScore

PROTOCOL = ListwiseProtocol(ranking_template())
QUALITY = ("poor q2", "best q9", "good q7", "fair q5")
ASK = ListAsk("e", "Name a colour.", "", QUALITY, (0, 1, 2, 3))


def api(server: OpenAIServer) -> ApiEngine:
    return ApiEngine(ApiOptions(server.base_url, "gpt-4", on_failure="yield", max_retries=0))


def scripted(reply: str, **options: object) -> EngineRanker:
    return EngineRanker(ScriptedEngine([Rule(reply)], **options), PROTOCOL)  # type: ignore[arg-type]


def test_the_prompt_has_the_papers_five_steps_and_output_format() -> None:
    asked = PROTOCOL.prompt(replace(ASK, instruction="Add {x}.", input="1 and 2"))
    assert asked.user.startswith(
        ALPACA.render("Add {x}.", "1 and 2") + "\n\n###Response 0:\npoor q2\n\n###Response 1:\n"
    )
    steps = [
        "open-ended",
        "close-ended",
        "###Response 4:",
        "duplicates",
        "0/1/2/3/4",
        "from 0 to 15",
        "relevance, level of details/justification, and\n",
        "for accuracy, level of details/justification, and clarity",
        "Response k: [",
        "rank: [i, j, k, l, m]",
    ]
    places = [asked.user.index(step) for step in steps]
    assert places == sorted(places)
    assert responses_in(asked.user) == list(QUALITY)
    two = PROTOCOL.prompt(replace(ASK, responses=("a", "b"), shown=(1, 0))).user
    assert responses_in(two) == ["b", "a"]
    assert "rank: [i, j, k]" in two


def test_ranks_are_those_of_the_call_whatever_order_was_shown() -> None:
    shown = [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)]
    asks = [replace(ASK, id=str(n), shown=order) for n, order in enumerate(shown)]
    with OpenAIServer(by_quality) as server:
        made = {j.id: j for j in EngineRanker(api(server), PROTOCOL).rank_all(asks)}
        seen = {tuple(responses_in(call.prompt)) for call in server.log}
        assert {call.body["temperature"] for call in server.log} == {0}
    for n, order in enumerate(shown):
        found = made[str(n)]
        assert (found.ranks, found.scores, found.confidence) == ((3, 0, 1, 2), (2, 9, 7, 5), "high")
        assert found.shown == order
        assert tuple(QUALITY[place] for place in order) in seen
    assert made["0"].served_model == "gpt-4"
    assert made["0"].prompt_tokens
    assert made["0"].completion_tokens


def test_duplicates_are_told_as_positions_in_the_call() -> None:
    with OpenAIServer(by_quality) as server:
        ask = replace(ASK, responses=("a q3", "b q5", "a q3", "c q1"), shown=(3, 2, 1, 0))
        (made,) = EngineRanker(api(server), PROTOCOL).rank_all([ask])
    assert (made.ranks, made.scores) == ((1, 0, 1, 3), (3, 5, 3, 1))
    assert made.duplicates == ((0, 2),)


def test_failures_refusals_and_rubbish_are_told_apart() -> None:
    faults = {"number 1": Fault.status(400, message="no"), "number 2": Fault("refusal")}
    said = {"number 3": "I cannot rank these.", "number 4": "rank: [9, 9]", "number 5": "rank: [4, 1"}

    def reply(prompt: str) -> str:
        return next((text for part, text in said.items() if part in prompt), "rank: [4, 3, 2, 1, 0]")

    asks = [replace(ASK, id=str(n), instruction=f"Do number {n}.") for n in range(6)]
    with OpenAIServer(reply, for_prompts(faults)) as server:
        ranker = EngineRanker(api(server), PROTOCOL)
        made = {j.id: j for j in ranker.rank_all(asks)}
    states = [made[str(n)].state for n in range(6)]
    assert states == ["ranked", "api_error", "refused", "refused", "unparsable", "unparsable"]
    assert all((j.ranks is None) == (j.state != "ranked") for j in made.values())
    assert "HTTP 400" in made["1"].reply
    assert [ranker.reread(made[str(n)]) for n in range(6)] == [made[str(n)] for n in range(6)]


def test_a_reply_cut_at_its_limit_is_read_only_where_it_is_plain() -> None:
    blank = ListJudgment("e", (0, 1, 2, 3), 0, 0, "unparsable", finish_reason="length")
    plain = PROTOCOL.read(replace(blank, reply="rank: [4, 1, 0, 2, 3]\nIn short, Respon"))
    assert (plain.state, plain.ranks) == ("ranked", (1, 0, 2, 3))
    assert PROTOCOL.read(replace(blank, reply="rank: [4, 1, 0]\nHmm")).state == "unparsable"
    assert PROTOCOL.read(replace(blank, reply="I cannot rank", finish_reason="stop")).state == "refused"


def test_one_ranking_at_a_time_asks_again_once() -> None:
    with OpenAIServer(lambda prompt: "No idea.") as server:
        ranker: Ranker = EngineRanker(api(server), PROTOCOL)
        assert ranker.rank("Name a colour.", QUALITY) == Ranking(None, reply="No idea.")
        assert [call.body["seed"] for call in server.log] == [0, 1]
        assert ranker.name == "gpt-4"
    found = scripted("rank: [4, 2, 0 = 1, 3]").rank("Name a colour.", QUALITY)
    assert (found.order, found.ranks, found.scores) == ((2, 0, 1, 3), (1, 1, 0, 3), None)
    with pytest.raises(ValueError, match="two responses or more"):
        ranker.rank("Name a colour.", ["red"])
    refusing = OpenAIServer(faults=lambda call: Fault.status(400, message="no"))
    with refusing as server, pytest.raises(EngineError, match="HTTP 400"):
        EngineRanker(api(server), PROTOCOL).rank("Name a colour.", QUALITY)


def test_a_ranking_without_ties_has_ranks_by_its_order() -> None:
    assert Ranking((2, 0, 1)).ranks == (1, 2, 0)
    assert Ranking(None).ranks is None


def test_a_prompt_too_long_for_the_judge_is_not_sent() -> None:
    ranker = EngineRanker(
        ScriptedEngine([Rule("rank: [4, 3, 2, 1, 0]")], encoder=PieceEncoder(), context_length=1500),  # type: ignore[arg-type]
        PROTOCOL,
        max_new_tokens=50,
    )
    long = replace(ASK, id="long", responses=(*QUALITY[:3], "word " * 2000))
    made = {j.id: j for j in ranker.rank_all([ASK, long])}
    assert made["e"].state == "ranked"
    assert made["long"].state == "api_error"
    assert "use a judge with a longer context" in made["long"].reply


def test_asks_are_read_as_they_are_needed() -> None:
    read = 0

    def asks() -> Iterator[ListAsk]:
        nonlocal read
        for _ in range(2 * CHUNK):
            read += 1
            yield ASK

    made = scripted("rank: [4, 3, 2, 1, 0]").rank_all(asks())
    assert next(made).state == "ranked"
    assert read == CHUNK
    assert 1 + sum(1 for _ in made) == 2 * CHUNK


def test_through_the_batch_api_all_orders_are_submitted_at_once(tmp_path: Path) -> None:
    asks = [replace(ASK, id=f"{repeat}", repeat=repeat) for repeat in range(3)]
    with BatchServer(reply=by_quality, looks=2) as server:
        settings = BatchSettings(sleep=lambda seconds: None)
        engine = BatchEngine(ApiOptions(server.base_url, "gpt-test"), tmp_path, settings=settings)
        made = list(EngineRanker(engine, PROTOCOL).rank_all(asks))
        assert len(server.submitted) == 3
    assert {(j.id, j.ranks) for j in made} == {(str(n), (3, 0, 1, 2)) for n in range(3)}


def test_what_changes_no_reply_changes_no_fingerprint() -> None:
    engine = ScriptedEngine([Rule("x")])
    same = EngineRanker(engine, PROTOCOL).fingerprint()
    assert EngineRanker(engine, replace(PROTOCOL, parser="legacy"), name="other").fingerprint() == same
    other_words = replace(PROTOCOL, template=replace(PROTOCOL.template, system="Rank."))
    for other in (
        EngineRanker(engine, PROTOCOL, temperature=1.0),
        EngineRanker(engine, PROTOCOL, max_new_tokens=9),
        EngineRanker(engine, other_words),
        EngineRanker(ScriptedEngine([Rule("y")]), PROTOCOL),
    ):
        assert other.fingerprint() != same
    assert PROTOCOL.signature != replace(PROTOCOL, parser="legacy").signature != other_words.signature


def test_a_prompt_of_ones_own_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("general: {system: Rank., user: '{prompt}\n{responses}\nAlso write ###Response {last}.'}")
    assert ranking_template(file).render("Hi.", "", ["a", "b"]).user.endswith("Also write ###Response 2.")
    for user, problem in (
        ("{prompt}", "a ranking prompt has the fields prompt"),
        ("{responses}", "has the fields responses"),
        ("{prompt} {responses} {other}", "known are all, count"),
        ("{prompt {responses}", "not a prompt template"),
    ):
        file.write_text(f"general: {{system: Rank., user: '{user}'}}")
        with pytest.raises(DataError, match=problem):
            ranking_template(file)
    file.write_text("special: {system: Rank., user: x}")
    with pytest.raises(DataError, match="no prompt for general"):
        ranking_template(file)
    file.write_text("- 1")
    with pytest.raises(DataError, match="cannot read these judge prompts"):
        ranking_template(file)
    assert (OWN / "contextual-ranking.yaml").is_file()


def test_rankers_by_name() -> None:
    gpt = open_ranker(JudgeOptions("gpt-4"))
    assert isinstance(gpt.ranker, EngineRanker)
    assert (gpt.ranker.temperature, gpt.ranker.max_new_tokens, gpt.key_env) == (0.0, 2048, "OPENAI_API_KEY")
    assert gpt.price is not None
    assert gpt.price.input == 30
    with pytest.raises(ConfigError, match="no parser 'strict' of rankings; use one of tolerant"):
        open_ranker(JudgeOptions("gpt-4", parser="strict"))
    with pytest.raises(ConfigError, match="--judge-temperature: a likelihood judge writes nothing"):
        open_ranker(JudgeOptions("likelihood:gpt-4", temperature=0.5))
    with pytest.raises(ConfigError, match="--judge-temperature -1: no temperature"):
        open_ranker(JudgeOptions("gpt-4", temperature=-1))


def test_a_likelihood_ranks_many_at_once_and_equal_responses_are_ties() -> None:
    def longer_is_better(prompt: str, continuation: str) -> float:
        a, b = (prompt.count(letter) for letter in "xy")
        return float(a - b if continuation == " A" else 0)

    comparer = LikelihoodComparer(ScriptedEngine([Rule("")], logprob=longer_is_better))
    ranker: ListRanker = by_likelihood(comparer)
    asks = [
        replace(ASK, id=str(n), responses=("good", "bad", "good"), shown=order) for n, order in enumerate([(0, 1, 2)])
    ]
    (made,) = ranker.rank_all(asks)
    assert made.ranks == (0, 0, 0)  # nothing tells them apart
    assert made.confidence == "low"
    assert made.scores == (0.5, 0.5, 0.5)
    assert ranker.reread(made) == made
    assert ranker.signature == "ranker:likelihood"


def test_a_ranking_by_pairs_does_not_wait_for_the_next_one() -> None:
    scored: list[int] = []

    class Counting(ScriptedEngine):
        def score(self, requests: Sequence[ContinuationRequest]) -> Iterator[ContinuationScore]:
            for score in super().score(requests):
                scored.append(score.index)
                yield score

    ranker = by_likelihood(LikelihoodComparer(Counting([Rule("")], logprob=lambda prompt, verdict: -1.0)))
    made = ranker.rank_all(replace(ASK, id=str(n), responses=("a", "b", "c"), shown=(2, 0, 1)) for n in range(3))
    assert next(made).id == "0"
    assert len(scored) == 3 * 2 * 2  # pairs, orders, verdicts
    assert [judgment.id for judgment in made] == ["1", "2"]


@pytest.mark.vllm
def test_whatever_a_small_real_model_writes_is_a_ranking_or_none(vllm_engine: VllmEngine) -> None:
    texts = ["Blue is a colour.", "I do not know.", "Blue.", "The sky, the sea and some birds are blue."]
    asks = [
        replace(ASK, id=f"{n}", instruction=text, responses=tuple(texts), repeat=n % 2)
        for n, text in enumerate(
            ["Name a colour.", "What is 2 + 2?", "Write a poem about the sea.", "Why is it raining?"]
        )
    ]
    ranker = EngineRanker(vllm_engine, PROTOCOL, max_new_tokens=300, temperature=0.7)
    made = list(ranker.rank_all(asks))
    assert sorted(j.id for j in made) == ["0", "1", "2", "3"]
    for judgment in made:
        assert judgment.reply
        assert judgment.state in ("ranked", "unparsable", "refused")
        assert ranker.reread(judgment) == judgment
        print(judgment.state, judgment.ranks, repr(judgment.reply[-200:]))
