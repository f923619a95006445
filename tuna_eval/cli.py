"""tuna-eval: parse, build the values, call one function, and turn errors into one line and an exit code.

Exit codes: 0 fine, 1 a gate failed, 2 the user can mend it, 3 a fault of the program itself, 130 interrupted,
143 terminated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import tuna_eval
from tuna_eval.commands.entry import OwnWords, answer
from tuna_eval.commands.gate_options import add_gate_commands
from tuna_eval.commands.grammar import Grammar
from tuna_eval.commands.report_options import RUN, add_report_commands

EXAMPLES = """examples:
  tuna-eval run --model demo --suite all --data mini       the whole job on the built-in sample
  tuna-eval run --model CKPT --suite superni --limit 20    20 instances of each Super-NI task
  tuna-eval judge RUN --baseline FILE --judge gpt-4        compare a run's answers to Vicuna QA with others
  tuna-eval score --suite superni --predictions FILE       score predictions made elsewhere
  tuna-eval data fetch superni                             download the benchmark beforehand
  tuna-eval ls suites                                      what can be run
"""
LISTS = ["suites", "tasks", "engines", "formats", "protocols", "lmentry-scoring"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return answer(parser().parse_args(arguments), "tuna_eval")


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; imports nothing heavy."""
    top: argparse.ArgumentParser = Grammar(
        prog="tuna-eval",
        description=tuna_eval.__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"tuna-eval {tuna_eval.__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="answer and score benchmarks with a model"))
    _add_score(commands.add_parser("score", help="score predictions made elsewhere, or a run's samples anew"))
    _add_judge(commands.add_parser("judge", help="compare a run's answers with a baseline's, by a judge"))
    add_report_commands(commands)
    add_gate_commands(commands, _add_run_options)
    _add_report(commands.add_parser("report", help="runs as one page to look at: scores, samples, flips, judgments"))
    _add_human(commands.add_parser("human", help="have people rank answers, and score their rankings"))
    _add_data(commands.add_parser("data", help="list, fetch and verify the benchmarks' data"))
    _add_ls(
        commands.add_parser("ls", help="list what can be named: suites, tasks, engines, formats, protocols, scoring")
    )
    return top


def _add_run(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command="commands.judge.run_command")
    add = command.add_argument
    add("--model", required=True, help="hub id, folder, LoRA folder, GGUF file, demo; with --base-url the served name")
    add("--name", help="what tables and folders call the model (default: its folder's name or hub id)")
    add("--json", action="store_true", help="print the metrics as one JSON object on standard output")
    baseline = "Vicuna QA is judged against: a run's folder, a file of answers, or a model to ask now"
    add("--baseline", metavar="RUN|FILE|MODEL", help=baseline)
    _add_run_options(command)


def _add_run_options(command: argparse.ArgumentParser) -> None:
    """What a run takes besides the model, its name and what it is judged against."""
    add = command.add_argument
    add("--suite", nargs="+", action=OwnWords, default=["all"], metavar="NAME", help="benchmarks, or all (default)")
    add("--output", type=Path, default=Path("results"), metavar="DIR", help="results folder (default: results)")
    _add_selection(command)
    without = "Without a judge and a baseline the answers are kept; tuna-eval judge judges them later."
    _add_judging(command.add_argument_group("judging Vicuna QA", without))
    prompt = command.add_argument_group("prompts and decoding")
    shots = "Super-NI demonstrations, or as many as a task has (0 2)"
    prompt.add_argument("--shots", nargs="+", action=OwnWords, type=int, default=[0, 2], metavar="N", help=shots)
    prompt.add_argument(
        "--format", default="auto", help="alpaca, chat, plain, or auto: chat if the model has a template"
    )
    prompt.add_argument("--truncation", default="right", choices=["right", "left", "drop-demos", "error"])
    prompt.add_argument("--max-source-tokens", type=int, default=1024, metavar="N", help="Super-NI prompt limit (1024)")
    prompt.add_argument("--max-new-tokens", type=int, metavar="N", help="limit of the reply (default: the benchmark's)")
    add_engine_options(command)
    add_server_options(command)


def add_engine_options(command: argparse.ArgumentParser) -> None:
    """The options of a model that is run here; `commands.engine_options` reads them, and --model."""
    model = command.add_argument_group("engine")
    model.add_argument("--engine", default="auto", help="vllm, hf, api, lm_eval:TYPE, scripted, or auto (default)")
    model.add_argument("--tokenizer", metavar="DIR", help="another tokenizer; for a server, the one to count with")
    model.add_argument("--revision", help="of a hub id; for a server, which checkpoint it serves")
    model.add_argument("--dtype", default="auto", help="torch dtype (default: float32 on a CPU, else the checkpoint's)")
    model.add_argument("--max-length", type=int, metavar="N", help="tokens of prompt and reply together")
    model.add_argument("--tensor-parallel", type=int, default=1, metavar="N", help="GPUs a replica (vllm)")
    model.add_argument("--data-parallel", type=int, default=1, metavar="N", help="replicas (vllm, hf)")
    model.add_argument("--batch-size", type=int, metavar="N", help="hf and lm_eval; never changes a result")
    model.add_argument("--device", help="torch device (hf, lm_eval)")
    model.add_argument("--gpu-memory-utilization", type=float, metavar="X", help="share of each GPU's memory (vllm)")
    arguments = "arguments of lm_eval:TYPE"
    model.add_argument("--engine-arg", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=arguments)


def add_server_options(command: argparse.ArgumentParser) -> None:
    """The options of a model behind an API, read by `commands.engine_options` too."""
    server = command.add_argument_group("server (engine api; the key comes from OPENAI_API_KEY)")
    server.add_argument(
        "--base-url", metavar="URL", help="root of an OpenAI-compatible API, such as http://HOST:8000/v1"
    )
    server.add_argument(
        "--chat-api", action="store_true", help="use the chat endpoint; the server applies its template"
    )
    server.add_argument("--system", help="system message of every chat")
    server.add_argument("--logprobs", action="store_true", default=None, help="ask for log-probabilities")
    server.add_argument("--api-key-env", metavar="VAR", help="environment variable that holds the key")
    server.add_argument("--concurrency", type=int, metavar="N", help="requests at once (16)")
    server.add_argument("--timeout", type=float, metavar="S", help="seconds a server may be silent (120)")
    server.add_argument("--max-retries", type=int, metavar="N", help="attempts after the first (6)")
    server.add_argument(
        "--max-cost", type=float, metavar="USD", help="stop before more is spent (price list, or the two below)"
    )
    server.add_argument("--price-per-million-input", type=float, metavar="USD", help="price of prompt tokens")
    server.add_argument("--price-per-million-output", type=float, metavar="USD", help="price of generated tokens")


def _add_selection(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("data and metrics")
    group.add_argument("--data", default="full", choices=["full", "mini"], help="fetched data, or the built-in sample")
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="use a copy of the data")
    group.add_argument("--limit", type=int, metavar="N", help="examples a task")
    group.add_argument("--tasks", nargs="+", action="extend", default=[], metavar="GLOB", help="only these tasks")
    group.add_argument(
        "--cut-at-first-period", action="store_true", help="Super-NI: score what stands before the first full stop"
    )
    group.add_argument(
        "--lmentry-truncate",
        action="store_true",
        help="LMentry: score what stands before the first newline and full stop",
    )
    group.add_argument(
        "--lmentry-scoring",
        nargs="+",
        action=OwnWords,
        default=["official"],
        metavar="NAME",
        help="official (default), strict (its oddities mended), or the names of some (tuna-eval ls lmentry-scoring)",
    )
    group.add_argument("--vicuna-temperature", type=float, default=0.0, metavar="T", help="of the answers (0: greedy)")
    group.add_argument("--bertscore", action="store_true", help="add BERTScore F1 to Super-NI")
    group.add_argument("--bertscore-model", metavar="MODEL", help="hub id or folder (default: roberta-large)")
    group.add_argument("--bertscore-layer", type=int, metavar="N", help="needed for a folder")
    group.add_argument("--bertscore-rescale", action="store_true", help="rescale with the package's baseline")


def _add_score(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command="commands.judge.score_command")
    command.add_argument("--suite", required=True, metavar="NAME")
    command.add_argument(
        "--predictions", required=True, type=Path, metavar="FILE", help="JSON Lines of task, id, prediction; reviews"
    )
    shots = "Super-NI demonstrations in the prompts that were answered: a run of superni_Nshot"
    command.add_argument("--shots", nargs=1, type=int, default=[], metavar="N", help=shots)
    command.add_argument("--output", type=Path, metavar="DIR", help="write record.json and scores.jsonl here")
    command.add_argument("--json", action="store_true", help="print the metrics as one JSON object on standard output")
    _add_selection(command)
    _add_protocol(command.add_argument_group("reviews of Vicuna QA"))


def _add_judging(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    judges = "a model behind an API (gpt-4), a model to load here, or likelihood:MODEL"
    add("--judge", metavar="NAME|MODEL|likelihood:MODEL", help=judges)
    _add_protocol(group)
    add("--judge-repeats", type=int, default=1, metavar="K", help="ask K times for each pair in each order (1)")
    add_judge_options(group)


def add_judge_options(group: argparse._ArgumentGroup) -> None:
    """How any judge is asked and paid, whatever it is asked for; `judge_commands.judge_api` reads its API's part."""
    add = group.add_argument
    add("--judge-temperature", type=float, metavar="T", help="temperature of the judge (default: the protocol's)")
    add("--judge-max-new-tokens", type=int, metavar="N", help="limit of a verdict (default: the protocol's)")
    add("--judge-engine", default="auto", metavar="ENGINE", help="vllm, hf, api, scripted, or auto (default)")
    add("--judge-base-url", metavar="URL", help="root of the judge's API (default: OpenAI's for its models)")
    add("--judge-tokenizer", metavar="DIR", help="of the model behind the judge's API, for likelihood judges")
    add("--judge-api-key-env", metavar="VAR", help="environment variable that holds the judge's key (OPENAI_API_KEY)")
    add("--judge-concurrency", type=int, metavar="N", help="judgments at once (16)")
    add("--judge-timeout", type=float, metavar="S", help="seconds the judge may be silent (120)")
    add("--judge-max-retries", type=int, metavar="N", help="attempts after the first (6)")
    add("--judge-max-cost", type=float, metavar="USD", help="stop before more is spent")
    add("--judge-price-per-million-input", type=float, metavar="USD", help="for a judge that the price list lacks")
    add("--judge-price-per-million-output", type=float, metavar="USD", help="for a judge that the price list lacks")
    add("--batch", action="store_true", help="ask through the Batch API: half the price, within a day")
    add("--dry-run", action="store_true", help="say what the judge would cost, and do not ask it")


def _add_protocol(group: argparse._ArgumentGroup) -> None:
    add, lists = group.add_argument, "(tuna-eval ls protocols)"
    add("--protocol", default="", metavar="NAME", help=f"pairwise-v2, review-2023; of stored replies, theirs {lists}")
    add("--orders", default="default", help="both, candidate-first, baseline-first (default: the protocol's)")
    add("--parser", default="", metavar="NAME", help="tolerant (default), legacy (review-2023), official (pairwise-v2)")
    add("--judge-prompts", default="own", choices=["own", "upstream"], help="our wording or FastChat's")


def _add_judge(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command="commands.judge.judge_command")
    command.add_argument("run", type=Path, metavar="RUN", help="results/runs/MODEL/vicuna_qa/ID")
    command.add_argument("--baseline", metavar="RUN|FILE", help="a run's folder or a file of answers")
    command.add_argument("--reparse", metavar="ID", help="read the replies in RUN/judged/ID anew, without a call")
    command.add_argument("--agreement", type=Path, metavar="DIR", help="Cohen's kappa with another RUN/judged/ID")
    command.add_argument("--data", choices=["full", "mini"], help="the questions (default: those of the run)")
    command.add_argument("--data-dir", type=Path, metavar="DIR", help="use a copy of the data")
    command.add_argument("--json", action="store_true", help="print the metrics as one JSON object on standard output")
    _add_judging(command.add_argument_group("judge"))


def _add_report(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command="commands.page.report_command")
    command.add_argument("runs", nargs="+", metavar="RUN", help=f"{RUN}; or a file of human scores")
    command.add_argument("--out", type=Path, required=True, metavar="PAGE", help="the page: one HTML file")
    command.add_argument("--title", default="Tuna report", metavar="TEXT", help="default: Tuna report")
    command.add_argument("--data-dir", type=Path, metavar="DIR", help="the copy of the data that the runs used")


def _add_human(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(title="actions", required=True, metavar="ACTION")
    export = actions.add_parser("export", help="write the page on which people rank")
    export.set_defaults(command="commands.human.human_export_command")
    export.add_argument(
        "systems", nargs="+", metavar="RUN|FILE", help="folders or files of answers; NAME=RUN names one"
    )
    export.add_argument("--out", type=Path, required=True, metavar="PAGE", help="the page; its key goes beside it")
    export.add_argument("--seed", type=int, metavar="N", help="of the answers' order (default: random; the key has it)")
    export.add_argument("--data", choices=["full", "mini"], help="the questions (default: those of the runs)")
    export.add_argument("--data-dir", type=Path, metavar="DIR", help="use a copy of the data")
    score = actions.add_parser("score", help="points, significance and agreement of what people saved")
    score.set_defaults(command="commands.human.human_score_command")
    score.add_argument("files", nargs="+", type=Path, metavar="FILE", help="saved by the page, one for each annotator")
    score.add_argument("--key", type=Path, required=True, metavar="FILE", help="the key that the export wrote")
    score.add_argument(
        "--judge-scores", type=Path, metavar="FILE", help="JSON of a judge's scores by [question and] system"
    )
    score.add_argument("--out", type=Path, metavar="FILE", help="write the scores here")
    score.add_argument("--json", action="store_true", help="print the scores as one JSON object")


def _add_data(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command="commands.data.data_command")
    command.add_argument("action", choices=["list", "fetch", "verify"])
    command.add_argument("names", nargs="*", metavar="NAME", help="benchmarks (default: all)")


def _add_ls(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command="commands.data.ls_command")
    command.add_argument("what", nargs="?", choices=LISTS)
    _add_selection(command)


if __name__ == "__main__":
    sys.exit(main())
