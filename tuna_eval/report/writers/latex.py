"""A table as LaTeX: booktabs rules, ready to be put into a paper or to be compiled alone."""

from __future__ import annotations

from itertools import groupby

from tuna_eval.report.tables import Cell, Table
from tuna_eval.report.writers.escaping import latex_escape

TALL = 20  # rows of a table that no longer fit on a page held sideways
WIDE = 3  # columns that fit into one column of a page with two
PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage{lmodern}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[a4paper,margin=15mm%s]{geometry}
\pagestyle{empty}
\begin{document}
"""


def write_latex(table: Table, *, standalone: bool = False) -> str:
    """The table in a table environment, over both columns of a page if it is wide; shrunk where it still does not fit.

    Args:
        table: what to typeset.
        standalone: whether a document stands around it that compiles alone.
    """
    environment = "table*" if len(table.heads) > WIDE else "table"
    parts = [
        "% Needs \\usepackage[T1]{fontenc}, booktabs and graphicx.",
        rf"\begin{{{environment}}}[t]",
        r"\centering\small",
        rf"\caption{{{latex_escape(table.title)}.}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        _tabular(table).strip() + "%",
        "}",
        *_notes(table),
        rf"\end{{{environment}}}",
    ]
    body = "\n".join(parts) + "\n"
    if not standalone:
        return body
    sideways = "" if len(table.rows) > TALL else ",landscape"
    return PREAMBLE % sideways + body.replace("}[t]\n", "}[h!]\n", 1) + "\\end{document}\n"


def _tabular(table: Table) -> str:
    """The rows, typeset by pandas; all texts are escaped before."""
    import pandas as pd

    lines: list[tuple[str, list[str]]] = []
    for section, rows in groupby(table.rows, key=lambda row: row.section):
        if section:
            space = r"\addlinespace " if lines else ""
            lines.append((rf"{space}\textit{{{latex_escape(section)}}}", [""] * len(table.heads)))
        lines += [(latex_escape(row.label), [_cell(cell) for cell in row.cells]) for row in rows]
    label, heads = latex_escape(table.label), [latex_escape(head.title) for head in table.heads]
    columns: pd.Index
    if any(head.over for head in table.heads):
        over = [latex_escape(head.over) for head in table.heads]
        columns = pd.MultiIndex.from_arrays([over, heads], names=["", _rules(table) + label])
    else:
        columns = pd.Index(heads, name=label)
    frame = pd.DataFrame([cells for _, cells in lines], index=[name for name, _ in lines], columns=columns)
    return str(frame.style.to_latex(hrules=True, column_format="l" + "c" * len(heads), multicol_align="c"))


def _rules(table: Table) -> str:
    """The rules under the heads that stand over several columns; they begin the line that follows."""
    rules, first = "", 2
    for over, heads in groupby(table.heads, key=lambda head: head.over):
        last = first + sum(1 for _ in heads) - 1
        rules += rf"\cmidrule(lr){{{first}-{last}}}" if over and last > first else ""
        first = last + 1
    return rules + " "


def _cell(cell: Cell) -> str:
    text = latex_escape(cell.text)
    if cell.is_top:
        text = rf"\textbf{{{text}}}"
    if cell.delta:
        text += f" ({latex_escape(cell.delta)})"
    if cell.marks:
        text += rf"\textsuperscript{{{latex_escape(','.join(cell.marks))}}}"
    return text


def _notes(table: Table) -> list[str]:
    """The footnotes, a paragraph each."""
    if not table.notes:
        return []
    lines = []
    for note in table.notes:
        mark = rf"\textsuperscript{{{latex_escape(note.mark)}}} " if note.mark else ""
        lines.append(rf"{mark}{latex_escape(note.text)}\par")
    return [r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize\raggedright", *lines, r"\end{minipage}"]
