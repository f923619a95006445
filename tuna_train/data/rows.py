"""One record of a data file, read field by field with errors that name the record and the field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuna_eval.errors import DataError
from tuna_train.data.rendered import unrender


@dataclass(frozen=True, slots=True)
class Row:
    """A record and where it stands.

    Attributes:
        values: its fields.
        place: file and line.
        number: how many records come before it.
        dropped: counts, by kind, what a reader leaves out or changes; shared by the rows of a file.
    """

    values: Mapping[str, Any]
    place: str
    number: int
    dropped: Counter[str]

    @property
    def id(self) -> str:
        """The record's "id" if it has one, else how many come before it."""
        found = self.values.get("id")
        return str(self.number if found is None else found)

    def broken(self, problem: str) -> DataError:
        """An error at this record."""
        return DataError(problem, place=self.place, cure="mend or remove the record")

    def text(self, key: str) -> str:
        """A field that must be a text.

        Raises:
            DataError: it is missing, or no text.
        """
        return self.as_text(self.values.get(key), key)

    def as_text(self, value: object, what: str) -> str:
        """The value, if it is a text.

        Raises:
            DataError: it is none.
        """
        if not isinstance(value, str):
            raise self.broken(f"{what} is {value!r:.40}, not a text")
        return value

    def optional(self, key: str) -> str:
        """A text, "" where the field is missing or null."""
        return "" if self.values.get(key) is None else self.text(key)

    def items(self, key: str) -> list[Any]:
        """A field that must be a list.

        Raises:
            DataError: it is none.
        """
        value = self.values.get(key)
        if not isinstance(value, list):
            raise self.broken(f"{key} is {value!r:.40}, not a list")
        return value

    def texts(self, key: str) -> list[str]:
        """A field that must be a list of texts."""
        return [self.as_text(value, f"an entry of {key}") for value in self.items(key)]

    def numbers(self, key: str, count: int) -> list[float]:
        """A field that must be a list of so many numbers."""
        values = [self.number_in(value, f"an entry of {key}") for value in self.items(key)]
        if len(values) != count:
            raise self.broken(f"{key} has {len(values)} entries for {count} responses")
        return values

    def number_in(self, value: object, what: str) -> float:
        """The value, if it is a finite number; the text of one counts, as some files have scores in quotes.

        Raises:
            DataError: it is none.
        """
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.broken(f"{what} is {value!r:.40}, not a number")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if number - number != 0:
            raise self.broken(f"{what} is {value!r:.40}, not a finite number")
        return number

    def rendered(self, key: str) -> tuple[str, str]:
        """Instruction and input of a field that holds a rendered Alpaca prompt.

        Raises:
            DataError: it is no such prompt.
        """
        prompt = self.text(key)
        found = unrender(prompt)
        if found is None:
            raise self.broken(f"{key} is not an Alpaca prompt from 'Below is an instruction' to '### Response:'")
        return found

    def prompt(self, value: object, what: str) -> tuple[str, str]:
        """Instruction and input of a prompt that may be rendered or plain."""
        text = self.as_text(value, what)
        return unrender(text) or (text, "")

    def drop(self, what: str) -> None:
        """Counts something that is left out or changed."""
        self.dropped[what] += 1
