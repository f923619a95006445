"""What both command lines do with parsed options: call one function, turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module

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
        return int(command(options))
    except TunaError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{program}: interrupted; run the same command again to resume\n")
        return 130
