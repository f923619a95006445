"""Readers of preference data: pairs of a chosen and a rejected response, and completions with scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tuna_train.data.ranked import Candidate, RankedExample, rank_by_score
from tuna_train.data.rendered import split_rendered
from tuna_train.data.rows import Row

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_UNSCORED = "N/A"  # what UltraFeedback writes where its judge gave no score
_SIDES = ("chosen", "rejected")
_SCORES = ("score", "overall_score", "fine-grained_score", "rating")
_SCORES_OF_CHOSEN = ("score_chosen", "chosen-rating", "chosen_score")
_SCORES_OF_REJECTED = ("score_rejected", "rejected-rating", "rejected_score")


@dataclass(frozen=True, slots=True)
class Turn:
    """A message; role is "user", "assistant", "system" or a name that is none of these."""

    role: str
    text: str


def messages_of(value: object, row: Row, what: str) -> list[Turn]:
    """The turns of a conversation in ShareGPT's keys (from, value) or in those of chat models (role, content).

    Raises:
        DataError: the value is no such list.
    """
    if not isinstance(value, list):
        raise row.broken(f"{what} is {value!r:.40}, not a list of turns")
    turns = []
    for turn in value:
        if not isinstance(turn, dict):
            raise row.broken(f"a turn of {what} is {turn!r:.40}, not an object")
        role = str(turn.get("from", turn.get("role")))
        turns.append(Turn(_ROLES.get(role, role), row.as_text(turn.get("value", turn.get("content")), "a turn")))
    return turns


def read_pair(row: Row) -> Iterator[RankedExample]:
    """`chosen` is better than `rejected`; equal scores beside them make it a tie.

    Both are texts, or messages that end with the response; the prompt is a field, or what stands before the response: a
    rendered Alpaca prompt, or messages.
    Conversations with more than one question are left out and counted.
    """
    chosen, rejected = _sides(row)
    stated = row.values.get("prompt", row.values.get("instruction"))
    if stated is None:
        questions = chosen[:-1]
    elif isinstance(stated, str):
        questions = [Turn("user", stated)]
    else:
        questions = messages_of(stated, row, "prompt")
    if questions and questions[0].role == "system":
        row.drop("system messages")
        questions = questions[1:]
    if [turn.role for turn in questions] != ["user"]:
        row.drop("pairs whose prompt is not one question")
        return
    better, worse = _score(row, _SCORES_OF_CHOSEN), _score(row, _SCORES_OF_REJECTED)
    has_scores = better is not None and worse is not None
    if has_scores and better == worse:
        row.drop("pairs with equal scores, read as ties")
    candidates = (
        Candidate(chosen[-1].text, source=row.optional("chosen-model") or "chosen", score=better, rank=0),
        Candidate(
            rejected[-1].text,
            source=row.optional("rejected-model") or "rejected",
            score=worse,
            rank=0 if has_scores and better == worse else 1,
        ),
    )
    id = row.id if "id" in row.values else str(row.values.get("prompt_id", row.number))
    yield RankedExample(id, *_split(row, questions[0].text), candidates=candidates)


def _split(row: Row, prompt: str) -> tuple[str, str]:
    """Instruction and input; a separate input field belongs to a plain prompt."""
    instruction, input = row.prompt(prompt, "the prompt")
    return instruction, input or row.optional("input")


def _sides(row: Row) -> tuple[list[Turn], list[Turn]]:
    """The turns of the two; a prompt that both texts begin with is their first turn."""
    if row.values.get("prompt", row.values.get("instruction")) is None:
        parts = [split_rendered(value) for key in _SIDES if isinstance(value := row.values[key], str)]
        prompts = {part[0] if part else "" for part in parts}
        if len(parts) == 2 and len(prompts) == 1 and "" not in prompts:
            better, worse = ([Turn("user", part[0]), Turn("assistant", part[1])] for part in parts if part)
            return better, worse
    return _side(row, "chosen"), _side(row, "rejected")


def _side(row: Row, key: str) -> list[Turn]:
    value = row.values[key]
    if isinstance(value, str):
        return [Turn("assistant", value)]
    turns = messages_of(value, row, key)
    if not turns or turns[-1].role != "assistant":
        raise row.broken(f"{key} does not end with a response")
    return turns


def _score(row: Row, keys: tuple[str, ...]) -> float | None:
    for key in keys:
        if row.values.get(key) not in (None, _UNSCORED):
            return row.number_in(row.values[key], key)
    return None


def read_completions(row: Row) -> Iterator[RankedExample]:
    """`completions` of a prompt, each a text (`response` or `text`) with the first score that it has of `score`,
    `overall_score`, `fine-grained_score` and `rating`; completions without one stay unranked and are counted."""
    candidates = []
    for completion in row.items("completions"):
        if not isinstance(completion, dict):
            raise row.broken(f"a completion is {completion!r:.40}, not an object")
        own = Row(completion, row.place, row.number, row.dropped)
        text = own.text("response" if "response" in completion else "text")
        score = _score(own, _SCORES)
        if score is None:
            row.drop("completions without a score: left unranked")
        candidates.append(Candidate(text, source=own.optional("model") or own.optional("source"), score=score))
    prompt = row.text("instruction" if "instruction" in row.values else "prompt")
    yield RankedExample(row.id, *_split(row, prompt), candidates=rank_by_score(candidates))
