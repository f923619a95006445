"""Draws responses from a model: N for each instruction, thousands at once, those too similar again (Section 3.1).

Instructions are taken in windows. All draws of a window that share a temperature are one call of the engine; only what
the policy still waits for is in the next call. Every reply is in the journal before anything is made of it, a window's
examples are appended together in input order, and no memory depends on the number of instructions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, islice

from tuna_eval.errors import ConfigError, DataError, EngineError
from tuna_eval.llm.engine import Engine, SamplingParams
from tuna_eval.llm.fitting import PromptWriter
from tuna_eval.llm.prompts import FormatName, render_instruction
from tuna_eval.metrics.signature import comparable_part
from tuna_eval.run import Progress
from tuna_eval.schema import JSON, Completion, Prompt
from tuna_eval.store import digest, prompt_sha256
from tuna_train.data.diversity import Choice, Draw, Policy, Similarities, similarity_of
from tuna_train.data.ranked import Candidate, RankedExample
from tuna_train.data.replies import Reply, ReplyLog, Totals
from tuna_train.data.stage import FAILED, StageOutput

# Instructions in work at once. Between two calls the last replies are waited for, so more are faster; their texts are
# held in memory, so fewer are smaller.
WINDOW = 2048


@dataclass(frozen=True, slots=True)
class DrawSettings:
    """How responses are drawn.

    Attributes:
        stage: name of the stage in provenance: "sample" or "teacher".
        model: source of the candidates.
        format: prompt format.
        responses: N, for each instruction, >= 1.
        temperature, top_p, max_new_tokens, stop: see `SamplingParams`; the temperature is that of the first draws.
        seed: of the whole stage; each draw has its own, made of this, the example's id, slot and trial.
        needs_logprobs: whether a reply without log-probability is of no use and ends the drawing.
        policy: what is drawn again.

    Raises:
        ConfigError: a number of responses or trials below 1, or a nucleus outside of (0, 1].
    """

    stage: str
    model: str
    format: FormatName
    responses: int = 4
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int = 0
    needs_logprobs: bool = False
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        for name, value, option in (
            ("responses", self.responses, "--n"),
            ("trials", self.policy.trials, "--trials"),
            ("new tokens", self.max_new_tokens, "--max-new-tokens"),
        ):
            if value < 1:
                raise ConfigError(f"{value} {name}", place=option, cure="give 1 or more")
        if not 0 < self.top_p <= 1:  # which NaN is not
            raise ConfigError(f"a nucleus of {self.top_p:g}", place="--top-p", cure="give more than 0, at most 1")

    def identity(self, engine: Engine) -> dict[str, JSON]:
        """Everything that may change what is drawn."""
        policy: dict[str, JSON] = {**asdict(self.policy), "similarity": comparable_part(self.policy.signature)}
        drawn = {key: value for key, value in asdict(self).items() if key != "needs_logprobs"}
        return {**drawn, "stop": list(self.stop), "policy": policy, "engine": dict(engine.fingerprint())}

    def params(self, trial: int) -> SamplingParams:
        """How the draws of a trial are decoded; the seed is each prompt's own."""
        temperature = self.policy.temperature(self.temperature, trial)
        return SamplingParams(self.max_new_tokens, temperature, self.top_p, stop=self.stop)


