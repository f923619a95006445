"""Ranks responses by a teacher model's own probability of them (Section 2.2, Eq. 3): drawn from it, or given to it.

log p and |r| are of the same tokens. Engines in this process and vLLM's server count the end of sequence, so a reply
that ended by itself has it in both. A reply that the token limit cut (finish "length") has none: its score is that of
what is there, a little higher than the whole reply's would be. The released data ranks such replies like any other;
`rank_cut=False` leaves them unranked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.engine import Engine
from tuna_eval.llm.prompts import FormatName, render_instruction
from tuna_eval.run import Progress
from tuna_eval.schema import JSON, ContinuationRequest, ContinuationScore, Prompt
from tuna_eval.store import digest, prompt_sha256
from tuna_train.data.ranked import Candidate, RankedExample, rank_by_score, read_ranked, write_ranked
from tuna_train.data.replies import Reply, ReplyLog
from tuna_train.data.sample import WINDOW
from tuna_train.data.stage import StageOutput

STAGE = "teacher"
BETA = 1.3  # Section 3.1


def length_normalized(logprob: float, tokens: int, beta: float = BETA) -> float:
    """log p / |r|^beta (Eq. 3), the float twin of `losses.teacher_score`.

    Log-probabilities are negative, so a larger beta favours long responses.

    Args:
        logprob: of the whole response, nats.
        tokens: of the response, >= 1.

    Raises:
        ValueError: no token.
    """
    if tokens < 1:
        raise ValueError(f"a response of {tokens} tokens has no score")
    return logprob / math.pow(tokens, beta)


def rank(example: RankedExample, beta: float = BETA, *, rank_cut: bool = True) -> RankedExample:
    """The example with its candidates ranked by Eq. 3; those without log-probability or tokens stay unranked.

    Args:
        example: its candidates have log-probabilities.
        beta: length penalty.
        rank_cut: whether replies that ended at the token limit are ranked.
    """
    made = example.provenance.get(STAGE)
    record: dict[str, JSON] = dict(made) if isinstance(made, dict) else {}
    draws = record.get("candidates")
    finishes = [d.get("finish") if isinstance(d, dict) else None for d in draws] if isinstance(draws, list) else []
    scored = []
    for place, candidate in enumerate(example.candidates):
        is_cut = place < len(finishes) and finishes[place] == "length"
        score = None
        if candidate.logprob is not None and candidate.tokens and (rank_cut or not is_cut):
            score = length_normalized(candidate.logprob, candidate.tokens, beta)
        scored.append(replace(candidate, score=score))
    provenance = {**example.provenance, STAGE: {**record, "beta": beta, "rank_cut": rank_cut}}
    return replace(example, candidates=rank_by_score(scored), provenance=provenance)


def check_beta(beta: float) -> float:
    """The length penalty, if it is one.

    Raises:
        ConfigError: negative, infinite or not a number.
    """
    if not 0 <= beta < float("inf"):
        raise ConfigError(f"a length penalty of {beta:g}", place="--beta", cure="give 0 or more, such as 1.3")
    return beta


def rerank(file: Path, betas: Sequence[float], *, rank_cut: bool = True) -> dict[float, Path]:
    """Ranks stored responses anew, without a call: FILE.beta-1.jsonl beside FILE.jsonl for each beta.

    Returns:
        The files by beta.

    Raises:
        DataError: an example has candidates and none of them a log-probability; or the file is broken.
        ConfigError: a file of this name is there and holds something else.
    """
    files = {}
    for beta in map(check_beta, betas):
        files[beta] = file.with_name(f"{file.stem}.beta-{beta:g}{file.suffix or '.jsonl'}")
        ranked = (rank(with_logprobs(each, file), beta, rank_cut=rank_cut) for each in read_ranked(file))
        write_ranked(files[beta], _unlike_nothing_in(files[beta], ranked))
    return files


def _unlike_nothing_in(file: Path, examples: Iterator[RankedExample]) -> Iterator[RankedExample]:
    """The examples, if those that the file may hold already are the first of them; it has grown since."""
    there = read_ranked(file) if file.exists() else iter(())
    other = ConfigError("is there already and holds something else", place=str(file), cure="remove it, or rename it")
    for example in examples:
        if next(there, example) != example:
            raise other
        yield example
    if next(there, None) is not None:
        raise other


def with_logprobs(example: RankedExample, file: Path) -> RankedExample:
    """The example, if it can be ranked by likelihood or has no candidates.

    Raises:
        DataError: it has candidates and none of them a log-probability; `file` is where.
    """
    if example.candidates and all(c.logprob is None or not c.tokens for c in example.candidates):
        problem = f"the candidates of example {example.id!r} have no log-probabilities"
        raise DataError(problem, place=str(file), cure="have a teacher score them: tuna-train data teacher --given")
    return example


def end_of_sequence(engine: Engine, asked: str | None) -> str:
    """The text of the token that ends a response, which is scored with it.

    Args:
        engine: whose tokenizer knows it.
        asked: by the user; None is the tokenizer's own, "" none.

    Raises:
        ConfigError: the tokenizer does not take it for one token, or nobody knows it.
    """
    encoder = engine.encoder
    if asked is None:
        if not isinstance(encoder, HFEncoder) or not encoder.tokenizer.eos_token:
            cure = "name the tokenizer with --tokenizer, or give --eos TEXT ('' scores responses without their end)"
            raise ConfigError("what ends a response is known to the server only", place="--eos", cure=cure)
        return str(encoder.tokenizer.eos_token)
    if asked and encoder is not None:
        ids = encoder.encode(Prompt(asked, has_special_tokens=True))
        if len(ids) != 1:
            cure = "give the text of the model's end-of-sequence token"
            raise ConfigError(f"{asked!r} is {len(ids)} tokens, not one", place="--eos", cure=cure)
    return asked


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """How given responses are scored.

    Attributes:
        model: what provenance calls the teacher.
        format: prompt format.
        eos: text of the token that ends each response; "" scores them without.
    """

    model: str
    format: FormatName
    eos: str

    def identity(self, engine: Engine) -> dict[str, JSON]:
        """Everything that may change a log-probability."""
        return {"stage": f"{STAGE} --given", **asdict(self), "engine": dict(engine.fingerprint())}


class Scorer:
    """Has a teacher score the candidates that examples bring (teacher forcing).

    A text is scored in the tokens that the tokenizer makes of it, which need not be those it was drawn in.

    Args:
        engine: can score given text.
        settings: how.
        output: where the examples go; opened.
        progress: counts examples.
        finish: ranks a scored example.
    """

    def __init__(
        self,
        engine: Engine,
        settings: ScoreSettings,
        output: StageOutput,
        progress: Progress,
        finish: Callable[[RankedExample], RankedExample],
    ) -> None:
        self.engine, self.settings, self.output, self.progress = engine, settings, output, progress
        self.log = ReplyLog(output.journal)
        self._finish = finish
        self._engine_digest = digest(dict(engine.fingerprint()))[:16]

    def run(self, examples: Iterator[RankedExample], total: int) -> None:
        """Scores what is not scored yet.

        Args:
            examples: all that are meant; those at the beginning that are in the output are passed over.
            total: their number.

        Raises:
            TunaError: input, model or output are at fault. What was scored is stored.
        """
        done = self.output.done(examples)
        self.log.read(used=done.ids)
        self.progress.begin(STAGE, done=len(done.ids), total=total)
        try:
            with self.output.appender() as append, self.log.appender() as keep:
                while window := list(islice(examples, WINDOW)):
                    append(self._finish(example) for example in self._scored(window, keep))
                    for _ in window:
                        self.progress.advance()
        finally:
            self.progress.end()

    def _scored(self, window: Sequence[RankedExample], keep: Callable[[Reply], None]) -> Iterator[RankedExample]:
        """The examples of a window with the teacher's log-probabilities."""
        found = {example.id: self._stored(example) for example in window}
        asked = [(each, slot) for each in window for slot in range(len(each.candidates)) if slot not in found[each.id]]
        requests = [
            ContinuationRequest(self._prompt(each), each.candidates[slot].text + self.settings.eos)
            for each, slot in asked
        ]
        for score in self.engine.score(requests):
            example, slot = asked[score.index]
            found[example.id][slot] = reply = _as_reply(example, slot, score, requests[score.index].prompt)
            keep(reply)
        for example in window:
            scored = (self._with(candidate, found[example.id][i]) for i, candidate in enumerate(example.candidates))
            made: dict[str, JSON] = {
                "model": self.settings.model,
                "engine": self._engine_digest,
                "format": self.settings.format,
                "given": True,
                "eos": self.settings.eos,
            }
            yield replace(example, candidates=tuple(scored), provenance={**example.provenance, STAGE: made})

    def _prompt(self, example: RankedExample) -> Prompt:
        return render_instruction(example.instruction, example.input, self.settings.format, self.engine)

    def _stored(self, example: RankedExample) -> dict[int, Reply]:
        sha = prompt_sha256(self._prompt(example))
        stored = {slot: reply for (slot, _), reply in self.log.take(example.id).items()}
        for slot, reply in stored.items():
            texts = [candidate.text for candidate in example.candidates[slot : slot + 1]]
            if reply.prompt_sha256 != sha or texts != [reply.text]:
                raise DataError(
                    f"the stored scores of example {example.id!r} are of other texts",
                    place=str(self.log.file),
                    cure="give the input they were made for, or choose another --out",
                )
        return stored

    @staticmethod
    def _with(candidate: Candidate, reply: Reply) -> Candidate:
        return replace(candidate, logprob=reply.logprob, tokens=reply.tokens)


def _as_reply(example: RankedExample, slot: int, score: ContinuationScore, prompt: Prompt) -> Reply:
    values = score.token_logprobs
    return Reply(
        id=example.id,
        slot=slot,
        trial=0,
        seed=0,
        temperature=0.0,
        prompt_sha256=prompt_sha256(prompt),
        text=example.candidates[slot].text,
        finish_reason="given",
        logprob=score.logprob,
        tokens=None if values is None else len(values),
        prompt_tokens=None,
    )
