"""What `tuna-eval report` does with its parsed options."""

from __future__ import annotations

import argparse
import sys

from tuna_eval.report.page.build import write_report
from tuna_eval.report.sources import read_frame
from tuna_eval.store import refuse_run_folder


def report_command(options: argparse.Namespace) -> int:
    """`tuna-eval report`: runs as one page to look at."""
    refuse_run_folder(options.out)
    report = write_report(read_frame(options.runs), options.out, options.title, options.data_dir)
    for run, problem in report.problems.items():
        sys.stderr.write(f"note: no prompts of {run}: {problem}\n")
    size = report.page.stat().st_size / 1e6
    sys.stderr.write(f"report: {report.page} (runs: {report.runs}, samples: {report.samples}, {size:.1f} MB)\n")
    return 0
