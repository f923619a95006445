"""The main job: prompts, replies, scores, record. Killed anywhere and started again, it goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from tuna_eval.errors import StoreError
from tuna_eval.llm.engine import Engine, SamplingParams
from tuna_eval.llm.fitting import PromptWriter, TruncationPolicy
from tuna_eval.llm.prompts import FormatName, choose_format
from tuna_eval.provenance import environment
from tuna_eval.schema import JSON, Completion, PreparedPrompt, Prompt, RunRecord, Sample
from tuna_eval.scoring import Scoring, score_outputs
from tuna_eval.store import RunFolder, digest, folder_name, prompt_sha256, read_result
from tuna_eval.tasks.base import Suite


class Progress(Protocol):
    """Where a run tells how far it is."""

    def note(self, text: str) -> None:
        """A line for the user."""
        ...

    def begin(self, label: str, *, done: int, total: int) -> None:
        """A countable activity starts, of which a part may be done."""
        ...

    def advance(self) -> None:
        """One more is done."""
        ...

    def end(self) -> None:
        """The activity is over."""
        ...


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to run.

    Attributes:
        model: what tables and folders call the model.
        output: the results folder.
        format: prompt format, or "auto".
        truncation: what happens to a prompt that is too long.
        max_new_tokens: overrides the suites' limit of the reply.
        seed: of the sampler, where a suite samples.
        given: further settings, for the record; no secret, no path.
    """

    model: str
    output: Path
    format: str = "auto"
    truncation: TruncationPolicy = "right"
    max_new_tokens: int | None = None
    seed: int = 0
    given: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """All prompts of a suite, and the identity that they and the engine give its run."""

    suite: Suite
    settings: RunSettings
    prompts: Sequence[PreparedPrompt]
    hashes: Sequence[str]
    format: FormatName
    params: SamplingParams
    identity: Mapping[str, JSON]

    @property
    def run_id(self) -> str:
        """Equal plans have equal ids, on every machine."""
        return digest(self.identity)[:16]

    @property
    def folder(self) -> RunFolder:
        """Where the run is stored."""
        name = folder_name(self.settings.model)
        return RunFolder(self.settings.output / "runs" / name / self.suite.name / self.run_id)


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that is complete: its folder, its record, and its scores."""

    folder: Path
    record: RunRecord
    scoring: Scoring


@dataclass(frozen=True, slots=True)
class _Question:
    """A prompt to be sent once, and where in the plan its reply belongs."""

    prompt: Prompt
    positions: list[int]


def plan(suite: Suite, engine: Engine, settings: RunSettings) -> Plan:
    """Writes all prompts; the model is not loaded for it.

    Raises:
        ConfigError: the prompt format does not fit the model.
        DataError: a file of the benchmark is broken, or a prompt does not fit and may not be cut.
    """
    format = choose_format(settings.format, engine)
    params = SamplingParams(
        max_new_tokens=settings.max_new_tokens or suite.max_new_tokens,
        temperature=suite.temperature,
        seed=settings.seed,
    )
    prompts = list(suite.prepare(PromptWriter(engine, format, params.max_new_tokens, settings.truncation)))
    hashes = [prompt_sha256(p.prompt) for p in prompts]
    identity: dict[str, JSON] = {
        "suite": suite.name,
        "version": suite.version,
        "engine": dict(engine.fingerprint()),
        "sampling": {**asdict(params), "stop": list(params.stop)},
        "prompts_sha256": digest([[p.task, p.id, sha] for p, sha in zip(prompts, hashes, strict=True)]),
    }
    return Plan(suite, settings, prompts, hashes, format, params, identity)


def run(plan: Plan, engine: Engine, progress: Progress) -> FinishedRun:
    """Runs one suite to its end, reusing every reply that an earlier, equal run has stored.

    Raises:
        TunaError: data, engine or results folder are at fault. Replies that were there are stored.
    """
    folder = plan.folder
    with folder.locked():
        earlier = folder.read_record()
        record = _record(plan, engine, earlier)
        pending = _pending(plan, folder)
        progress.note(f"{plan.suite.name}: {len(plan.prompts)} prompts, {len(pending)} to go; run {folder.path}")
        if pending:
            progress.note(f"first prompt ({plan.format}):\n{plan.prompts[0].prompt.text}")
        folder.write_record(record)
        if pending:
            session = _Session()
            try:
                _generate(plan, pending, engine, session, progress)
            finally:
                record = replace(record, sessions=[*record.sessions, session.as_json()])
                folder.write_record(record)
        started = time.perf_counter()
        scoring = score_outputs(plan.suite, folder.samples_file, folder)
        if not pending and earlier and earlier.results:
            stored = read_result(earlier.results)
            if "judging" in stored.breakdown:  # a judge's word on the same answers stays
                scoring = replace(scoring, result=stored)
        record = replace(
            record,
            status="complete",
            scoring=scoring_facts(plan.suite, time.perf_counter() - started),
            coverage=scoring.coverage.as_json(),
            results=asdict(scoring.result),
        )
        folder.write_record(record)
    return FinishedRun(folder.path, record, scoring)


def scoring_facts(suite: Suite, seconds: float) -> dict[str, JSON]:
    """What a record says of a scoring: when, how long, with which settings and versions."""
    return {
        "finished": now(),
        "seconds": round(seconds, 3),
        "settings": dict(suite.settings()),
        "environment": environment(),
    }


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _record(plan: Plan, engine: Engine, earlier: RunRecord | None) -> RunRecord:
    """The record of a run that begins or goes on: sessions are kept, settings are those of today."""

    def listed(is_meant: Sequence[bool]) -> dict[str, JSON]:
        ids: list[JSON] = [f"{p.task} {p.id}" for p, yes in zip(plan.prompts, is_meant, strict=True) if yes]
        return {"count": len(ids), "ids": ids}

    return RunRecord(
        model=plan.settings.model,
        suite=plan.suite.name,
        version=plan.suite.version,
        status="generating",
        started=earlier.started if earlier else now(),
        run_id=plan.run_id,
        identity=plan.identity,
        config={
            **plan.settings.given,
            **plan.suite.settings(),
            "format": plan.format,
            "truncation": plan.settings.truncation,
        },
        prompts={
            "count": len(plan.prompts),
            "distinct": len(set(plan.hashes)),
            "first": plan.prompts[0].prompt.text,
            "lengths_checked": engine.encoder is not None,
            "demonstrations_dropped": listed([p.dropped > 0 for p in plan.prompts]),
            "truncated": listed([bool(p.truncated) for p in plan.prompts]),
            "over_limit": listed([p.over_limit for p in plan.prompts]),
        },
        environment=environment(),
        sessions=list(earlier.sessions) if earlier else [],
    )


def _pending(plan: Plan, folder: RunFolder) -> list[_Question]:
    """What has no stored reply yet. Under greedy decoding equal prompts have one answer and are asked once."""
    stored = folder.sampled()
    questions: list[_Question] = []
    asked: dict[Prompt, _Question] = {}
    for position, (prompt, sha) in enumerate(zip(plan.prompts, plan.hashes, strict=True)):
        earlier = stored.get((prompt.task, prompt.id))
        if earlier == sha:
            continue
        if earlier is not None:
            raise StoreError(
                f"the stored reply to {prompt.task} {prompt.id} answers another prompt",
                place=str(folder.samples_file),
                cure="the file was changed by hand; move the folder away and run again",
            )
        if prompt.prompt in asked and plan.params.temperature == 0:
            asked[prompt.prompt].positions.append(position)
        else:
            questions.append(_Question(prompt.prompt, [position]))
            asked[prompt.prompt] = questions[-1]
    return questions


class _Session:
    """One stretch of asking the model, timed as it goes, so that one that is cut short is recorded too."""

    def __init__(self) -> None:
        self.began_at, self.began = now(), time.perf_counter()
        self.loaded = self.began
        self.replies = self.tokens = 0

    def as_json(self) -> dict[str, JSON]:
        """For the record; tokens per second are those after the model was loaded."""
        seconds = time.perf_counter() - self.loaded
        return {
            "started": self.began_at,
            "replies": self.replies,
            "load_seconds": round(self.loaded - self.began, 3),
            "seconds": round(seconds, 3),
            "generated_tokens": self.tokens or None,
            "tokens_per_second": round(self.tokens / seconds, 2) if self.tokens else None,
        }


def _generate(plan: Plan, pending: Sequence[_Question], engine: Engine, session: _Session, progress: Progress) -> None:
    """Has every pending prompt answered and stores each reply as it comes."""
    engine.load()
    session.loaded = time.perf_counter()
    prompts = [question.prompt for question in pending]
    total = len(plan.prompts)
    progress.begin(plan.suite.name, done=total - sum(len(q.positions) for q in pending), total=total)
    try:
        with plan.folder.appender() as append:
            for completion in engine.generate(prompts, plan.params):
                positions = pending[completion.index].positions
                append(_sample(plan, position, completion) for position in positions)
                session.replies += 1
                session.tokens += len(completion.token_ids or ())
                for _ in positions:
                    progress.advance()
    finally:
        progress.end()


def _sample(plan: Plan, position: int, completion: Completion) -> Sample:
    prompt = plan.prompts[position]
    return Sample(
        task=prompt.task,
        id=prompt.id,
        prompt_sha256=plan.hashes[position],
        output=completion.text,
        token_ids=completion.token_ids,
        finish_reason=completion.finish_reason,
        logprob=completion.logprob,
        prompt_tokens=completion.prompt_tokens,
    )
