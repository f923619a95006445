"""The line that travels with a number and says how it was computed: `rougeL|stem:yes|refs:max|impl:python|v1`.

Its parts are the metric, its settings, the implementation and the version of the definition. Two numbers compare only
if everything but the implementation is the same: implementations of one metric are held equal by tests, so which of
them did the work is a note.
"""

from __future__ import annotations

from collections.abc import Mapping

_IMPLEMENTATION = "impl"


def signature(metric: str, settings: Mapping[str, str], *, implementation: str = "", version: int = 1) -> str:
    """The signature of a metric, its settings in the order given.

    Args:
        metric: name of the metric, as results name it.
        settings: whatever changes the number, name to value.
        implementation: the code that computed it, with its version; "" if there is only one.
        version: raised whenever the definition changes, so that old numbers stop comparing with new ones.

    Raises:
        ValueError: a part contains "|", a setting's name contains ":" or is "impl".
    """
    if _IMPLEMENTATION in settings or any(":" in name for name in settings):
        raise ValueError(f"setting names must not be 'impl' nor contain ':', got {list(settings)}")
    parts = [metric, *(f"{name}:{value}" for name, value in settings.items())]
    if implementation:
        parts.append(f"{_IMPLEMENTATION}:{implementation}")
    if any("|" in part for part in parts):
        raise ValueError(f"signature parts must not contain '|', got {parts}")
    return "|".join((*parts, f"v{version}"))


def comparable_part(text: str) -> str:
    """The signature without its note on the implementation."""
    return "|".join(part for part in text.split("|") if not part.startswith(f"{_IMPLEMENTATION}:"))


def are_comparable(first: str, second: str) -> bool:
    """Whether two numbers with these signatures may be put side by side."""
    return comparable_part(first) == comparable_part(second)
