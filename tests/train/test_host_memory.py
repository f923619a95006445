"""What the C library does with freed blocks, seen from outside: a process that allocates, frees and looks."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, sys
import torch
from tuna_train.training.host_memory import give_back_freed_memory, keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def allocate():
    before = faults()
    torch.ones(2**24)
    return faults() - before

default = [allocate(), allocate()][-1]
kept = keep_freed_memory()
keeping = [allocate(), allocate()][-1]
held = resident()
given = give_back_freed_memory()
print(json.dumps({"kept": kept, "given": given, "default": default, "keeping": keeping, "fell": held - resident()}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the thresholds are glibc's")
def test_blocks_are_kept_until_they_are_given_back() -> None:
    output = subprocess.run([sys.executable, "-c", PROGRAM], check=True, stdout=subprocess.PIPE, text=True).stdout
    seen = json.loads(output)
    assert seen["kept"]
    assert seen["given"]
    assert 10 * seen["keeping"] < seen["default"]
    assert seen["fell"] > 2**25
