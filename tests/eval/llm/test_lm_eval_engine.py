"""lm-eval's model classes as engines: right prompts in, one reply each out, in chunks, and no noise."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest
from tiny_llama import NEW_TOKENS, TEMPLATE, character_ids, greedy, hf, texts, write_tiny_llama, write_tokenizer

from tuna_eval.errors import EngineError
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.llm.lm_eval_engine import BATCHES_PER_CHUNK, LmEvalEngine
from tuna_eval.llm.models import resolve_model
from tuna_eval.schema import ContinuationRequest, Prompt


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-llama")
    write_tiny_llama(folder)
    return folder


@pytest.fixture(scope="module")
def engine(tiny: Path) -> LmEvalEngine:
    return hf(tiny)


def test_bos_exactly_once_with_a_tokenizer_that_adds_one(engine: LmEvalEngine, tiny: Path) -> None:
    # A plain text, one that begins with BOS already, and two rendered ones, of which the template of one writes none.
    prompts = [Prompt("hello"), Prompt("<s>hello"), Prompt("<s>[hi]", True), Prompt("hello", True)]
    ids = [
        [0, *character_ids("hello")],
        [0, *character_ids("hello")],
        [0, *character_ids("[hi]")],
        character_ids("hello"),
    ]
    expected = [greedy(tiny, row) for row in ids]
    assert len({expected[0], expected[2], expected[3], greedy(tiny, [0, *ids[0]])}) == 4, "BOS must matter to the test"

    completions = sorted(engine.generate(prompts, SamplingParams(NEW_TOKENS)), key=lambda c: c.index)

    assert [c.text for c in completions] == expected
    assert [c.prompt_tokens for c in completions] == [len(row) for row in ids]
    assert {(c.token_ids, c.finish_reason, c.logprob) for c in completions} == {(None, "unknown", None)}


def test_add_bos_token_false_is_obeyed(tiny: Path) -> None:
    (reply,) = texts(hf(tiny, add_bos_token="false"), [Prompt("hello")], SamplingParams(NEW_TOKENS))
    assert reply == greedy(tiny, character_ids("hello"))


def test_batches_do_not_change_replies(engine: LmEvalEngine) -> None:
    prompts = [Prompt("ab" * n) for n in range(1, 7)]
    params = SamplingParams(NEW_TOKENS)
    assert texts(engine, prompts, params) == [texts(engine, [p], params)[0] for p in prompts]


def test_stop_strings_end_the_reply_and_are_not_part_of_it(engine: LmEvalEngine) -> None:
    (full,) = texts(engine, [Prompt("hello")], SamplingParams(NEW_TOKENS))
    stop = full[4:6]
    (cut,) = texts(engine, [Prompt("hello")], SamplingParams(NEW_TOKENS, stop=(stop,)))
    assert cut == full[: full.index(stop)]


def test_a_reply_ends_at_the_end_of_turn_even_if_no_config_names_it(tiny: Path, tmp_path: Path) -> None:
    full = [greedy(tiny, [0, *character_ids(text)]) for text in ("hello", "world")]
    end = full[0][4]
    assert end not in "hello world"
    assert full[0].index(end) != full[1].find(end), "the batch must go on after the first reply has ended"
    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    write_tokenizer(tmp_path, end_of_turn=end)
    replies = texts(hf(tmp_path), [Prompt("hello"), Prompt("world")], SamplingParams(NEW_TOKENS))
    assert replies == [text.partition(end)[0] for text in full]


def test_sampling_depends_on_the_seed_and_leaves_torch_alone(engine: LmEvalEngine) -> None:
    import torch

    before = torch.get_rng_state()
    prompts = [Prompt("hello"), Prompt("world")]
    runs = [texts(engine, prompts, SamplingParams(NEW_TOKENS, temperature=1.0, seed=s)) for s in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("rendered", [False, True])
def test_score_is_the_sum_of_token_log_probabilities(engine: LmEvalEngine, tiny: Path, rendered: bool) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()
    context = character_ids("hello") if rendered else [0, *character_ids("hello")]
    best = greedy(tiny, context, new_tokens=3)
    requests = [ContinuationRequest(Prompt("hello", rendered), text) for text in ("xyz!", best)]

    scores = sorted(engine.score(requests), key=lambda s: s.index)

    for request, score in zip(requests, scores, strict=True):
        ids = context + character_ids(request.continuation)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        wanted = sum(float(logits[i - 1, ids[i]]) for i in range(len(context), len(ids)))
        assert math.isclose(score.logprob, wanted, rel_tol=1e-5)
    assert [s.is_greedy for s in scores] == [False, True]
    assert scores[0].token_ids is scores[0].token_logprobs is None


def test_a_prompt_that_lm_eval_would_cut_is_refused(engine: LmEvalEngine) -> None:
    assert engine.max_prompt_tokens(NEW_TOKENS) == 64 - NEW_TOKENS
    fits = Prompt("a" * (64 - NEW_TOKENS - 1))  # and the BOS
    assert len(list(engine.generate([fits], SamplingParams(NEW_TOKENS)))) == 1
    with pytest.raises(EngineError, match="53 tokens does not fit a context of 64"):
        list(engine.generate([Prompt(fits.text + "a")], SamplingParams(NEW_TOKENS)))
    with pytest.raises(EngineError, match="65 tokens"):
        list(engine.score([ContinuationRequest(Prompt("a" * 63), "b")]))


def test_what_is_known_without_loading_the_model(tiny: Path, tmp_path: Path) -> None:
    for file in tiny.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")  # anything that loads them fails
    engine = hf(tmp_path)
    assert engine.name == "lm_eval:hf"
    assert engine.encoder is not None
    assert engine.encoder.encode(Prompt("ab")) == [0, *character_ids("ab")]
    assert engine.chat is not None
    assert engine.chat("hi") == "<s>[hi]"
    assert engine.max_prompt_tokens(10) == 54
    assert hf(tmp_path, max_length="40").max_prompt_tokens(10) == 30
    with pytest.raises(EngineError, match="lm-eval's hf failed at loading"):
        next(engine.generate([Prompt("a")], SamplingParams()))


def test_encoder_and_chat_are_absent_where_nothing_local_tells() -> None:
    engine = LmEvalEngine("hf", "some/hub-id")
    assert engine.encoder is None
    assert engine.chat is None
    assert engine.max_prompt_tokens(10) is None


def test_a_tokenizer_that_appends_eos_is_refused(tiny: Path, tmp_path: Path) -> None:
    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    write_tokenizer(tmp_path, single="<s> $A </s>")
    with pytest.raises(EngineError, match="ends every prompt in EOS"):
        next(hf(tmp_path).generate([Prompt("a")], SamplingParams()))


def test_replies_come_chunk_by_chunk_and_without_noise(capfd: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("lm_eval").level
    chunk = 2 * BATCHES_PER_CHUNK
    prompts = [Prompt(f"prompt {i} " + "x" * i) for i in range(2 * chunk + 3)]
    # lm-eval's own stand-in class; write_out makes it print every prompt at the moment it is asked
    engine = LmEvalEngine("dummy", "", model_args={"write_out": "true"}, batch_size=2)
    replies = engine.generate(prompts, SamplingParams())
    asked, seen = 0, []
    for n in range(len(prompts)):
        seen.append(next(replies))
        out, err = capfd.readouterr()
        asked += err.count("prompt ")
        assert out == "", "standard output belongs to the caller"
        assert "it/s" not in err, "no progress bar"
        assert asked == min(chunk * (n // chunk + 1), len(prompts))
    assert next(replies, None) is None
    assert sorted(c.index for c in seen) == list(range(len(prompts)))
    assert {c.text for c in seen} == {"lol"}
    assert logging.getLogger("lm_eval").level == level


def test_no_prompts_load_no_model() -> None:
    engine = LmEvalEngine("hf", "no/such-model")
    assert list(engine.generate([], SamplingParams())) == []
    assert list(engine.score([])) == []


def test_scores_of_a_class_without_tokenizer() -> None:
    engine = LmEvalEngine("dummy", "", batch_size=1)
    requests = [ContinuationRequest(Prompt(f"p{i}"), "c") for i in range(9)]
    scores = list(engine.score(requests))
    assert sorted(s.index for s in scores) == list(range(9))
    assert all(-1 <= s.logprob <= 0 and s.is_greedy is False for s in scores)


@pytest.mark.model
def test_same_greedy_text_as_transformers_on_the_demo_model() -> None:
    folder = resolve_model("demo").folder
    engine = hf(folder)
    assert engine.chat is not None
    assert engine.encoder is not None
    questions = ["What is the capital of France?", "Name three colours.", "Is water wet? Answer yes or no."]
    prompts = [Prompt(engine.chat(q), has_special_tokens=True) for q in questions]
    prompts += [Prompt(f"Question: {q}\nAnswer:") for q in questions]
    expected = [greedy(folder, engine.encoder.encode(prompt), 24) for prompt in prompts]
    assert texts(engine, prompts, SamplingParams(24)) == expected
    assert "Paris" in expected[0]
    engine.close()
