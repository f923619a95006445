"""Calling into lm-eval: without its noise, and with its errors in one line that holds no secret."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
from collections.abc import Iterator, Mapping

from tuna_eval.errors import EngineError, TunaError

SECRET_ARGUMENT = re.compile(r"key|secret|passw|credential|auth|header|bearer|(hf|access)_token|^token$", re.IGNORECASE)

# lm-eval logs at CRITICAL what it then raises or, for want of a reply, leaves out: the engine reports both itself.
QUIET_LEVELS = {"lm_eval": logging.CRITICAL + 1, "transformers": logging.ERROR, "accelerate": logging.ERROR}


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextlib.contextmanager
def one_line_errors(kind: str, doing: str, arguments: Mapping[str, str]) -> Iterator[None]:
    """Turns whatever a model class raises into an EngineError that says so in one line, without secrets."""
    try:
        yield
    except TunaError:
        raise
    except NotImplementedError as error:
        raise EngineError(
            f"lm-eval's {kind} does not support {doing} ({first_line(error)})", cure="use another engine"
        ) from error
    except Exception as error:  # some thirty classes by as many authors raise as many kinds of error
        text = f"{type(error).__name__}: {first_line(error)}"
        for name, value in arguments.items():
            if value and SECRET_ARGUMENT.search(name):
                text = text.replace(value, "***")
        raise EngineError(
            f"lm-eval's {kind} failed at {doing} ({text})",
            place=f"--engine lm_eval:{kind}",
            cure="check --model and --engine-arg",
        ) from error


@contextlib.contextmanager
def quiet(*, bars: bool = True) -> Iterator[None]:
    """Silences lm-eval for the duration of a call; nothing stays changed.

    Standard output goes to standard error, for a caller may print JSON there.

    Args:
        bars: whether standard error is left alone; lm-eval's API classes draw progress bars there regardless.
    """
    loggers = {logging.getLogger(name): level for name, level in QUIET_LEVELS.items()}
    before = {logger: logger.level for logger in loggers}
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if not bars:
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        for logger, level in loggers.items():
            logger.setLevel(level)
        try:
            yield
        finally:
            for logger, level in before.items():
                logger.setLevel(level)


@contextlib.contextmanager
def no_loading_bars() -> Iterator[None]:
    """Hides the progress bar that transformers draws while it loads weights."""
    if "transformers" not in sys.modules:
        yield
        return
    from transformers.utils import logging as bars

    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
