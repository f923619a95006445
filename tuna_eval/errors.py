"""What goes wrong, said in one line: the value, the place, and the cure."""

from __future__ import annotations


class TunaError(Exception):
    """A fault that the user can mend; the command line prints it without a traceback and exits with `exit_code`.

    Args:
        problem: what is wrong, with the offending value.
        place: the file and line, option or address where it was found; "" if the problem already says it.
        cure: what to do about it; "" only where nothing can be advised.
    """

    exit_code = 2

    def __init__(self, problem: str, *, place: str = "", cure: str = "") -> None:
        self.problem, self.place, self.cure = problem, place, cure
        line = f"{place}: {problem}" if place else problem
        super().__init__(" ".join((f"{line}; {cure}" if cure else line).split()))


class ConfigError(TunaError):
    """An option, a name or a combination of settings that cannot be run."""


class DataError(TunaError):
    """A benchmark or prediction file that is missing, broken or inconsistent."""


class EngineError(TunaError):
    """A model that cannot be loaded, or a server that does not answer as it should."""


class StoreError(TunaError):
    """A results folder that cannot be written, or that another process is writing."""
