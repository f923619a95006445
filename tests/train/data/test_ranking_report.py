"""What judgments of one example come to, worked out by hand."""

from __future__ import annotations

import pytest

from tuna_eval.judge.list_judgments import ListJudgment, ListState
from tuna_eval.judge.protocols import Confidence
from tuna_train.data.ranked import Candidate, RankedExample
from tuna_train.data.ranking_report import RankingReport, outcome_of, with_ranks

Ranks = tuple[int | None, ...]


def example(*texts: str) -> RankedExample:
    candidates = tuple(Candidate(text, score=9.0, rank=0) for text in texts)
    return RankedExample("e", "Name a colour.", candidates=candidates, provenance={"sample": {"model": "m"}})


def judged(
    ranks: Ranks | None,
    scores: tuple[float | None, ...] | None = None,
    *,
    repeat: int = 0,
    attempt: int = 0,
    state: ListState | None = None,
    confidence: Confidence = "high",
) -> ListJudgment:
    shown = tuple(range(len(ranks or ())))
    said: ListState = state or ("unparsable" if ranks is None else "ranked")
    return ListJudgment("e", shown, repeat, attempt, said, ranks, scores, confidence)


def test_a_left_out_candidate_has_the_rank_and_score_of_its_twin_or_none() -> None:
    judgments = [judged((1, 0, None, None), (5.0, 9.0, None, None), confidence="low")]
    found = outcome_of(example("red", "blue", "red ", "green"), judgments)
    assert found.ranks == (1, 0, 1, None)
    assert found.scores == (5, 9, 5, None)
    assert (found.has_ties, found.confidence) == (True, "low")


def test_scores_that_contradict_the_ranks_or_are_not_whole_are_no_scores() -> None:
    three = example("a", "b", "c")
    assert outcome_of(three, [judged((0, 1, 2), (9.0, 7.0, 7.0))]).scores == (9, 7, 7)
    assert outcome_of(three, [judged((0, 1, 2), (7.0, 9.0, 5.0))]).scores is None
    assert outcome_of(three, [judged((0, 1, 2), (9.0, None, 5.0))]).scores is None
    # Means of 8, 7 and 3, in the order of the mean ranks.
    both = [judged((0, 1, 2), (9.0, 7.0, 3.0)), judged((0, 0, 2), (7.0, 7.0, 3.0), repeat=1)]
    assert outcome_of(three, both).scores == (8, 7, 3)
    assert outcome_of(three, [both[0], judged((0, 1, 2), repeat=1)]).scores is None


def test_of_each_repeat_the_first_ranking_counts() -> None:
    two = example("a", "b")
    found = outcome_of(two, [judged(None), judged((1, 0), attempt=1), judged((1, 0), repeat=1)])
    assert (found.ranks, found.retried, found.tau) == ((1, 0), True, pytest.approx(1))
    again = outcome_of(two, [judged((0, 1)), judged((1, 0), attempt=1)])
    assert (again.ranks, again.tau) == ((0, 1), None)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ((), "open"),
        (("api_error",), "failed"),
        (("api_error", "unparsable"), "unparsable"),
        (("refused", "api_error"), "refused"),
    ],
)
def test_without_a_ranking_there_are_no_ranks_but_a_reason(states: tuple[ListState, ...], state: str) -> None:
    judgments = [judged(None, state=each, repeat=n) for n, each in enumerate(states)]
    found = outcome_of(example("a", "b"), judgments)
    assert (found.state, found.ranks, found.scores) == (state, (None, None), None)
    assert outcome_of(example("a"), judgments).state == "alone"
    written = with_ranks(example("a", "b"), found, {"ranker": "gpt-4"})
    assert [(c.rank, c.score) for c in written.candidates] == [(None, None)] * 2  # not those of an earlier stage
    assert written.provenance == {"sample": {"model": "m"}, "ranking": {"ranker": "gpt-4", "state": state}}


def test_the_report_counts_what_it_is_shown() -> None:
    report, three = RankingReport("gpt-4", "signature"), example("a", "b", "c")
    report.enter(outcome_of(three, [judged((0, 0, 2)), judged((0, 1, 2), repeat=1)]), is_dropped=False)
    report.enter(outcome_of(three, [judged((0, None, 1), confidence="low")]), is_dropped=True)
    report.enter(outcome_of(three, [judged(None), judged(None, attempt=1)]), is_dropped=False)
    found = report.as_json()
    counts = {name: found[name] for name in ("examples", "low_confidence", "retried", "ties", "left_out", "dropped")}
    assert counts == {"examples": 3, "low_confidence": 1, "retried": 1, "ties": 0, "left_out": 1, "dropped": 1}
    assert found["agreements"] == 1
    assert found["order_agreement"] == pytest.approx(2 / 6**0.5)  # tau-b: 2 / sqrt(2 * 3)
