"""Errors of shared code name options of tuna-eval; here they come to name what the command of tuna-train calls so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tuna_eval.errors import TunaError

# Keys of a configuration by the options of tuna-eval for the same thing.
KEYS = {
    "--model": "model",
    "--format": "format",
    "--output": "output",
    "--max-length": "max_length",
    "--dtype": "precision",
}
_OPTION = re.compile(r"(--[a-z][a-z-]*)(?: (?=[a-z]))?")


@contextmanager
def naming(names: Mapping[str, str]) -> Iterator[None]:
    """Errors raised meanwhile call options by these names; advice that needs another option is left out.

    Args:
        names: by option; a key becomes "key=value" where a value follows.
    """
    try:
        yield
    except TunaError as error:
        advice = error.cure.split(", ")
        possible = [part for part in advice if all(option in names for option in _OPTION.findall(part))] or advice
        place, cure = _renamed(error.place, names), _renamed(", ".join(possible), names)
        raise type(error)(error.problem, place=place, cure=cure) from error


def _renamed(text: str, names: Mapping[str, str]) -> str:
    def name(found: re.Match[str]) -> str:
        option = found[1]
        own = names.get(option, option)
        is_key = own.islower() and not own.startswith("-")
        followed = found[0] != option
        return own + ("=" if is_key else " ") * followed

    return _OPTION.sub(name, text)
