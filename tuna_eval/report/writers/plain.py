"""A table as CSV for spreadsheets and scripts, and as HTML for pages."""

from __future__ import annotations

import csv
import io
import unicodedata
from itertools import groupby

from tuna_eval.report.tables import Table

FORMULA = ("=", "+", "-", "@")  # also in full width, which some spreadsheets read alike
HTML = """\
<table>
<caption>{{ table.title }}</caption>
<thead>
{%- if heads|length > 0 %}
<tr><th rowspan="2" scope="col">{{ table.label }}</th>
{%- for over, count in heads %}<th colspan="{{ count }}" scope="colgroup">{{ over }}</th>{% endfor %}</tr>
<tr>{% for head in table.heads %}<th scope="col">{{ head.title }}</th>{% endfor %}</tr>
{%- else %}
<tr><th scope="col">{{ table.label }}</th>
{%- for head in table.heads %}<th scope="col">{{ head.title }}</th>{% endfor %}</tr>
{%- endif %}
</thead>
{%- for section, rows in sections %}
<tbody>
{%- if section %}
<tr><th colspan="{{ table.heads|length + 1 }}" scope="rowgroup">{{ section }}</th></tr>
{%- endif %}
{%- for row in rows %}
<tr><th scope="row">{{ row.label }}</th>
{%- for cell in row.cells %}<td>
{%- if cell.is_top %}<strong>{{ cell.text }}</strong>{% else %}{{ cell.text }}{% endif %}
{%- if cell.delta %} ({{ cell.delta }}){% endif %}
{%- if cell.marks %}<sup>{{ cell.marks|join(",") }}</sup>{% endif %}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
{%- endfor %}
</table>
{%- if table.notes %}
<ul>
{%- for note in table.notes %}
<li>{% if note.mark %}<sup>{{ note.mark }}</sup> {% endif %}{{ note.text }}</li>
{%- endfor %}
</ul>
{%- endif %}
"""


def write_csv(table: Table) -> str:
    """Numbers as printed, their units in the head; differences in columns of their own; in the last column the notes on
    a row, then those on the whole table, so that each line can be read alone.

    Texts that a spreadsheet would run as a formula have an apostrophe before them, as OWASP advises ("CSV Injection");
    numbers and differences have none.
    """
    titles = [f"{head.name} ({head.unit})" if head.unit else head.name for head in table.heads]
    has_delta = [any(row.cells[i].delta for row in table.rows) for i in range(len(titles))]
    names = [["section", table.label or "row"]]
    names += [[title, f"{title} difference"] if own else [title] for title, own in zip(titles, has_delta, strict=True)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(_inert(name) for group in names for name in group), "notes"])
    texts = {note.mark: note.text for note in table.notes if note.mark}
    on_all = [note.text.rstrip(".") for note in table.notes if not note.mark]
    for row in table.rows:
        line = [_inert(row.section), _inert(row.label)]
        for cell, own in zip(row.cells, has_delta, strict=True):
            is_text = cell.number is None and any(character.isalnum() for character in cell.text)
            line.append(_inert(cell.text) if is_text else "" if cell.number is None else str(cell.number))
            line += [cell.delta] if own else []
        marks = dict.fromkeys(mark for cell in row.cells for mark in cell.marks)
        writer.writerow([*line, _inert("; ".join([*(texts[mark] for mark in marks), *on_all]))])
    return out.getvalue()


def _inert(text: str) -> str:
    """A text in one line that no spreadsheet runs: one that begins like a formula gets an apostrophe."""
    line = " ".join(text.split())
    return f"'{line}" if unicodedata.normalize("NFKC", line[:1]).startswith(FORMULA) else line


def write_html(table: Table) -> str:
    """A table element with its caption, and the notes as a list; no style, no script."""
    from jinja2 import Environment

    over = [(name, sum(1 for _ in heads)) for name, heads in groupby(table.heads, key=lambda head: head.over)]
    sections = [(name, list(rows)) for name, rows in groupby(table.rows, key=lambda row: row.section)]
    template = Environment(autoescape=True, keep_trailing_newline=True).from_string(HTML)
    return template.render(table=table, heads=over if any(name for name, _ in over) else [], sections=sections)
