"""`tuna-train` in a state in which accelerate shards on CPUs, as it does by itself on GPUs only. Run by torchrun."""

from __future__ import annotations

import sys
from typing import Any

import accelerate.accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from tuna_train.cli import main


class ShardingState(AcceleratorState):
    def __init__(self, *args: Any, fsdp_plugin: Any = None, **options: Any) -> None:
        super().__init__(*args, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin


if __name__ == "__main__":
    accelerate.accelerator.AcceleratorState = ShardingState  # type: ignore[misc]
    sys.exit(main())
