"""Whether two engines say the same: the share of equal replies, and where the first differing one parts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Agreement:
    """How far the replies of two runs agree.

    Attributes:
        compared: prompts answered in both runs.
        equal: of them, with the same token ids.
        first_divergence: the first differing reply, and the token at which it parts; "" if there is none.
    """

    compared: int
    equal: int
    first_divergence: str

    @property
    def percent(self) -> float:
        return 100.0 * self.equal / self.compared


def samples(file: Path) -> dict[tuple[str, str], dict[str, object]]:
    lines = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
    return {(line["task"], line["id"]): line for line in lines}


def compare(first: Path, second: Path) -> Agreement:
    """Compares two samples.jsonl of one suite."""
    ours, theirs = samples(first), samples(second)
    shared = sorted(ours.keys() & theirs.keys())
    differing = [key for key in shared if ours[key]["token_ids"] != theirs[key]["token_ids"]]
    divergence = ""
    if differing:
        a, b = ours[differing[0]], theirs[differing[0]]
        place = common_length(a["token_ids"], b["token_ids"])
        divergence = f"{' '.join(differing[0])} at token {place}: {a['output']!r} against {b['output']!r}"
    return Agreement(len(shared), len(shared) - len(differing), divergence)


def common_length(first: object, second: object) -> int:
    assert isinstance(first, list)
    assert isinstance(second, list)
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
