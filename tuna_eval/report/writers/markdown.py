"""A table as GitHub's Markdown."""

from __future__ import annotations

import re
from itertools import groupby

from tuna_eval.report.tables import Cell, Table


def write_markdown(table: Table) -> str:
    """The table, its title above and its notes below."""
    heads = [_escape(table.label), *(_escape(head.name) for head in table.heads)]
    lines = [f"**{_escape(table.title)}**", "", _line(heads), _line(["---", *["---:"] * len(table.heads)])]
    for section, rows in groupby(table.rows, key=lambda row: row.section):
        if section:
            lines.append(_line([f"*{_escape(section)}*", *[""] * len(table.heads)]))
        lines += [_line([_escape(row.label), *map(_cell, row.cells)]) for row in rows]
    for note in table.notes:
        mark = f"<sup>{note.mark}</sup> " if note.mark else ""
        lines += ["", f"{mark}{_escape(note.text)}"]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text = f"**{_escape(cell.text)}**" if cell.is_top else _escape(cell.text)
    delta = f" ({cell.delta})" if cell.delta else ""
    return f"{text}{delta}" + (f"<sup>{','.join(cell.marks)}</sup>" if cell.marks else "")


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_\[\]<>|~#$&])", r"\\\1", " ".join(text.split()))
