"""The options of `tuna-train data rank`. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from tuna_eval.cli import add_judge_options

# Named here again, because the modules that own them take longer to import than --help may take; a test compares.
PARSERS = ("tolerant", "ties-by-score", "legacy")
DROPPABLE = ("unparsable", "refused", "failed", "alone", "open", "low-confidence")


def add_ranking(command: argparse.ArgumentParser) -> None:
    """Contextual ranking of candidates."""
    command.set_defaults(command="commands.data_rank.rank_command")
    add = command.add_argument
    add("input", type=Path, metavar="INPUT", help="examples with candidates, in any known format")
    add("--out", type=Path, required=True, metavar="FILE", help="the ranked examples; FILE.stage keeps every reply")
    rankers = "a model behind an API (gpt-4) or to load here, likelihood:MODEL, or prm:FOLDER"
    add("--ranker", required=True, metavar="RANKER", help=rankers)
    add("--from", dest="read_as", default="auto", metavar="FORMAT", help="of the input (default: recognised)")
    add("--limit", type=int, metavar="N", help="only the first N examples of the input; raise it later to go on")
    add("--shard", metavar="I/N", help="only share I of N, counted from 1; each share has its own --out")
    add("--json", action="store_true", help="print the report as one JSON object on standard output")
    group = command.add_argument_group("ranking")
    add = group.add_argument
    add(
        "--orders",
        type=int,
        default=1,
        metavar="K",
        help="rank K times, each in another order, and take mean ranks (1)",
    )
    add("--shuffle", action="store_true", help="show the candidates in a random order from the first time on")
    add("--seed", type=int, default=0, metavar="N", help="of the random orders (0)")
    add("--parser", default="", metavar="NAME", help=f"{', '.join(PARSERS)} (default: tolerant)")
    add("--reparse", action="store_true", help="read the stored replies anew, and ask nothing")
    add(
        "--drop",
        nargs="+",
        action="extend",
        default=[],
        choices=DROPPABLE,
        metavar="STATE",
        help=f"leave such examples out: {', '.join(DROPPABLE)} (none)",
    )
    prompt = "YAML with texts of your own, in the form of the built-in contextual-ranking.yaml"
    add("--ranking-prompt", type=Path, metavar="FILE", help=prompt)
    add_judge_options(command.add_argument_group("judge"))
    model = command.add_argument_group("proxy ranking model")
    model.add_argument("--prm-device", metavar="DEVICE", help="torch device (default: a GPU if there is one)")
