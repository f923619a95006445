"""A judge that writes nothing: it compares how probable a model finds either verdict. Works with any causal model."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from tuna_eval.errors import DataError, EngineError
from tuna_eval.judge.likelihood_ranking import rank_by_pairs
from tuna_eval.judge.protocols import BOTH_ORDERS, Ask, Judgment, Order, Pair, Question, Ranking, State
from tuna_eval.judge.templates import Templates, own_templates, templates_sha256
from tuna_eval.judge.verdicts import combine_probabilities
from tuna_eval.llm.engine import Engine, TextEncoder
from tuna_eval.llm.fitting import fits
from tuna_eval.llm.prompts import FormatName, choose_format, render
from tuna_eval.schema import JSON, ContinuationRequest, Prompt

# Where the prompt ends and what may follow. Local engines tokenise the two apart, servers as one text. A word with the
# space before it is one token to byte-level tokenizers (GPT-2, Llama 3, Qwen) and to SentencePiece (Llama 2, Gemma,
# T5), and it is the same token either way, because both start a new token at a space. A prompt that ended in a space
# or a bracket would not have this property.
LEAD = "The better answer is answer"
VERDICTS = (" A", " B")
# Room for a verdict: some tokenizers part the space from the letter, and vLLM wants a token to be left.
_VERDICT_TOKENS = 4

# Between a cut answer and what the judge is not shown of it.
CUT_MARK = " [...]"
# A prompt with less room than this for each answer is not asked: two beginnings of sentences cannot be compared.
MIN_ANSWER_TOKENS = 16

# Pairs that one call of the engine gets.
CHUNK = 256


@dataclass(frozen=True, slots=True)
class LikelihoodRules:
    """How the likelihood judge's probabilities become verdicts; see `VerdictRules`.

    Attributes:
        tolerance: a mean probability this close to 1/2 is a tie, in 0..0.5. It absorbs what engines compute differently
            in the last digits; a judge whom only the place of an answer moves ends at 1/2 exactly.
    """

    tolerance: float = 0.005

    @property
    def orders(self) -> tuple[Order, ...]:
        """Both: a small model's preference for a place is stronger than its preference for an answer."""
        return BOTH_ORDERS

    @property
    def signature(self) -> str:
        """See `VerdictRules.signature`."""
        asked = templates_sha256(likelihood_templates()) + LEAD
        prompts = hashlib.sha256(asked.encode()).hexdigest()[:12]
        verdicts = "/".join(verdict.strip() for verdict in VERDICTS)
        orders = "+".join(self.orders)
        return f"judge:likelihood|prompts:{prompts}|verdicts:{verdicts}|tolerance:{self.tolerance:g}|orders:{orders}"

    def check(self, question: Question) -> None:
        """Every question can be judged."""

    def combine(self, judgments: Sequence[Judgment]) -> State:
        """The verdict of the probability that the candidate is better, averaged over the orders."""
        return combine_probabilities(judgments, self.tolerance)

    def reread(self, judgment: Judgment, question: Question) -> Judgment:
        """A stored judgment under this tolerance; the log-probabilities stand in its reply.

        Raises:
            DataError: they do not: another judge made it.
        """
        if judgment.state == "api_error":
            return judgment
        try:
            first, second = (float(json.loads(judgment.reply)["logprobs"][verdict.strip()]) for verdict in VERDICTS)
        except (ValueError, KeyError, TypeError) as error:
            problem = f"the reply on question {judgment.id} holds no probabilities: {judgment.reply!r:.40}"
            raise DataError(problem, cure="read it with the protocol that it was made with") from error
        scores = _probabilities(first, second, judgment.order)
        return replace(judgment, scores=scores, state=self.state(scores))

    def state(self, scores: tuple[float, float]) -> State:
        """What the probabilities of one order say by themselves."""
        ahead = (scores[0] - scores[1]) / 2
        return "tie" if abs(ahead) <= self.tolerance else "win" if ahead > 0 else "lose"


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A prompt with what had to be cut to make it fit; `problem` is why it cannot be asked, "" if it can."""

    prompt: Prompt
    cut_tokens: int = 0
    problem: str = ""


class LikelihoodComparer:
    """Compares log p("A") with log p("B") at the place where the verdict comes; also a `Ranker`.

    The probability that the first answer is better is p(A) / (p(A) + p(B)). Answers too long for the context are cut at
    the end: both to the same number of tokens, the largest with which the prompt fits, so that neither side is favoured
    and an answer that is shorter stays whole. A mark says where, and the judgment counts the tokens.

    Args:
        engine: any that scores given text; a chat endpoint does not.
        rules: the tolerance for ties.
        format: prompt format, or "auto" for the model's chat template if it has one.
        name: what tables call the judge; "" for the engine's model.
    """

    repeats = 1  # the same text has the same probability every time

    def __init__(
        self, engine: Engine, rules: LikelihoodRules | None = None, *, format: str = "auto", name: str = ""
    ) -> None:
        self.engine, self.rules = engine, rules or LikelihoodRules()
        self._requested, self._name = format, name

    @property
    def name(self) -> str:
        """See `Comparer.name`."""
        model = self.engine.fingerprint().get("model")
        return self._name or f"likelihood of {model if isinstance(model, str) and model else self.engine.name}"

    def fingerprint(self) -> Mapping[str, JSON]:
        """See `Comparer.fingerprint`; the tolerance changes no probability."""
        return {
            "judge": "likelihood",
            "engine": dict(self.engine.fingerprint()),
            "prompts_sha256": templates_sha256(likelihood_templates()),
            "lead": LEAD,
            "verdicts": list(VERDICTS),
            "format": choose_format(self._requested, self.engine),
            "room": self.engine.max_prompt_tokens(_VERDICT_TOKENS),
        }

    def prompts(self, asks: Iterable[Ask]) -> Iterator[Prompt]:
        """What would be sent: each ask's prompt once for either verdict."""
        writer = _PromptWriter(self.engine, choose_format(self._requested, self.engine))
        for ask in asks:
            fitted = writer.write(ask.pair, ask.order)
            if not fitted.problem:
                yield from (replace(fitted.prompt, text=fitted.prompt.text + verdict) for verdict in VERDICTS)

    def compare(self, asks: Iterable[Ask]) -> Iterator[Judgment]:
        """See `Comparer.compare`. A question that leaves the answers no room is an "api_error".

        Raises:
            EngineError: the engine cannot score, or fails for good.
        """
        writer = _PromptWriter(self.engine, choose_format(self._requested, self.engine))
        rest = iter(asks)
        while chunk := list(islice(rest, CHUNK)):
            asked = []
            for ask in chunk:
                fitted = writer.write(ask.pair, ask.order)
                if fitted.problem:
                    yield _judgment(ask, "api_error", reply=fitted.problem)
                else:
                    asked.append((ask, fitted))
            for position, logprobs in self._logprobs([fitted.prompt for _, fitted in asked]):
                ask, fitted = asked[position]
                scores = _probabilities(*logprobs, ask.order)
                named = {verdict.strip(): value for verdict, value in zip(VERDICTS, logprobs, strict=True)}
                state, reply = self.rules.state(scores), json.dumps({"logprobs": named})
                yield _judgment(ask, state, scores=scores, reply=reply, cut_tokens=fitted.cut_tokens)

    def rank(self, instruction: str, responses: Sequence[str]) -> Ranking:
        """Orders responses by the mean probability of being better than another one, over all others and both orders.

        Equal means are ties; the confidence is "low" if the tolerance makes ties of two neighbours.

        Raises:
            EngineError: the engine cannot score, or a prompt cannot be made to fit.
            ValueError: fewer than two responses.
        """
        ((_, found),) = self.rank_many([(instruction, responses)])
        if isinstance(found, Judgment):
            raise EngineError(found.reply)
        return found

    def rank_many(self, items: Sequence[tuple[str, Sequence[str]]]) -> Iterator[tuple[int, Ranking | Judgment]]:
        """As `rank`, of many instructions: each one's place and ranking, or a judgment that could not be had."""
        return rank_by_pairs(self.compare, items, self.rules.tolerance)

    def _logprobs(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, tuple[float, float]]]:
        """log p of the two verdicts, as soon as both are there, each with the position of its prompt."""
        requests = [ContinuationRequest(prompt, verdict) for prompt in prompts for verdict in VERDICTS]
        half: dict[int, tuple[int, float]] = {}
        for score in self.engine.score(requests):
            position, which = divmod(score.index, 2)
            if position not in half:
                half[position] = which, score.logprob
                continue
            _, other = half.pop(position)
            yield position, (score.logprob, other) if which == 0 else (other, score.logprob)


