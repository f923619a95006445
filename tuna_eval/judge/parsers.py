"""What a judge's reply to a pairwise prompt says. Pure functions; none raises on any text, none invents a verdict.

Each parser takes the reply and the question's text, and speaks of the answer shown first and the one shown second.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

from tuna_eval.judge.protocols import Confidence

Better = Literal["first", "second", "tie"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A verdict that was found in a reply.

    Attributes:
        better: which of the answers, in the order shown.
        scores: of the answer shown first and of the other; None for a verdict without scores.
        confidence: "low" for a verdict in an unusual place or spelling, or one that the reply elsewhere contradicts.
    """

    better: Better
    scores: tuple[float, float] | None = None
    confidence: Confidence = "high"


Parser = Callable[[str, str], Reading | None]


def official_scores(reply: str) -> tuple[float, float] | None:
    """The score pair of FastChat's parser of 2023 (parse_score, at the parent of f8557940), with its whims.

    Only the first line counts; commas become spaces; split at single spaces it must have two parts that Python can
    make floats of. "8,9" and "nan 3" pass; "8, 9", "8  9" and "8/10 9/10" fail.

    Returns:
        None where the official parser returns [-1, -1].
    """
    parts = reply.split("\n")[0].replace(",", " ").split(" ")
    try:
        first, second = map(float, parts)
    except ValueError:  # not two parts, or not numbers
        return None
    return None if (first, second) == (-1.0, -1.0) else (first, second)


def read_review_legacy(reply: str, question: str = "") -> Reading | None:
    """A review as `official_scores` reads it.

    Departure: upstream counts "nan 3" as a tie and "inf 3" as a win; a score that is no finite number is no score.
    """
    scores = official_scores(reply)
    if scores is None or not all(map(isfinite, scores)):
        return None
    return _from_scores(scores)


def _from_scores(scores: tuple[float, float], confidence: Confidence = "high") -> Reading:
    first, second = scores
    better: Better = "first" if first > second else "second" if second > first else "tie"
    return Reading(better, scores, confidence)


# A score of 0 to 10 (the scale begins at 1, but GPT-4 gave zeros), perhaps "/10": no part of a longer number, a word
# or a fraction.
_SCORE = (
    r"(?<![\w.^-])(10(?:\.0+)?|[0-9](?:\.[0-9]+)?)(?![\w%^]|\.[0-9])"
    r"(?:[ \t]*/[ \t]*10\b(?!\.[0-9])|[ \t]+out[ \t]of[ \t]10\b)?(?![ \t]*/[ \t]*[0-9])"
)
_BETWEEN = r"(?:[ \t]*[,;|&][ \t]*|[ \t]+(?:and|vs\.?)[ \t]+|[ \t]+)"
_HEADING = r"(?:[A-Za-z0-9 ,]{0,60}(?:scores?|ratings?)[A-Za-z0-9 ]{0,60}[:=][ \t]*)?"
_PAIR_LINE = re.compile(rf"{_HEADING}[(\[]?[ \t]*{_SCORE}{_BETWEEN}{_SCORE}[ \t]*[)\]]?[.;]?", re.IGNORECASE)
_BRACKETED = re.compile(rf"(?<!\w)[(\[][ \t]*{_SCORE}[ \t]*,[ \t]*{_SCORE}[ \t]*[)\]]")
_LABELLED = re.compile(
    r"\bassistant[ ]?\#?(?P<who>[12])\b(?:['’]s)?"
    r"(?P<gap>(?:[\s*_`:=|–—-]|\b(?:an?|the|final|overall|total|scores?|scored|ratings?|rated|receives|deserves|earns|"
    r"awarded|of|at|is|would|be)\b){0,24}[(\[]?)"
    rf"(?P<score>{_SCORE})"
    # What may follow is the end of a statement, never a unit or the rest of a formula.
    r"(?=[ \t]*(?:\Z|\n|[)\]*_`|]|[.;:!?](?![0-9])|,(?!\s*[0-9])|\((?![0-9])|[–—-]\s*[^\s0-9]|assistant\b|"
    r"(?:and|while|whereas|but|because|due|for|since)\b(?!\s*[0-9])|"
    r"points?\b(?!\s+(?:lower|higher|less|more|behind|ahead|[0-9]))))",
    re.IGNORECASE,
)
_SCORING = re.compile(r"scor|rating|rated|receives|deserves|earns|awarded|/[ \t]*10|out of 10", re.IGNORECASE)
_NUMBERS_SIDE_BY_SIDE = re.compile(
    r"(?<![\w.])(?=(-?[0-9]+(?:\.[0-9]+)?)(?:[\s,;|&()\[\]]|and|vs){1,6}(-?[0-9]+(?:\.[0-9]+)?))"
)


