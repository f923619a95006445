"""What a drawing of responses came to, and what one will cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.estimate import Estimate, TokenCounter, estimate_cost, token_counter
from tuna_eval.llm.prices import Price
from tuna_eval.llm.prompts import render_instruction
from tuna_eval.schema import JSON, Prompt
from tuna_train.data.ranked import RankedExample, read_ranked
from tuna_train.data.replies import Totals
from tuna_train.data.sample import DrawSettings
from tuna_train.data.stage import FAILED


@dataclass(slots=True)
class Drawn:
    """Counts over the examples of an output.

    Attributes:
        examples: all of them.
        candidates: that were kept.
        generations: draws of any trial.
        drawn_again: draws beyond the first ones.
        similar: examples that keep two responses at or above tau, since the trials were used up.
        at_limit: candidates that ended at the token limit.
        withheld: replies that a server withheld, which are no candidates.
        skipped: examples whose prompt does not fit the model.
        failed: examples with a request that failed for good; the next run asks for them again.
        first_failed: id and fault of the first of these; "" without one.
    """

    examples: int = 0
    candidates: int = 0
    generations: int = 0
    drawn_again: int = 0
    similar: int = 0
    at_limit: int = 0
    withheld: int = 0
    skipped: int = 0
    failed: int = 0
    first_failed: str = ""

    def lines(self) -> list[str]:
        """For the user."""
        lines = [
            f"{self.examples} examples, {self.candidates} candidates of {self.generations} generations "
            f"({self.drawn_again} drawn again)"
        ]
        told = {
            "examples keep responses that are too similar after all trials": self.similar,
            "candidates ended at the token limit": self.at_limit,
            "replies were withheld by the server and are no candidates": self.withheld,
            "examples were skipped, because their prompt does not fit the model": self.skipped,
        }
        lines += [f"{count} {what}" for what, count in told.items() if count]
        if self.failed:
            what = "examples have no candidates, because a request failed: run the same command again to ask for them"
            lines.append(f"{self.failed} {what}; the first is {self.first_failed}")
        return lines


def count_drawn(file: Path, settings: DrawSettings) -> Drawn:
    """Counts what an output holds, one example in memory at a time.

    Raises:
        DataError: it is broken.
    """
    counts = Drawn()
    for example in read_ranked(file):
        made = example.provenance.get(settings.stage)
        if isinstance(made, dict):
            _enter(counts, len(example.candidates), made, settings)
            if FAILED in made:
                counts.first_failed = counts.first_failed or f"example {example.id!r} ({made[FAILED]})"
    return counts


def _enter(counts: Drawn, candidates: int, made: Mapping[str, JSON], settings: DrawSettings) -> None:
    listed = made.get("candidates")
    generations = _number(made, "generations")
    counts.examples += 1
    counts.candidates += candidates
    counts.generations += int(generations)
    counts.drawn_again += max(0, int(generations) - settings.responses)
    counts.similar += settings.policy.name != "none" and _number(made, "highest_similarity") >= settings.policy.tau
    if isinstance(listed, list):
        counts.at_limit += sum(isinstance(each, dict) and each.get("finish") == "length" for each in listed)
    counts.withheld += int(_number(made, "withheld"))
    counts.skipped += "skipped" in made
    counts.failed += FAILED in made


def _number(made: Mapping[str, JSON], key: str) -> float:
    value = made.get(key, 0)
    return value if isinstance(value, int | float) else 0.0


def estimate_drawing(
    examples: Iterable[RankedExample],
    stored: Mapping[str, int],
    engine: ApiEngine,
    settings: DrawSettings,
    price: Price | None,
    earlier: Totals,
) -> Estimate:
    """Requests, tokens and cost of the first draws of some examples; what is drawn again comes on top.

    Replies are expected to be as long as the earlier ones of the same drawing, else as the examples' own responses.

    Args:
        examples: read once; those that still need draws.
        stored: how many first draws an example has already, by id.
        engine: the server; it is not asked.
        settings: how responses would be drawn.
        price: of the model, where it is known.
        earlier: what earlier sessions have drawn.
    """
    is_chat = engine.options.mode == "chat"
    counter = token_counter(engine.options.model, is_chat=is_chat, encoder=engine.encoder, system=engine.options.system)
    count = lru_cache(maxsize=1)(counter.count)  # each prompt comes N times in a row
    originals = tokens = 0

    def prompts() -> Iterable[Prompt]:
        nonlocal originals, tokens
        for example in examples:
            if example.original:
                originals += 1
                tokens += counter.count(Prompt(example.original, has_special_tokens=True))
            prompt = render_instruction(example.instruction, example.input, settings.format, engine)
            yield from [prompt] * (settings.responses - stored.get(example.id, 0))

    found = estimate_cost(
        prompts(), settings.max_new_tokens, TokenCounter(count, counter.basis, counter.is_exact), price=price
    )
    if earlier.replies:
        mean = earlier.completion_tokens / earlier.replies
    elif originals:
        mean = tokens / originals
    else:
        return found
    expected = round(found.requests * min(mean, settings.max_new_tokens))
    cost = price.cost(found.prompt_tokens, expected) if price else None
    return replace(found, expected_completion_tokens=expected, expected_cost=cost)
