"""The likelihood judge: what it computes, where prompt and verdict meet, what it does to long answers."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path

import pytest
from answers import QUESTIONS, many, swapped, true_or_salad

from openai_server import OpenAIServer
from openai_tokens import PieceEncoder
from tiny_models import save_tokenizer
from tuna_eval.errors import DataError, EngineError
from tuna_eval.judge.likelihood import CUT_MARK, LEAD, VERDICTS, LikelihoodComparer, LikelihoodRules
from tuna_eval.judge.protocols import BOTH_ORDERS, Ask, Comparer, Judgment, Order, Pair, Question, Ranker
from tuna_eval.judging.judging import Match
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.engine import Engine
from tuna_eval.llm.hf_engine import HFEngine
from tuna_eval.llm.models import LocalModel
from tuna_eval.llm.scripted_engine import Rule, ScriptedEngine
from tuna_eval.llm.vllm_engine import VllmEngine
from tuna_eval.schema import Prompt

PAIR = Pair(Question("7", "generic", "What is love?"), "Baby", "Don't hurt me")


def values_good(prompt: str, continuation: str) -> float:
    """Odds of 3 to 1 for the answer with more letters, and e to 1 for answer A wherever it comes from."""
    a, b = prompt.partition("Answer A:\n")[2].partition("\n\nAnswer B:\n")[::2]
    better = " A" if len(a) > len(b.partition("\n\nWhich")[0]) else " B"
    return -1.0 + (continuation == better) * math.log(3) + (continuation == " A") * 1.0


def asks(match: Match) -> list[Ask]:
    return [Ask(match.pair(question), order) for question in match.questions for order in BOTH_ORDERS]


def by_question(judge: LikelihoodComparer, match: Match) -> dict[str, list[Judgment]]:
    found: dict[str, list[Judgment]] = {question.id: [] for question in match.questions}
    for judgment in judge.compare(asks(match)):
        found[judgment.id].append(judgment)
    return found


def test_probabilities_by_hand() -> None:
    judge: Comparer = LikelihoodComparer(ScriptedEngine([Rule("")], logprob=values_good))
    first, second = judge.compare([Ask(PAIR, order) for order in BOTH_ORDERS])
    # The baseline's answer is the longer one. Shown second it has odds of 3 to e, shown first of 3e to 1.
    assert first.scores == pytest.approx((math.e / (3 + math.e), 3 / (3 + math.e)))
    assert second.scores == pytest.approx((1 / (1 + 3 * math.e), 3 * math.e / (1 + 3 * math.e)))
    assert [first.state, second.state] == ["lose", "lose"]
    assert LikelihoodRules().combine([first, second]) == "lose"
    assert json.loads(first.reply)["logprobs"] == {"A": 0.0, "B": pytest.approx(-1 + math.log(3))}
    assert judge.repeats == 1


def test_the_prompt_ends_where_the_verdict_comes() -> None:
    seen: list[tuple[str, str]] = []

    def logprob(prompt: str, continuation: str) -> float:
        seen.append((prompt, continuation))
        return -1.0

    with_reference = Pair(Question("8", "math", "1+1?", "two"), "2", "3")
    list(
        LikelihoodComparer(ScriptedEngine([Rule("")], logprob=logprob)).compare([Ask(with_reference, "baseline-first")])
    )
    assert [continuation for _, continuation in seen] == [*VERDICTS]
    prompt = seen[0][0]
    assert prompt == seen[1][0]
    assert prompt.endswith(f"### Response:\n{LEAD}")
    assert prompt.index("A correct answer is:\ntwo") < prompt.index("Answer A:\n3") < prompt.index("Answer B:\n2")


def test_a_judge_whom_only_the_place_moves_ends_in_a_tie_and_tolerance_makes_more_of_them() -> None:
    blind = ScriptedEngine([Rule("")], logprob=lambda prompt, continuation: -2.0 if continuation == " A" else -0.3)
    rules = LikelihoodRules(tolerance=1e-12)
    judgments = list(LikelihoodComparer(blind, rules).compare([Ask(PAIR, order) for order in BOTH_ORDERS]))
    assert [j.state for j in judgments] == ["lose", "win"]
    assert rules.combine(judgments) == "tie"
    seeing = LikelihoodComparer(ScriptedEngine([Rule("")], logprob=values_good))
    judgments = list(seeing.compare([Ask(PAIR, order) for order in BOTH_ORDERS]))
    ahead = 0.5 - sum(j.scores[0] for j in judgments if j.scores) / 2
    wide, narrow = LikelihoodRules(ahead + 1e-9), LikelihoodRules(ahead - 1e-9)
    assert (wide.combine(judgments), narrow.combine(judgments)) == ("tie", "lose")
    reread = [LikelihoodRules(0.5).reread(judgment, PAIR.question) for judgment in judgments]
    assert [j.state for j in reread] == ["tie", "tie"]
    assert [j.scores for j in reread] == [j.scores for j in judgments]
    with pytest.raises(DataError, match="holds no probabilities"):
        rules.reread(Judgment("7", "candidate-first", 0, "win", reply="[[A]]"), PAIR.question)


def arbitrary(prompt: str, continuation: str) -> float:
    """A judge with an opinion on everything, the same every time."""
    return -1e-4 * zlib.crc32(f"{prompt}{continuation}".encode()) / 2**20


def test_exchanging_the_answers_exchanges_the_probabilities_to_the_last_bit() -> None:
    judge = LikelihoodComparer(ScriptedEngine([Rule("")], logprob=arbitrary))
    match, rules = many(50), LikelihoodRules()
    one, other = by_question(judge, match), by_question(judge, swapped(match))
    mirror = {"win": "lose", "lose": "win", "tie": "tie"}
    found = set()
    for id, made in one.items():
        mirrored = {j.order: j.scores for j in other[id]}
        for judgment in made:
            opposite: Order = "baseline-first" if judgment.order == "candidate-first" else "candidate-first"
            assert judgment.scores is not None
            assert mirrored[opposite] == judgment.scores[::-1]
        found.add(rules.combine(made))
        assert rules.combine(other[id]) == mirror[rules.combine(made)]
    assert found >= {"win", "lose"}


def save_metaspace(folder: Path, prepend_scheme: str) -> HFEncoder:
    """A tokenizer in the manner of SentencePiece: Llama 2 prepends a space to the first word of a text, Gemma none."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=prepend_scheme)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([f"{LEAD} A", f"{LEAD} B", "Which answer is better, A or B?"] * 5, trainer)
    # As the real ones are: no piece crosses a word's beginning, though texts are not split there.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme, split=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    return HFEncoder(folder)


