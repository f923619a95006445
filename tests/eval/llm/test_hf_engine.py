"""The transformers engine: batching changes nothing, log-probabilities are right, replies end where they should."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch

from tiny_models import BOS, save_model, save_tokenizer
from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.llm import batching
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.llm.hf_engine import HFEngine
from tuna_eval.llm.models import LocalModel, resolve_model
from tuna_eval.schema import Completion, ContinuationRequest, ContinuationScore, Prompt

DECODER_ONLY = ("llama", "gpt2", "gpt_neox", "qwen2", "gemma3", "bloom", "mamba")
SHARED = "Definition: given a sentence, write the word that comes after the longest word of it. " * 3
# Lengths from 1 to some 130 tokens; half of the prompts share their beginning, as few-shot prompts do.
PROMPTS = [Prompt("the cat " * (i * 7 % 23) + str(i)) for i in range(6)]
PROMPTS += [Prompt(SHARED + f"Input {i}: " + "sat " * (i * 5 % 11)) for i in range(6)]
CONTINUATIONS = [" sat on the mat" * (i % 3 + 1) for i in range(len(PROMPTS))]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other take most of the time of so small a model
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    causal = {family: save_model(root / family, family, single=f"{BOS} $A") for family in DECODER_ONLY}
    return {**causal, "t5": save_model(root / "t5", "t5")}


def engine(folder: Path, batch_size: int | None = None, **options: int | str | None) -> HFEngine:
    return HFEngine(resolve_model(str(folder)), device="cpu", batch_size=batch_size, **options)  # type: ignore[arg-type]


def replies(hf: HFEngine, prompts: Sequence[Prompt], **params: object) -> list[Completion]:
    found = {c.index: c for c in hf.generate(prompts, SamplingParams(**{"max_new_tokens": 40, **params}))}  # type: ignore[arg-type]
    assert sorted(found) == list(range(len(prompts)))
    return [found[i] for i in range(len(prompts))]


def scores(hf: HFEngine, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[ContinuationScore]:
    requests = [ContinuationRequest(p, c) for p, c in zip(prompts, continuations, strict=True)]
    found = {s.index: s for s in hf.score(requests)}
    assert sorted(found) == list(range(len(requests)))
    return [found[i] for i in range(len(requests))]


def same(first: Sequence[Completion], second: Sequence[Completion]) -> bool:
    for a, b in zip(first, second, strict=True):
        assert a.logprob == pytest.approx(b.logprob, rel=1e-4, abs=1e-3)
    return [(c.token_ids, c.text, c.finish_reason) for c in first] == [
        (c.token_ids, c.text, c.finish_reason) for c in second
    ]


@pytest.fixture(scope="module")
def alone(folders: dict[str, Path]) -> Callable[[str], list[Completion]]:
    """What a family's model says to each prompt in a batch of its own."""
    return cache(lambda family: replies(engine(folders[family], 1), PROMPTS))


@pytest.mark.parametrize("family", [*DECODER_ONLY, "t5"])
def test_batching_changes_no_reply(
    folders: dict[str, Path], alone: Callable[[str], list[Completion]], family: str
) -> None:
    assert len({c.token_ids for c in alone(family)}) > 6
    assert same(replies(engine(folders[family], 8), PROMPTS), alone(family))
    assert same(replies(engine(folders[family], 5), PROMPTS[::-1])[::-1], alone(family))


@pytest.mark.parametrize("family", [*DECODER_ONLY, "t5"])
def test_a_single_reply_is_what_transformers_generates(folders: dict[str, Path], family: str) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    hf = engine(folders[family], 16)
    auto = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
    model = auto.from_pretrained(folders[family], dtype=torch.float32).eval()
    for index, reply in list(enumerate(replies(hf, PROMPTS)))[::4]:
        ids = torch.tensor([hf.encoder.encode(PROMPTS[index])])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)
        start = 1 if family == "t5" else ids.shape[1]
        assert reply.token_ids == tuple(out[0, start:].tolist())


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_a_shared_beginning_computed_once_changes_no_reply(
    folders: dict[str, Path], alone: Callable[[str], list[Completion]], family: str
) -> None:
    """All prompts share more than MIN_SHARED_TOKENS, and padding stands between the beginning and the rest."""
    prompts = PROMPTS[6:]
    hf = engine(folders[family], 6)
    assert batching.shared_prefix(hf.encoder.encode_batch(prompts)) > 60
    assert same(replies(hf, prompts), alone(family)[6:])


