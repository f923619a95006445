"""`key=value` words of a command line: each value read as the type of its key wants it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from tuna_eval.errors import ConfigError


def assign(kind: type[BaseModel], values: dict[str, Any], assignment: str) -> None:
    """Sets one value in place.

    Args:
        kind: whose fields the keys are. The value of a path or of plain text is taken as it is written, unless it is
            in quotes; "[a, b]" is a list where several are allowed, and "null" is nothing where that is. Every other
            value is YAML.
        values: by key, nested.
        assignment: "key=value", dots between the levels of the key.

    Raises:
        ConfigError: no key and value, no YAML, or a level of the key that is a single value.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"not key=value: {assignment!r}", place="command line", cure="write learning_rate=2e-5")
    *path, last = key.strip().split(".")
    group: type[BaseModel] | None = kind
    for name in path:
        inner = values.setdefault(name, {})
        if inner is None:
            inner = values[name] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{name} is a single value, not a group", place=assignment, cure=f"set {name}=...")
        values = inner
        group = _group(group, name)
    if _is_text(_types(group, last), text):
        values[last] = text
        return
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as fault:
        raise ConfigError(f"not a YAML value: {text!r}", place=key, cure="put quotes around it") from fault


def knows(kind: type[BaseModel], key: str) -> bool:
    """Whether a key, dots between its levels, is a field of a configuration or of a group in it."""
    group: type[BaseModel] | None = kind
    for name in key.split("."):
        if group is None or name not in group.model_fields:
            return False
        group = _group(group, name)
    return True


def is_assigned(path: Sequence[str], assignments: Iterable[str]) -> bool:
    """Whether one of these words set a value, or a value that it is part of or that is part of it.

    Args:
        path: the levels of the value's key.
        assignments: such as "lora.rank=4".
    """
    keys = (assignment.partition("=")[0].strip().split(".") for assignment in assignments)
    return any(all(own == given for own, given in zip(path, key, strict=False)) for key in keys if path)


def types_in(annotation: Any) -> list[type]:
    """The classes that an annotation is made of: of `tuple[Path, ...] | None` tuple, Path and NoneType."""
    inner = [part for argument in get_args(annotation) for part in types_in(argument)]
    origin = getattr(annotation, "__origin__", annotation)
    return [*([origin] if isinstance(origin, type) else []), *inner]


def _group(group: type[BaseModel] | None, name: str) -> type[BaseModel] | None:
    """Of the fields that a field has itself; None for a single value."""
    return next((part for part in _types(group, name) if issubclass(part, BaseModel)), None)


def _types(group: type[BaseModel] | None, name: str) -> list[type]:
    """Of a field; nothing for a field that there is not, which is told later."""
    field = group.model_fields.get(name) if group else None
    return types_in(field.annotation) if field else []


def _is_text(types: list[type], text: str) -> bool:
    """Whether a value is to be taken as it is written."""
    if not {str, Path} & set(types):
        return False
    bare = text.strip()
    is_quoted = len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'"
    is_list = tuple in types and bare.startswith("[") and bare.endswith("]")
    is_nothing = type(None) in types and bare in ("null", "~", "")
    return not (is_quoted or is_list or is_nothing)
