"""What both command lines do with parsed options: call one function, turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

from tuna_eval.errors import TunaError


def answer(options: argparse.Namespace, package: str) -> int:
    """Calls the function that `options.command` names and returns the exit code.

    Args:
        options: `command` is "module.function" below the package; imported now, so that --help answers at once.
        package: tuna_eval or tuna_train.
    """
    program = package.replace("_", "-")
    # Threads that wait by spinning starve every other process on the machine, and with it themselves; read once, when
    # torch is first imported. Costs nothing on an idle machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    module, _, name = options.command.rpartition(".")
    try:
        command: Callable[[argparse.Namespace], int] = getattr(import_module(f"{package}.{module}"), name)
        with _terminated_in_order():
            return int(command(options))
    except TunaError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{program}: interrupted; run the same command again to resume\n")
        return 130
    except _TerminatedError:
        sys.stderr.write(f"{program}: terminated; run the same command again to resume\n")
        return 128 + signal.SIGTERM


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
