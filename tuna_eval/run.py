"""The main job: prompts, replies, scores, record. Killed anywhere and started again, it goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tuna_eval.errors import StoreError
from tuna_eval.llm.engine import Engine, SamplingParams
from tuna_eval.llm.fitting import PromptWriter, TruncationPolicy
from tuna_eval.llm.prompts import FormatName, choose_format
from tuna_eval.provenance import environment
from tuna_eval.schema import Completion, PreparedPrompt, Prompt, Sample
from tuna_eval.scoring import Scoring, score_outputs
from tuna_eval.store import RunFolder, digest, folder_name, prompt_sha256
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
        sampling: how to decode; None is greedy with each suite's own token limit.
        max_new_tokens: overrides the suites' limit of the reply.
    """

    model: str
    output: Path
    format: str = "auto"
    truncation: TruncationPolicy = "right"
    sampling: SamplingParams = SamplingParams()  # noqa: RUF009  # frozen
    max_new_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that is complete: its folder, its record, and its scores."""

    folder: Path
    record: Mapping[str, Any]
    scoring: Scoring


@dataclass(frozen=True, slots=True)
class _Plan:
    """All prompts of a suite, and the identity that they and the engine give the run."""

    prompts: Sequence[PreparedPrompt]
    hashes: Sequence[str]
    format: FormatName
    params: SamplingParams
    identity: Mapping[str, Any]

    @property
    def run_id(self) -> str:
        return digest(self.identity)[:16]


def run(suite: Suite, engine: Engine, settings: RunSettings, progress: Progress) -> FinishedRun:
    """Runs one suite to its end, reusing every reply that an earlier, equal run has stored.

    Raises:
        TunaError: data, engine or results folder are at fault. Replies that were there are stored.
    """
    plan = _plan(suite, engine, settings)
    folder = RunFolder(settings.output / "runs" / folder_name(settings.model) / suite.name / plan.run_id)
    with folder.locked():
        record = folder.read_record() or _new_record(suite, engine, settings, plan)
        pending = _pending(plan, folder)
        progress.note(f"{suite.name}: {len(plan.prompts)} prompts, {len(pending)} to go; run {folder.path}")
        if plan.prompts:
            progress.note(f"first prompt ({plan.format}):\n{plan.prompts[0].prompt.text}")
        folder.write_record(record)
        if pending:
            session = _generate(plan, pending, engine, folder, progress)
            record = {**record, "sessions": [*record["sessions"], session]}
        started = time.perf_counter()
        scoring = score_outputs(suite, folder.samples_file, folder)
        record = {
            **record,
            "status": "complete",
            "finished": _now(),
            "scoring_seconds": round(time.perf_counter() - started, 3),
            "coverage": scoring.coverage.as_json(),
            "results": asdict(scoring.result),
        }
        folder.write_record(record)
    return FinishedRun(folder.path, record, scoring)


def _plan(suite: Suite, engine: Engine, settings: RunSettings) -> _Plan:
    format = choose_format(settings.format, engine)
    params = replace(settings.sampling, max_new_tokens=settings.max_new_tokens or suite.max_new_tokens)
    prompts = list(suite.prepare(PromptWriter(engine, format, params.max_new_tokens, settings.truncation)))
    hashes = [prompt_sha256(p.prompt) for p in prompts]
    identity = {
        "suite": suite.name,
        "version": suite.version,
        "engine": dict(engine.fingerprint()),
        "sampling": asdict(params),
        "prompts_sha256": digest([[p.task, p.id, sha] for p, sha in zip(prompts, hashes, strict=True)]),
    }
    return _Plan(prompts, hashes, format, params, identity)


def _new_record(suite: Suite, engine: Engine, settings: RunSettings, plan: _Plan) -> dict[str, Any]:
    dropped = [f"{p.task} {p.id}" for p in plan.prompts if p.dropped]
    truncated = [f"{p.task} {p.id}" for p in plan.prompts if p.truncated]
    return {
        "run_id": plan.run_id,
        "status": "generating",
        "started": _now(),
        "model": settings.model,
        "suite": suite.name,
        **plan.identity,
        "config": {**suite.settings(), "format": plan.format, "truncation": settings.truncation},
        "prompts": {
            "count": len(plan.prompts),
            "distinct": len(set(plan.hashes)),
            "first": plan.prompts[0].prompt.text if plan.prompts else "",
            "lengths_checked": engine.encoder is not None,
            "demonstrations_dropped": {"count": len(dropped), "ids": dropped},
            "truncated": {"count": len(truncated), "ids": truncated},
        },
        "environment": environment(),
        "sessions": [],
    }


@dataclass(frozen=True, slots=True)
class _Question:
    """A prompt to be sent once, and where in the plan its reply belongs."""

    prompt: Prompt
    positions: list[int]


def _pending(plan: _Plan, folder: RunFolder) -> list[_Question]:
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


def _generate(
    plan: _Plan, pending: Sequence[_Question], engine: Engine, folder: RunFolder, progress: Progress
) -> dict[str, Any]:
    """Has every pending prompt answered and stores each reply as it comes."""
    prompts = [question.prompt for question in pending]
    started_at, started = _now(), time.perf_counter()
    first: float | None = None
    tokens = 0
    total = len(plan.prompts)
    progress.begin(str(plan.identity["suite"]), done=total - sum(len(q.positions) for q in pending), total=total)
    try:
        with folder.appender() as append:
            for completion in engine.generate(prompts, plan.params):
                first = first or time.perf_counter()
                tokens += len(completion.token_ids or ())
                for position in pending[completion.index].positions:
                    append(_sample(plan, position, completion))
                    progress.advance()
    finally:
        progress.end()
    seconds = time.perf_counter() - started
    return {
        "started": started_at,
        "replies": len(prompts),
        "seconds": round(seconds, 3),
        "seconds_to_first_reply": round((first or started) - started, 3),
        "generated_tokens": tokens or None,
        "tokens_per_second": round(tokens / seconds, 2) if tokens else None,
    }


def _sample(plan: _Plan, position: int, completion: Completion) -> Sample:
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
