"""What a judge's reply to a ranking prompt says. Pure functions; none raises on any text, none invents a rank.

The responses are labelled 0, 1, ... as shown; the next number is the judge's own reference response, which is ranked
among them and dropped here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

from tuna_eval.judge.listwise_statements import stated_duplicates, stated_scores
from tuna_eval.judge.parsers import without_reasoning
from tuna_eval.judge.protocols import Confidence, levels_to_ranks


@dataclass(frozen=True, slots=True)
class ListReading:
    """A ranking that was found in a reply.

    Attributes:
        ranks: competition rank of each response in the order shown, 0 for the best, equal for ties; None for one that
            the judge left out of its ranking without saying what it is a duplicate of.
        scores: of each response, 0 to 15; None where the judge states none.
        confidence: "low" for a ranking that the stated scores, stated duplicates or another ranking in the reply
            contradict, that leaves responses out unexplained, or that stands in an unusual place.
        duplicates: groups of labels that the judge calls duplicates of each other; its own reference may be in one.
    """

    ranks: tuple[int | None, ...]
    scores: tuple[float | None, ...]
    confidence: Confidence = "high"
    duplicates: tuple[tuple[int, ...], ...] = ()


ListParser = Callable[[str, int], ListReading | None]


def read_ranking(reply: str, count: int) -> ListReading | None:
    """The last ranking of a reply, in the many spellings that judges use.

    A ranking is a list of distinct labels that follows the word "rank" or "ranking": bracketed, or a chain on one line
    ("4 > 2 > 0 = 1"); "=" and inner brackets make ties. If the last such list has a label twice, or one that was not
    shown, the reply is unparsable: an earlier list is no better known to be meant. Without the word, a last line that
    is only a bracketed list is read with low confidence.

    A response that is left out as a stated duplicate has the rank and the score of the one that was kept.

    Args:
        reply: the judge's text; reasoning in <think> tags is no part of it.
        count: number of responses shown, >= 1.

    Returns:
        None if no ranking can be read, or none of a response that was shown.
    """
    text = without_reasoning(reply).lower()
    found = list(_rankings(text, count))
    is_doubtful = not found
    final = found[-1] if found else _last_line(text, count)
    if final is None or final == "malformed":
        return None
    is_doubtful |= any(other != final for other in found)
    levels = {label: place for place, tied in enumerate(final) for label in tied}
    scores, is_rescored = stated_scores(text, count)
    duplicates = stated_duplicates(text, count)
    for group in duplicates:
        is_doubtful |= not _tie_duplicates(levels, group, scores)
    places = [levels.get(label) for label in range(count)]
    if all(place is None for place in places):
        return None
    is_doubtful |= is_rescored or None in places or _contradicts(levels, scores)
    stated = tuple(scores.get(label) for label in range(count))
    return ListReading(levels_to_ranks(places), stated, "low" if is_doubtful else "high", duplicates)


def read_ranking_by_score(reply: str, count: int) -> ListReading | None:
    """As `read_ranking`, but responses that the judge scored alike share a rank.

    A bracketed list has no way to say that two responses are equally good, so a judge puts one of them first.
    """
    reading = read_ranking(reply, count)
    if reading is None or reading.confidence == "low":
        return reading
    places = sorted({rank for rank in reading.ranks if rank is not None})
    level_of: dict[int, int] = {}
    before: float | None = None
    for rank in places:
        score = reading.scores[reading.ranks.index(rank)]
        is_equal = score is not None and score == before
        level_of[rank] = level_of[max(level_of)] if is_equal else rank
        before = score
    levels = [None if rank is None else level_of[rank] for rank in reading.ranks]
    return replace(reading, ranks=levels_to_ranks(levels))


@dataclass(frozen=True, slots=True)
class OfficialRanking:
    """What Tuna's released script makes of a reply (gpt-eval.py; protocol 4.5), with its whims.

    Attributes:
        rank_str: text between the first two "rank:", in lower case; else what follows "ranking:".
        ranks: every integer in it, whatever it counts.
        reference: the judge's own response up to its first blank line; "" if there is none.
    """

    rank_str: str
    ranks: tuple[int, ...]
    reference: str


def official_ranking(reply: str, count: int = 4) -> OfficialRanking | None:
    """The released script's reading; None where it ends with an IndexError."""
    lowered = reply.lower()
    parts = lowered.split("rank:")
    if len(parts) < 2:
        parts = lowered.split("ranking:")
    if len(parts) < 2:
        return None
    text = parts[1].strip()
    own = re.search(rf"###[ ]?Response {count}:(.*?)(?:\n[ \t]*\n|\Z)", reply.replace("\r\n", "\n"), re.DOTALL)
    return OfficialRanking(text, tuple(map(int, re.findall(r"[0-9]+", text))), own[1].strip() if own else "")


def read_ranking_legacy(reply: str, count: int) -> ListReading | None:
    """A reply as `official_ranking` reads it.

    Departure: upstream keeps labels that were not shown or come twice; such a list is no ranking.
    """
    official = official_ranking(reply, count)
    if official is None:
        return None
    labels = official.ranks
    if len(set(labels)) < len(labels) or any(label > count for label in labels) or set(labels) <= {count}:
        return None
    places = [labels.index(label) if label in labels else None for label in range(count)]
    return ListReading(levels_to_ranks(places), (None,) * count)


