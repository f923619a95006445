"""Where each replica of an engine runs: its slice of the GPUs, or of the processor's cores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tuna_eval.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Placement:
    """The resources of one process.

    Attributes:
        variables: environment variables that say so to the libraries it loads.
        cores: numbers of the processor cores it may use; empty for all.
    """

    variables: Mapping[str, str]
    cores: frozenset[int] = frozenset()


def place_replicas(replicas: int, devices_per_replica: int) -> list[Placement]:
    """Neighbouring GPUs for each replica, or where there are none, neighbouring cores.

    Raises:
        ConfigError: fewer GPUs are visible than are needed.
    """
    devices = _visible_devices()
    if not devices:
        return [_share_of_cores(i, replicas) for i in range(replicas)]
    needed = replicas * devices_per_replica
    if needed > len(devices):
        raise ConfigError(
            f"{replicas} replicas of {devices_per_replica} GPUs need {needed}, and {len(devices)} are visible",
            place="--data-parallel",
            cure="use fewer replicas, a smaller --tensor-parallel, or show more in CUDA_VISIBLE_DEVICES",
        )
    slices = [devices[start : start + devices_per_replica] for start in range(0, needed, devices_per_replica)]
    return [Placement({"CUDA_VISIBLE_DEVICES": ",".join(names)}) for names in slices]


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables while a child starts: they must be there before its first import."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _share_of_cores(number: int, replicas: int) -> Placement:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not cores:
        return Placement({})
    share = cores[number * len(cores) // replicas : (number + 1) * len(cores) // replicas]
    share = share or [cores[number % len(cores)]]
    variables = {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(len(share)),
        # threads that spin while they wait take the cores from whoever else is on the machine
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY") or "PASSIVE",
    }
    return Placement(variables, frozenset(share))


def _visible_devices() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
