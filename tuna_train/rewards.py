"""The reward of reinforcement learning: a proxy ranking model's score, as TRL asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from tuna_train.data.ranked import Candidate, RankedExample
from tuna_train.prm.ranker import PrmRanker


class Reward:
    """A reward function of TRL.

    Args:
        ranker: the model.
        end_ids: what a finished response ends in.
        unfinished: reward of a response that was cut before its end; None for its score.
    """

    __name__ = "prm"  # TRL names its metrics by it

    def __init__(self, ranker: PrmRanker, end_ids: frozenset[int], unfinished: float | None = None) -> None:
        self.ranker, self.end_ids, self.unfinished = ranker, end_ids, unfinished

    def __call__(
        self,
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        id: Sequence[str],
        instruction: Sequence[str],
        input: Sequence[str],
        **_: Any,
    ) -> list[float | None]:
        """Rewards of responses, the same instruction's next to one another; None for one that cannot be scored.

        Args:
            completions: texts, or conversations of one assistant's turn.
            completion_ids: their tokens.
            id, instruction, input: of the instruction that each response answers.
        """
        texts = [text if isinstance(text, str) else text[0]["content"] for text in completions]
        asked = zip(id, instruction, input, texts, strict=True)
        examples = [
            RankedExample(name, task, more, candidates=tuple(Candidate(response) for *_, response in group))
            for (name, task, more), group in groupby(asked, key=lambda row: row[:3])
        ]
        rewards = list(self._scores(examples))
        if self.unfinished is None:
            return rewards
        ends = [bool(ids) and ids[-1] in self.end_ids for ids in completion_ids]
        return [reward if is_whole else self.unfinished for reward, is_whole in zip(rewards, ends, strict=True)]

    def _scores(self, examples: Sequence[RankedExample]) -> Iterator[float | None]:
        for example, ranking in zip(examples, self.ranker.rank_all(examples), strict=True):
            yield from ranking.scores or [None] * len(example.candidates)
