"""What both command lines do with parsed options: call one function, turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import Any, TextIO

from tuna_eval.errors import TunaError


class OwnWords(argparse.Action):
    """A list that an option gives, and goes on with where it is given again; its first words replace the default."""

    def __call__(self, parser: argparse.ArgumentParser, options: argparse.Namespace, values: Any, *_: Any) -> None:
        """See `argparse.Action`."""
        before = getattr(options, self.dest)
        setattr(options, self.dest, [*([] if before is self.default else before), *values])


def answer(options: argparse.Namespace, package: str) -> int:
    """Calls the function that `options.command` names and returns the exit code.

    That is the function's own, 2 for a `TunaError`, 3 for any other exception and for output that cannot be written
    (Python's own 1 would be a verdict), 130 and 143 where the command was interrupted or terminated.

    Args:
        options: `command` is "module.function" below the package; imported now, so that --help answers at once.
        package: tuna_eval or tuna_train.
    """
    program = package.replace("_", "-")
    # Threads that wait by spinning starve every other process on the machine, and with it themselves; read once, when
    # torch is first imported. Costs nothing on an idle machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code, said = _outcome(options, package, program)
    # Not left to Python, which would end with another exit code.
    unwritten = _flush(sys.stdout)
    if unwritten:
        code, said = max(code, 3), f"{said}{program}: standard output cannot be written: {unwritten.strerror}\n"
    if sys.stderr is not None:
        with suppress(OSError):  # nobody can be told
            sys.stderr.write(said)
    _flush(sys.stderr)
    return code


def _outcome(options: argparse.Namespace, package: str, program: str) -> tuple[int, str]:
    """The exit code, and what is to be said: nothing, a line, or a traceback."""
    module, _, name = options.command.rpartition(".")
    try:
        command: Callable[[argparse.Namespace], int] = getattr(import_module(f"{package}.{module}"), name)
        with _terminated_in_order():
            return int(command(options)), ""
    except TunaError as error:
        return error.exit_code, f"{program}: {error}\n"
    except KeyboardInterrupt:
        return 130, f"{program}: interrupted; run the same command again to resume\n"
    except _TerminatedError:
        return 128 + signal.SIGTERM, f"{program}: terminated; run the same command again to resume\n"
    except Exception:  # noqa: BLE001 - said in full, and told from a verdict by its exit code
        return 3, traceback.format_exc()


def _flush(stream: TextIO | None) -> OSError | None:
    """Writes out what a stream holds; why not, where it cannot, and then it holds nothing any more."""
    if stream is None:  # closed before the program began
        return None
    try:
        stream.flush()
    except OSError as error:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())
        stream.flush()
        return error
    return None


class _TerminatedError(BaseException):
    """A scheduler wants its machine back."""


@contextmanager
def _terminated_in_order() -> Iterator[None]:
    """While this lasts, SIGTERM unwinds the stack as Ctrl-C does: temporary files go, servers and models are closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def unwind(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # not a second time, while the first one cleans up
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
