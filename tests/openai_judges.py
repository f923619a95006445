"""Judges whose bias is known, as replies for `openai_server`; they read the project's own prompts."""

from __future__ import annotations

import re


def always_first(prompt: str) -> str:
    """A judge that sees nothing but the place."""
    return "The first one convinces me.\n[[A]]"


def longer(prompt: str) -> str:
    """A judge that sees nothing but the length."""
    found = re.search(r"<answer-of-A>\n(.*)\n</answer-of-A>\s*<answer-of-B>\n(.*)\n</answer-of-B>", prompt, re.DOTALL)
    assert found, prompt
    a, b = len(found[1]), len(found[2])
    return f"A has {a} characters and B {b}.\n[[{'C' if a == b else 'A' if a > b else 'B'}]]"


def responses_in(prompt: str) -> list[str]:
    """What a ranking prompt shows, in the order shown."""
    shown = prompt.partition("\n\n###Response 0:\n")[2].rpartition("\n\n\nThese are ")[0]
    return re.split(r"\n\n###Response [0-9]+:\n", shown)


def planted_quality(text: str) -> int:
    """A response's score in the eyes of `by_quality`: the number behind its last "q"."""
    found = re.findall(r"\bq([0-9]+)\b", text)
    return int(found[-1]) if found else 0


def by_quality(prompt: str) -> str:
    """A judge that writes as GPT-4 does: all five steps, duplicates left out of the ranking, its own response best."""
    responses = responses_in(prompt)
    own = len(responses)
    kept = [label for label, text in enumerate(responses) if text not in responses[:label]]
    lines = ["The instruction is open-ended.", "", f"###Response {own}:", "My own answer.", "", "It has two parts.", ""]
    for label, text in enumerate(responses):
        if label not in kept:
            lines.append(f"Response {label} is a duplicate of Response {responses.index(text)}.")
    if len(kept) == own:
        lines.append("There are no duplicate responses.")
    scores = {label: planted_quality(responses[label]) for label in kept} | {own: 15}
    lines += ["", *(f"Response {label}: [{score}]" for label, score in sorted(scores.items())), ""]
    order = sorted(scores, key=lambda label: (-scores[label], label))
    return "\n".join([*lines, f"rank: {order}"])
