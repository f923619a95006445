"""Recipes: how each model of the paper is made, as files.

A recipe makes one artefact, a checkpoint or a data file, with one tuna-train command. Its settings name parameters and
other recipes as ${name}; those are made first. Every setting stands beside the place that it comes from.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from tuna_eval.errors import ConfigError
from tuna_train.config import Config, build_config

FOLDER = Path(__file__).parent / "recipes"
_SHARED = "_shared"

Value = None | bool | int | float | str | list[float]


class Setting(Config):
    """A value and where it comes from."""

    value: Value
    place: str


class Parameter(Config):
    """What the user of all recipes may choose."""

    default: Value = Field(description="None: the user must give it")
    is_file: bool = Field(False, description="whether it must be there before anything is made")
    place: str = Field(description="what it is, and where the default comes from")
    varies: bool = Field(False, description="whether sweeps vary it: artefacts that depend on it are kept apart")


class Sweep(Config):
    """One recipe, made once for each value of a parameter."""

    recipe: str
    parameter: str
    values: tuple[Value, ...]
    instead: Mapping[float, str] = Field({}, description="recipe that is a value's point as it stands")


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
        chosen[name] = _parsed(name, text)
    return chosen


def _parsed(name: str, text: str) -> Value:
    """A parameter's value: a number where its default is one, else the text as it stands."""
    parameter = shared().parameters.get(name)
    if parameter is None or not isinstance(parameter.default, int | float):
        return text
    try:
        return type(parameter.default)(text)
    except ValueError as fault:
        raise ConfigError(f"{text!r} is no number", place=name, cure=f"such as {parameter.default}") from fault


def check_files(parameters: Mapping[str, Value]) -> None:
    """Fails before anything is made or paid for.

    Raises:
        ConfigError: a file that a parameter names is not there.
    """
    for name, parameter in shared().parameters.items():
        value = parameters[name]
        if parameter.is_file and value is not None and not Path(str(value)).is_file():
            raise ConfigError(f"no such file: {value}", place=name, cure=f"give {parameter.place}")
