"""The commands that README, docs and --help show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from tuna_eval import cli as measuring
from tuna_train import cli as training

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    """Every command in a block of shell, and every example of --help; each once."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", "\n".join(blocks)).splitlines()
    for examples in (measuring.EXAMPLES, training.EXAMPLES):
        lines += [line.strip() for line in examples.splitlines()[1:]]
    found = (re.split(r"\s+#|\s{3,}", line)[0].strip() for line in lines)
    return sorted({line for line in found if line})


def filled(command: str, values: Mapping[str, str]) -> list[str]:
    """A command's words with values for placeholders."""
    names = "|".join(map(re.escape, sorted(values, key=len, reverse=True)))
    return [re.sub(rf"(?<![\w.])({names})(?![\w.])", lambda m: values[m[1]], word) for word in shlex.split(command)]
