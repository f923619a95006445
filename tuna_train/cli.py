"""tuna-train: parse, build the values, call one function, and turn errors into one line and an exit code.

Exit codes: 0 fine, 1 a gate ended the training, or data overlap evaluation prompts or are not all ranked, 2 the user
can mend it, 3 a fault of the program itself, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tuna_train
from tuna_eval.commands.entry import answer
from tuna_eval.commands.grammar import Grammar
from tuna_train.commands.data_options import add_data_actions
from tuna_train.commands.data_rank_options import add_ranking
from tuna_train.commands.data_sample_options import add_sample, add_teacher

EXAMPLES = """examples:
  tuna-train sft model=demo data=alpaca.json output=OUT          supervised fine-tuning
  tuna-train rank --config tuna.yaml learning_rate=5e-6          ranking loss and MLE, the paper's method
  torchrun --nproc_per_node 8 -m tuna_train.cli rank --config tuna.yaml fsdp=true
  tuna-train nll CKPT held_out.jsonl                             token-level NLL of given responses
  tuna-train rank --help                                         every key, its default and its source
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return answer(parse(arguments), "tuna_train")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a command line; key=value words may stand before, between and behind them.

    argparse takes the words of one place only and hands back the others.
    """
    grammar = parser()
    options, left = grammar.parse_known_args(arguments)
    strange = [word for word in left if word.startswith("-") or "=" not in word or "assignments" not in options]
    if strange:
        grammar.error(f"unrecognized arguments: {' '.join(strange)}")
    if left:
        options.assignments = [*options.assignments, *left]
    return options


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; imports nothing heavy."""
    top = Grammar(
        prog="tuna-train",
        description=tuna_train.__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"tuna-train {tuna_train.__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, help: str, **options: Any) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help, **options)

    _add_training(add("sft", "fine-tune on responses to imitate (MLE)", add_help=False), "SftConfig")
    _add_training(add("rank", "train with the ranking loss and its MLE regulariser", add_help=False), "RankConfig")
    _add_training(
        add("prm", "train a proxy ranking model, which ranks responses", add_help=False),
        "PrmConfig",
        "commands.prm.prm_command",
    )
    _add_training(
        add("rl", "tune by reinforcement learning with a proxy ranking model as reward", add_help=False),
        "RlConfig",
        "commands.rl.rl_command",
    )
    _add_nll(add("nll", "token-level NLL of given responses under a model"))
    _add_recipe(add("recipe", "make the models of the paper, each from what it needs"))
    _add_data(add("data", "make training data: draw, rank, mix and look at responses"))
    return top


class _HelpWithKeys(argparse.Action):
    """--help of a command that reads a configuration: its options, then every key."""

    def __init__(self, option_strings: Sequence[str], dest: str, const: str, **_: Any) -> None:
        super().__init__(
            option_strings, dest, nargs=0, const=const, help="show this and every key of the configuration"
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from tuna_train import config

        sys.stdout.write(f"{parser.format_help()}\nkeys:\n{config.describe(getattr(config, str(self.const)))}")
        parser.exit()


def _add_training(
    command: argparse.ArgumentParser, config: str, function: str = "commands.train.train_command"
) -> None:
    """A command that reads a configuration.

    Args:
        command: the command's own parser, made with `add_help=False`.
        config: class in `tuna_train.config` that the keys are those of.
        function: see `_command`; it gets `options.kind` (the class's name), `options.config` and `options.assignments`.
    """
    command.set_defaults(command=function, kind=config)
    command.add_argument("-h", "--help", action=_HelpWithKeys, const=config)
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML; values below replace single keys of it")
    command.add_argument("assignments", nargs="*", metavar="key=value", help="such as learning_rate=2e-5 lora.rank=8")


def _add_data(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(title="actions", required=True, metavar="ACTION")
    add_data_actions(actions)

    def add(name: str, help: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=help, description=help)

    add_sample(add("sample", "draw diverse responses from a model"))
    add_teacher(add("teacher", "draw or score responses, and rank them by a teacher's probability of them"))
    add_ranking(add("rank", "have a judge, a likelihood or a proxy ranking model order the candidates"))


def _add_nll(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command="commands.train.nll_command")
    command.add_argument("model", metavar="MODEL", help="hub id, folder, LoRA folder, GGUF file, demo")
    command.add_argument("data", type=Path, metavar="DATA", help="examples with responses")
    command.add_argument("--format", default="alpaca", help="alpaca (default), chat, plain, or auto")
    command.add_argument(
        "--max-length", type=int, default=2048, metavar="N", help="tokens of prompt and response (2048)"
    )
    command.add_argument("--limit", type=int, metavar="N", help="examples (default: all)")
    command.add_argument("--json", action="store_true", help="print the summary as one JSON object on standard output")
    command.add_argument("--summary", type=Path, metavar="FILE", help="write the summary as one JSON object")
    command.add_argument("--out", type=Path, metavar="FILE", help="write a line of JSON for each response")


def _add_recipe(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command="commands.recipe.recipe_command")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="every recipe, and the parameters they share")
    for name, help in (("show", "settings with their places in the paper, and commands"), ("run", "make it")):
        action = actions.add_parser(name, help=help)
        action.add_argument("name", metavar="NAME", help="of a recipe (tuna-train recipe list)")
        action.add_argument(
            "assignments", nargs="*", metavar="name=value", help="parameters; RECIPE=PATH takes what is there already"
        )
        action.add_argument(
            "--out", type=Path, default=Path("recipes"), metavar="DIR", help="folder of all artefacts (recipes)"
        )
    action.add_argument(
        "--set", action="append", default=[], metavar="key=value", help="for every training; may be given again"
    )
    action.add_argument("--launcher", metavar="WORDS", help='for trainings, such as "torchrun --nproc_per_node 8"')
    action.add_argument("--dry-run", action="store_true", help="print the commands, and run none")


if __name__ == "__main__":
    sys.exit(main())
