"""What `tuna-eval watch` does: evaluates and gates each checkpoint of a folder, and remembers which it has done."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tuna_eval.baselines import record_sha256
from tuna_eval.checkpoints import Checkpoint, find_checkpoints, is_model_folder, is_training_output, training_name
from tuna_eval.commands.data import print_text
from tuna_eval.commands.gate import baseline_runs, gate_options
from tuna_eval.commands.judge import judge_run, questions_of
from tuna_eval.commands.run import run_suites, wanted_suites
from tuna_eval.console import ConsoleProgress
from tuna_eval.disk import appending, drop_torn_line, json_line, locked, read_lines
from tuna_eval.errors import ConfigError, DataError, EngineError
from tuna_eval.judging.judged_runs import SUITE, judged_result, store_judged
from tuna_eval.judging.reviews import read_answers
from tuna_eval.report.gate import GateReport, gate, tolerances
from tuna_eval.report.gate_formats import as_text
from tuna_eval.report.gate_runs import Wanted, check_before_judging, check_before_running, pair_runs
from tuna_eval.report.runs import StoredRun, complete_runs
from tuna_eval.store import RunFolder, check_writable, digest, folder_name
from tuna_eval.tasks.catalog import suite_names

# Options of the watch itself, which a run does not have.
_OWN = ("folder", "once", "poll", "level", "power", "seed", "flips", "max_drop")

_SETTLES = 2.0  # seconds without a change after which --once takes a checkpoint for finished


def watch_command(options: argparse.Namespace) -> int:
    """`tuna-eval watch`: until interrupted, or until all are done; then 1 if a checkpoint has failed its gate.

    Raises:
        ConfigError, DataError: an option or the baseline is at fault; or the checkpoints do not compare with it.
    """
    _check(options)
    watch = _Watch(options, baseline_runs(options.baseline, options.output), ConsoleProgress())
    with locked(watch.place, "watch"):
        return watch.until_done()


def _check(options: argparse.Namespace) -> None:
    if not options.folder.is_dir():
        raise ConfigError("no such folder", place=str(options.folder), cure="name the folder that training saves into")
    if is_model_folder(options.folder) and not is_training_output(options.folder):
        cure = "name the folder that it is in, or use tuna-eval run and tuna-eval gate"
        raise ConfigError("this is a checkpoint itself", place=str(options.folder), cure=cure)
    if not options.poll > 0:
        raise ConfigError(f"--poll {options.poll:g} is no time to wait", cure="give seconds, more than 0")
    if options.dry_run:
        raise ConfigError("a watch has no dry run", place="--dry-run", cure="try tuna-eval judge with it")


class _BrokenError(Exception):
    """A checkpoint that cannot be run."""


class _Watch:
    """One watch of one folder.

    Args:
        options: as parsed; checked here before anything is evaluated.
        baseline: the runs that every checkpoint is measured against.
        progress: where it tells what it does.
    """

    def __init__(self, options: argparse.Namespace, baseline: Sequence[StoredRun], progress: ConsoleProgress) -> None:
        self.options, self.baseline, self.progress = options, baseline, progress
        self.model = options.name or training_name(options.folder)
        self.gate_options = gate_options(options)
        suites = [run.record.suite for run in baseline]
        wanted = suite_names(options.suite)
        if not any(suite.startswith(name) for suite in suites for name in wanted):
            cure = f"the baseline has {', '.join(sorted(set(suites)))}"
            raise ConfigError(f"no baseline for {', '.join(wanted)}", place="--suite", cure=cure)
        tolerances(self.gate_options.max_drop, suites)
        if options.judge and SUITE not in suites:
            raise ConfigError("the baseline did not answer Vicuna QA", place="--judge", cure="run vicuna_qa for it")
        check_writable(options.output)
        for suite in wanted_suites(options, progress):
            check_before_running(suite, options.max_new_tokens, baseline, format=options.format)
        self.place: Path = options.output / "watch" / folder_name(self.model)
        self.settings = digest(
            [{k: str(v) for k, v in vars(options).items() if k not in ("folder", "once", "poll", "output", "command")}]
            + [record_sha256(run.record) for run in baseline]
        )[:16]
        self.passed: dict[tuple[str, str], bool] = {}  # by name and stamp of the checkpoint
        self.broken: dict[tuple[str, str], str] = {}
        self.waiting: dict[str, Path] = {}  # seen and not evaluated yet, by name
        self.gone: list[str] = []  # names of those that were deleted before

    @property
    def _file(self) -> Path:
        return self.place / "verdicts.jsonl"

    def until_done(self) -> int:
        """Looks, evaluates what is new and whole, and looks again."""
        self._remember()
        try:
            return self._watch()
        finally:
            if self.gone:
                self.progress.note(f"warning: {len(self.gone)} deleted before their turn{_listed(self.gone)}")

    def _watch(self) -> int:
        before: Mapping[str, Checkpoint] = {}
        pause = min(self.options.poll, _SETTLES) if self.options.once else self.options.poll
        is_told = self.options.once
        while True:
            found = {each.name: each for each in find_checkpoints(self.options.folder)}
            if not found and not is_told:
                self.progress.note(f"no checkpoint in {self.options.folder} yet: a look every {pause:g} s")
                is_told = True
            fresh = [each for each in found.values() if not self._is_known(each)]
            self._miss(fresh)
            # Nothing was written since the last look.
            ready = [each for each in fresh if not each.missing and before.get(each.name) == each]
            if ready:
                self._evaluate(ready[0])
                continue  # the look is old by now
            if self.options.once and found == before:
                return self._end(list(found.values()))
            before = found
            time.sleep(pause)

    def _miss(self, fresh: Sequence[Checkpoint]) -> None:
        """Tells of folders that were there at the last look, not evaluated, and are not any more."""
        for name, folder in self.waiting.items():
            if not folder.is_dir():
                self.gone.append(name)
                cure = "have training keep more (keep_checkpoints, save_total_limit)"
                self.progress.note(f"warning: {name} was deleted before it was evaluated; {cure}")
        self.waiting = {each.name: each.folder for each in fresh}

    def _remember(self) -> None:
        """Takes up the verdicts of earlier watches with the same settings."""
        drop_torn_line(self._file)
        for line in read_lines(self._file):
            if line.get("settings") == self.settings:
                self.passed[line["checkpoint"], line["stamp"]] = bool(line["passed"])
        if self.passed:
            self.progress.note(f"{len(self.passed)} checkpoints are done, see {self._file}")

    def _is_known(self, checkpoint: Checkpoint) -> bool:
        key = (checkpoint.name, checkpoint.stamp)
        return key in self.passed or key in self.broken

    def _evaluate(self, checkpoint: Checkpoint) -> None:
        """Runs and gates one checkpoint; one that cannot be loaded, or vanishes, does not end the watch."""
        key = (checkpoint.name, checkpoint.stamp)
        self.progress.note(f"checkpoint {checkpoint.folder}")
        try:
            report = self._gated(checkpoint)
        except (EngineError, _BrokenError, FileNotFoundError) as error:
            if not checkpoint.folder.is_dir():
                return  # the next look misses it
            if isinstance(error, FileNotFoundError):
                raise
            self.waiting.pop(checkpoint.name, None)
            self.broken[key] = str(error)
            self.progress.note(f"warning: {checkpoint.name} cannot be evaluated: {error}")
            return
        self.waiting.pop(checkpoint.name, None)
        self.passed[key] = report.passed
        line = {"checkpoint": key[0], "stamp": key[1], "settings": self.settings, "passed": report.passed}
        with appending(self._file) as append:
            append(json_line({**line, "report": asdict(report)}))
        print_text(as_text(report))

    def _gated(self, checkpoint: Checkpoint) -> GateReport:
        options = self._options_for(checkpoint)
        try:
            finished = run_suites(options, self.progress)
        except (ConfigError, DataError) as error:  # options, data and baseline were checked before the first one
            raise _BrokenError(str(error)) from error
        if options.judge:
            for own in finished:
                if own.record.suite == SUITE:
                    self._judge(RunFolder(own.folder), options)
        runs = [run for own in finished for run in complete_runs(own.folder)]
        return gate(pair_runs(runs, self.baseline, Wanted(allow_missing=True)), self.gate_options)

    def _options_for(self, checkpoint: Checkpoint) -> argparse.Namespace:
        """Those of a run; the finished model has the training's own name."""
        given = {name: value for name, value in vars(self.options).items() if name not in _OWN}
        is_finished = checkpoint.folder == self.options.folder.resolve()
        name = self.model if is_finished else f"{self.model}/{checkpoint.name}"
        return argparse.Namespace(**{**given, "model": str(checkpoint.folder), "name": name})

    def _judge(self, folder: RunFolder, options: argparse.Namespace) -> None:
        """Has the answers compared with the baseline's own."""
        (own,) = complete_runs(folder.path)
        baseline = next(run for run in self.baseline if run.record.suite == SUITE)
        check_before_judging(own, baseline)
        answers = read_answers(baseline.folder.path)
        judged = judge_run(folder, questions_of(own.record, options), answers, options, self.progress)
        if judged is not None:  # None is a dry run's
            store_judged(folder, judged_result(judged, answers.name))

    def _end(self, found: Sequence[Checkpoint]) -> int:
        """What the checkpoints that are there come to: 2 if one could not be evaluated, else 1 if one has failed.

        Raises:
            ConfigError: none of them was evaluated.
        """
        keys = {(each.name, each.stamp) for each in found}
        for each in found:
            if each.missing:
                self.progress.note(f"{each.name} is left out: {each.missing}")
        if not keys & (self.passed.keys() | self.broken.keys()):
            cure = "name the folder that training saves into, or wait without --once"
            raise ConfigError("no whole checkpoint here to evaluate", place=str(self.options.folder), cure=cure)
        failed = sorted(name for name, stamp in keys if self.passed.get((name, stamp)) is False)
        broken = sorted(name for name, stamp in keys if (name, stamp) in self.broken)
        passed = len(keys & self.passed.keys()) - len(failed)
        self.progress.note(
            f"{passed} passed, {len(failed)} failed{_listed(failed)}, {len(broken)} broken{_listed(broken)}"
        )
        return 2 if broken else 1 if failed else 0


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""