def same_tokens_either_way(encoder: HFEncoder) -> list[list[int]]:
    """The verdicts' own tokens, after it was seen that a text tokenised as one has the same."""
    prompts = [Prompt(f"{before}{LEAD}") for before in ("", "A user asked:\nWhy?\n\n### Response:\n", "assistant\n")]
    alone = encoder.encode_plain(VERDICTS)
    for prompt in prompts:
        for verdict, tail in zip(VERDICTS, alone, strict=True):
            assert encoder.encode(prompt) + tail == encoder.encode(Prompt(prompt.text + verdict)), (prompt, verdict)
    return alone


def test_prompt_and_verdict_have_the_same_tokens_apart_and_as_one_text(tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "bytes", single="<s> $A")
    tails = [
        same_tokens_either_way(HFEncoder(tmp_path / "bytes")),
        same_tokens_either_way(save_metaspace(tmp_path / "llama", "first")),
        same_tokens_either_way(save_metaspace(tmp_path / "t5", "always")),
    ]
    gemma = save_metaspace(tmp_path / "gemma", "never")
    tails.append(same_tokens_either_way(gemma))
    for a, b in tails:
        assert a[:-1] == b[:-1]
        assert a[-1] != b[-1]  # nothing but one token tells the verdicts apart
    # The test can fail: a prompt that ends in a space does not have the property.
    assert gemma.encode(Prompt(f"{LEAD} ")) + gemma.encode_plain(["A"])[0] != gemma.encode(Prompt(f"{LEAD} A"))


def cut_answers(prompts: Sequence[str]) -> list[tuple[str, str]]:
    bodies = [prompt.partition("Answer A:\n")[2].partition("\n\nWhich answer")[0] for prompt in prompts]
    return [(a, b) for a, _, b in (body.partition("\n\nAnswer B:\n") for body in bodies)]


@pytest.mark.parametrize(("candidate", "baseline", "whole"), [(300, 300, 0), (300, 10, 1), (90, 300, 0), (20, 30, 2)])
def test_long_answers_are_cut_to_one_limit_and_counted(candidate: int, baseline: int, whole: int) -> None:
    seen: dict[str, None] = {}

    def logprob(prompt: str, continuation: str) -> float:
        seen[prompt] = None
        return -1.0

    encoder = PieceEncoder()
    engine = ScriptedEngine([Rule("")], logprob=logprob, encoder=encoder, context_length=250)  # type: ignore[arg-type]
    pair = Pair(PAIR.question, "one " * (candidate - 1) + "end", "two " * (baseline - 1) + "end")
    judgments = list(LikelihoodComparer(engine).compare([Ask(pair, order) for order in BOTH_ORDERS]))
    assert all(len(encoder.encode(Prompt(prompt))) <= 250 for prompt in seen)
    (a, b), (b_first, a_second) = cut_answers(list(seen))
    assert (a, b) == (a_second, b_first)  # the same texts in both orders
    kept = [len(encoder.encode(Prompt(text.removesuffix(CUT_MARK), has_special_tokens=True))) for text in (a, b)]
    lengths = [candidate, baseline]
    cut = [length - left for length, left in zip(lengths, kept, strict=True)]
    assert [judgment.cut_tokens for judgment in judgments] == [sum(cut)] * 2
    assert sum(not amount for amount in cut) == whole
    assert [text.endswith(CUT_MARK) for text in (a, b)] == [amount > 0 for amount in cut]
    if all(cut):
        assert kept[0] == kept[1]
    if any(cut):
        assert max(len(encoder.encode(Prompt(prompt))) for prompt in seen) >= 240  # no more is cut than must be


