"""Fixtures that more than one test folder uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tuna_eval.llm.models import LocalModel
    from tuna_eval.llm.vllm_engine import VllmEngine

# No test is timed: how long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of official data and golden values beside the checkout."""
    if not SHARED.is_dir() and os.environ.get("CI"):
        pytest.fail(f"CI runs with the reference data beside the checkout, and {SHARED} is not there")
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference data in {SHARED}, which is not part of the repository")
    return SHARED


@pytest.fixture(scope="session")
def vllm_engine() -> Iterator[VllmEngine]:
    """The one vLLM engine of a test session, on the demo model; it starts at its first use."""
    if find_spec("vllm") is None:
        pytest.skip("needs vLLM, which is not installed")
    from tuna_eval.llm.models import resolve_model
    from tuna_eval.llm.vllm_engine import VllmEngine

    engine = VllmEngine(resolve_model("demo"), max_length=2048)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def demo_model() -> LocalModel:
    """The small real model, SmolLM2-135M-Instruct, as an ordinary folder; converted once and kept in the cache."""
    from tuna_eval.llm.models import resolve_model

    return resolve_model("demo")
