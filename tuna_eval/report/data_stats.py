"""Statistics of ranking data as a table reads them: the JSON that `tuna-train data stats` writes.

{"lengths_by_rank": {SOURCE: [mean length of the best, of the second, ...]}, "length_unit": "words",
 "cost": [{"item": ROW, "usd": 275.0, "source": WHERE THE PRICE IS FROM, "examples": 52000, "model": NAME}, ...]}

Each key may be missing, and of a cost everything but its item. Lengths without a unit are in tokens; the name of a row
says any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuna_eval.errors import DataError
from tuna_eval.report.frame import Provenance, System, Value

SUITE = "ranked"
TOKENS = "tokens"


def read_data_stats(content: Mapping[str, Any], place: Path) -> list[Value]:
    """The mean lengths by rank and the costs in a file; a number that is missing or null has no value.

    Args:
        content: the JSON object.
        place: where it is from, for messages.

    Raises:
        DataError: something is no number, or an item has no name.
    """
    source = Provenance(place=place.name)
    values: list[Value] = []
    try:
        unit = str(content.get("length_unit") or TOKENS)
        for name, lengths in (content.get("lengths_by_rank") or {}).items():
            system = System(str(name) if unit == TOKENS else f"{name} ({unit})", "file")
            for rank, length in enumerate(lengths, 1):
                value = _number(length)
                values.append(Value(system, SUITE, f"rank_{rank}", value, unit, provenance=source))
        for row in content.get("cost") or ():
            system = System(str(row["item"]), "file")
            examples = _number(row.get("examples"))
            thousands = None if examples is None else examples / 1000
            paid = Provenance(place=str(row.get("source") or place.name))
            text = str(row.get("model") or "")
            values.append(Value(system, SUITE, "examples", thousands, "thousand examples", provenance=paid))
            values.append(Value(system, SUITE, "model", None, "", text=text, provenance=paid))
            values.append(Value(system, SUITE, "usd", _number(row.get("usd")), "US dollars", provenance=paid))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        cure = 'write {"lengths_by_rank": {SOURCE: [66.4, ...]}, "cost": [{"item": NAME, "usd": 275.0}]}'
        raise DataError(f"not statistics of ranking data ({error})", place=str(place), cure=cure) from error
    return values


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)