def read_review(reply: str, question: str = "") -> Reading | None:
    """The scores of a review, in the many spellings that judges use.

    In this order: a first line that holds two scores and nothing else; the last "Assistant 1: x ... Assistant 2: y";
    the last bracketed pair whose line calls it scores, or holds nothing else. Two numbers that stand side by side in
    the question are never scores unless each is given to its assistant: question 70 of Vicuna QA contains the point
    (10, 4), and most reviews repeat it (protocol 3.3).

    Args:
        reply: the judge's text; reasoning in <think> tags is no part of the review.
        question: the text that was asked, whose numbers are not taken for scores.
    """
    text = without_reasoning(reply)
    given = {(float(a), float(b)) for a, b in _NUMBERS_SIDE_BY_SIDE.findall(question)}
    found = [r for r in (_first_line(text, given), _last_labelled(text), _last_bracketed(text, given)) if r]
    if not found:
        return None
    contradicted = any(other.scores != found[0].scores for other in found[1:])
    return replace(found[0], confidence="low") if contradicted else found[0]


def without_reasoning(reply: str) -> str:
    """What a reasoning model says after its <think> tags; nothing if it never came out of them."""
    if "</think>" in reply:
        return reply.rpartition("</think>")[2]
    return "" if reply.lstrip().startswith("<think>") else reply


def _plain(line: str) -> str:
    """A line without Markdown's marks and outer white space."""
    return re.sub(r"[*_`#\"]+", "", line).strip()


def _first_line(text: str, given: set[tuple[float, float]]) -> Reading | None:
    lines = (_plain(line) for line in text.split("\n") if not line.strip().startswith("```"))
    match = _PAIR_LINE.fullmatch(next(filter(None, lines), ""))
    scores = (float(match[1]), float(match[2])) if match else None
    return _from_scores(scores) if scores and scores not in given else None


def _last_labelled(text: str) -> Reading | None:
    mentions = []
    for match in _LABELLED.finditer(text):
        gap = match["gap"]
        is_scoring = bool(_SCORING.search(match[0]))
        # "Assistant 1 is 8" gives no score, and the number on the line below "Assistant 1:" may be its answer.
        if is_scoring or (not re.search(r"\w|\n", gap) and gap.strip()):
            mentions.append((match, is_scoring))
    for last in range(len(mentions) - 1, 0, -1):
        (one, one_scoring), (two, two_scoring) = mentions[last - 1], mentions[last]
        if one["who"] == two["who"]:
            continue
        values = {one["who"]: _value(one), two["who"]: _value(two)}
        before = text[: one.start()]
        is_headed = bool(_SCORING.search(before[-200:])) or not re.search(r"\w", before)
        has_own_line = not before.rpartition("\n")[2].strip(" *_`") and "\n" not in text[one.start() : two.end()]
        is_plain = one_scoring or two_scoring or is_headed or has_own_line
        repeated = all(values[later["who"]] == _value(later) for later, _ in mentions[last + 1 :])
        return _from_scores((values["1"], values["2"]), "high" if is_plain and repeated else "low")
    return None


def _value(mention: re.Match[str]) -> float:
    return float(re.split(r"[\s/]", mention["score"])[0])


