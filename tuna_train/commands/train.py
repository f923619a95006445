"""The training commands: from parsed options to one call, and what is shown of it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from tuna_train import config as configs
from tuna_train.places import KEYS, naming

if TYPE_CHECKING:
    from tuna_eval.run import Progress
    from tuna_train.nll import Nll

_NLL_OPTIONS = {"--model": "MODEL", "--format": "--format", "--max-length": "--max-length", "--output": "--out"}


def train_command(options: argparse.Namespace) -> int:
    """`tuna-train sft` and `tuna-train rank`."""
    kind = getattr(configs, options.kind)
    config = configs.read_config(kind, options.config, options.assignments)
    # Imported when the configuration is right: torch takes seconds.
    from tuna_train.training.fit import fit

    with naming(KEYS):
        fit(config, options.kind.removesuffix("Config").lower(), open_progress())
    return 0


def nll_command(options: argparse.Namespace) -> int:
    """`tuna-train nll`."""
    from tuna_eval.console import ConsoleProgress
    from tuna_eval.disk import replacing
    from tuna_train.nll import measure_nll

    progress = ConsoleProgress()
    with naming(_NLL_OPTIONS):
        found = measure_nll(
            options.model,
            options.data,
            format=options.format,
            max_length=options.max_length,
            limit=options.limit,
            out=options.out,
            progress=progress,
        )
        if options.summary:
            with replacing(options.summary) as write:
                write(json.dumps(found.as_json(), indent=1) + "\n")
    if options.json:
        sys.stdout.write(json.dumps(found.as_json()) + "\n")
    else:
        for line in _lines(found):
            progress.note(line)
    return 0


class _Silent:
    """The progress of the processes beside the main one."""

    def note(self, text: str) -> None:
        """Says nothing."""

    def begin(self, label: str, *, done: int, total: int) -> None:
        """Shows nothing."""

    def advance(self) -> None:
        """Shows nothing."""

    def end(self) -> None:
        """Shows nothing."""


def open_progress() -> Progress:
    """The user's terminal in the main process of a launch; silence in the others."""
    from tuna_eval.console import ConsoleProgress
    from tuna_train.training.build import is_main_process

    return ConsoleProgress() if is_main_process() else _Silent()


def _lines(found: Nll) -> list[str]:
    names = [("all", found.all), *(("source " + (k or "unnamed"), v) for k, v in found.by_source.items())]
    names += [(f"rank {k + 1}", v) for k, v in sorted(found.by_rank.items())]
    width = max(len(name) for name, _ in names)
    return [
        f"{name:<{width}}  {m.per_token:8.4f} nats per token  {m.per_response:10.2f} per response  "
        f"{m.responses} responses, {m.tokens} tokens"
        for name, m in names
    ]
