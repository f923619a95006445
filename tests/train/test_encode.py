"""Training gives the model the prompt ids that evaluation gives it, and responses that end as its replies do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ranked_files import write_examples

from silent import Silent
from tiny_models import save_model
from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.hf_engine import HFEngine
from tuna_eval.llm.models import resolve_model
from tuna_eval.llm.prompts import ALPACA, FormatName, render
from tuna_train.data.encode import ExampleEncoder, encode_examples, read_files, responses_of
from tuna_train.data.ranked import Candidate, RankedExample, read_ranked, write_ranked
from tuna_train.training.inputs import encode_files

EXAMPLE = RankedExample(
    "7",
    "Name the capital of France.",
    original="Paris.",
    candidates=(
        Candidate("Lyon, I think.", source="m", rank=1),
        Candidate("Paris.", source="n", rank=0),
        Candidate("not ranked", source="o"),
    ),
)
WITH_INPUT = RankedExample("8", " Repeat. ", input="one two ", original="one two")


@pytest.fixture(scope="module", params=["$A", "<s> $A"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer writes no BOS, and one whose tokenizer does; their template writes it."""
    return save_model(tmp_path_factory.mktemp("model"), single=request.param, has_template=True)


def encoder_of(folder: Path, format: FormatName, max_length: int = 600) -> ExampleEncoder:
    return ExampleEncoder(HFEncoder.of(resolve_model(str(folder))), format, max_length)


@pytest.mark.parametrize("format", ["alpaca", "chat", "plain"])
def test_prompt_ids_are_those_that_evaluation_gives_the_model(folder: Path, format: FormatName) -> None:
    engine = HFEngine(resolve_model(str(folder)))
    evaluated = engine.encoder.encode(render(EXAMPLE.instruction, format, engine))
    encoded = encode_examples([("7", EXAMPLE)], encoder_of(folder, format), purpose="rank")[0]
    assert list(encoded.prompt) == evaluated
    bos = engine.encoder.tokenizer.bos_token_id
    assert list(encoded.prompt).count(bos) == (1 if engine.encoder.bos_id is not None or format == "chat" else 0)


@pytest.mark.parametrize(("format", "end"), [("alpaca", "</s>"), ("plain", "</s>"), ("chat", "<|im_end|>")])
def test_responses_end_with_what_stops_generation(folder: Path, format: FormatName, end: str) -> None:
    encoder = encoder_of(folder, format)
    tokenizer = encoder.tokenizer.tokenizer
    encoded = encode_examples([("7", EXAMPLE)], encoder, purpose="rank")[0]
    assert {response[-1] for response in encoded.responses} == {tokenizer.convert_tokens_to_ids(end)}
    assert encoder.end_id in encoder.tokenizer.stop_ids
    for response, text in zip(encoded.responses, ("Paris.", "Lyon, I think."), strict=True):
        # Apart from the prompt, as engines score continuations: no token spans the seam.
        assert list(response[:-1]) == encoder.tokenizer.encode_plain([text])[0]


def test_an_input_has_its_own_place_in_the_alpaca_format(folder: Path) -> None:
    assert encoder_of(folder, "alpaca").prompt(WITH_INPUT).text == ALPACA.render("Repeat.", "one two")
    assert encoder_of(folder, "plain").prompt(WITH_INPUT).text == " Repeat. \none two "
    assert "Repeat. \none two" in encoder_of(folder, "chat").prompt(WITH_INPUT).text


def test_each_purpose_takes_its_responses() -> None:
    ranked = responses_of(EXAMPLE, "rank")
    assert ranked.texts == ("Paris.", "Lyon, I think.")  # best first; the original is the first of them
    assert (ranked.ranks, ranked.original) == ((0, 1), 0)
    assert responses_of(EXAMPLE, "pairs").original is None
    imitated = responses_of(EXAMPLE, "imitate")
    assert (imitated.texts, imitated.ranks, imitated.original) == (("Paris.",), (), 0)
    scored = responses_of(EXAMPLE, "score")
    assert scored.sources == ("m", "n", "o")
    other = RankedExample("9", "x", original="own", candidates=EXAMPLE.candidates)
    assert responses_of(other, "rank").texts == ("Paris.", "Lyon, I think.", "own")
    assert responses_of(other, "rank").original == 2


