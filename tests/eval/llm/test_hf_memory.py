"""A batch that does not fit is halved; what can never fit is one clear line."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from tuna_eval.errors import EngineError
from tuna_eval.llm.hf_memory import in_halves


def test_a_batch_too_large_for_the_memory_is_halved_until_it_fits() -> None:
    done: list[int] = []

    def run(items: Sequence[int]) -> None:
        if len(items) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(items)

    in_halves(run, range(9), "tiny")
    assert done == list(range(9))


def test_what_never_fits_or_is_no_lack_of_memory_is_an_error() -> None:
    def too_large(items: Sequence[int]) -> None:
        torch.empty(1 << 60)

    def broken(items: Sequence[int]) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(EngineError, match="tiny: out of memory with a single prompt"):
        in_halves(too_large, range(3), "tiny")
    with pytest.raises(RuntimeError, match="shapes differ"):
        in_halves(broken, range(3), "tiny")