PARSERS: Final[Mapping[str, ListParser]] = {
    "tolerant": read_ranking,
    "ties-by-score": read_ranking_by_score,
    "legacy": read_ranking_legacy,
}

# These read text in lower case.

# A ranking as it was listed, best first: groups of tied labels.
_Listed = tuple[tuple[int, ...], ...]
_Found = _Listed | Literal["malformed"]

# The word, and what may stand between it and the list: no digit, so that no label is passed over.
_MARKER = re.compile(r"\brank(?:s|ings?)?\b(?P<gap>[^\[\]0-9\n>]{0,80}(?:\n\s{0,8}(?:```[a-z]{0,8}\s{0,4})?)?)")
_INTRODUCES = re.compile(r"(?:[:=–—-]|\bis|\bare)[\s*_`\"'(]*(?:#{0,4} ?responses?)?[ #]*\Z")
_MARKS = re.compile(r"[*`\"'’‘“”]+")  # of Markdown and quotations
_LABEL = (
    r"(?:#{1,4} ?)?(?:responses?[ _]?|r)?\#?(?P<label>[0-9]{1,4})"
    # A single number in parentheses behind a label is its score.
    r"(?: ?\( ?(?:score:? ?)?[0-9]{1,3}(?:\.[0-9]+)?(?: ?/ ?15)?(?: ?(?:points?|pts))? ?\))?"
)
_TIE, _BETTER = r"(?:==?|≈|~)", r"(?:, ?and\b|[,;]|>{1,3}|→|->|≻)"
_ITEM = _LABEL.replace("?P<label>", "?:")
_GROUP = rf"[\[({{] ?{_ITEM}(?: ?(?:{_TIE}|,) ?{_ITEM})+ ?[\])}}]"
_CHAIN = re.compile(rf"(?:{_GROUP}|{_ITEM})(?: ?(?:{_TIE}|{_BETTER}) ?(?:{_GROUP}|{_ITEM}))+")
_INNER = re.compile(_GROUP)
_LONGEST_LIST = 400  # characters


def _rankings(text: str, count: int) -> Iterator[_Found]:
    """Every ranking after the word, in order; a list of numbers that is none is "malformed"."""
    for marker in _MARKER.finditer(text):
        rest = text[marker.end() : marker.end() + _LONGEST_LIST]
        listed: _Found | None = None
        if rest.startswith("["):
            listed = _bracketed(rest, count)
        elif _INTRODUCES.search(marker["gap"]):
            listed = _chain(rest, count)
        if listed is not None:
            yield listed


def _last_line(text: str, count: int) -> _Listed | None:
    """The ranking on a last line that is nothing else; two labels at least, for it is not said what it is."""
    line = text.strip().strip("`").strip().rpartition("\n")[2].strip("*_. ")
    listed = _bracketed(line, count) if len(line) <= _LONGEST_LIST and line.endswith("]") else None
    return listed if listed is not None and listed != "malformed" and sum(map(len, listed)) > 1 else None


def _bracketed(text: str, count: int) -> _Found | None:
    """The list that a text begins with; None for brackets without a number, such as the prompt's example."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if depth <= 0:
            inside = text[1:place]
            return _listed(inside, count) if re.search("[0-9]", inside) else None
    return None


def _chain(text: str, count: int) -> _Found | None:
    """The list that a line begins with; None if it is none. What follows it must be a remark."""
    line = _plain(text.partition("\n")[0])
    match = _CHAIN.match(line)
    if match is None:
        return None
    rest = line[match.end() :].lstrip()
    return "malformed" if re.match(r"[^.(–—-]|\.[0-9]", rest) else _listed(match[0], count)


def _plain(text: str) -> str:
    return " ".join(_MARKS.sub("", text.replace("&gt;", ">")).split())


def _listed(text: str, count: int) -> _Found:
    """The groups of a list's inside, if all are known labels, each at most once."""
    joined = _INNER.sub(lambda group: re.sub(rf"{_TIE}|,", "=", group[0][1:-1]), _plain(text))
    groups: list[tuple[int, ...]] = []
    for part in re.split(_BETTER, joined):
        items = [re.fullmatch(_LABEL, item.strip()) for item in re.split(_TIE, part)]
        groups.append(tuple(sorted(int(item["label"]) if item else _UNKNOWN for item in items)))
    labels = [label for tied in groups for label in tied]
    is_ranking = len(set(labels)) == len(labels) and max(labels) <= count
    return tuple(groups) if is_ranking else "malformed"


_UNKNOWN = 10**9  # what is no label


def _tie_duplicates(levels: dict[int, int], group: Sequence[int], scores: dict[int, float]) -> bool:
    """Gives stated duplicates one place and score; False if the ranking tells them apart, and nothing is changed."""
    places = {levels[label] for label in group if label in levels}
    given = {scores[label] for label in group if label in scores}
    between = {place for place in levels.values() if places and min(places) <= place <= max(places)}
    if between != places or (len(places) > 1 and len(given) > 1):
        return False
    levels.update(dict.fromkeys(group, min(places)) if places else {})
    scores.update(dict.fromkeys(group, min(given)) if len(given) == 1 else {})
    return True


def _contradicts(levels: Mapping[int, int], scores: Mapping[int, float]) -> bool:
    """Whether a response stands above one with a higher score, or beside one with another score."""
    scored = sorted((place, scores[label]) for label, place in levels.items() if label in scores)
    return any(
        score < other or (place == below and score != other) for (place, score), (below, other) in pairwise(scored)
    )