class _PromptWriter:
    """Renders the judge's prompts for one engine and makes them fit."""

    def __init__(self, engine: Engine, format: FormatName) -> None:
        self._engine, self._format = engine, format
        self._templates = likelihood_templates()
        self._limit = engine.max_prompt_tokens(_VERDICT_TOKENS)

    def write(self, pair: Pair, order: Order) -> _Fitted:
        """The prompt, with the answers cut if they must be."""
        whole = self._render(pair, order)
        encoder = self._engine.encoder
        if encoder is None or self._limit is None or fits(whole, self._limit, encoder):
            return _Fitted(whole)
        excess = len(encoder.encode(whole)) - self._limit
        lengths = sorted(len(_plain_ids(text, encoder)) for text in (pair.candidate, pair.baseline))
        # The limit that makes the two fit: only the longer one is cut as long as that suffices.
        room = sum(lengths) - excess
        most = max(room - lengths[0], room // 2)
        while most >= MIN_ANSWER_TOKENS:
            texts = [_cut(text, most, encoder) for text in (pair.candidate, pair.baseline)]
            prompt = self._render(Pair(pair.question, *texts), order)
            excess = len(encoder.encode(prompt)) - self._limit
            if excess <= 0:
                return _Fitted(prompt, sum(max(0, length - most) for length in lengths))
            most -= max(1, excess // 2)  # the marks and the seams have tokens too
        problem = f"the question leaves no room for answers in a context of {self._limit} tokens"
        return _Fitted(whole, problem=str(EngineError(problem, cure="use a judge with a longer context")))

    def _render(self, pair: Pair, order: Order) -> Prompt:
        question = pair.question
        first, second = (pair.candidate, pair.baseline)[:: 1 if order == "candidate-first" else -1]
        kind = "general" if question.reference is None else "reference"
        texts = self._templates[kind].render(question.text, first, second, question.reference)
        prompt = render(texts.user, self._format, self._engine, system=texts.system)
        # Behind a chat template stands the beginning of the model's own turn, behind anything else a new line.
        return replace(prompt, text=prompt.text + ("" if self._format == "chat" else "\n") + LEAD)


def likelihood_templates() -> Templates:
    """The judge's prompts, without the lead: "general", and "reference" for questions with a reference answer."""
    return own_templates("likelihood")


def _judgment(ask: Ask, state: State, **values: object) -> Judgment:
    return Judgment(ask.pair.question.id, ask.order, ask.repeat, state, **values)  # type: ignore[arg-type]


def _probabilities(first: float, second: float, order: Order) -> tuple[float, float]:
    """P(candidate better) and P(baseline better) from the log-probabilities of the verdicts for first and second.

    Both come from one formula, so that exchanging the answers exchanges the two numbers to the last bit.
    """
    both = (_share(first - second), _share(second - first))
    return both if order == "candidate-first" else both[::-1]


def _share(log_odds: float) -> float:
    # By tanh, because exp overflows for large odds.
    return (1 + math.tanh(log_odds / 2)) / 2


def _plain_ids(text: str, encoder: TextEncoder) -> list[int]:
    return encoder.encode(Prompt(text, has_special_tokens=True))


def _cut(text: str, limit: int, encoder: TextEncoder) -> str:
    ids = _plain_ids(text, encoder)
    return text if len(ids) <= limit else encoder.decode(ids[:limit]).rstrip() + CUT_MARK
