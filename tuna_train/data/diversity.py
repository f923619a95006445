"""Which of a model's responses to an instruction are different enough to be kept, and which are drawn again.

Pure functions: texts in, decision out. A response is drawn for a slot (0..N-1); the draws of a slot are its trials, the
first one at temperature T and each further one 0.1 above the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

from tuna_eval.errors import ConfigError
from tuna_eval.metrics.rouge import RougeTokenizer, rouge_l_of_pairs, rouge_signatures

PolicyName = Literal["paper", "released", "none"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)

Draw = tuple[int, int]  # slot and trial, both from 0
Similarity = Callable[[Draw, Draw], float]


@dataclass(frozen=True, slots=True)
class Policy:
    """When responses count as too similar, and what is done about it.

    Attributes:
        name: "paper" (Section 3.1: one response after the other), "released" (the published code: the whole group,
            fault included), or "none" (every first draw is kept).
        tau: ROUGE-L F1 from which on two responses are too similar.
        trials: draws of a slot at most, the first included.
        step: what the temperature rises by from one trial to the next.

    Raises:
        ConfigError: tau is outside of (0, 1].
    """

    name: PolicyName = "paper"
    tau: float = 0.8
    trials: int = 3
    step: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.tau <= 1:  # which NaN is not
            raise ConfigError(f"a similarity of {self.tau:g}", place="--tau", cure="give more than 0, at most 1")

    @property
    def tokenizer(self) -> RougeTokenizer:
        """The released code's does not see any letter beyond a-z, so that two texts without them are never similar."""
        return "rouge-score" if self.name == "released" else "unicode"

    @property
    def signature(self) -> str:
        """How similarity is measured; "" if it is not."""
        return "" if self.name == "none" else rouge_signatures(tokenizer=self.tokenizer)["rougeL"]

    def temperature(self, base: float, trial: int) -> float:
        """Of a trial, counted from 0; rounded, so that 1 + 0.1 + 0.1 is 1.2."""
        return round(base + self.step * trial, 6)

    def hottest(self, base: float) -> float:
        """The temperature of the last trial that there may be."""
        return base if self.name == "none" else self.temperature(base, self.trials - 1)

    def decide(self, drawn: Sequence[int], similarity: Similarity) -> Choice:
        """What is kept of the draws so far, and which draws come next.

        Trials come in rounds: every slot that is open has its next draw before anything else is decided, so that the
        outcome does not depend on which of them came first.

        Args:
            drawn: number of trials that each slot has.
            similarity: ROUGE-L F1 of two draws; asked for those that are there alone.
        """
        choice = Choice((None,) * len(drawn))
        for trial in range(self.trials):
            open = [slot for slot, kept in enumerate(choice.kept) if kept is None]
            missing = tuple((slot, trial) for slot in open if drawn[slot] <= trial)
            if missing or not open:
                return Choice(choice.kept, missing)
            choice = self._choose([min(count, trial + 1) for count in drawn], similarity)
        return choice

    def _choose(self, drawn: Sequence[int], similarity: Similarity) -> Choice:
        if self.name == "paper":
            return _one_by_one(drawn, similarity, self)
        if self.name == "released":
            return _whole_group(drawn, similarity, self)
        return Choice((0,) * len(drawn))


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision.

    Attributes:
        kept: for each slot the trial whose response is kept; None while the slot is open.
        missing: the draws that the decision waits for; none if all is decided.
    """

    kept: tuple[int | None, ...]
    missing: tuple[Draw, ...] = ()


def _one_by_one(drawn: Sequence[int], similarity: Similarity, policy: Policy) -> Choice:
    """The paper's policy: of two similar responses the later one is dropped and drawn again, nothing else is.

    A response that is kept stays. A slot whose trials are used up keeps the least similar of them, the first of equals:
    the one whose highest similarity to what is kept is the lowest.
    """
    kept: dict[int, int] = {}

    def highest(draw: Draw) -> float:
        return max((similarity(other, draw) for other in kept.items()), default=0.0)

    slots = range(len(drawn))
    for trial in range(policy.trials):
        for slot in slots:
            if slot not in kept and trial < drawn[slot] and highest((slot, trial)) < policy.tau:
                kept[slot] = trial
    for slot in slots:
        if slot not in kept and drawn[slot] >= policy.trials:
            kept[slot] = min(range(policy.trials), key=lambda trial: highest((slot, trial)))
    return Choice(tuple(kept.get(slot) for slot in slots))


def _whole_group(drawn: Sequence[int], similarity: Similarity, policy: Policy) -> Choice:
    """The released policy: all slots are drawn again until no two are similar, and the group with the lowest mean
    similarity is kept. Its fault is kept too: a group without similar ones ends the sampling, but is not itself kept if
    an earlier group has a lower mean."""
    slots = range(len(drawn))
    best, lowest, is_done = 0, float("inf"), not drawn
    for trial in range(min(drawn, default=0)):
        pairs = combinations(slots, 2)
        found = [similarity((first, trial), (second, trial)) for first, second in pairs]
        mean = sum(found) / len(found) if found else 0.0
        if mean < lowest:
            best, lowest = trial, mean
        is_done = max(found, default=0.0) < policy.tau or trial + 1 == policy.trials
        if is_done:
            break
    return Choice(tuple(best if is_done else None for _ in slots))


class Similarities:
    """ROUGE-L F1 among the draws of many instructions; pairs are collected and scored together.

    Args:
        policy: says how texts are compared, and which pairs are needed.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._waiting: list[tuple[dict[tuple[Draw, Draw], float], tuple[Draw, Draw], tuple[str, str]]] = []

    def add(self, known: dict[tuple[Draw, Draw], float], texts: dict[Draw, str], new: Sequence[Draw]) -> None:
        """Asks for what an instruction's new draws need; `score` enters it into `known`.

        Args:
            known: of this instruction, keyed by two draws in ascending order.
            texts: of all draws.
            new: draws that came since the last time.
        """
        if self._policy.name == "none":
            return
        for draw in new:
            for other in texts:
                pair = (other, draw) if other < draw else (draw, other)
                if other[0] == draw[0] or pair in known:
                    continue
                if self._policy.name == "released" and other[1] != draw[1]:
                    continue
                known[pair] = 0.0
                self._waiting.append((known, pair, (texts[pair[0]], texts[pair[1]])))

    def score(self) -> None:
        """Scores what was asked for."""
        waiting, self._waiting = self._waiting, []
        scores = rouge_l_of_pairs([texts for _, _, texts in waiting], tokenizer=self._policy.tokenizer)
        for (known, pair, (first, second)), score in zip(waiting, scores, strict=True):
            # Texts without any word (both empty, both "!!!") score 0 however equal they are.
            is_same = self._policy.name == "paper" and first.strip() == second.strip()
            known[pair] = 1.0 if is_same else score


def similarity_of(known: dict[tuple[Draw, Draw], float]) -> Similarity:
    """Looks two draws up in whatever order they are named."""
    return lambda first, second: known[(first, second) if first < second else (second, first)]
