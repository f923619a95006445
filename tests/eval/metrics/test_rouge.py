from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from tuna_eval.errors import ConfigError
from tuna_eval.metrics.rouge import ROUGE_IMPLEMENTATIONS, Rouge, best_rouge, pairwise_rouge_l, rouge_engine, rouge_l

Pairs = list[tuple[str, str]]

OWN_ENGINES = ["rouge-score-rs", "python"]
REAL_PAIRS = 6_000

# Words that stem alike or are one letter off, runs that lower-casing or stemming treats oddly, and any text at all.
PLAIN_WORDS = ["a", "b", "c", "running", "runs", "Run", "generalization", "flies", "dies", "don't"]
VOCABULARY = [*PLAIN_WORDS, "naïve", "ﬁne", "\u212a", "İstanbul", "ß"]
sentences = st.lists(st.sampled_from(VOCABULARY), max_size=12).map(" ".join)
texts = st.one_of(sentences, st.text(max_size=40), st.tuples(sentences, st.text(max_size=20)).map("".join))
letters = st.lists(st.sampled_from("abcd"), min_size=1, max_size=40)


def expected(pairs: Pairs, *, stemmer: bool = True) -> list[Rouge]:
    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=stemmer)
    found = [scorer.score(target=reference, prediction=prediction) for prediction, reference in pairs]
    return [Rouge(scores["rouge1"].fmeasure, scores["rougeL"].fmeasure) for scores in found]


def score(pairs: Pairs, engine: str, *, stemmer: bool = True) -> list[Rouge]:
    predictions, references = [prediction for prediction, _ in pairs], [[reference] for _, reference in pairs]
    return best_rouge(predictions, references, stemmer=stemmer, engine=engine)


def some_words(text: str, first: int, number: int) -> str:
    return " ".join(text.split()[first : first + number])


@pytest.fixture(scope="module")
def real_pairs(shared: Path) -> Pairs:
    """Pieces of answers of different systems, of Super-NI inputs and outputs, and LMentry questions; all distinct."""
    found: Pairs = []
    for line in (shared / "data/alpaca_eval_responses.jsonl").read_text(encoding="utf-8").splitlines():
        answers = list(json.loads(line)["outputs"].values())
        for one, two in pairwise(answers):
            found += [(some_words(one, start, 14), some_words(two, start, 14)) for start in (0, 20)]
    for path in sorted((shared / "benchmarks/superni/tasks").glob("*.json")):
        for one, two in pairwise(json.loads(path.read_text(encoding="utf-8"))["Instances"][:250]):
            found.append((some_words(one["input"], 0, 20), some_words(one["output"][0], 0, 20)))
            found.append((some_words(one["output"][0], 0, 20), some_words(two["output"][0], 0, 20)))
    for path in sorted((shared / "benchmarks/lmentry").glob("*.json")):
        examples = json.loads(path.read_text(encoding="utf-8"))["examples"].values()
        found += pairwise([example["input"] for example in examples][:120])
    distinct = list(dict.fromkeys(found))
    random.Random(0).shuffle(distinct)
    return distinct[:REAL_PAIRS]


@pytest.fixture(scope="module")
def real_scores(real_pairs: Pairs) -> list[Rouge]:
    return expected(real_pairs)


def test_the_real_pairs_are_what_they_are_said_to_be(real_pairs: Pairs, real_scores: list[Rouge]) -> None:
    assert len(set(real_pairs)) == REAL_PAIRS
    assert sum(not (one + two).isascii() for one, two in real_pairs) > 150
    assert len(set(real_scores)) > 600
    assert sum(0 < scores.rougeL < 1 for scores in real_scores) > REAL_PAIRS / 3
    assert sum(scores.rougeL < scores.rouge1 for scores in real_scores) > 600


@pytest.mark.parametrize("engine", OWN_ENGINES)
def test_equals_rouge_score_to_the_last_bit_on_real_pairs(
    engine: str, real_pairs: Pairs, real_scores: list[Rouge]
) -> None:
    assert score(real_pairs, engine) == real_scores


@pytest.mark.parametrize("engine", OWN_ENGINES)
def test_equals_rouge_score_without_stemmer(engine: str, real_pairs: Pairs) -> None:
    some = real_pairs[:1500]
    assert score(some, engine, stemmer=False) == expected(some, stemmer=False)
    assert score(some, engine, stemmer=False) != score(some, engine)