def test_a_question_without_room_for_answers_is_an_api_error() -> None:
    engine = ScriptedEngine(
        [Rule("")],
        logprob=lambda *_: -1.0,
        encoder=PieceEncoder(),
        context_length=150,  # type: ignore[arg-type]
    )
    judge = LikelihoodComparer(engine)
    long = Question("9", "generic", "why " * 200)
    (judgment,) = judge.compare([Ask(Pair(long, "yes " * 20, "no " * 20), "candidate-first")])
    assert (judgment.state, judgment.scores) == ("api_error", None)
    assert "leaves no room for answers in a context of 146 tokens" in judgment.reply
    with pytest.raises(EngineError, match="no room"):
        judge.rank("why " * 200, ["yes " * 20, "no " * 20])


def test_a_chat_endpoint_is_refused_and_a_completions_endpoint_judges() -> None:
    with OpenAIServer() as server:
        chat = LikelihoodComparer(ApiEngine(ApiOptions(server.base_url, "m")))
        with pytest.raises(EngineError, match="a chat endpoint cannot score given text"):
            list(chat.compare(asks(many(1))))
        judge = LikelihoodComparer(ApiEngine(ApiOptions(server.base_url, "m", mode="completions")))
        one, other = by_question(judge, many(3)), by_question(judge, swapped(many(3)))
    for id, made in one.items():
        assert sorted(j.scores for j in made if j.scores) == sorted(j.scores[::-1] for j in other[id] if j.scores)
    assert judge.name == "likelihood of m"


def test_ranking_does_not_depend_on_the_order_of_the_responses() -> None:
    ranker: Ranker = LikelihoodComparer(ScriptedEngine([Rule("")], logprob=values_good))
    responses = ["a" * 5, "a" * 80, "a" * 20]
    for shuffled in permutations(responses):
        ranking = ranker.rank("Write the letter a.", shuffled)
        assert ranking.order is not None
        assert ranking.scores is not None
        assert [shuffled[place] for place in ranking.order] == sorted(responses, key=len, reverse=True)
        assert sum(ranking.scores) == pytest.approx(1.5)  # of 3 responses, and a pair's probabilities add up to 1
        assert ranking.confidence == "high"
    same = ranker.rank("Write the letter a.", ["a", "b"])
    assert (same.order, same.confidence) == ((0, 1), "low")
    with pytest.raises(ValueError, match="two responses or more"):
        ranker.rank("Write.", ["one"])


def verdicts_of(engine: Engine, match: Match) -> dict[str, str]:
    rules = LikelihoodRules()
    return {id: rules.combine(made) for id, made in by_question(LikelihoodComparer(engine, rules), match).items()}


def some_swapped(match: Match) -> Match:
    """Two questions with the answers exchanged: the texts that the judge reads are the same, on other sides."""
    return replace(swapped(match), questions=match.questions[:2])


@pytest.mark.model
def test_the_small_model_prefers_true_answers_to_word_salad(demo_model: LocalModel) -> None:
    engine = HFEngine(demo_model)
    tails = same_tokens_either_way(engine.encoder)
    assert [len(tail) for tail in tails] == [1, 1]
    match = true_or_salad()
    assert set(verdicts_of(engine, match).values()) == {"win"}
    assert set(verdicts_of(engine, some_swapped(match)).values()) == {"lose"}
    question, true, salad = QUESTIONS[0]
    assert LikelihoodComparer(engine).rank(question, [salad, true]).order == (1, 0)
    engine.close()


@pytest.mark.vllm
@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM, which is not installed")
def test_vllm_gives_the_same_verdicts(vllm_engine: VllmEngine) -> None:
    match = true_or_salad()
    assert set(verdicts_of(vllm_engine, match).values()) == {"win"}
    assert set(verdicts_of(vllm_engine, some_swapped(match)).values()) == {"lose"}
