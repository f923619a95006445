"""The proxy ranking model as a judge: laws of a ranker, on a random model saved as a folder."""

from __future__ import annotations

import json
import shutil
from itertools import permutations
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tiny_models import save_model
from tiny_prm import save_prm
from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.judge.protocols import Ranker, Ranking
from tuna_train.data.ranked import Candidate, RankedExample
from tuna_train.prm.ranker import SETTINGS, PrmRanker, PrmSettings, open_prm

RESPONSES = ["the cat sat on the mat", "Paris", "seven eight nine", "", "the longest word of a given sentence"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"), "llama", single="<s> $A", has_template=True)


@pytest.fixture(scope="module")
def folder(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_prm(base, tmp_path_factory.mktemp("prm"))


@pytest.fixture(scope="module")
def prm(folder: Path) -> PrmRanker:
    return open_prm(folder)


def example(name: str, responses: list[str], input: str = "") -> RankedExample:
    return RankedExample(name, f"Write about {name}.", input, candidates=tuple(map(Candidate, responses)))


def test_the_order_is_that_of_the_scores(prm: PrmRanker) -> None:
    ranker: Ranker = prm
    ranking = ranker.rank("Say something.", RESPONSES)
    assert ranking.scores is not None
    assert ranking.order is not None
    assert sorted(ranking.order) == list(range(len(RESPONSES)))
    assert [ranking.scores[place] for place in ranking.order] == sorted(ranking.scores, reverse=True)
    assert len(set(ranking.scores)) == len(RESPONSES)
    assert ranking.confidence == "high"


def test_permuted_responses_keep_their_scores_to_the_last_bit(prm: PrmRanker) -> None:
    first = prm.rank("Say something.", RESPONSES[:4]).scores
    assert first is not None
    for permuted in permutations(range(4)):
        again = prm.rank("Say something.", [RESPONSES[place] for place in permuted]).scores
        assert again == tuple(first[place] for place in permuted)


def test_equal_responses_tie_in_the_order_of_the_call(prm: PrmRanker) -> None:
    ranking = prm.rank("Say something.", ["Paris", "the cat", "Paris"])
    assert ranking.scores is not None
    assert ranking.order is not None
    assert ranking.scores[0] == ranking.scores[2]
    assert ranking.order.index(0) + 1 == ranking.order.index(2)
    assert ranking.ranks in ((0, 2, 0), (1, 0, 1))
    assert ranking.confidence == "low"


def test_the_score_is_what_transformers_computes_of_the_rendered_text(prm: PrmRanker, folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    begun = tokenizer(
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:"
    ).input_ids
    scores = []
    for response in RESPONSES:
        ids = [*begun, *tokenizer(response, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        with torch.no_grad():
            scores.append(model(input_ids=torch.tensor([ids])).logits.item())
    asked = RankedExample("x", "Add.", "1 2", candidates=tuple(map(Candidate, RESPONSES)))
    assert next(prm.rank_all([asked])).scores == pytest.approx(scores, abs=1e-5)


def test_company_changes_no_score(prm: PrmRanker, folder: Path) -> None:
    examples = [example("cats", RESPONSES), example("b", RESPONSES[:2], "Paris " * 30), example("c", RESPONSES[::-1])]
    for size in (None, 1, 2):
        together = open_prm(folder, batch_size=size).rank_all(iter(examples))
        for one, found in zip(examples, together, strict=True):
            assert next(prm.rank_all([one])).scores == pytest.approx(found.scores, abs=1e-5)


def test_what_cannot_be_ranked_is_said_and_stops_nobody(folder: Path) -> None:
    long, none, fine = example("x", ["a", "b"], "Paris " * 300), example("y", []), example("z", ["a", "b"])
    found = list(open_prm(folder).rank_all([long, none, fine]))
    assert [ranking.order is None for ranking in found] == [True, True, False]
    assert "leaves no room within 256" in found[0].reply
    assert "no candidates" in found[1].reply
    with pytest.raises(EngineError, match="leaves no room"):
        open_prm(folder).rank("Paris " * 300, ["a", "b"])
    with pytest.raises(ValueError, match="two responses"):
        open_prm(folder).rank("Say something.", ["a"])


def test_a_cut_response_lowers_the_confidence(prm: PrmRanker) -> None:
    assert prm.rank("Say something.", ["Paris", "the cat " * 300]).confidence == "low"


def test_the_fingerprint_holds_the_weights_and_no_path(
    prm: PrmRanker, folder: Path, base: Path, tmp_path: Path
) -> None:
    print_ = prm.fingerprint()
    assert str(folder.parent) not in json.dumps(dict(print_))
    assert print_["format"] == "alpaca"
    moved = tmp_path / folder.name
    shutil.copytree(folder, moved)
    assert open_prm(moved).fingerprint() == print_
    other = save_prm(base, tmp_path / "other" / folder.name, PrmSettings("chat", 256))
    assert {k for k, v in open_prm(other).fingerprint().items() if v != print_[k]} == {"format"}
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.score.weight.data += 1
    model.save_pretrained(moved)
    assert open_prm(moved).fingerprint()["weights_sha256"] != print_["weights_sha256"]


def test_another_classifier_with_one_label_ranks_with_its_chat_template(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / SETTINGS).unlink()
    ranker = open_prm(tmp_path)
    assert ranker.fingerprint()["format"] == "chat"
    assert ranker.settings.max_length == 512  # the model's positions
    ranking: Ranking = ranker.rank("Say something.", RESPONSES)
    assert ranking.order is not None


def test_a_folder_that_is_no_such_model_is_told_in_one_line(base: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"holds a LlamaForCausalLM, not a proxy ranking model; name a folder"
    ) as told:
        open_prm(base)
    assert "\n" not in str(told.value)
    with pytest.raises(ConfigError, match=r"config\.json"):
        open_prm(tmp_path)
    with pytest.raises(ConfigError, match="no such model"):
        open_prm(tmp_path / "nothing")
    two = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    shutil.copytree(folder, tmp_path / "two")
    two.save_pretrained(tmp_path / "two")
    with pytest.raises(ConfigError, match="2 labels"):
        open_prm(tmp_path / "two")
    shutil.copytree(folder, tmp_path / "broken")
    (tmp_path / "broken" / SETTINGS).write_text("{}")
    with pytest.raises(ConfigError, match=r"prm\.json: holds no format"):
        open_prm(tmp_path / "broken")
