"""tuna-train: the trainer's command line. It has no command yet; the README says what is built and what comes next."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import tuna_train


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers --help and --version; anything else is told that there is nothing to run yet, with exit code 2."""
    parser = argparse.ArgumentParser(prog="tuna-train", description=tuna_train.__doc__)
    parser.add_argument("--version", action="version", version=f"tuna-train {tuna_train.__version__}")
    parser.parse_args(arguments)
    sys.stderr.write("tuna-train: no training command is built yet; tuna-eval measures checkpoints today\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
