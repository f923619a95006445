"""The plan that makes a recipe's artefact from what it needs, and what a folder of artefacts remembers of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tuna_eval.disk import appending, json_line, read_lines, replacing
from tuna_eval.errors import ConfigError
from tuna_train.recipe import Recipe, Value, load_recipe, shared

_REFERENCE = re.compile(r"\$\{(\w+)\}")
_MADE = "made.jsonl"
_SUFFIX = {"data": "jsonl", "numbers": "json"}


@dataclass(frozen=True)
class Step:
    """One command of a plan.

    Attributes:
        name: of the artefact: the recipe, and the parameters in which it differs from the recipe's own.
        recipe: which one it is.
        output: folder of a checkpoint, or file.
        command: words behind `tuna-train`.
    """

    name: str
    recipe: Recipe
    output: Path
    command: tuple[str, ...]


@dataclass
class _Plan:
    parameters: Mapping[str, Value]
    out: Path
    steps: dict[str, Step] = field(default_factory=dict)


def plan(name: str, parameters: Mapping[str, Value], out: Path) -> list[Step]:
    """The commands that make a recipe's artefact, those it needs first, each once.

    Args:
        name: of the recipe or sweep.
        parameters: see `choose_parameters`.
        out: folder for all artefacts.

    Raises:
        ConfigError: no such recipe, or a parameter that is needed was not given.
    """
    sweep = load_recipe(name).sweep
    steps: dict[str, Step] = {}
    if sweep is None:
        _add(name, _Plan(parameters, out, steps))
        return list(steps.values())
    default = shared().parameters[sweep.parameter].default
    if parameters[sweep.parameter] != default or sweep.recipe in parameters:
        given = sweep.recipe if sweep.recipe in parameters else sweep.parameter
        raise ConfigError(f"{name} varies {sweep.parameter} and makes {sweep.recipe}", place=given, cure="leave it out")
    for value in sweep.values:
        instead = sweep.instead.get(value) if isinstance(value, int | float) else None
        _add(instead or sweep.recipe, _Plan({**parameters, sweep.parameter: value}, out, steps))
    return list(steps.values())


def _add(name: str, into: _Plan) -> Path:
    """Plans an artefact and what it needs, and says where it will be."""
    recipe = load_recipe(name)
    label = _label(name, into.parameters)
    output = into.out / (label if recipe.makes == "checkpoint" else f"{label}.{_SUFFIX[recipe.makes]}")
    if label not in into.steps:
        reads = [str(_filled(word, into)) for word in recipe.reads]
        settings = {key: _filled(setting.value, into) for key, setting in recipe.settings.items()}
        words = _words(recipe, reads, settings, output)
        named = [f"recipe={label}"] if recipe.makes == "checkpoint" else []
        into.steps[label] = Step(label, recipe, output, (*recipe.run.split(), *words, *named))
    return output


def _words(recipe: Recipe, reads: Sequence[str], settings: Mapping[str, Value], output: Path) -> Iterator[str]:
    """Arguments of a command: key=value where it makes a checkpoint, else options."""
    yield from reads
    if recipe.makes == "checkpoint":
        for key, value in settings.items():
            if value is not None:
                yield f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        yield f"output={output}"
        return
    for key, value in settings.items():
        if value is True:
            yield f"--{key}"
        elif value is not None and value is not False:
            yield from (f"--{key}", *(map(str, value) if isinstance(value, list) else [str(value)]))
    yield from (recipe.out, str(output)) if recipe.out else (str(output),)


def _label(name: str, parameters: Mapping[str, Value]) -> str:
    known = shared().parameters
    given = frozenset(parameters.keys() - known.keys())
    used = sorted(p for p in _uses(name, given) if known[p].varies and parameters[p] != known[p].default)
    return "+".join([name, *(f"{p}={parameters[p]}" for p in used)])


@cache
def _uses(name: str, given: frozenset[str]) -> frozenset[str]:
    """Parameters that an artefact depends on, itself or by what is made for it."""
    found: set[str] = set()
    for reference in _references(load_recipe(name)) - given:
        found |= {reference} if reference in shared().parameters else _uses(reference, given)
    return frozenset(found)


def _references(recipe: Recipe) -> set[str]:
    values = [setting.value for setting in recipe.settings.values()]
    return {name for text in [*values, *recipe.reads] if isinstance(text, str) for name in _REFERENCE.findall(text)}


def _filled(value: Value, into: _Plan) -> Value:
    """A value with its references replaced: a parameter keeps its type where it stands alone."""
    if not isinstance(value, str):
        return value
    if whole := _REFERENCE.fullmatch(value):
        return _resolved(whole[1], into)
    return _REFERENCE.sub(lambda found: str(_resolved(found[1], into)), value)


def _resolved(name: str, into: _Plan) -> Value:
    if name not in into.parameters:
        return str(_add(name, into))
    value = into.parameters[name]
    if value is None:
        place = shared().parameters[name].place
        raise ConfigError(
            f"the parameter {name} is needed ({place})", place="tuna-train recipe", cure=f"add {name}=..."
        )
    return value


def made(out: Path) -> set[tuple[str, ...]]:
    """Commands that have made data and numbers in a folder already; a training knows by itself whether it is done."""
    file = out / _MADE
    return {tuple(line["command"]) for line in read_lines(file)} if file.is_file() else set()


def note_made(out: Path, step: Step) -> None:
    """Remembers that a step is done."""
    with appending(out / _MADE) as append:
        append(json_line({"name": step.name, "command": list(step.command)}))


def keep_parameters(out: Path, parameters: Mapping[str, Value]) -> None:
    """Writes the parameters beside the artefacts, or checks that those that are there were made with the same.

    Raises:
        ConfigError: they were made with others; artefacts of two choices would mix.
    """
    file = out / "parameters.json"
    varies = {name for name, parameter in shared().parameters.items() if parameter.varies}
    fixed = {name: value for name, value in parameters.items() if name not in varies}
    if not file.is_file():
        with replacing(file) as write:
            write(json.dumps(fixed, indent=2) + "\n")
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    for name, value in fixed.items():
        if name in before and before[name] != value:
            problem = f"{name} is {value!r} now and was {before[name]!r} when this folder was begun"
            raise ConfigError(problem, place=str(file), cure="choose another --out, or the same value")
