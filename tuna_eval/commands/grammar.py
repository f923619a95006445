"""The grammar that both command lines are made of: a mistake in their words is one line, as any other mistake is."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn


class Grammar(argparse.ArgumentParser):
    """A parser that answers a mistake with one line and exit code 2, and not with its whole usage.

    Its subparsers are of this class too. The line names the command that was meant and, where there is one close to it,
    the option or the choice that was meant.
    """

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """See `argparse.ArgumentParser`; the words are kept for `error`."""
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> NoReturn:
        """Ends the process with one line on standard error and exit code 2."""
        meant = self._chosen()
        if meant is not None:  # words that a command did not know come back to the parser above it
            meant.error(message)
        if close := self._meant_option(message):
            message = f"{message}; {close}"
        link = "" if message.endswith("?") else ";"
        line = f"{self.prog}: {message}{link} {self.prog} --help shows its use"
        self.exit(2, " ".join(line.split()) + "\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as fault:
            if close := _closest(str(value), map(str, action.choices or ())):
                fault.message = f"{fault.message}; did you mean {close}?"
            raise

    def _chosen(self) -> Grammar | None:
        """The command among this parser's own that the words name."""
        name = next((word for word in self._words if not word.startswith("-")), "")
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found = action.choices.get(name)
                return found if isinstance(found, Grammar) else None
        return None

    def _meant_option(self, message: str) -> str:
        """What the first unknown option that is close to a known one was meant to be; "" if there is none."""
        known = {option.lstrip("-"): option for option in self._option_string_actions if option.startswith("--")}
        for word in self._words:
            if word == "--":
                break
            name = word.partition("=")[0]
            if not name.startswith("--") or any(option.startswith(name) for option in known.values()):
                continue
            if close := _closest(name.lstrip("-"), known):
                return f"did you mean {known[close]}?" if name in message else f"did you mean {known[close]} by {name}?"
        return ""


def _closest(word: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")
