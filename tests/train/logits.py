"""How many logits are in memory, seen from the operations that make them."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor


class Logits(torch.utils._python_dispatch.TorchDispatchMode):
    """Records the largest tensor that any operation makes, and how many numbers products hold at a time.

    Args:
        columns: of the products that count.
    """

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns, self.largest, self.held = columns, 0, 0
        self._products: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, Tensor):
                self.largest = max(self.largest, value.numel())
        if func in (torch.ops.aten.mm.default, torch.ops.aten.matmul.default) and out.shape[-1] == self.columns:
            self._products.append(weakref.ref(out))
            self.held = max(self.held, sum(p.numel() for ref in self._products if (p := ref()) is not None))
        return out