def _last_bracketed(text: str, given: set[tuple[float, float]]) -> Reading | None:
    lines = [line for line in map(_plain, text.split("\n")) if line]
    readings = []
    for number, line in enumerate(lines):
        for match in _BRACKETED.finditer(line):
            scores = (float(match[1]), float(match[2]))
            is_alone = line.rstrip(".") == match[0]
            is_named = bool(re.search(r"\b(?:scores?|ratings?)\b", line, re.IGNORECASE))
            is_output = bool(re.match(r"(?:the |final |correct |output )*(?:tuple|output)\b", line, re.IGNORECASE))
            if scores not in given and (is_alone or is_named or is_output):
                is_plain = is_named or (is_alone and number == len(lines) - 1)
                readings.append(_from_scores(scores, "high" if is_plain else "low"))
    if len({reading.scores for reading in readings}) > 1:
        return replace(readings[-1], confidence="low")
    return readings[-1] if readings else None


_MARKS: dict[str, Better] = {"a": "first", "b": "second", "c": "tie", "tie": "tie"}
_MARK = re.compile(r"\[\[[ \t]*(A|B|C|tie)[ \t]*\]\]", re.IGNORECASE)
_SINGLE_MARK = re.compile(r"(?:(?:my |the )?(?:final )?verdict(?: is)?:? *)?\[([ABC])\]\.?", re.IGNORECASE)


def read_marks_official(reply: str, question: str = "") -> Reading | None:
    """The verdict of FastChat's llm_judge (run_judge_pair, at 0e6d3e4): by priority, wherever the mark stands.

    "[[A]]" anywhere wins over "[[B]]" anywhere, and that over "[[C]]": a judgment that weighs "[[A]]" and concludes
    "[[B]]" counts as A. None where upstream says "error".
    """
    for mark in ("A", "B", "C"):
        if f"[[{mark}]]" in reply:
            return Reading(_MARKS[mark.lower()])
    return None


def read_marks(reply: str, question: str = "") -> Reading | None:
    """The verdict of the last mark; None if the line that holds it has a different one too.

    Marks are "[[A]]", "[[B]]", "[[C]]" and "[[tie]]" in upper or lower case. Without any, a last line that is only
    "[A]", "[B]" or "[C]" is read with low confidence; so is a mark with text below it, or with another above it.
    """
    lines = [line for line in map(_plain, without_reasoning(reply).split("\n")) if line]
    marked = [(number, {_MARKS[m.lower()] for m in _MARK.findall(line)}) for number, line in enumerate(lines)]
    marked = [(number, marks) for number, marks in marked if marks]
    if not marked:
        single = _SINGLE_MARK.fullmatch(lines[-1]) if lines else None
        return Reading(_MARKS[single[1].lower()], confidence="low") if single else None
    number, marks = marked[-1]
    if len(marks) > 1:
        return None
    is_plain = number == len(lines) - 1 and all(earlier == marks for _, earlier in marked)
    return Reading(next(iter(marks)), confidence="high" if is_plain else "low")


_REFUSAL = re.compile(
    r"\s*(?:(?:(?:i['’]m|i am)\s+(?:very\s+|really\s+|so\s+)?sorry|sorry|i apologi[sz]e),?\s*(?:but\s+)?|"
    r"as an ai(?:\s+language)?(?:\s+(?:model|assistant))?,?\s*)?"
    r"i(?:['’]m\s+(?:unable|not able)|\s+(?:can(?:not|['’]t)|won['’]t|will not|must decline|decline|"
    r"am (?:unable|not able)|do not feel comfortable))(?:\s+to)?\s*"
    r"(?:assist|help|comply|evaluat|compar|rat(?:e|ing)|rank|judg|provid|fulfil|complet|answer|continu|engag|discuss|review|"
    r"participat)",
    re.IGNORECASE,
)


def is_refusal(reply: str) -> bool:
    """Whether a reply in which no verdict was found begins by declining, in the judge's own voice, or is empty.

    Cautious on purpose: a refusal that is not recognised counts as unparsable, which is not counted either.
    """
    text = without_reasoning(reply)
    return not reply.strip() or bool(_REFUSAL.match(text))