def test_what_is_stored_comes_back(tmp_path: Path, folder: Path) -> None:
    encoder = encoder_of(folder, "alpaca")
    file = write_examples(tmp_path / "ranked.jsonl", 30)
    examples = list(read_files([file]))
    stored = encode_examples(examples, encoder, purpose="rank")
    for place, (name, one) in enumerate(examples):
        alone = encode_examples([(name, one)], encoder, purpose="rank")[0]
        assert stored[place] == alone
        wanted = responses_of(one, "rank")
        assert [encoder.tokenizer.decode(r[:-1]) for r in alone.responses] == list(wanted.texts)
        assert list(alone.ranks) == list(wanted.ranks)
        own = alone.original
        assert own is not None
        said = alone.candidates[own] if isinstance(own, int) else own
        assert encoder.tokenizer.decode(said) == one.original
    assert stored.tokens == sum(instruction.tokens for instruction in stored)


def test_a_long_response_is_cut_without_its_end_and_counted(folder: Path) -> None:
    encoder = encoder_of(folder, "plain")
    prompt = len(encoder.tokenizer.encode(encoder.prompt(EXAMPLE)))
    whole = encode_examples([("7", EXAMPLE)], encoder, purpose="rank")[0].responses
    encoder.max_length = prompt + 3
    cut = encode_examples([("7", EXAMPLE)], encoder, purpose="rank")
    assert cut.cut == 2
    assert [list(r) for r in cut[0].responses] == [list(r[:3]) for r in whole]
    assert all(encoder.end_id not in response for response in cut[0].responses)


def test_a_prompt_that_leaves_no_room_is_an_error_that_names_the_record(tmp_path: Path, folder: Path) -> None:
    examples = list(read_files([write_examples(tmp_path / "ranked.jsonl", 5)]))
    with pytest.raises(DataError, match=r"record 0 of ranked\.jsonl: .* leaves none of 20 .*raise max_length"):
        encode_examples(examples, encoder_of(folder, "alpaca", 20), purpose="rank")


def test_records_that_lack_what_is_learnt_are_named_or_left_out(folder: Path) -> None:
    encoder = encoder_of(folder, "alpaca")
    unranked = RankedExample("5", "x", candidates=(Candidate("unranked"),))
    with pytest.raises(DataError, match="record 5: has no response to learn from"):
        encode_examples([("5", unranked)], encoder, purpose="imitate")
    ranked = replace(unranked, candidates=(Candidate("a", rank=0), Candidate("b", rank=1)))
    told: list[int] = []
    named = [("5", unranked), ("6", ranked), ("7", replace(unranked, original="yes"))]
    for purpose, names in (("pairs", ["6"]), ("rank", ["6", "7"])):
        stored = encode_examples(named, encoder, purpose=purpose, told=told.append)  # type: ignore[arg-type]
        assert (stored.names, stored.left_out) == (names, 3 - len(names))
    assert told == [3, 3]
    assert encode_examples(named[:2], encoder, purpose="pairs")[0].name == "6"
    unimitated = RankedExample("6", "x", candidates=(Candidate("a", rank=0), Candidate("b", rank=1)))
    with pytest.raises(DataError, match=r"record 6: has no original response"):
        encode_examples([("6", unimitated)], encoder, purpose="rank", needs_original=True)


def test_what_is_left_out_is_told_once(tmp_path: Path, folder: Path) -> None:
    class Notes(Silent):
        def __init__(self) -> None:
            self.told: list[str] = []

        def note(self, text: str) -> None:
            self.told.append(text)

    notes, file = Notes(), write_examples(tmp_path / "ranked.jsonl", 3)
    unranked = [RankedExample(f"u{n}", "x", candidates=(Candidate("a"), Candidate("b"))) for n in range(2)]
    write_ranked(file, [*read_ranked(file), *unranked])
    assert len(encode_files([file], encoder_of(folder, "alpaca"), "pairs", notes).examples) == 3
    assert [line for line in notes.told if "2 more are left out: nothing of them is ranked" in line] == notes.told[1:]


def test_a_template_without_end_of_turn_ends_with_eos_and_a_broken_one_is_told(tmp_path: Path) -> None:
    folder = save_model(tmp_path, has_template=True)
    encoder = encoder_of(folder, "chat")
    tokenizer = encoder.tokenizer.tokenizer
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert encoder.end_id == tokenizer.eos_token_id
    broken = encoder_of(folder, "chat")
    broken.tokenizer.tokenizer.chat_template = "{{ raise_exception('no replies') }}"
    with pytest.raises(ConfigError, match="cannot render a reply"):
        _ = broken.end_id
