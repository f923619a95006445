"""Models of the price list are OpenAI's: where they are asked unless the user says where, and with which key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuna_eval.errors import ConfigError
from tuna_eval.llm.prices import price_of

OPENAI = "https://api.openai.com/v1"
KEY_ENV = "OPENAI_API_KEY"


def hosted_address(model: str, engine: str, base_url: str | None) -> str | None:
    """The root of the API that a model is asked at; None for a model that is run here.

    Args:
        model: as the user names it; what is a file or folder here is no hosted model.
        engine: kind of engine, or "auto".
        base_url: what the user gave, which wins.
    """
    if base_url is None and engine in ("auto", "api") and price_of(model) and not Path(model).exists():
        return OPENAI
    return base_url


def key_variable(base_url: str | None, api: Mapping[str, Any]) -> str:
    """The environment variable without which a model at this address does not answer; "" if none is known.

    Args:
        base_url: see `hosted_address`.
        api: settings of `ApiOptions` by name.
    """
    return str(api.get("api_key_env", KEY_ENV)) if base_url == OPENAI else ""


def require_key(variable: str, *, whose: str, option: str) -> None:
    """Refuses a model whose key is missing, before anything is sent.

    Args:
        variable: see `key_variable`.
        whose: "the judge", for the error.
        option: that names another server.

    Raises:
        ConfigError: the variable is named and holds no key.
    """
    if variable and not os.environ.get(variable, "").strip():
        raise ConfigError(f"no key for {whose}", place=variable, cure=f"set it, or give {option}")