@pytest.mark.parametrize("family", [*DECODER_ONLY, "t5"])
def test_scores_are_a_direct_computation_in_any_batch(folders: dict[str, Path], family: str) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    hf = engine(folders[family], 16)
    auto = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
    model = auto.from_pretrained(folders[family], dtype=torch.float32).eval()
    for index, score in enumerate(scores(hf, PROMPTS, CONTINUATIONS)):
        head = hf.encoder.encode(PROMPTS[index])
        (tail,) = hf.encoder.encode_plain([CONTINUATIONS[index]])
        with torch.no_grad():
            if family == "t5":
                logits = model(torch.tensor([head]), decoder_input_ids=torch.tensor([[0, *tail[:-1]]])).logits[0]
            else:
                logits = model(torch.tensor([head + tail])).logits[0, len(head) - 1 : -1]
        expected = logits.log_softmax(-1)[range(len(tail)), tail]
        assert score.token_ids == tuple(tail)
        assert score.token_logprobs == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-4)
        assert score.logprob == pytest.approx(float(expected.sum()), rel=1e-4)
        assert score.is_greedy == (logits.argmax(-1).tolist() == tail)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_the_log_probability_of_a_reply_is_its_score(folders: dict[str, Path], family: str) -> None:
    hf, checked = engine(folders[family], 8), 0
    for temperature in (0.0, 2.0):  # it is that of the model, before temperature
        answers = replies(hf, PROMPTS, max_new_tokens=2, temperature=temperature)
        for prompt, reply in zip(PROMPTS, answers, strict=True):
            if tuple(hf.encoder.encode_plain([reply.text])[0]) == reply.token_ids:  # not every random text survives
                (score,) = scores(hf, [prompt], [reply.text])
                assert reply.logprob == pytest.approx(score.logprob, rel=1e-4, abs=1e-4)
                assert score.is_greedy or temperature > 0
                checked += 1
    assert checked > 4


def test_an_empty_continuation_is_certain(folders: dict[str, Path]) -> None:
    empty, other = scores(engine(folders["llama"]), PROMPTS[:2], ["", " sat"])
    assert (empty.logprob, empty.token_ids, empty.is_greedy) == (0.0, (), True)
    assert other.logprob < 0


def test_sampling_depends_on_seed_and_prompt_alone(folders: dict[str, Path]) -> None:
    params = {"temperature": 1.0, "top_p": 0.9, "seed": 3}
    alone = replies(engine(folders["llama"], 1), PROMPTS, **params)
    assert same(replies(engine(folders["llama"], 8), PROMPTS, **params), alone)
    assert same(replies(engine(folders["llama"], 4), PROMPTS[5:9], **params), alone[5:9])
    assert replies(engine(folders["llama"]), PROMPTS, **{**params, "seed": 4}) != alone


def test_samples_follow_the_tempered_distribution_within_the_nucleus(folders: dict[str, Path]) -> None:
    hf, count = engine(folders["llama"]), 300
    (ids,) = hf.encoder.encode_batch(PROMPTS[:1])
    model = hf._load()
    with torch.no_grad():
        tempered = (model(torch.tensor([ids])).logits[0, -1].double() / 3).softmax(-1)
    ranked = tempered.sort(descending=True)
    size = int((ranked.values.cumsum(0) < 0.5).sum()) + 1
    total = float(ranked.values[:size].sum())
    nucleus = {int(i): float(tempered[i]) / total for i in ranked.indices[:size]}
    drawn = [
        replies(hf, PROMPTS[:1], temperature=3.0, top_p=0.5, seed=seed, max_new_tokens=1)[0] for seed in range(count)
    ]
    tokens = [c.token_ids[0] for c in drawn if c.token_ids]
    assert set(tokens) <= set(nucleus)
    assert len(set(tokens)) > 1
    for token, probability in nucleus.items():
        deviation = math.sqrt(probability * (1 - probability) / count)
        assert abs(tokens.count(token) / count - probability) < 4.5 * deviation + 1e-9


