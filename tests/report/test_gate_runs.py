"""Which runs a gate takes: the candidate's newest, complete, and of every benchmark that the baseline has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_runs import judged, record_of, store

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.report.gate_runs import Wanted, check_before_judging, pair_runs
from tuna_eval.report.runs import StoredRun, complete_runs, unfinished_runs
from tuna_eval.schema import RunRecord
from tuna_eval.store import RunFolder


def run_of(record: RunRecord) -> StoredRun:
    return StoredRun(RunFolder(Path("nowhere")), record)


OWN, OTHER = run_of(record_of("superni_0shot", 30.0)), run_of(record_of("superni_0shot", 40.0))
LIMITED = run_of(replace(OWN.record, coverage={**OWN.record.coverage, "limit": 2}))


def test_an_older_run_does_not_stand_in_for_the_newest() -> None:
    with pytest.raises(DataError, match="do not compare: coverage"):
        pair_runs([LIMITED, OWN], [OTHER])
    assert pair_runs([OWN, LIMITED], [OTHER]).pairs[0].candidate.record is OWN.record
    assert pair_runs([OWN], [LIMITED, OTHER]).pairs[0].baseline is OTHER


def test_a_newer_run_that_did_not_end_is_told(tmp_path: Path) -> None:
    store(tmp_path, OWN.record)
    begun = replace(OWN.record, run_id="9", status="generating", started="2026-01-02T00:00:00+00:00")
    place = store(tmp_path, begun).parent
    wanted = Wanted(unfinished=unfinished_runs(place))
    with pytest.raises(DataError, match="newest run of superni_0shot is not complete"):
        pair_runs(complete_runs(place), [OTHER], wanted)
    store(tmp_path, replace(begun, started="2025-01-02T00:00:00+00:00"))
    wanted = Wanted(unfinished=unfinished_runs(place))
    pair = pair_runs(complete_runs(place), [OTHER], wanted).pairs[0]
    assert pair.candidate.name == "own/superni_0shot/0123456789abcdef"
    lmentry = run_of(replace(record_of("lmentry"), status="generating"))
    with pytest.raises(DataError, match="newest run of lmentry is not complete"):
        pair_runs([OWN], [OTHER], Wanted(unfinished=[lmentry]))


def test_a_benchmark_that_the_candidate_lacks_does_not_pass_unless_told_so() -> None:
    baselines = [OTHER, run_of(record_of("lmentry"))]
    with pytest.raises(ConfigError, match=r"the baseline has lmentry, .* --suite superni_0shot, or --allow-missing"):
        pair_runs([OWN], baselines)
    assert pair_runs([OWN], baselines, Wanted(["superni"])).left_out == {}
    assert pair_runs([OWN], baselines, Wanted(allow_missing=True)).left_out == {"lmentry": "no run of the candidate"}
    with pytest.raises(ConfigError, match="no run of vicuna_qa"):
        pair_runs([OWN], baselines, Wanted(["superni", "vicuna_qa"]))


def test_too_few_verdicts_have_a_cure_of_their_own() -> None:
    few = run_of(judged(50, 10, 10, unparsable=10))
    with pytest.raises(DataError, match=r"87\.5%, at least 95% are needed.*judge again"):
        check_before_judging(few, few)
