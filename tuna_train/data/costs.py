"""What ranked data costs: what stages have spent so far, and what the paper's data would cost now (Table 6)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuna_eval.disk import parse_line
from tuna_eval.errors import DataError
from tuna_eval.judge.line_index import whole_lines
from tuna_eval.llm.estimate import token_counter
from tuna_eval.llm.prices import Price, price_of
from tuna_eval.llm.prompts import ALPACA
from tuna_eval.schema import Prompt
from tuna_train.data.ranked import RankedExample

COMPARISON_USD = 0.25  # a human comparison of two responses, Dubois et al. 2023 (Appendix B)
RESPONSES = 4  # N, Section 3.1
# A contextual ranking's prompt has 650 tokens on average (Appendix F); with that, the $380 of Table 6 leave 162 tokens
# for GPT-4's reply, at its price of $30 and $60 a million.
RANKING_PROMPT_TOKENS = 650
RANKING_REPLY_TOKENS = 162
_EXAMPLES_MEASURED = 2_000  # enough for a mean


@dataclass(frozen=True, slots=True)
class Cost:
    """A row of the cost table.

    Attributes:
        item: what is paid for.
        usd: US dollars; None if the model has no price in the list.
        source: how the number comes about.
    """

    item: str
    usd: float | None
    source: str


@dataclass(frozen=True, slots=True)
class MeanTokens:
    """Of a file's instructions and responses, on average.

    Attributes:
        prompt: of the rendered instruction.
        response: of one response; None if the file has none.
        basis: how they were counted.
    """

    prompt: float
    response: float | None
    basis: str


def mean_tokens(examples: Iterable[RankedExample], model: str) -> MeanTokens:
    """Counts the first 2,000 examples with the best tokenizer at hand for a model.

    Raises:
        DataError: there is no example.
    """
    counter = token_counter(model, is_chat=False)
    prompts, responses = [], []
    for _, example in zip(range(_EXAMPLES_MEASURED), examples, strict=False):
        prompts.append(counter.count(Prompt(ALPACA.render(example.instruction, example.input))))
        originals = [] if example.original is None or example.candidates else [example.original]
        texts = [candidate.text for candidate in example.candidates] or originals
        responses += [counter.count(Prompt(text)) for text in texts]
    if not prompts:
        raise DataError("no example to count the tokens of", place="cost forecast", cure="give a file with examples")
    mean = math.fsum(responses) / len(responses) if responses else None
    return MeanTokens(math.fsum(prompts) / len(prompts), mean, counter.basis)


def forecast(tokens: MeanTokens, *, instructions: int, teacher: str, judged: int, judge: str) -> list[Cost]:
    """Table 6 for the data at hand: what a teacher, a judge and people would cost.

    Args:
        tokens: of the data, as the teacher counts them.
        instructions: to which the teacher writes four responses, in one request each.
        teacher, judge: names in the price list.
        judged: instructions whose four responses the judge ranks.
    """
    rows = []
    if tokens.response is not None:
        completion = RESPONSES * tokens.response
        how = f"{tokens.prompt:.0f} + {RESPONSES} x {tokens.response:.0f} tokens ({tokens.basis})"
        rows.append(
            _priced(
                f"probabilistic ranking, {instructions:,} instructions",
                teacher,
                instructions,
                (tokens.prompt, completion),
                how,
            )
        )
    how = f"{RANKING_PROMPT_TOKENS} + {RANKING_REPLY_TOKENS} tokens (Appendix F, Table 6)"
    rows.append(
        _priced(
            f"contextual ranking, {judged:,} instructions",
            judge,
            judged,
            (RANKING_PROMPT_TOKENS, RANKING_REPLY_TOKENS),
            how,
        )
    )
    return [*rows, human_cost(1_000)]


def human_cost(instructions: int, responses: int = RESPONSES) -> Cost:
    """People compare every pair of responses, as Table 6 reckons: $1,500 for 1K instructions with 4 responses."""
    pairs = math.comb(responses, 2)
    source = f"{pairs} comparisons an instruction at ${COMPARISON_USD} (Dubois et al. 2023; Appendix B)"
    return Cost(f"human labelling, {instructions:,} instructions", instructions * pairs * COMPARISON_USD, source)


def _priced(item: str, model: str, count: int, tokens: tuple[float, float], how: str) -> Cost:
    price = price_of(model)
    if price is None:
        return Cost(f"{item}, {model}", None, f"forecast: {how}; {model} is not in the price list")
    return Cost(f"{item}, {model}", count * price.cost(*tokens), f"forecast: {how}, {_at(price)}")


def _at(price: Price) -> str:
    return f"${price.input:g} and ${price.output:g} a million, {price.date}"


def spent(file: Path) -> Cost | None:
    """What the stage that wrote a file has used so far, by its journal (FILE.stage/replies.jsonl); None without one.

    Tokens are priced at the list price of the model that served each reply, or at its batch price. Replies of models
    that are not in the list, such as local ones, cost nothing that is known: if no reply has a price, the cost is None.

    Raises:
        DataError: a line of the journal is broken.
    """
    journal = file.with_name(f"{file.name}.stage") / "replies.jsonl"
    if not journal.is_file():
        return None
    replies = prompt = completion = unpriced = 0
    usd = 0.0
    for line in _replies(journal):
        replies += 1
        own_prompt = _count(line, "prompt_tokens")
        own_completion = _count(line, "completion_tokens", "tokens")
        prompt, completion = prompt + own_prompt, completion + own_completion
        price = price_of(str(line.get("served_model") or "").partition(":")[0])  # instruct:20230824-v2
        if price is None:
            unpriced += 1
        else:
            paid = price.batch_price() if line.get("batched") else price
            usd += paid.cost(own_prompt, own_completion)
    source = f"{replies} replies, {prompt} + {completion} tokens"
    if unpriced:
        source += f", {unpriced} replies of models without a list price"
    return Cost(f"{file.name}, so far", usd if unpriced < replies else None, source)


def _replies(journal: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal; one that is being written, or that a crash tore, is passed over."""
    with journal.open("rb") as stream:
        for number, _, line in whole_lines(stream):
            yield parse_line(line, f"{journal}:{number}")


def _count(line: dict[str, Any], *keys: str) -> int:
    return next((value for key in keys if isinstance(value := line.get(key), int)), 0)