def draw_seed(seed: int, id: str, slot: int, trial: int) -> int:
    """The seed of one draw, 31 bits: every server takes that many. No two draws of an example share one by plan."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{id}:{slot}:{trial}".encode()).digest()[:4]) >> 1


class _Drawing:
    """An instruction whose responses are being drawn."""

    def __init__(self, example: RankedExample, prompt: Prompt, replies: dict[Draw, Reply], problem: str = "") -> None:
        self.example, self.prompt, self.replies, self.problem = example, prompt, replies, problem
        self.texts = {draw: reply.text for draw, reply in replies.items() if not reply.is_withheld}
        self.new = sorted(self.texts)
        self.known: dict[tuple[Draw, Draw], float] = {}
        self.choice, self.failure = Choice(()), ""

    def enter(self, reply: Reply) -> None:
        self.replies[reply.draw] = reply
        if not reply.is_withheld:
            self.texts[reply.draw] = reply.text
            self.new.append(reply.draw)

    def similarity(self, first: Draw, second: Draw) -> float:
        """What a server withheld is similar to nothing: drawn again, it would be withheld again."""
        return similarity_of(self.known)(first, second) if {first, second} <= self.texts.keys() else 0.0

    def decide(self, settings: DrawSettings) -> None:
        drawn = [sum(1 for slot, _ in self.replies if slot == wanted) for wanted in range(settings.responses)]
        is_hopeless = self.problem or self.failure
        self.choice = Choice(()) if is_hopeless else settings.policy.decide(drawn, self.similarity)


class Sampler:
    """Draws responses with one engine.

    Args:
        engine: the model; each of its prompts has a seed of its own, which lm-eval's classes do not heed.
        settings: how.
        output: where the examples go; opened.
        progress: counts first draws: how many more there will be is not known beforehand.
        finish: makes the final example of one whose candidates are drawn; a teacher ranks them.
        window: examples in work at once; changes no outcome.
    """

    def __init__(
        self,
        engine: Engine,
        settings: DrawSettings,
        output: StageOutput,
        progress: Progress,
        finish: Callable[[RankedExample], RankedExample] = lambda example: example,
        window: int = WINDOW,
    ) -> None:
        self.engine, self.settings, self.output, self.progress = engine, settings, output, progress
        self.log = ReplyLog(output.journal)
        self._finish, self._size = finish, window
        self._writer = PromptWriter(engine, settings.format, settings.max_new_tokens)
        self._similarities = Similarities(settings.policy)
        self._signature = settings.policy.signature
        self._engine_digest = digest(dict(engine.fingerprint()))[:16]

    def run(
        self, examples: Iterator[RankedExample], total: int, told: Callable[[Totals], None] = lambda totals: None
    ) -> None:
        """Draws what is not there yet.

        Args:
            examples: all that are meant; those at the beginning that are in the output are passed over.
            total: their number.
            told: is called after each reply with what all of them took, those of earlier sessions included.

        Raises:
            TunaError: input, model or output are at fault. What was drawn is stored.
        """
        done = self.output.done(examples)
        self.log.read(used=done.ids)
        responses = self.settings.responses
        self.progress.begin(self.settings.stage, done=len(done.ids) * responses, total=total * responses)
        try:
            with self.log.appender() as keep:

                def keep_and_tell(reply: Reply) -> None:
                    keep(reply)
                    told(self.log.totals)

                failed = iter(done.failed)
                while self._window(islice(failed, self._size), self.output.replace, keep_and_tell):
                    pass
                with self.output.appender() as append:
                    while self._window(islice(examples, self._size), append, keep_and_tell):
                        pass
        finally:
            self.progress.end()

    def _window(
        self,
        examples: Iterator[RankedExample],
        append: Callable[[Iterable[RankedExample]], None],
        keep: Callable[[Reply], None],
    ) -> int:
        """Draws and stores what is needed for some examples; their number. Nothing of them stays in memory."""
        window = [self._begin(example) for example in examples]
        if window:
            self._draw(window, keep)
            append(self._finish(self._example(drawing)) for drawing in window)
        return len(window)

    def _begin(self, example: RankedExample) -> _Drawing:
        prompt = render_instruction(example.instruction, example.input, self.settings.format, self.engine)
        stored = self.log.take(example.id)
        if any(reply.prompt_sha256 != prompt_sha256(prompt) for reply in stored.values()):
            raise DataError(
                f"the stored replies to example {example.id!r} answer another prompt",
                place=str(self.log.file),
                cure="give the input they were drawn for, or choose another --out",
            )
        for _, trial in stored:
            if not trial:
                self.progress.advance()
        excess = self._writer.excess(prompt)
        return _Drawing(example, prompt, stored, f"the prompt is {excess} tokens too long" if excess else "")

    def _draw(self, window: Sequence[_Drawing], keep: Callable[[Reply], None]) -> None:
        """Draws until every slot of the window is decided."""
        open = list(window)
        while open:
            for drawing in open:
                self._similarities.add(drawing.known, drawing.texts, drawing.new)
                drawing.new = []
            self._similarities.score()
            for drawing in open:
                drawing.decide(self.settings)
            open = [drawing for drawing in open if drawing.choice.missing]
            asked = [(drawing, draw) for drawing in open for draw in drawing.choice.missing]
            asked.sort(key=lambda each: each[1][1])  # stable: one call for each temperature
            for trial, group in groupby(asked, key=lambda each: each[1][1]):
                self._ask(trial, list(group), keep)

    def _ask(self, trial: int, asked: Sequence[tuple[_Drawing, Draw]], keep: Callable[[Reply], None]) -> None:
        seeds = [draw_seed(self.settings.seed, each.example.id, slot, trial) for each, (slot, _) in asked]
        prompts = [replace(each.prompt, seed=seed) for (each, _), seed in zip(asked, seeds, strict=True)]
        params = self.settings.params(trial)
        for completion in self.engine.generate(prompts, params):
            drawing, draw = asked[completion.index]
            if not trial:
                self.progress.advance()
            if completion.finish_reason == "error":  # not stored: the next run asks again
                drawing.failure = completion.text
                continue
            reply = _reply(drawing, draw, completion, seeds[completion.index], params.temperature)
            if self.settings.needs_logprobs:
                _check_logprob(reply)
            keep(reply)
            drawing.enter(reply)

    def _example(self, drawing: _Drawing) -> RankedExample:
        """The example with what is kept, and how it came about."""
        settings, example = self.settings, drawing.example
        kept = [drawing.replies[slot, trial] for slot, trial in enumerate(drawing.choice.kept) if trial is not None]
        shown = [reply for reply in kept if not reply.is_withheld]
        made: dict[str, JSON] = {
            "model": settings.model,
            "engine": self._engine_digest,
            "format": settings.format,
            "top_p": settings.top_p,
            "max_new_tokens": settings.max_new_tokens,
            "policy": settings.policy.name,
            "tau": settings.policy.tau,
            "similarity": self._signature,
            "generations": len(drawing.replies),
            "withheld": len(kept) - len(shown),
            "candidates": [reply.record for reply in shown],
        }
        if highest := _highest(drawing):
            made["highest_similarity"] = round(highest, 6)
        if drawing.problem:
            made["skipped"] = drawing.problem
        if drawing.failure:
            made[FAILED] = drawing.failure
        candidates = tuple(Candidate(r.text, settings.model, r.tokens, r.logprob) for r in shown)
        provenance = {**example.provenance, settings.stage: made}
        return replace(example, candidates=candidates, provenance=provenance)


def _check_logprob(reply: Reply) -> None:
    if reply.is_withheld or (reply.logprob is not None and reply.tokens is not None):
        return
    raise EngineError(
        f"the reply to example {reply.id!r} came without log-probability or number of tokens",
        cure="use a completions endpoint that gives logprobs and usage, or --engine vllm or hf",
    )


def _highest(drawing: _Drawing) -> float:
    """The highest similarity among what is kept."""
    kept = set(enumerate(drawing.choice.kept))
    return max((value for (a, b), value in drawing.known.items() if a in kept and b in kept), default=0.0)


def _reply(drawing: _Drawing, draw: Draw, completion: Completion, seed: int, temperature: float) -> Reply:
    ids = completion.token_ids
    tokens = completion.completion_tokens
    return Reply(
        id=drawing.example.id,
        slot=draw[0],
        trial=draw[1],
        seed=seed,
        temperature=temperature,
        prompt_sha256=prompt_sha256(drawing.prompt),
        text=completion.text,
        finish_reason=completion.finish_reason,
        logprob=completion.logprob,
        tokens=len(ids) if tokens is None and ids is not None else tokens,
        prompt_tokens=completion.prompt_tokens,
        served_model=completion.served_model,
    )
