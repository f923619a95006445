"""Drawing through a scripted engine: the fewest generations, one outcome whatever interrupts, nothing mixed up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drawing import instructions, read

from openai_tokens import PieceEncoder
from silent import Silent
from tuna_eval.errors import ConfigError, DataError, EngineError
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.llm.scripted_engine import Rule, ScriptedEngine
from tuna_eval.schema import Completion, Prompt
from tuna_train.data.diversity import Policy, PolicyName
from tuna_train.data.drawn import count_drawn
from tuna_train.data.ranked import RankedExample
from tuna_train.data.sample import DrawSettings, Sampler, draw_seed
from tuna_train.data.stage import Selection, StageOutput

SAMPLES = ("tea is green", "tea is hot", "rain falls", "rain falls down", "the sun rises", "чай зелёный", "чай горячий")


class Watched(ScriptedEngine):
    """Notes what it is asked, and fails after so many replies."""

    def __init__(self, fails_after: float = math.inf, samples: tuple[str, ...] = SAMPLES) -> None:
        super().__init__([Rule("greedy", samples=samples)], logprob=lambda prompt, text: -1.0 - len(text))
        self.calls: list[tuple[int, float]] = []
        self.asked: Counter[tuple[Prompt, float]] = Counter()
        self._left = fails_after

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
        self.calls.append((len(prompts), params.temperature))
        for completion in reversed(list(super().generate(prompts, params))):  # engines answer in any order
            if self._left <= 0:
                raise EngineError("out of breath")
            self._left -= 1
            self.asked[prompts[completion.index], params.temperature] += 1
            yield completion


def settings(**changes: Any) -> DrawSettings:
    return DrawSettings(**{"stage": "sample", "model": "m", "format": "alpaca", **changes})


def draw(
    file: Path, count: int, engine: Watched, chosen: DrawSettings | None = None, window: int = 2048
) -> list[RankedExample]:
    chosen = chosen or settings()
    output = StageOutput(file, chosen.identity(engine))
    with output.opened():
        sampler = Sampler(engine, chosen, output, Silent(), window=window)
        sampler.run(iter(instructions(count)), count)
    return read(file)


def test_everything_is_in_flight_at_once_and_only_what_is_open_is_drawn_again(tmp_path: Path) -> None:
    engine = Watched()
    examples = draw(tmp_path / "out.jsonl", 50, engine)
    first, *again = engine.calls
    assert first == (200, 1.0)
    assert [temperature for _, temperature in again] == [1.1, 1.2]
    assert 200 > again[0][0] > again[1][0] > 0
    assert set(engine.asked.values()) == {1}  # no prompt, seed and temperature twice
    made = [example.provenance["sample"] for example in examples]
    assert sum(each["generations"] for each in made) == sum(engine.asked.values())  # type: ignore[index, call-overload, misc]


def test_seeds_and_temperatures_are_recorded_with_each_candidate(tmp_path: Path) -> None:
    engine = Watched()
    for example in draw(tmp_path / "out.jsonl", 20, engine):
        made: Any = example.provenance["sample"]
        assert [each["slot"] for each in made["candidates"]] == [0, 1, 2, 3]
        for each, candidate in zip(made["candidates"], example.candidates, strict=True):
            assert each["seed"] == draw_seed(0, example.id, each["slot"], each["trial"])
            assert each["temperature"] == [1.0, 1.1, 1.2][each["trial"]]
            assert (candidate.source, candidate.rank, candidate.logprob) == ("m", None, -1.0 - len(candidate.text))
            (prompt,) = {prompt for prompt, _ in engine.asked if prompt.seed == each["seed"]}
            again = next(engine.generate([prompt], SamplingParams(temperature=each["temperature"])))
            assert again.text == candidate.text
        assert (example.original, made["policy"], made["tau"]) == ("Yes.", "paper", 0.8)
        assert "tok:unicode" in made["similarity"]


def test_no_two_draws_share_a_seed() -> None:
    drawn = [(f"e{i}", slot, trial) for i in range(50) for slot in range(4) for trial in range(3)]
    assert len({draw_seed(0, *each) for each in drawn}) == len({draw_seed(1, *each) for each in drawn}) == len(drawn)
    assert max(draw_seed(0, *each) for each in drawn) < 2**31


def test_the_papers_policy_needs_fewer_generations_than_the_released_one(tmp_path: Path) -> None:
    counts = {}
    for name in ("paper", "released"):
        engine = Watched(samples=tuple(f"{a} {b}" for a in ("tea", "rain", "sun") for b in ("green", "hot", "far")))
        draw(tmp_path / name, 100, engine, settings(policy=Policy(name)))  # type: ignore[arg-type]
        counts[name] = sum(engine.asked.values())
    assert 400 < counts["paper"] < 0.9 * counts["released"]


@pytest.mark.parametrize("window", [1, 7, 2048])
def test_windows_change_nothing(tmp_path: Path, window: int) -> None:
    whole = draw(tmp_path / "whole.jsonl", 30, Watched())
    assert draw(tmp_path / "out.jsonl", 30, Watched(), window=window) == whole


@pytest.mark.parametrize("breath", [1, 60, 119, 121, 135])
def test_after_a_failure_only_what_is_missing_is_drawn(tmp_path: Path, breath: int) -> None:
    whole = Watched()
    expected = draw(tmp_path / "whole.jsonl", 30, whole)
    file = tmp_path / "out.jsonl"
    first, second = Watched(fails_after=breath), Watched()
    with pytest.raises(EngineError, match="out of breath"):
        draw(file, 30, first)
    with (file.parent / "out.jsonl.stage" / "replies.jsonl").open("a") as journal:
        journal.write('{"torn')  # what a crash leaves of a write
    assert draw(file, 30, second) == expected
    assert first.asked + second.asked == whole.asked
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_greater_limit_goes_on(tmp_path: Path) -> None:
    engine = Watched()
    draw(tmp_path / "out.jsonl", 10, engine)
    before = sum(engine.asked.values())
    assert len(draw(tmp_path / "out.jsonl", 20, engine)) == 20
    assert draw(tmp_path / "out.jsonl", 10, engine) == draw(tmp_path / "whole.jsonl", 20, Watched())
    assert set(engine.asked.values()) == {1}
    assert before < sum(engine.asked.values())


def test_another_model_or_another_setting_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "out.jsonl", 2, Watched())
    with pytest.raises(ConfigError, match=r"out\.jsonl: .*temperature: 1\.0 there, 0\.7 asked.*choose another --out"):
        draw(tmp_path / "out.jsonl", 2, Watched(), settings(temperature=0.7))
    with pytest.raises(ConfigError, match=r"engine\.script_sha256"):
        draw(tmp_path / "out.jsonl", 2, Watched(samples=("other",)))
    (tmp_path / "mine.jsonl").write_text("something\n")
    with pytest.raises(ConfigError, match="did not write"):
        draw(tmp_path / "mine.jsonl", 2, Watched())
    assert (tmp_path / "mine.jsonl").read_text() == "something\n"


def test_another_input_is_refused(tmp_path: Path) -> None:
    engine, chosen = Watched(), settings()
    draw(tmp_path / "out.jsonl", 3, engine)
    output = StageOutput(tmp_path / "out.jsonl", chosen.identity(engine))
    changed = [replace(example, instruction="Something else.") for example in instructions(3)]
    with output.opened(), pytest.raises(DataError, match=r"out\.jsonl:1: .*'e0'"):
        Sampler(engine, chosen, output, Silent()).run(iter(changed), 3)


def test_one_response_and_greedy_decoding(tmp_path: Path) -> None:
    engine = Watched()
    (example,) = draw(tmp_path / "out.jsonl", 1, engine, settings(responses=1, temperature=0.0))
    assert [c.text for c in example.candidates] == ["greedy"]
    assert engine.calls == [(1, 0.0)]


@pytest.mark.parametrize(
    ("changes", "option"), [({"responses": 0}, "--n"), ({"max_new_tokens": 0}, "--max-new-tokens")]
)
def test_nothing_to_draw_is_refused(changes: dict[str, int], option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        settings(**changes)


def test_shares_are_the_whole() -> None:
    whole = instructions(11)
    shares = [list(Selection.parse(10, f"{i}/3").of(whole)) for i in (1, 2, 3)]
    assert sorted((example.id for share in shares for example in share), key=lambda name: int(name[1:])) == [
        example.id for example in whole[:10]
    ]
    for wrong in ("0/3", "4/3", "1", "a/b"):
        with pytest.raises(ConfigError, match="--shard"):
            Selection.parse(None, wrong)


def test_a_teacher_without_log_probabilities_stops_at_the_first_reply(tmp_path: Path) -> None:
    class Mute(Watched):
        def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
            return (replace(each, logprob=None) for each in super().generate(prompts, params))

    engine = Mute()
    with pytest.raises(EngineError, match="without log-probability"):
        draw(tmp_path / "out.jsonl", 50, engine, settings(needs_logprobs=True))
    assert sum(engine.asked.values()) == 1


def test_a_prompt_that_does_not_fit_is_skipped_and_told(tmp_path: Path) -> None:
    engine = ScriptedEngine([Rule("", samples=SAMPLES)], encoder=PieceEncoder(), context_length=400)
    chosen = settings(max_new_tokens=100, policy=Policy("none"))
    output = StageOutput(tmp_path / "out.jsonl", chosen.identity(engine))
    asked = [RankedExample("long", "word " * 400), *instructions(1)]
    with output.opened():
        Sampler(engine, chosen, output, Silent()).run(iter(asked), 2)
    skipped, drawn = read(output.file)
    made: Any = skipped.provenance["sample"]
    assert (skipped.candidates, made["generations"]) == ((), 0)
    assert "tokens too long" in made["skipped"]
    assert len(drawn.candidates) == 4
    counts = count_drawn(output.file, chosen)
    assert (counts.examples, counts.candidates, counts.generations, counts.skipped) == (2, 4, 4, 1)
    assert any("skipped" in line for line in counts.lines())


def test_what_a_server_withholds_is_no_candidate(tmp_path: Path) -> None:
    class Prude(Watched):
        def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
            for each in super().generate(prompts, params):
                is_withheld = (prompts[each.index].seed or 0) % 4 == 0
                yield replace(each, text="", finish_reason="content_filter") if is_withheld else each

    chosen = settings(policy=Policy("none"))
    examples = draw(tmp_path / "out.jsonl", 20, Prude(), chosen)
    counts = count_drawn(tmp_path / "out.jsonl", chosen)
    assert counts.candidates + counts.withheld == 80
    assert 0 < counts.withheld < 80
    for example in examples:
        made: Any = example.provenance["sample"]
        assert len(made["candidates"]) == len(example.candidates)
        assert all(candidate.text for candidate in example.candidates)


@pytest.mark.parametrize("name", ["paper", "released"])
def test_what_a_server_withholds_is_similar_to_nothing(name: PolicyName, tmp_path: Path) -> None:
    class Mute(Watched):
        def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
            for each in super().generate(prompts, params):
                yield replace(each, text="", finish_reason="refusal")

    chosen = settings(policy=Policy(name))
    draw(tmp_path / "out.jsonl", 5, Mute(), chosen)
    counts = count_drawn(tmp_path / "out.jsonl", chosen)
    assert (counts.withheld, counts.generations, counts.similar) == (20, 20, 0)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_an_output_that_a_crash_tore_is_finished_from_the_journal(tmp_path: Path, share: float) -> None:
    file = tmp_path / "out.jsonl"
    draw(file, 20, Watched())
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    engine = Watched()
    draw(file, 20, engine)
    assert file.read_bytes() == whole
    assert not engine.asked  # every reply was in the journal
