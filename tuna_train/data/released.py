"""Readers of the files that the Tuna authors released (microsoft/LMOps, tuna/)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tuna_eval.schema import JSON
from tuna_train.data.ranked import Candidate, RankedExample, rank_by_score
from tuna_train.data.rows import Row

REFERENCE = "response_4"  # source of what GPT-4 itself answered while it ranked; no candidate of its example


def read_probabilistic(row: Row) -> Iterator[RankedExample]:
    """`orig`, `text`, `length`, `logprob`: the teacher's responses, not ranked yet, for ranking depends on beta."""
    original = row.values["orig"]
    if not isinstance(original, dict):
        raise row.broken(f"orig is {original!r:.40}, not an Alpaca record")
    alpaca = Row(original, row.place, row.number, row.dropped)
    texts = row.texts("text")
    lengths = row.numbers("length", len(texts))
    logprobs = row.numbers("logprob", len(texts))
    yield RankedExample(
        id=alpaca.id if "id" in original else row.id,
        instruction=alpaca.text("instruction"),
        input=alpaca.optional("input"),
        original=alpaca.text("output"),
        candidates=tuple(
            Candidate(text, source="text-davinci-003", tokens=int(length), logprob=logprob)
            for text, length, logprob in zip(texts, lengths, logprobs, strict=True)
        ),
    )


def read_training(row: Row) -> Iterator[RankedExample]:
    """`instruction` (rendered), `output`, `score`: what the released trainer reads. Which output is the original
    response, if any, the file does not say; their sources "output 0", "output 1"... let `--original` say it."""
    instruction, input = row.rendered("instruction")
    texts = row.texts("output")
    scores = row.numbers("score", len(texts))
    candidates = [
        Candidate(text, source=f"output {k}", score=score)
        for k, (text, score) in enumerate(zip(texts, scores, strict=True))
    ]
    yield RankedExample(row.id, instruction, input, candidates=rank_by_score(candidates))


def read_samples(row: Row) -> Iterator[RankedExample]:
    """`instruction` (rendered), `output`, `rouge`: what the released sampler writes; not ranked."""
    instruction, input = row.rendered("instruction")
    candidates = tuple(Candidate(text, source=f"output {k}") for k, text in enumerate(row.texts("output")))
    yield RankedExample(row.id, instruction, input, candidates=candidates)


def read_gpt4_ranking(row: Row) -> Iterator[RankedExample]:
    """`instruct` (rendered), `generation`, `rank` or `ranks`, `gpt_eval`, `response_4`: GPT-4's contextual ranking.

    The released parser took every number after "rank:", so the stored list may hold more than a ranking. Where neither
    field, without the reference, is a list of different responses, the candidates stay unranked and the record is
    counted; responses that the ranking leaves out as duplicates stay unranked too.
    """
    instruction, input = row.rendered("instruct")
    texts = row.texts("generation")
    order = next((value for key in ("ranks", "rank") if isinstance(value := row.values.get(key), list)), [])
    ranked = _ranking(order, len(texts))
    if ranked is None:
        row.drop("rankings that are no list of different responses: candidates left unranked")
    places = {k: place for place, k in enumerate(ranked or ())}
    candidates = [Candidate(text, source=f"output {k}", rank=places.get(k)) for k, text in enumerate(texts)]
    if reference := row.optional("response_4"):
        candidates.append(Candidate(reference, source=REFERENCE))
    provenance: dict[str, JSON] = {"ranked_by": "gpt-4", "reply": row.optional("gpt_eval"), "ranking": order}
    yield RankedExample(row.id, instruction, input, candidates=tuple(candidates), provenance=provenance)


def _ranking(order: list[Any], count: int) -> list[int] | None:
    """The ids of the responses in a stored ranking, best first; None if it is none."""
    if not all(isinstance(k, int) and not isinstance(k, bool) and 0 <= k <= count for k in order):
        return None
    ids = [k for k in order if k != count]  # the id after the last response is GPT-4's own reference
    return ids if ids and len(set(order)) == len(order) else None
