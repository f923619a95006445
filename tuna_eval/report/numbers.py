"""What is printed of a system's number in a column of a table."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from tuna_eval.report.frame import Frame, System
from tuna_eval.report.layouts import Column
from tuna_eval.report.rounding import printed, whole_percents

SHARES = ("win", "lose", "tie")


def printed_number(frame: Frame, system: System, column: Column) -> Decimal | None:
    """The number as it is printed; None for none. Counts of wins, losses and ties are shares, rounded together."""
    value = frame.get(system, column.suite, column.metric, column.group)
    if value is None or value.value is None:
        return None
    if column.form == "share" and value.unit == "count":
        found = [frame.get(system, column.suite, name) for name in SHARES]
        counts = [round(each.value) if each and each.value is not None else 0 for each in found]
        return Decimal(whole_percents(counts)[SHARES.index(column.metric)]) if sum(counts) else None
    return printed(value.value, column.decimals)


def printed_text(column: Column, number: Decimal, unrounded: float) -> str:
    """The printed number with its sign: "68%", "52K", "$380.50"; a price that is rounded to nothing is "<$0.01"."""
    if column.form == "dollars" and number == 0 < unrounded:
        return f"<${10 ** -Decimal(column.decimals)}"
    is_whole = number % 1 == 0 and "." in f"{number:f}"
    short = f"{number:f}".rstrip("0").rstrip(".") if is_whole else f"{number:f}"
    forms: Mapping[str, str] = {"share": f"{number}%", "thousands": f"{short}K", "dollars": f"${short}"}
    return forms.get(column.form, str(number))
