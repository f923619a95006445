"""Recipes: how each model of the paper is made, as files, and the plan that makes one from what it needs.

A recipe makes one artefact, a checkpoint or a data file, with one tuna-train command. Its settings name parameters and
other recipes as ${name}; those are made first. Every setting stands beside the place that it comes from.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from tuna_eval.disk import appending, json_line, read_lines, replacing
from tuna_eval.errors import ConfigError
from tuna_train.config import Config, build_config

FOLDER = Path(__file__).parent / "recipes"
_REFERENCE = re.compile(r"\$\{(\w+)\}")
_SHARED = "_shared"
_MADE = "made.jsonl"

Value = None | bool | int | float | str | list[str]


class Setting(Config):
    """A value and where it comes from."""

    value: Value
    place: str


class Parameter(Config):
    """What the user of all recipes may choose."""

    default: Value = Field(description="None: the user must give it")
    place: str = Field(description="what it is, and where the default comes from")
    varies: bool = Field(False, description="whether sweeps vary it: artefacts that depend on it are kept apart")


class Sweep(Config):
    """One recipe, made once for each value of a parameter."""

    recipe: str
    parameter: str
    values: tuple[Value, ...]


class Recipe(Config):
    """How one artefact is made; a sweep makes several."""

    title: str
    rows: Mapping[int, str] = Field({}, description="the row it stands for, by number of the paper's table")
    about: str = Field("", description="what a reader of the paper should know")
    run: str = Field("", description="the tuna-train command")
    makes: Literal["checkpoint", "data", "numbers"] = "checkpoint"
    reads: tuple[str, ...] = Field((), description="what the command reads, for commands that take it by position")
    out: str = Field("--out", description="option of a data command that names the artefact; empty: by position")
    include: tuple[str, ...] = Field((), description="groups of settings that recipes share")
    settings: Mapping[str, Setting] = Field({})
    sweep: Sweep | None = None


class Shared(Config):
    """What recipes share."""

    parameters: Mapping[str, Parameter]
    groups: Mapping[str, Mapping[str, Setting]]


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


def _read(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return values


@cache
def shared() -> Shared:
    """The parameters of all recipes and the groups of settings they include."""
    values = _read(_SHARED)
    groups = {name: _settings(group) for name, group in values["groups"].items()}
    return build_config(Shared, {"parameters": values["parameters"], "groups": groups}, place=f"{_SHARED}.yaml")


def _settings(pairs: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """Settings as files write them, key: [value, place]."""
    return {key: {"value": pair[0], "place": pair[1]} for key, pair in pairs.items()}


def recipe_names() -> list[str]:
    """All recipes: those of the paper's rows and sweeps, and the data they need."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml") if file.stem != _SHARED)


@cache
def load_recipe(name: str) -> Recipe:
    """The recipe of a name, with the settings of the groups it includes.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in recipe_names():
        close = difflib.get_close_matches(name, recipe_names(), n=1)
        cure = f"did you mean {close[0]}?" if close else "see tuna-train recipe list"
        raise ConfigError(f"no recipe {name!r}", place="tuna-train recipe", cure=cure)
    values = _read(name)
    groups = [shared().groups[group] for group in values.get("include", ())]
    included = {key: setting.model_dump() for group in groups for key, setting in group.items()}
    return build_config(
        Recipe, {**values, "settings": {**included, **_settings(values.get("settings", {}))}}, place=f"{name}.yaml"
    )


def choose_parameters(assignments: Sequence[str]) -> dict[str, Value]:
    """The parameters' values: the defaults, and what the user says.

    Args:
        assignments: "name=value" with a YAML value. A recipe's name stands for its artefact: the value is a folder or
            file that is there already, or a hub id.

    Raises:
        ConfigError: an unknown name.
    """
    chosen = {name: parameter.default for name, parameter in shared().parameters.items()}
    known = {*chosen, *recipe_names()}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            cure = f"did you mean {close[0]}?" if close else f"use one of {', '.join(shared().parameters)}"
            raise ConfigError(f"no parameter {name!r}" if equals else f"not name=value: {name!r}", cure=cure)
        chosen[name] = yaml.safe_load(text)
    return chosen


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
    for value in sweep.values if sweep else (None,):
        varied = {**parameters, sweep.parameter: value} if sweep else parameters
        _add(sweep.recipe if sweep else name, _Plan(varied, out, steps))
    return list(steps.values())


def _add(name: str, into: _Plan) -> Path:
    """Plans an artefact and what it needs, and says where it will be."""
    recipe = load_recipe(name)
    label = _label(name, into.parameters)
    output = into.out / (label if recipe.makes == "checkpoint" else f"{label}.{_SUFFIX[recipe.makes]}")
    if label not in into.steps:
        reads = [str(_filled(word, into)) for word in recipe.reads]
        settings = {key: _filled(setting.value, into) for key, setting in recipe.settings.items()}
        into.steps[label] = Step(label, recipe, output, (*recipe.run.split(), *_words(recipe, reads, settings, output)))
    return output


_SUFFIX = {"data": "jsonl", "numbers": "json"}


def _words(recipe: Recipe, reads: Sequence[str], settings: Mapping[str, Value], output: Path) -> Iterator[str]:
    """Arguments of a command: key=value where it makes a checkpoint, else options."""
    yield from reads
    if recipe.makes == "checkpoint":
        yield from (f"{key}={json.dumps(value)}" for key, value in settings.items() if value is not None)
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
    used = sorted(p for p in _uses(name) if known[p].varies and parameters[p] != known[p].default)
    return "+".join([name, *(f"{p}={parameters[p]}" for p in used)])


@cache
def _uses(name: str) -> frozenset[str]:
    """Parameters that an artefact depends on, itself or by what it needs."""
    found: set[str] = set()
    for reference in _references(load_recipe(name)):
        found |= {reference} if reference in shared().parameters else _uses(reference)
    return frozenset(found)


def _references(recipe: Recipe) -> set[str]:
    values = [setting.value for setting in recipe.settings.values()]
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return {name for text in [*texts, *recipe.reads] if isinstance(text, str) for name in _REFERENCE.findall(text)}


def _filled(value: Value, into: _Plan) -> Value:
    """A value with its references replaced: a parameter keeps its type where it stands alone."""
    if isinstance(value, list):
        return [str(_filled(part, into)) for part in value]
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
    """Commands that have made their artefacts in a folder already."""
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
