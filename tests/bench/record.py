"""Where every `make bench-*` leaves its figures: one JSON object on the last line, and a file under results/bench."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from tuna_eval.provenance import environment

RESULTS = Path(__file__).resolve().parents[2] / "results" / "bench"


def record(name: str, figures: Mapping[str, float], settings: Mapping[str, object]) -> None:
    """Prints the figures as the last line and writes them, with settings, machine and versions, to NAME.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    rounded = {figure: float(f"{value:.4g}") for figure, value in figures.items()}
    content = {
        "figures": rounded,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(settings),
        "environment": environment(),
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(rounded))
    sys.stdout.flush()
