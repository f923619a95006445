"""Sampling with vLLM and a real model: responses that differ, with log-probabilities that scoring confirms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from drawing import read

from silent import Silent
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.llm.vllm_engine import VllmEngine
from tuna_eval.metrics.rouge import rouge_l_of_pairs
from tuna_eval.schema import Completion, Prompt
from tuna_train.data import teacher
from tuna_train.data.ranked import RankedExample
from tuna_train.data.sample import DrawSettings, Sampler
from tuna_train.data.stage import StageOutput
from tuna_train.data.teacher import Scorer, ScoreSettings

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM, which is not installed"),
]

INSTRUCTIONS = ["Name a colour and say why you like it.", "Reply with one word: yes or no?", "Say hello in French."]


class Noted:
    """The engine, and the token ids of every reply by the seed it was drawn with."""

    def __init__(self, engine: VllmEngine) -> None:
        self._engine = engine
        self.ids: dict[int | None, list[int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
        for completion in self._engine.generate(prompts, params):
            self.ids[prompts[completion.index].seed] = list(completion.token_ids or ())
            yield completion


def test_samples_differ_and_scoring_confirms_their_probability(vllm_engine: VllmEngine, tmp_path: Path) -> None:
    engine: Any = Noted(vllm_engine)
    examples = [RankedExample(str(i), text) for i, text in enumerate(INSTRUCTIONS)]
    settings = DrawSettings("sample", "demo", "chat", max_new_tokens=24, seed=5)
    drawn, scored = tmp_path / "drawn.jsonl", tmp_path / "scored.jsonl"
    output = StageOutput(drawn, settings.identity(engine))
    with output.opened():
        Sampler(engine, settings, output, Silent()).run(iter(examples), 3)
    for example in read(drawn):
        made: Any = example.provenance["sample"]
        texts = [candidate.text for candidate in example.candidates]
        assert len(texts) == 4
        values = rouge_l_of_pairs(list(combinations(texts, 2)), tokenizer="unicode")
        assert max(values) < 0.8 or made["generations"] >= 6  # a slot has used up its trials
    assert len({c.text for example in read(drawn) for c in example.candidates}) >= 10

    eos = teacher.end_of_sequence(vllm_engine, None)
    compared = []
    for end in (eos, ""):  # a reply that the token limit cut has no end of sequence
        asked = ScoreSettings("demo", "chat", end)
        output = StageOutput(scored.with_suffix(f".{bool(end)}"), asked.identity(engine))
        with output.opened():
            Scorer(engine, asked, output, Silent(), teacher.rank).run(iter(read(drawn)), 3)
        for before, after in zip(read(drawn), read(output.file), strict=True):
            record: Any = before.provenance["sample"]
            assert sorted(c.rank for c in after.candidates if c.rank is not None)[0] == 0
            for sampled, again, each in zip(before.candidates, after.candidates, record["candidates"], strict=True):
                ids = vllm_engine.encoder.encode(Prompt(sampled.text + end, has_special_tokens=True))
                assert again.tokens == len(ids)
                # A text may have been drawn in other tokens than the tokenizer would choose for it.
                if ids == engine.ids[each["seed"]]:
                    assert again.tokens == sampled.tokens
                    assert again.logprob == pytest.approx(sampled.logprob, abs=1e-3)
                    compared.append(each["finish"])
    assert len(compared) >= 6
    assert set(compared) == {"stop", "length"}
