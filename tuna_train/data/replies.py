"""The journal of a stage that draws responses: every reply as it came, before anything is made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from tuna_eval.disk import appending, json_line, read_lines
from tuna_eval.errors import DataError
from tuna_eval.schema import JSON
from tuna_train.data.diversity import Draw


@dataclass(frozen=True, slots=True)
class Reply:
    """One drawn response.

    Attributes:
        id: of the example.
        slot, trial: which response of the example, and which draw for it, both from 0.
        seed, temperature: that it was drawn with.
        prompt_sha256: of the prompt as it was sent.
        text: as the model gave it.
        finish_reason: see `Completion`.
        logprob: of all its tokens together, nats, before temperature; None if the server does not tell.
        tokens: their number, end of sequence included where the engine counts it; None if not known.
        prompt_tokens: None if not known.
        served_model: the model that answered, as a server named it; "" where none did.
    """

    id: str
    slot: int
    trial: int
    seed: int
    temperature: float
    prompt_sha256: str
    text: str
    finish_reason: str
    logprob: float | None
    tokens: int | None
    prompt_tokens: int | None
    served_model: str = ""

    @property
    def draw(self) -> Draw:
        """Slot and trial."""
        return self.slot, self.trial

    @property
    def is_withheld(self) -> bool:
        """Whether the server withheld it, so that it is no response."""
        return self.finish_reason in ("content_filter", "refusal")

    @property
    def record(self) -> dict[str, JSON]:
        """What the provenance of its example says of it."""
        record: dict[str, JSON] = {
            "slot": self.slot,
            "trial": self.trial,
            "temperature": self.temperature,
            "seed": self.seed,
            "finish": self.finish_reason,
        }
        return record | ({"served_model": self.served_model} if self.served_model else {})


_FIELDS = tuple(f.name for f in fields(Reply))  # asdict would copy each text, a few microseconds a reply


@dataclass(slots=True)
class Totals:
    """What the replies in a journal took, over all sessions.

    Attributes:
        replies: their number.
        prompt_tokens, completion_tokens: as they are paid for; replies that do not tell count nothing.
    """

    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def enter(self, reply: Reply) -> None:
        """Counts one more."""
        self.replies += 1
        self.prompt_tokens += reply.prompt_tokens or 0
        self.completion_tokens += reply.tokens or 0


class ReplyLog:
    """A journal on disk; only what is not used up yet is held in memory.

    Args:
        file: need not exist yet.

    Attributes:
        totals: of everything in the file, after `read`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.totals = Totals()
        self._waiting: dict[str, dict[Draw, Reply]] = {}

    def count(self) -> Totals:
        """What is in the file; no reply of it stays in memory.

        Raises:
            DataError: a line is no reply.
        """
        totals = Totals()
        for reply in self._replies():
            totals.enter(reply)
        return totals

    def first_draws(self, used: Collection[str]) -> Counter[str]:
        """Number of slots that have their first draw, of each example whose id is not in `used`.

        Raises:
            DataError: a line is no reply.
        """
        return Counter(reply.id for reply in self._replies() if not reply.trial and reply.id not in used)

    def read(self, used: Collection[str] = ()) -> None:
        """Reads the file anew.

        Args:
            used: ids whose replies are counted, but not needed any more.

        Raises:
            DataError: a line is no reply.
        """
        self.totals, self._waiting = Totals(), {}
        for reply in self._replies():
            self.totals.enter(reply)
            if reply.id not in used:
                self._waiting.setdefault(reply.id, {})[reply.draw] = reply

    def _replies(self) -> Iterator[Reply]:
        for number, values in enumerate(read_lines(self.file, is_growing=True), 1):
            values.pop("schema_version", None)
            try:
                yield Reply(**values)
            except TypeError as fault:
                place = f"{self.file}:{number}"
                raise DataError("not a reply", place=place, cure="mend or remove the line") from fault

    def take(self, id: str) -> dict[Draw, Reply]:
        """Hands over the replies of an example that earlier sessions have stored."""
        return self._waiting.pop(id, {})

    @contextmanager
    def appender(self) -> Iterator[Callable[[Reply], None]]:
        """A function that appends one reply and hands it to the operating system before it returns."""
        with appending(self.file) as append:

            def enter(reply: Reply) -> None:
                append(json_line({name: getattr(reply, name) for name in _FIELDS}))
                self.totals.enter(reply)

            yield enter
