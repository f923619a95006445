"""tuna-train recipe list, show and run."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tuna_eval.commands.data import print_text
from tuna_eval.console import ConsoleProgress
from tuna_eval.errors import ConfigError
from tuna_train import config as configs
from tuna_train.assignments import knows
from tuna_train.recipe import Recipe, check_files, choose_parameters, load_recipe, recipe_names, shared
from tuna_train.recipe_plan import Step, keep_parameters, made, note_made, plan

# Commands that a launcher may start on several devices, and what they are told.
TRAINED: Mapping[str, type[configs.Training]] = {
    "sft": configs.SftConfig,
    "rank": configs.RankConfig,
    "prm": configs.PrmConfig,
    "rl": configs.RlConfig,
}


def recipe_command(options: argparse.Namespace) -> int:
    """Lists the recipes, shows one, or makes its artefact."""
    if options.action == "list":
        print_text(_list())
    elif options.action == "show":
        print_text(_show(options.name, options.assignments, options.out))
    else:
        return _run(options)
    return 0


def _list() -> str:
    recipes = {name: load_recipe(name) for name in recipe_names()}
    width = max(map(len, recipes))
    groups = {
        "models of the paper (row of its tables)": [
            n for n, r in recipes.items() if r.rows and r.makes == "checkpoint"
        ],
        "sweeps": [n for n, r in recipes.items() if r.sweep],
        "what they need": [n for n, r in recipes.items() if not r.sweep and not (r.rows and r.makes == "checkpoint")],
    }
    lines = []
    for heading, names in groups.items():
        lines += [f"{heading}:", *(f"  {name:<{width}}  {recipes[name].title}{_rows(recipes[name])}" for name in names)]
    lines += ["parameters (name=value):"]
    for name, parameter in shared().parameters.items():
        default = "needed" if parameter.default is None else parameter.default
        lines.append(f"  {name:<{width}}  {default}: {parameter.place}")
    return "\n".join(lines)


def _rows(recipe: Recipe) -> str:
    return f" (Table {', '.join(map(str, recipe.rows))})" if recipe.rows else ""


def _show(name: str, assignments: Sequence[str], out: Path) -> str:
    """A recipe's settings with their places, and the commands that make it; what is not chosen yet is named."""
    recipe = load_recipe(name)
    lines = [f"{name}: {recipe.title}", *([recipe.about] if recipe.about else [])]
    lines += [f'  Table {table}, row "{row}"' for table, row in recipe.rows.items()]
    if recipe.sweep:
        values = ", ".join(map(str, recipe.sweep.values))
        lines.append(f"  {recipe.sweep.recipe} with {recipe.sweep.parameter} = {values}")
    shown = [(key, str(setting.value), setting.place) for key, setting in recipe.settings.items()]
    width, wide = (max((len(row[i]) for row in shown), default=0) for i in (0, 1))
    lines += [f"  {key:<{width}}  {value:<{wide}}  {place}" for key, value, place in shown]
    parameters = choose_parameters(assignments)
    needed = {key: f"<{key}>" for key, value in parameters.items() if value is None}
    lines += [
        "commands:",
        *(f"  {shlex.join(['tuna-train', *step.command])}" for step in plan(name, {**parameters, **needed}, out)),
    ]
    return "\n".join(lines)


def _run(options: argparse.Namespace) -> int:
    """Makes everything that is missing, one command after the other; each resumes what it began."""
    parameters = choose_parameters(options.assignments)
    steps = plan(options.name, parameters, options.out)
    check_files(parameters)
    _check_set(steps, options.set)
    commands = [_command(step, options) for step in steps]
    if options.dry_run:
        print_text("\n".join(_as_shell(step, options) for step in steps))
        return 0
    keep_parameters(options.out, parameters)
    progress = ConsoleProgress()
    finished = made(options.out)
    for number, (step, command) in enumerate(zip(steps, commands, strict=True), 1):
        if step.recipe.makes != "checkpoint" and step.command in finished and step.output.exists():
            progress.note(f"[{number}/{len(steps)}] {step.name}: made before")
            continue
        progress.note(f"[{number}/{len(steps)}] {step.name}: {step.recipe.title}")
        # A process of its own for each: an engine's memory is free again when the trainer starts.
        code = _exit_code(command)
        if code:
            progress.note(
                f"tuna-train recipe: {step.name} stopped with exit code {code}; the same command goes on there"
            )
            return code if code in (1, 2) else 3
        note_made(options.out, step)
    for step in steps:
        if step.recipe.makes == "numbers":
            progress.note(f"{step.name}: {step.output.read_text(encoding='utf-8').strip()}")
    progress.note(f"{options.name} is in {steps[-1].output}")
    return 0


def _exit_code(command: Sequence[str]) -> int:
    try:
        return subprocess.run(command, check=False).returncode
    except OSError as fault:
        problem = f"{command[0]} cannot be started ({fault.strerror})"
        raise ConfigError(problem, place="--launcher", cure="check the words") from fault


def _as_shell(step: Step, options: argparse.Namespace) -> str:
    """As a user would write it, who has the console scripts."""
    interpreter, *words = _command(step, options)
    return shlex.join(["tuna-train", *words[2:]] if interpreter == sys.executable else [interpreter, *words])


def _command(step: Step, options: argparse.Namespace) -> list[str]:
    trained = step.command[0] in TRAINED
    launcher = shlex.split(options.launcher) if trained and options.launcher else [sys.executable]
    return [*launcher, "-m", "tuna_train.cli", *step.command, *_extra(step, options.set)]


def _check_set(steps: Sequence[Step], assignments: Sequence[str]) -> None:
    """Fails before anything is made or paid for.

    Raises:
        ConfigError: an assignment that no training of the plan knows, or a value that one of them refuses.
    """
    if wrong := [assignment for assignment in assignments if "=" not in assignment]:
        raise ConfigError(f"not key=value: {wrong[0]}", place="--set", cure="write --set micro_batch=4")
    trainings = [step for step in steps if step.command[0] in TRAINED]
    if assignments and not trainings:
        raise ConfigError("no step is a training", place=f"--set {assignments[0]}", cure="leave it out")
    for assignment in assignments:
        if not any(_extra(step, [assignment]) for step in trainings):
            last = trainings[-1].command
            configs.read_config(TRAINED[last[0]], None, [*last[1:], assignment])  # tells what it does not know
    for step in trainings:
        configs.read_config(TRAINED[step.command[0]], None, [*step.command[1:], *_extra(step, assignments)])


def _extra(step: Step, assignments: Sequence[str]) -> list[str]:
    """Those of the user's assignments whose key a step knows."""
    kind = TRAINED.get(step.command[0])
    return [each for each in assignments if kind and knows(kind, each.partition("=")[0].strip())]
