"""What a judge says about single responses beside its ranking: their scores, and which of them are duplicates."""

from __future__ import annotations

import re
from typing import Final

MAX_SCORE: Final = 15.0  # three aspects of 0 to 5 each (Tuna, Table 9)

# All of these read text in lower case.

# "Response 2: [12]", and without brackets where the number ends the statement. Text stands behind "###Response 4:".
_STATED = re.compile(
    r"\bresponse[ ]?\#?(?P<label>[0-9]{1,3})\b[*_`]{0,3}[ ]?(?:\([^()\n]{0,40}\))?[ ]?[:=–—-]{1,2}"
    r"[ \t*_`]{0,8}(?:(?:overall|total|score):?[ *_`]{0,4}){0,2}(?=(?P<rest>[^\n]{0,200}))",
)
_NUMBER = r"[0-9]{1,3}(?:\.[0-9]{1,2})?"
_OUT_OF = r"(?:[ ]?(?:/|out of)[ ]?15)?"
_IN_BRACKETS = re.compile(r"\[([^\[\]]{1,80})\]")
_LAST_BRACKETS = re.compile(r"\b(?:overall|total|sum|score)s?:?[ *_`=]{0,4}\[([^\[\]]{1,80})\][*_`. ]*\Z")
_BARE = re.compile(
    rf"(?P<sum>{_NUMBER}(?:[ ]?\+[ ]?{_NUMBER}){{2}}[ ]?=[ ]?)?({_NUMBER}){_OUT_OF}(?:[ ]?points?)?"
    r"[*_`]*[ ]*(?:[.;,]?\Z|[(])"
)


def stated_scores(text: str, count: int) -> tuple[dict[int, float], bool]:
    """The last score stated for each label, and whether some label was given different ones.

    Args:
        text: a reply in lower case.
        count: the highest label, which is the judge's own response.
    """
    scores: dict[int, float] = {}
    is_rescored = False
    for match in _STATED.finditer(text):
        is_heading = text[max(0, match.start() - 2) : match.start()].rstrip().endswith("#")
        label, score = int(match["label"]), _score(match["rest"], is_heading=is_heading)
        if score is None or label > count:
            continue
        is_rescored |= scores.get(label, score) != score
        scores[label] = score
    return scores, is_rescored


def _score(stated: str, *, is_heading: bool) -> float | None:
    """What follows a label as a score: a number, a sum, or the three aspects; None if it is none from 0 to 15."""
    bracketed = _IN_BRACKETS.match(stated) or (None if is_heading else _LAST_BRACKETS.search(stated))
    if bracketed is None:
        bare = None if is_heading else _BARE.match(stated)
        return _in_range(float(bare[2])) if bare else None
    inside = re.sub(rf"{_OUT_OF}[ ]*\Z", "", bracketed[1].rpartition("=")[2].strip())
    if re.fullmatch(_NUMBER, inside):
        return _in_range(float(inside))
    if re.fullmatch(rf"{_NUMBER}(?:[ ]?[,+][ ]?{_NUMBER}){{2}}", inside):
        return _in_range(sum(map(float, re.findall(_NUMBER, inside))))
    return None


def _in_range(score: float) -> float | None:
    return score if 0 <= score <= MAX_SCORE else None


_LABELS = r"\#?[0-9]{1,3}(?:[ ]?(?:,[ ]?and|,|/|and|&|=)[ ]?(?:responses?[ ])?\#?[0-9]{1,3}){0,12}"
_SAME = r"\b(?:duplicates?|duplicated|identical)\b"
_DUPLICATES = (
    re.compile(
        rf"\bresponses?[ ]?(?P<labels>{_LABELS})[ ](?:is|are|seems?|appears?|looks?)\b"
        rf"(?P<how>[^.;\n0-9]{{0,40}}){_SAME}"
        rf"(?:[^.;\n0-9]{{0,30}}?\b(?:of|to|with)[ ](?:responses?[ ])?(?P<others>{_LABELS}))?",
    ),
    re.compile(
        rf"\bduplicates?(?:[ ]responses?)?(?:[ ](?:found|identified))?[ *_`]{{0,4}}(?::|=|\bare\b)"
        rf"[ *_`]{{0,4}}[\[(]?(?:responses?[ ])?(?P<labels>{_LABELS})(?P<how>)(?P<others>)",
    ),
)
_NEGATION = re.compile(r"\b(?:no|not|none|never|neither|nor|any|if|whether|without)\b|n['’]t\b")


def stated_duplicates(text: str, count: int) -> tuple[tuple[int, ...], ...]:
    """Groups of labels that the judge calls duplicates; groups that share a label are one. Arguments as above."""
    groups: list[set[int]] = []
    for pattern in _DUPLICATES:
        for match in pattern.finditer(text):
            labels = {int(label) for label in re.findall("[0-9]+", f"{match['labels']} {match['others'] or ''}")}
            said = text[max(0, match.start() - 12) : match.start()] + match["how"]
            if _NEGATION.search(said) or len(labels) < 2 or max(labels) > count:
                continue
            for group in [group for group in groups if group & labels]:
                groups.remove(group)
                labels |= group
            groups.append(labels)
    return tuple(sorted(tuple(sorted(group)) for group in groups))
