"""What the command line shows at the end of a run, on terminals of any width."""

from __future__ import annotations

import pytest

from tuna_eval.console import ConsoleProgress, show_metrics
from tuna_eval.schema import Interval, Summary

METRICS = {
    name: Summary(value, Interval(value - 1, value + 1, 0.95), 11_810)
    for name, value in (("rougeL", 45.25), ("exact_match", 10.5), ("bertscore", 80.0))
}
COVERED = "119 of 119 tasks, 11810 of 11810 examples"


@pytest.mark.parametrize("width", [70, 80, 100, 160])
def test_no_number_is_broken_or_lost(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    progress = ConsoleProgress()
    progress.console.width = width
    suites = ("superni_0shot", "superni_2shot")
    show_metrics(dict.fromkeys(suites, METRICS), dict.fromkeys(suites, COVERED), "model demo", progress)
    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= width
    for text in ("45.25 [44.25, 46.25]", "10.50 [9.50, 11.50]", "80.00 [79.00, 81.00]", COVERED):
        assert sum(text in line for line in lines) == 2, lines
    assert lines[0].strip() == "model demo"
    assert lines[-1].strip() == "[95% bootstrap interval]"
    rows = [line for line in lines if "superni_0shot" in line]
    assert len(rows) == 1
    assert ("45.25" in rows[0]) == (width == 160)
