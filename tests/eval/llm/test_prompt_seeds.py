"""A prompt with a seed of its own, drawn several times in one call: new replies each time, and the same ones again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from openai_server import OpenAIServer
from tiny_models import save_model
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.api_options import ApiOptions
from tuna_eval.llm.engine import Engine, SamplingParams
from tuna_eval.llm.hf_engine import HFEngine
from tuna_eval.llm.models import resolve_model
from tuna_eval.llm.scripted_engine import Rule, ScriptedEngine
from tuna_eval.schema import Prompt

HOT = SamplingParams(max_new_tokens=12, temperature=1.0, seed=3)


def texts(engine: Engine, prompts: list[Prompt], params: SamplingParams = HOT) -> list[str]:
    found = {reply.index: reply.text for reply in engine.generate(prompts, params)}
    return [found[index] for index in range(len(prompts))]


@pytest.fixture(scope="module")
def hf(tmp_path_factory: pytest.TempPathFactory) -> HFEngine:
    folder = save_model(tmp_path_factory.mktemp("model"), "llama")
    return HFEngine(resolve_model(str(folder)), device="cpu")


def test_draws_of_one_call_differ_and_come_again(hf: HFEngine, tmp_path: Path) -> None:
    scripted = ScriptedEngine([Rule("", samples=tuple(map(str, range(1000))))])
    for engine in (hf, scripted):
        drawn = texts(engine, [Prompt("the cat", seed=seed) for seed in range(5)])
        assert len(set(drawn)) == 5
        assert texts(engine, [Prompt("the cat", seed=4), Prompt("the cat", seed=1)]) == [drawn[4], drawn[1]]
        # Without one of its own it has the call's; a greedy reply has none.
        assert texts(engine, [Prompt("the cat")], replace(HOT, seed=2)) == [drawn[2]]
        greedy = replace(HOT, temperature=0.0)
        assert len(set(texts(engine, [Prompt("the cat", seed=seed) for seed in range(5)], greedy))) == 1


def test_a_server_is_sent_each_prompts_seed() -> None:
    with OpenAIServer() as server:
        engine = ApiEngine(ApiOptions(server.base_url, "m", "completions"))
        texts(engine, [Prompt("a", seed=11), Prompt("a", seed=12), Prompt("a")])
        assert sorted(call.body["seed"] for call in server.log) == [3, 11, 12]
