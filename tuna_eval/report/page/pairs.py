"""Two runs of a benchmark side by side: what stands against it, and what the gate's statistics say of the change."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.report.comparable import differences
from tuna_eval.report.gate import GateOptions, suite_verdict
from tuna_eval.report.gate_runs import RunPair, pair_runs
from tuna_eval.report.gate_samples import paired_scores
from tuna_eval.report.runs import StoredRun

OPTIONS = GateOptions(flips=0)


def pack_pair(run: StoredRun, against: StoredRun, *, is_tested: bool) -> dict[str, Any]:
    """Whether two runs of one benchmark compare.

    Args:
        run: the one in question.
        against: what it is compared with.
        is_tested: whether the change is tested as `tuna-eval gate` does, which takes a second for a full-size run.

    Returns:
        "differences": in words, none where the runs compare; "head_to_head": whether a judge compared the two runs'
        answers with each other; "change": the deciding metric's, with interval and p-value, if it was tested;
        "problem": why it could not be.

    Raises:
        DataError: a judging that a record tells of is gone.
    """
    pair, refused = _pair(run, against)
    facts: dict[str, Any] = {
        "differences": [] if pair else refused,
        "head_to_head": bool(pair and pair.is_head_to_head),
        "change": None,
        "problem": "",
    }
    if pair and is_tested:
        try:
            found = suite_verdict(paired_scores(pair), OPTIONS, OPTIONS.level, 0.0)
            facts["change"] = asdict(found.change) | {"unit": found.unit, "units": found.units}
        except DataError as error:
            facts["problem"] = str(error)
    return facts


def _pair(run: StoredRun, against: StoredRun) -> tuple[RunPair | None, list[str]]:
    """The runs as a gate would compare them, or why it would not."""
    found = [difference.text for difference in differences(run.record, against.record)]
    try:
        return pair_runs([run], [against]).pairs[0], []
    except ConfigError:
        return None, found or ["judge: none, so that the answers have no score"]
    except DataError:
        if not found:
            raise
        return None, found
