"""Tables as LaTeX: a real TeX compiles them, and what the page shows is what was meant."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from report_runs import frame_of, judged, record_of

from tuna_eval.report.frame import Frame, System, Value
from tuna_eval.report.layouts import LAYOUTS, Column, Layout, layout_named
from tuna_eval.report.tables import make_table
from tuna_eval.report.writers.escaping import latex_escape
from tuna_eval.report.writers.latex import PREAMBLE, write_latex

# What has a glyph of its own in T1 fonts; other letters are set from letter and accent, which look right but are read
# back from the page as two.
LATIN = [chr(code) for code in range(0xA1, 0x100) if chr(code) not in "\u00ad¯´¸"]
EXTENDED = "ĂăĄąĆćČčĎďĐđĘęĚěĞğİıĹĺĽľŁłŃńŇňŊŋŐőŒœŔŕŘřŚśŞşŠšŢţŤťŮůŰűŸŹźŻżŽž"
SIGNS = "–—‘’“”„†‡•€™αβγδλπσωΓΔΣ∗≤≥≈→∞"
ASCII = [chr(code) for code in range(0x20, 0x7F)]
NAMES = st.text(st.sampled_from([*ASCII, *"--,,``''\\\\", *LATIN, *EXTENDED, *SIGNS]), max_size=24)
OTHERS = {"Δ": "∆", "Ω": "Ω", "μ": "µ", "Đ": "Ð", "ı": "i", "ȷ": "j"}  # glyphs that share a shape


@pytest.fixture(scope="module")
def tex() -> str:
    found = shutil.which("pdflatex")
    if found is None and os.environ.get("CI"):
        pytest.fail("CI compiles LaTeX, and there is no pdflatex: `make tex` brings it")
    if found is None:
        pytest.skip("needs pdflatex; `make tex` brings it")
    return found


def compiled(tex: str, source: str, folder: Path) -> Path:
    (folder / "table.tex").write_text(source, encoding="utf-8")
    command = [tex, "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    told = done.stdout.decode(errors="replace")
    assert done.returncode == 0, told[-1500:]
    assert "Overfull" not in told
    return folder / "table.pdf"


def page_text(pdf: Path) -> str:
    import pypdfium2

    document = pypdfium2.PdfDocument(pdf)
    try:
        return "\n".join(page.get_textpage().get_text_range() for page in document)
    finally:
        document.close()


def read(text: str) -> str:
    """A text without what a page cannot tell: blanks, ligatures, how an accent was made."""
    for glyph, character in OTHERS.items():
        text = text.replace(glyph, character)
    plain = unicodedata.normalize("NFKD", text)
    for glyph, character in OTHERS.items():
        plain = plain.replace(glyph, character)
    return re.sub(r"\s", "", plain)


@pytest.mark.tex
@pytest.mark.parametrize("layout", ["main", "combinations", "prm", "rlhf", "bertscore", "human", "cost", "lengths"])
def test_every_published_table_compiles_alone(tex: str, tmp_path: Path, layout: str) -> None:
    table = make_table(Frame(()), LAYOUTS[layout], with_paper=True)
    text = read(page_text(compiled(tex, write_latex(table, standalone=True), tmp_path)))
    for row in table.rows:
        cells = [cell.text + (f"({cell.delta})" if cell.delta else "") + ",".join(cell.marks) for cell in row.cells]
        assert read(row.label + "".join(cells)) in text
    assert read(table.title) in text
    assert all(read(note.mark + note.text) in text for note in table.notes)


@pytest.mark.tex
def test_bold_and_rules_are_on_the_page(tex: str, tmp_path: Path) -> None:
    import pypdfium2

    table = make_table(Frame(()), LAYOUTS["main"], with_paper=True)
    pdf = compiled(tex, write_latex(table, standalone=True), tmp_path)
    document = pypdfium2.PdfDocument(pdf)
    page = document[0]
    assert len(document) == 1
    kinds = [item.type for item in page.get_objects()]
    assert kinds.count(pypdfium2.raw.FPDF_PAGEOBJ_PATH) >= 5  # top, two partial, middle and bottom rule
    picture = page.render(scale=1).to_numpy()
    inked = (picture.min(axis=2) < 128).nonzero()
    width = picture.shape[1]
    assert inked[1].min() > 0.02 * width
    assert inked[1].max() < 0.98 * width
    bold = set()
    for item in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_TEXT], textpage=page.get_textpage()):
        if "Bold" in item.get_font().get_base_name():
            bold.update(item.extract().split())
    document.close()
    assert {"39.4", "38.7", "52.1", "46.6", "48.4", "35.0", "86%", "79%", "10%", "16%"} == bold


@pytest.mark.tex
def test_a_table_of_runs_with_notes_and_sections(tex: str, tmp_path: Path) -> None:
    frame = frame_of(**{"100% _my_ #1 & co": [record_of("superni_0shot", 39.0), judged(50, 16, 4, unparsable=10)]})
    table = make_table(frame, LAYOUTS["main"], with_paper=True, baseline="Alpaca")
    text = read(page_text(compiled(tex, write_latex(table, standalone=True), tmp_path)))
    assert read("100% _my_ #1 & co39.0(+3.0)") in text
    assert read("70 of 80 questions have a verdict, 10 unparsable") in text
    assert read("Published (Table 1)LLaMA") in text
    categories = layout_named("categories", frame)
    many = make_table(frame, categories)
    assert read("math: win rate") in read(page_text(compiled(tex, write_latex(many, standalone=True), tmp_path)))


@pytest.mark.tex
@pytest.mark.parametrize(("layout", "width"), [("main", "table*"), ("human", "table")])
def test_tables_fit_into_a_paper_of_two_columns(tex: str, tmp_path: Path, layout: str, width: str) -> None:
    fragment = write_latex(make_table(Frame(()), LAYOUTS[layout], with_paper=True))
    assert rf"\begin{{{width}}}[t]" in fragment
    head = r"\documentclass[twocolumn]{article}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}\begin{document}"
    source = f"{head}Some text.\n{fragment}\n\\end{{document}}\n"
    assert read("Tuna") in read(page_text(compiled(tex, source, tmp_path)))


@pytest.mark.tex
def test_a_wide_table_is_shrunk_and_a_long_one_upright(tex: str, tmp_path: Path) -> None:
    columns = tuple(Column("much", f"a long title {i}", "s", str(i)) for i in range(20))
    values = [Value(System(f"system {i}", "file"), "s", str(j), 12.3) for i in range(30) for j in range(20)]
    source = write_latex(make_table(Frame(tuple(values)), Layout("wide", columns, None)), standalone=True)
    assert "landscape" not in source
    text = page_text(compiled(tex, source, tmp_path))
    assert "a long title 19" in " ".join(text.split())


@pytest.mark.tex
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=20, max_size=40))
@example(ASCII)
@example([*LATIN, *EXTENDED, *SIGNS])
@example(
    [
        "".join(map(chr, range(0x20, 0x7F))),
        "--",
        "---",
        "''",
        "``",
        ",,",
        "<<",
        ">>",
        "?`",
        "!`",
        "ffi fl",
        "\\\\",
        "[x]",
    ]
)
def test_the_page_shows_any_text(tex: str, tmp_path: Path, names: list[str]) -> None:
    lines = [rf"\noindent ({i}){latex_escape(name)}(.)\par" for i, name in enumerate(names)]
    source = PREAMBLE % "" + r"\raggedright\hbadness10000\hfuzz100cm" + "\n".join(lines) + "\n\\end{document}\n"
    text = read(page_text(compiled(tex, source, tmp_path)))
    for i, name in enumerate(names):
        assert f"({i}){read(name)}(.)" in text, (name, latex_escape(name))


@pytest.mark.tex
def test_every_character_that_is_left_as_it_is_compiles(tex: str, tmp_path: Path) -> None:
    characters = [chr(code) for code in range(0x20, 0x3000) if "U+" not in latex_escape(chr(code))]
    assert len(characters) > 350
    source = PREAMBLE % "" + " ".join(map(latex_escape, characters)) + "\n\\end{document}\n"
    assert page_text(compiled(tex, source, tmp_path))


@pytest.mark.tex
def test_first_cells_do_not_become_arguments(tex: str, tmp_path: Path) -> None:
    names = ["[2cm]", "*", "& x", "\\hline", "%", "~", "-- --"]
    values = [Value(System(name, "file"), "s", "m", float(i)) for i, name in enumerate(names)]
    source = write_latex(
        make_table(Frame(tuple(values)), Layout("t", (Column("", "x", "s", "m"),), None)), standalone=True
    )
    text = read(page_text(compiled(tex, source, tmp_path)))
    for i, name in enumerate(names):
        assert read(f"{name}{i}.0") in text


def test_what_fonts_lack_is_told_by_its_number() -> None:
    assert latex_escape("漢🐟") == r"\texttt{U+6F22}\texttt{U+1F41F}"
    assert latex_escape("e\N{COMBINING ACUTE ACCENT}") == "é"
    assert latex_escape("a\n\tb") == "a  b"
    assert latex_escape("\x00") == r"\texttt{U+0000}"


def test_a_fragment_needs_no_document() -> None:
    text = write_latex(make_table(Frame(()), LAYOUTS["main"], with_paper=True))
    assert r"\documentclass" not in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert r"\cmidrule(lr){2-3}" in text
    assert r"\textbf{39.4} (+3.4)" in text
