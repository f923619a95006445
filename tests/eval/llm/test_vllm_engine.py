"""The vLLM engine on a real model: what transformers says, as it comes, from shared prefixes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tuna_eval.errors import EngineError
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.engine import Engine, SamplingParams
from tuna_eval.llm.models import resolve_model
from tuna_eval.llm.prompts import ALPACA
from tuna_eval.llm.replicated_engine import ReplicatedEngine
from tuna_eval.llm.vllm_engine import VllmEngine
from tuna_eval.schema import Completion, ContinuationRequest, Prompt

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM, which is not installed"),
]

MINI = Path(__file__).resolve().parents[3] / "benchmarks" / "mini" / "superni" / "tasks"


def superni_prompts(tasks: int, instances: int) -> list[Prompt]:
    """Real prompts; those of a task share its definition."""
    prompts = []
    for file in sorted(MINI.glob("*.json"))[:tasks]:
        task = json.loads(file.read_text(encoding="utf-8"))
        rendered = (ALPACA.render(task["Definition"][0], i["input"]) for i in task["Instances"][:instances])
        prompts.extend(map(Prompt, rendered))
    return prompts


def in_order(engine: Engine, prompts: list[Prompt], params: SamplingParams) -> list[Completion]:
    completions = sorted(engine.generate(prompts, params), key=lambda c: c.index)
    assert [c.index for c in completions] == list(range(len(prompts)))
    return completions


@pytest.fixture(scope="module")
def transformers_model() -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(resolve_model("demo").folder, dtype=torch.float32).eval()


def greedy_ids(model: Any, row: list[int], limit: int, stop_ids: frozenset[int]) -> tuple[int, ...]:
    import torch

    out = model.generate(
        torch.tensor([row]), do_sample=False, max_new_tokens=limit, eos_token_id=sorted(stop_ids), pad_token_id=0
    )
    return tuple(out[0, len(row) :].tolist())


def token_logprobs(model: Any, row: list[int], tail: tuple[int, ...]) -> tuple[list[float], bool]:
    """log p of each id of `tail` after `row`, and whether each is the most probable one."""
    import torch

    with torch.no_grad():
        logprobs = model(torch.tensor([[*row, *tail]])).logits[0, len(row) - 1 : -1].log_softmax(-1)
    ids = torch.tensor(tail)
    return logprobs.gather(1, ids[:, None])[:, 0].tolist(), bool((logprobs.argmax(-1) == ids).all())


def test_replies_and_their_logprobs_are_those_of_transformers(vllm_engine: VllmEngine, transformers_model: Any) -> None:
    prompts = superni_prompts(8, 1)
    rows = vllm_engine.encoder.encode_batch(prompts)
    completions = in_order(vllm_engine, prompts, SamplingParams(max_new_tokens=24))
    expected = [greedy_ids(transformers_model, row, 24, vllm_engine.encoder.stop_ids) for row in rows]
    assert sum(c.token_ids == ids for c, ids in zip(completions, expected, strict=True)) >= 7
    for completion, row in zip(completions, rows, strict=True):
        assert completion.token_ids is not None
        values, _ = token_logprobs(transformers_model, row, completion.token_ids)
        assert completion.logprob == pytest.approx(sum(values), abs=1e-3)
        assert completion.prompt_tokens == len(row)


def test_an_end_token_is_kept_as_id_and_dropped_from_the_text(vllm_engine: VllmEngine) -> None:
    assert vllm_engine.chat is not None
    questions = ["Answer with one word: what is the capital of France?", "Write a story about a long voyage."]
    prompts = [Prompt(vllm_engine.chat(q), has_special_tokens=True) for q in questions]
    short, long = in_order(vllm_engine, prompts, SamplingParams(max_new_tokens=24))
    assert short.finish_reason == "stop"
    assert short.token_ids is not None
    assert short.token_ids[-1] in vllm_engine.encoder.stop_ids
    assert "Paris" in short.text
    assert "<|" not in short.text
    assert long.finish_reason == "length"
    assert long.token_ids is not None
    assert long.completion_tokens == len(long.token_ids) == 24
    assert long.text == vllm_engine.encoder.decode(long.token_ids)


def test_a_stop_string_ends_the_reply_and_is_not_part_of_it(vllm_engine: VllmEngine) -> None:
    prompt = Prompt("Count: one, two, three, four,")
    free, stopped = (
        in_order(vllm_engine, [prompt], SamplingParams(max_new_tokens=24, stop=stop))[0] for stop in ((), (" seven",))
    )
    assert " seven" in free.text
    assert stopped.text == free.text[: free.text.index(" seven")]
    assert (free.finish_reason, stopped.finish_reason) == ("length", "stop")


def test_replies_come_as_they_finish(vllm_engine: VllmEngine) -> None:
    assert vllm_engine.chat is not None
    questions = ["Write a story about a long voyage.", "Answer with one word: what is the capital of France?"]
    prompts = [Prompt(vllm_engine.chat(q), has_special_tokens=True) for q in questions]
    begin = time.monotonic()
    replies = vllm_engine.generate(prompts, SamplingParams(max_new_tokens=96))
    arrivals = [(completion.index, time.monotonic() - begin) for completion in replies]
    assert [index for index, _ in arrivals] == [1, 0]
    assert arrivals[0][1] < arrivals[1][1] / 2


def test_prompts_of_a_task_share_their_prefix(vllm_engine: VllmEngine) -> None:
    definition = " ".join(f"Rule {n}: the answer is a word of {n} letters." for n in range(30))
    prompts = [Prompt(f"{definition}\nInput: {word}\nOutput:") for word in ("tea", "coffee", "milk", "water")]
    shared_tokens = len(vllm_engine.encoder.encode(Prompt(definition)))
    before = vllm_engine.cached_prompt_tokens
    in_order(vllm_engine, prompts, SamplingParams(max_new_tokens=2))
    cached = vllm_engine.cached_prompt_tokens - before
    assert 3 * (shared_tokens - 32) <= cached <= 3 * (shared_tokens + 8), "all but the first, in blocks of 32 tokens"


def test_scores_are_those_of_transformers(vllm_engine: VllmEngine, transformers_model: Any) -> None:
    encoder = vllm_engine.encoder
    prompts = superni_prompts(4, 1)
    greedy = [c.text for c in in_order(vllm_engine, prompts, SamplingParams(max_new_tokens=6))]
    requests = [ContinuationRequest(p, text) for p, text in zip(prompts, greedy, strict=True)]
    requests += [ContinuationRequest(prompts[0], text) for text in (" the answer", " purple xylophone", "")]
    scores = sorted(vllm_engine.score(requests), key=lambda s: s.index)
    assert [s.index for s in scores] == list(range(len(requests)))
    for request, score in zip(requests[:-1], scores[:-1], strict=True):
        tail = tuple(encoder.encode(Prompt(request.continuation, has_special_tokens=True)))
        values, is_greedy = token_logprobs(transformers_model, encoder.encode(request.prompt), tail)
        assert score.token_ids == tail
        assert score.token_logprobs == pytest.approx(values, abs=1e-3)
        assert score.logprob == pytest.approx(sum(values), abs=1e-3)
        assert score.is_greedy == is_greedy
    assert {s.is_greedy for s in scores[:-1]} == {True, False}
    assert (scores[-1].logprob, scores[-1].token_logprobs) == (0.0, ())


def test_a_call_that_is_given_up_is_aborted(vllm_engine: VllmEngine) -> None:
    prompts = superni_prompts(4, 4)
    given_up = vllm_engine.generate([*prompts, Prompt("One")], SamplingParams(max_new_tokens=400, stop=(",",)))
    next(given_up)
    with pytest.raises(RuntimeError, match="finish or close"):
        next(vllm_engine.generate(prompts, SamplingParams()))
    given_up.close()
    begin = time.monotonic()
    assert in_order(vllm_engine, prompts[:1], SamplingParams(max_new_tokens=1))[0].token_ids
    assert time.monotonic() - begin < 10, "nothing of the 400-token replies was finished first"


def test_sampling_depends_on_seed_and_prompt_alone(vllm_engine: VllmEngine) -> None:
    prompts = superni_prompts(2, 2)
    hot = SamplingParams(max_new_tokens=12, temperature=1.0, top_p=0.95, seed=3)
    together = in_order(vllm_engine, prompts, hot)
    assert in_order(vllm_engine, prompts[2:3], hot)[0].token_ids == together[2].token_ids
    other = in_order(vllm_engine, prompts, SamplingParams(max_new_tokens=12, temperature=1.0, top_p=0.95, seed=4))
    assert [c.token_ids for c in other] != [c.token_ids for c in together]


def test_a_prompt_that_does_not_fit_is_refused(vllm_engine: VllmEngine) -> None:
    assert vllm_engine.max_prompt_tokens(128) == 2048 - 128
    with pytest.raises(EngineError, match=r"prompt 1 has \d+ tokens and the context 2048; .*--max-length"):
        list(vllm_engine.generate([Prompt("short"), Prompt("long " * 2100)], SamplingParams()))
    assert in_order(vllm_engine, [Prompt("short")], SamplingParams(max_new_tokens=1))


def test_a_process_runs_one_engine(vllm_engine: VllmEngine) -> None:
    assert in_order(vllm_engine, [Prompt("short")], SamplingParams(max_new_tokens=1))
    second = VllmEngine(resolve_model("demo"), max_length=512)
    with pytest.raises(EngineError, match=r"already runs a vLLM engine \(demo\)"):
        list(second.generate([Prompt("short")], SamplingParams(max_new_tokens=1)))
    second.close()
    assert in_order(vllm_engine, [Prompt("short")], SamplingParams(max_new_tokens=1))


def test_fingerprint_tells_what_changes_replies_and_where_nothing_lies() -> None:
    model = resolve_model("demo")
    first = VllmEngine(model, max_length=512).fingerprint()
    assert first == VllmEngine(model, max_length=512, gpu_memory_utilization=0.5).fingerprint()
    assert first == VllmEngine(model, max_length=513).fingerprint()  # a limit changes prompts, which are hashed apart
    assert first != VllmEngine(model, max_length=512, dtype="bfloat16").fingerprint()
    assert {"vllm", "torch", "weights_sha256", "tokenizer_sha256", "dtype"} <= first.keys()
    assert str(model.folder.parent) not in json.dumps(first)
    assert "/" not in json.dumps(first)


def test_a_start_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    """In a process of its own: vLLM keeps one engine a process."""
    demo = resolve_model("demo")
    for file in demo.folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({**demo.config, "architectures": ["NoSuchModel"]}))
    script = (
        "from tuna_eval.errors import EngineError\n"
        "from tuna_eval.llm.engine import SamplingParams\n"
        "from tuna_eval.llm.models import resolve_model\n"
        "from tuna_eval.llm.vllm_engine import VllmEngine\n"
        "from tuna_eval.schema import Prompt\n"
        f"for spec, length in (('demo', 99_999), ({str(tmp_path)!r}, 512)):\n"
        "    try: list(VllmEngine(resolve_model(spec), max_length=length).generate([Prompt('a')], SamplingParams()))\n"
        "    except EngineError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    too_long, unknown = done.stdout.splitlines()
    assert "vLLM cannot start: User-specified max_model_len (99999) is greater than" in too_long
    assert too_long.endswith("give a smaller --max-length")
    assert "NoSuchModel" in unknown
    assert unknown.endswith("use --engine hf")
    assert "Traceback" not in done.stderr


def build_vllm(folder: str) -> Engine:
    return VllmEngine(resolve_model(folder), max_length=512)


def test_lora_in_two_replicas(tmp_path: Path, transformers_model: Any) -> None:
    """A LoRA adapter, in two processes with an engine each: what PEFT says, and not what the base model says."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    tuned = get_peft_model(transformers_model, config)
    tuned.save_pretrained(tmp_path)
    prompts = superni_prompts(4, 2)
    encoder = HFEncoder(resolve_model("demo").folder)
    rows = encoder.encode_batch(prompts)
    expected = [greedy_ids(tuned, row, 12, encoder.stop_ids) for row in rows]
    base = greedy_ids(tuned.unload(), rows[0], 12, encoder.stop_ids)

    front = build_vllm(str(tmp_path))
    engine = ReplicatedEngine(partial(build_vllm, str(tmp_path)), replicas=2, devices_per_replica=1, front=front)
    try:
        completions = in_order(engine, prompts, SamplingParams(max_new_tokens=12))
    finally:
        engine.close()
    assert sum(c.token_ids == ids for c, ids in zip(completions, expected, strict=True)) >= 7
    assert completions[0].token_ids != base
