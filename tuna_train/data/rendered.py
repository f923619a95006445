"""Instruction and input of a prompt that was rendered with Alpaca's template: `ALPACA.render` read backwards."""

from __future__ import annotations

from tuna_eval.llm.prompts import ALPACA

_BEFORE, _AFTER = ALPACA.without_input.split("{instruction}")
_BEFORE_WITH, _REST = ALPACA.with_input.split("{instruction}")
_BETWEEN, _AFTER_WITH = _REST.split("{input}")


def unrender(prompt: str) -> tuple[str, str] | None:
    """Instruction and input ("" for none) of a rendered prompt; None if it is not one.

    White space after the last colon, which some files have, is no part of the template and is ignored. An instruction
    that itself holds the template's "### Input:" line is cut there: rendered again, the two give the same prompt.
    """
    prompt = prompt.rstrip()
    if prompt.startswith(_BEFORE_WITH) and prompt.endswith(_AFTER_WITH):
        inner = prompt[len(_BEFORE_WITH) : -len(_AFTER_WITH)]
        instruction, found, input = inner.partition(_BETWEEN)
        return (instruction, input) if found and input else None
    if prompt.startswith(_BEFORE) and prompt.endswith(_AFTER):
        return prompt[len(_BEFORE) : -len(_AFTER)], ""
    return None


def split_rendered(text: str) -> tuple[str, str] | None:
    """The rendered prompt that a text begins with, and the response behind it; None if it begins with none."""
    end = text.find(_AFTER) + len(_AFTER)
    prompt = text[:end]
    return (prompt, text[end:]) if end >= len(_AFTER) and unrender(prompt) else None