def test_a_stop_string_ends_the_reply_and_is_no_part_of_it(
    folders: dict[str, Path], alone: Callable[[str], list[Completion]]
) -> None:
    free = alone("llama")
    stop = tuple({reply.text[len(reply.text) // 2 :][:2] for reply in free[:3]})
    for batch_size in (1, 16):
        for reply, whole in zip(replies(engine(folders["llama"], batch_size), PROMPTS, stop=stop), free, strict=True):
            ends = [whole.text.index(s) for s in stop if s in whole.text]
            assert reply.text == whole.text[: min(ends, default=len(whole.text))]
            assert whole.token_ids is not None
            assert reply.token_ids == whole.token_ids[: len(reply.token_ids or ())]
            assert reply.finish_reason == ("stop" if ends else whole.finish_reason)


def test_an_end_token_ends_the_reply_and_is_counted(folders: dict[str, Path]) -> None:
    hf = engine(folders["llama"], 4)
    said = replies(hf, PROMPTS)
    ended = [c for c in said if c.finish_reason == "stop"]
    assert ended
    for reply in ended:
        assert reply.token_ids is not None
        assert reply.token_ids[-1] in hf.encoder.stop_ids
        assert not hf.encoder.stop_ids & set(reply.token_ids[:-1])
        assert reply.text == hf.encoder.decode(reply.token_ids[:-1])
    long = [c for c in said if c.finish_reason == "length"]
    assert {len(c.token_ids or ()) for c in long} == {40}


def test_decoding_defaults_of_the_checkpoint_are_ignored(folders: dict[str, Path], tmp_path: Path) -> None:
    """A repetition penalty in generation_config.json would silently make greedy decoding something else."""
    from transformers import GenerationConfig

    folder = save_model(tmp_path / "model", "llama", single=f"{BOS} $A")
    before = replies(engine(folder), PROMPTS[:4])
    GenerationConfig(repetition_penalty=5.0, no_repeat_ngram_size=1, eos_token_id=2).save_pretrained(folder)
    assert same(replies(engine(folder), PROMPTS[:4]), before)


def test_nothing_is_loaded_before_it_is_needed_and_nothing_is_said(
    folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    hf = engine(folders["llama"], max_length=100)
    assert hf.max_prompt_tokens(40) == 60
    assert set(hf.fingerprint())
    assert hf._loaded is None
    replies(hf, PROMPTS[:2], max_new_tokens=2)
    hf.close()
    assert capfd.readouterr() == ("", "")


def test_the_fingerprint_follows_what_changes_replies_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    llama = engine(folders["llama"]).fingerprint()
    assert engine(folders["llama"], 7, max_length=50).fingerprint() == llama
    assert llama["dtype"] == "float32"
    assert str(folders["llama"].parent) not in str(llama)
    assert engine(folders["llama"], dtype="bfloat16").fingerprint() != llama
    assert engine(save_model(tmp_path / "other", "llama", single=f"{BOS} $A", seed=1)).fingerprint() != llama
    save_tokenizer(tmp_path / "tokenizer")
    other = resolve_model(str(folders["llama"]), tokenizer=str(tmp_path / "tokenizer"))
    assert HFEngine(other, device="cpu").fingerprint() != llama


@pytest.mark.parametrize(("family", "expected"), [("llama", 472), ("gpt2", 472), ("t5", None)])
def test_the_prompt_limit_is_what_the_reply_leaves_of_the_context(
    folders: dict[str, Path], family: str, expected: int | None
) -> None:
    assert engine(folders[family]).max_prompt_tokens(40) == expected


def test_a_prompt_that_does_not_fit_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(EngineError, match="llama: prompt 1 has 503 tokens and the model takes 472 where 40 are to"):
        replies(engine(folders["llama"]), [Prompt("a"), Prompt("!" * 502)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "fp32"}, "--dtype: unknown dtype 'fp32'; use one of auto, float32, bfloat16, float16"),
        ({"batch_size": 0}, "--batch-size: 0 is too small; give 1 or more"),
        ({"device": "tpu!"}, "--device: unknown device 'tpu!'; use auto, cpu or cuda"),
    ],
)
def test_a_wrong_option_is_one_clear_line(folders: dict[str, Path], options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HFEngine(resolve_model(str(folders["llama"])), **options).fingerprint()  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.model
def test_batching_changes_no_reply_of_the_demo_model(demo_model: LocalModel) -> None:
    prompts = [Prompt("Count the cats: " + "cat, " * (i * i)) for i in range(8)]
    alone = replies(HFEngine(demo_model, device="cpu", batch_size=1), prompts, max_new_tokens=8)
    together = replies(HFEngine(demo_model, device="cpu", batch_size=8), prompts, max_new_tokens=8)
    assert same(together, alone)
    assert {c.prompt_tokens for c in alone} != {alone[0].prompt_tokens}
    assert all(c.token_ids is not None and c.completion_tokens == len(c.token_ids) for c in alone)


@pytest.mark.model
def test_the_demo_model_knows_a_capital(demo_model: LocalModel) -> None:
    hf = HFEngine(demo_model, device="cpu")
    assert hf.chat is not None
    prompt = Prompt(hf.chat("What is the capital of France?"), has_special_tokens=True)
    (reply,) = replies(hf, [prompt])
    assert (reply.text, reply.finish_reason) == ("The capital of France is Paris.", "stop")
    paris, london = scores(hf, [prompt] * 2, ["The capital of France is Paris.", "The capital of France is London."])
    assert paris.is_greedy
    assert not london.is_greedy
    assert paris.logprob > london.logprob + 3
    end = scores(hf, [Prompt(prompt.text + reply.text, has_special_tokens=True)], ["<|im_end|>"])[0]
    assert reply.logprob == pytest.approx(paris.logprob + end.logprob, abs=1e-3)