@pytest.mark.parametrize("engine", ROUGE_IMPLEMENTATIONS)
def test_golden_values_of_the_official_code(engine: str, shared: Path) -> None:
    lines = (shared / "golden/superni_metrics.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [record for record in map(json.loads, lines) if record["kind"] == "pair"]
    found = best_rouge([p["prediction"] for p in pairs], [p["references"] for p in pairs], engine=engine)
    for record, scores in zip(pairs, found, strict=True):
        assert scores.rouge1 == pytest.approx(record["rouge1"], abs=1e-12), record
        assert scores.rougeL == pytest.approx(record["rougeL"], abs=1e-12), record


@pytest.mark.parametrize("engine", OWN_ENGINES)
def test_long_texts(engine: str) -> None:
    chance = random.Random(1)
    words = [f"word{number}" for number in range(40)]
    pairs = [
        (" ".join(chance.choices(words, k=one)), " ".join(chance.choices(words, k=two)))
        for one, two in [(1, 900), (63, 64), (64, 64), (65, 130), (900, 700)]
    ]
    assert score(pairs, engine) == expected(pairs)


@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8), st.booleans())
def test_equals_rouge_score_on_any_text(pairs: Pairs, stemmer: bool) -> None:
    reference = expected(pairs, stemmer=stemmer)
    for engine in OWN_ENGINES:
        assert score(pairs, engine, stemmer=stemmer) == reference, engine


@pytest.mark.parametrize("engine", OWN_ENGINES)
def test_half_of_a_surrogate_pair_is_a_separator(engine: str) -> None:
    assert score([("one\ud800two", "one two")], engine) == [Rouge(1.0, 1.0)]


@pytest.mark.parametrize("engine", ROUGE_IMPLEMENTATIONS)
def test_by_hand(engine: str) -> None:
    # Common words a, b, c: P = 3/3, R = 3/4, F = 6/7. Longest common subsequence a c: P = 2/3, R = 2/4, F = 4/7.
    assert score([("b a c", "a x c b")], engine) == [Rouge(pytest.approx(6 / 7), pytest.approx(4 / 7))]
    # A repeated word counts as often as it is in both.
    assert score([("a a a", "a a b b b")], engine) == [Rouge(0.5, 0.5)]


@pytest.mark.parametrize("engine", ROUGE_IMPLEMENTATIONS)
def test_the_best_reference_is_found_for_each_metric_on_its_own(engine: str) -> None:
    found = best_rouge(["a b c d", "x"], [["d c b a", "a c"], ["y", "x"]], engine=engine)
    assert found == [Rouge(1.0, pytest.approx(2 / 3)), Rouge(1.0, 1.0)]


@given(texts, texts, st.sampled_from(OWN_ENGINES))
def test_bounds_symmetry_and_identity(one: str, two: str, engine: str) -> None:
    assert 0.0 <= rouge_l(one, two, engine=engine) <= 1.0
    assert rouge_l(one, two, engine=engine) == rouge_l(two, one, engine=engine)
    assert rouge_l(f"{one} word", f"{one} word", engine=engine) == 1.0
    scores = score([(one, two)], engine)[0]
    assert scores.rougeL <= scores.rouge1


@given(letters, letters, st.data())
def test_laws_of_the_longest_common_subsequence(one: list[str], two: list[str], data: st.DataObject) -> None:
    def length(first: list[str], second: list[str]) -> float:
        # F = 2 L / (m + n), so L can be read off the score.
        return rouge_l(" ".join(first), " ".join(second), engine="python") * (len(first) + len(second)) / 2

    common = length(one, two)
    assert common == pytest.approx(round(common))
    assert length(one[::-1], two[::-1]) == pytest.approx(common)
    assert length([*one, "z"], [*two, "z"]) == pytest.approx(common + 1)
    kept = data.draw(st.lists(st.booleans(), min_size=len(one), max_size=len(one)))
    part = [letter for letter, keep in zip(one, kept, strict=True) if keep]
    if part:
        assert length(part, one) == pytest.approx(len(part))


@settings(deadline=None)
@given(st.lists(texts, max_size=6), st.sampled_from(OWN_ENGINES))
def test_pairwise_is_the_matrix_of_rouge_l(several: list[str], engine: str) -> None:
    matrix = pairwise_rouge_l(several, engine=engine)
    assert matrix == tuple(tuple(rouge_l(one, two, engine=engine) for two in several) for one in several)


def test_no_tokens_is_zero_even_for_equal_texts() -> None:
    assert pairwise_rouge_l(["你好", "你好", "ok"]) == ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="references for 0"):
        best_rouge(["a"], [])
    with pytest.raises(ValueError, match="at least one reference"):
        best_rouge(["a"], [[]])
    assert best_rouge([], []) == []


def test_engines_are_named_with_their_versions_and_the_reason() -> None:
    assert rouge_engine().name == "rouge-score-rs"
    assert "is installed" in rouge_engine().reason
    assert rouge_engine("rouge-score").release == "rouge-score 0.1.2"
    with pytest.raises(ConfigError, match="unknown engine 'fast'; use one of auto, rouge-score-rs, python"):
        rouge_engine("fast")
