"""The options of `tuna-train data convert|show|mix|contamination|stats`."""

from __future__ import annotations

import argparse
from pathlib import Path

# Named here again, because the modules that own them take longer to import than --help may take; a test compares.
FORMATS = ("ranked", "dpo", "trl-reward", "openrlhf", "alpaca", "sharegpt", "tuna-training")
PAIRS = ("all", "best-vs-rest", "best-vs-worst")
PROMPTS = ("alpaca", "plain", "messages")
RESPONSES = ("original", "best", "all")
ORIGINALS = ("keep", "target", "best", "worst", "score")
DEDUPLICATION = ("no", "within", "across")


def add_data_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the actions to those of `tuna-train data`."""
    for add, name, help in (
        (_add_convert, "convert", "bring a file of any known format into another"),
        (_add_show, "show", "show the first examples of a file"),
        (_add_mix, "mix", "mix, slice, deduplicate and decontaminate files"),
        (_add_contamination, "contamination", "find examples that overlap evaluation prompts; exit code 1 if any does"),
        (_add_stats, "stats", "response lengths by rank, similarity, agreement of rankers, cost"),
    ):
        action = actions.add_parser(name, help=help, description=help)
        action.set_defaults(command=f"commands.data.{name}_command")
        add(action)


def _add_input(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--from", dest="format", default="auto", metavar="FORMAT", help="format of the input (default: recognised)"
    )
    action.add_argument(
        "--original",
        default="",
        metavar="SOURCE",
        help="whose response is the original, where the format does not say: a model, 'output 4', response_4",
    )


def _add_convert(action: argparse.ArgumentParser) -> None:
    add = action.add_argument
    add("input", type=Path, metavar="IN", help="a file of any known format, JSON Lines or one JSON array")
    add("output", type=Path, metavar="OUT", help="JSON Lines, or one JSON array if it ends in .json")
    add("--to", default="ranked", choices=FORMATS, help="format of the output (default: ranked)")
    _add_input(action)
    add("--beta", type=float, metavar="B", help="rank candidates by log p / length^B, as of released data (paper: 1.3)")
    add("--pairs", default="all", choices=PAIRS, help="which pairs of candidates; ties make none (all)")
    add("--prompt", default="alpaca", choices=PROMPTS, help="how pairs hold the prompt (alpaca: as is trained here)")
    add("--response", default="original", choices=RESPONSES, help="which response alpaca and sharegpt hold (original)")


def _add_show(action: argparse.ArgumentParser) -> None:
    action.add_argument("file", type=Path, metavar="FILE")
    _add_input(action)
    action.add_argument("--limit", type=int, default=3, metavar="N", help="examples (3)")
    action.add_argument("--full", action="store_true", help="do not shorten texts")


def _add_mix(action: argparse.ArgumentParser) -> None:
    add = action.add_argument
    add("inputs", nargs="+", metavar="FILE[@START:STOP]", help="files, or slices of them as in Python: FILE@-39000:")
    add("--out", type=Path, required=True, metavar="OUT", help="the mixture; OUT.mixture.json says what it is made of")
    add("--first", type=int, metavar="N", help="the first N examples of files without a slice")
    add("--last", type=int, metavar="N", help="the last N examples of files without a slice")
    add("--original-as", default="keep", choices=ORIGINALS, help="the original response: left as it is (keep), only "
        "imitated (target), or also a candidate: above all others, below them, or by --original-score")  # fmt: skip
    add("--original-score", type=float, metavar="X", help="on the scale of the candidates' scores")
    add("--originals", type=Path, metavar="FILE", help="where examples without an original response find theirs")
    add("--every-response", action="store_true", help="each response becomes an example to imitate (Alpaca-Mul)")
    add("--deduplicate", default="no", choices=DEDUPLICATION, help="same instruction and input: within a file, or all")
    add("--distinct", action="store_true", help="of candidates with the same text keep the best")
    add("--candidates", type=int, metavar="N", help="only examples with N ranked candidates")
    add("--shuffle", action="store_true", help="random order, by --seed (default: inputs one after another)")
    add("--seed", type=int, default=0, metavar="N", help="of the random order (0)")
    add("--decontaminate", action="store_true", help="drop examples that overlap evaluation prompts")
    _add_screen(action)


def _add_screen(action: argparse.ArgumentParser) -> None:
    group = action.add_argument_group("evaluation prompts")
    names = "superni, lmentry, vicuna; all at hand"
    group.add_argument("--benchmarks", nargs="+", action="extend", default=[], metavar="NAME", help=names)
    group.add_argument("--data", default="full", choices=["full", "mini"], help="fetched data, or the built-in sample")
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="use a copy of the data")
    group.add_argument("--ngram", type=int, default=13, metavar="N", help="words of an n-gram (13)")


def _add_contamination(action: argparse.ArgumentParser) -> None:
    action.add_argument("file", type=Path, metavar="FILE")
    _add_input(action)
    action.add_argument("--out", type=Path, metavar="FILE", help="write each overlap as a line of JSON")
    action.add_argument("--json", action="store_true", help="print the summary as one JSON object on standard output")
    _add_screen(action)


def _add_stats(action: argparse.ArgumentParser) -> None:
    add = action.add_argument
    add("files", nargs="+", metavar="[LABEL=]FILE", help="ranked data; two or more with the same ids are compared")
    add("--length", default="words", metavar="UNIT", help="words (default), tokens as recorded, or a tokenizer")
    add("--no-similarity", dest="similarity", action="store_false", help="leave out the slowest part")
    add("--json", action="store_true", help="print everything as one JSON object on standard output")
    add("--plot", type=Path, metavar="FILE", help="draw lengths and similarity (.png, .pdf, .svg)")
    cost = action.add_argument_group("cost forecast (Table 6)")
    cost.add_argument("--instructions", type=int, default=52_000, metavar="N", help="for probabilistic ranking (52000)")
    cost.add_argument("--teacher", default="text-davinci-003", metavar="MODEL", help="(text-davinci-003)")
    cost.add_argument("--judged", type=int, default=13_000, metavar="N", help="for contextual ranking (13000)")
    cost.add_argument("--judge", default="gpt-4", metavar="MODEL", help="(gpt-4)")
