"""The options of `tuna-train data sample` and `tuna-train data teacher`. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from tuna_eval.cli import add_engine_options, add_server_options


def add_sample(command: argparse.ArgumentParser) -> None:
    """Diverse responses of a model."""
    command.set_defaults(command="commands.data_sample.sample_command")
    _add_files(command, model_is_required=True)
    group = command.add_argument_group("diversity")
    add = group.add_argument
    policies = "paper: the later of two similar responses is drawn again (default); released: the whole group; none"
    add("--policy", default="paper", choices=["paper", "released", "none"], help=policies)
    add("--tau", type=float, default=0.8, metavar="X", help="ROUGE-L F1 from which on two are too similar (0.8)")
    add("--trials", type=int, default=3, metavar="K", help="draws of a response, each 0.1 hotter than the last (3)")
    _add_decoding(command)
    _add_engines(command)


def add_teacher(command: argparse.ArgumentParser) -> None:
    """Responses ranked by their probability."""
    command.set_defaults(command="commands.data_sample.teacher_command")
    _add_files(command, model_is_required=False)
    group = command.add_argument_group("ranking by log p / |r|^beta")
    add = group.add_argument
    add("--beta", type=float, default=1.3, metavar="B", help="length penalty; larger favours long responses (1.3)")
    anew = "rank anew with each, into FILE.beta-B.jsonl"
    add("--betas", type=float, nargs="+", action="extend", default=[], metavar="B", help=anew)
    add("--leave-out-cut", action="store_true", help="do not rank replies that ended at the token limit")
    add("--given", action="store_true", help="score the responses that the input brings instead of drawing new ones")
    add("--eos", metavar="TEXT", help="with --given: the token that ends a response (default: the tokenizer's own)")
    _add_decoding(command)
    _add_engines(command)


def _add_files(command: argparse.ArgumentParser, *, model_is_required: bool) -> None:
    add = command.add_argument
    add("input", type=Path, metavar="INPUT", help="instructions in any known format")
    add("--out", type=Path, required=model_is_required, metavar="FILE", help="grows, and resumes when it is there")
    model = (
        "hub id, folder, LoRA folder, GGUF file, demo, OpenAI model of the price list; with --base-url the served name"
    )
    without = "" if model_is_required else "; without it, --betas ranks the log-probabilities in INPUT anew"
    add("--model", required=model_is_required, help=model + without)
    add("--name", help="source of the candidates (default: the model's folder name or hub id)")
    add("--from", dest="read_as", default="auto", metavar="FORMAT", help="of the input (default: recognised)")
    add("--limit", type=int, metavar="N", help="only the first N examples of the input; raise it later to go on")
    add("--shard", metavar="I/N", help="only share I of N, counted from 1; each share has its own --out")
    add("--dry-run", action="store_true", help="say what it would cost, and ask nobody")
    add("--json", action="store_true", help="print the counts as one JSON object on standard output")


def _add_decoding(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("prompts and decoding")
    add = group.add_argument
    add("--n", type=int, default=4, metavar="N", help="responses to an instruction (4)")
    add("--temperature", type=float, default=1.0, metavar="T", help="of the first draws (1)")
    add("--top-p", type=float, default=1.0, metavar="P", help="nucleus (1)")
    add("--max-new-tokens", type=int, default=512, metavar="N", help="limit of a response (512)")
    add("--stop", nargs="+", action="extend", default=[], metavar="TEXT", help="texts that end a response")
    add("--seed", type=int, default=0, metavar="N", help="every draw has its own, made of this, example and trial (0)")
    add("--format", default="auto", help="alpaca, chat, plain, or auto: chat if the model has a template")


def _add_engines(command: argparse.ArgumentParser) -> None:
    add_engine_options(command)
    add_server_options(command)
