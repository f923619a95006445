"""Figures: the file is what its name says, its texts can be read and searched, its colours can be told apart."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from report_runs import frame_of, judged, record_of

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.report.figures import Line, Panel, Point, category_panels, metric_panels, places
from tuna_eval.report.frame import Frame, System
from tuna_eval.report.plots import PALETTE, Shape, draw

SVG = "{http://www.w3.org/2000/svg}"


def series() -> Frame:
    """Three models on all benchmarks."""
    wins = ((20, 50, 10), (50, 20, 10), (60, 15, 5))
    return frame_of(
        **{
            name: [
                record_of("superni_0shot", 30.0 + i),
                record_of("superni_2shot", 40.0 + i),
                record_of("lmentry", 31.0 + i),
                judged(*wins[i]),
            ]
            for i, name in enumerate(("none", "some", "much"))
        }
    )


def panels(*, is_even: bool = True) -> list[Panel]:
    return metric_panels(series(), places(series(), [0, 0.1, 10]), is_even=is_even)


def drawn(folder: Path, suffix: str = ".svg") -> Path:
    out = folder / f"figure{suffix}"
    draw(panels(), "lines", "λ", out)
    return out


def test_panels_are_those_of_figures_2_and_3() -> None:
    found = panels()
    assert [panel.y_label for panel in found] == ["ROUGE-L", "LMentry score", "Rate (%)"]
    assert [[line.label for line in panel.lines] for panel in found] == [
        ["0-shot", "2-shot"],
        ["LMentry"],
        ["win", "lose", "tie"],
    ]
    assert found[0].ticks == ("0", "0.1", "10")
    assert [(p.x, p.y, p.low, p.high) for p in found[0].lines[0].points] == [
        (0, 30, 29, 31),
        (1, 31, 30, 32),
        (2, 32, 31, 33),
    ]
    assert [p.y for p in found[2].lines[0].points] == [25, 62.5, 75]


def test_on_a_scale_points_stand_where_they_are() -> None:
    assert [point.x for point in panels(is_even=False)[0].lines[0].points] == [0, 0.1, 10]


def test_the_order_of_the_runs_does_not_matter() -> None:
    frame = series()
    turned = metric_panels(frame, places(frame, [10, 0.1, 0]), is_even=True)
    assert [point.y for point in turned[0].lines[0].points] == [32, 31, 30]


def test_a_run_without_a_benchmark_leaves_a_gap() -> None:
    frame = frame_of(a=[record_of("superni_0shot", 30.0)], b=[record_of("lmentry", 30.0)])
    found = metric_panels(frame, {system: float(i) for i, system in enumerate(frame.systems)}, is_even=False)
    assert [(panel.y_label, len(panel.lines[0].points)) for panel in found] == [("ROUGE-L", 1), ("LMentry score", 1)]


def test_svg_has_texts_colours_and_sizes(tmp_path: Path) -> None:
    root = ET.parse(drawn(tmp_path)).getroot()
    texts = ["".join(node.itertext()).strip() for node in root.iter(f"{SVG}text")]
    assert {"λ", "ROUGE-L", "LMentry score", "Rate (%)", "0-shot", "win", "0.1"} <= set(texts)
    source = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    colours = {colour.upper() for colour in re.findall(r"#[0-9a-fA-F]{6}", source)}
    assert {colour for colour in colours if len(set(re.findall("..", colour[1:]))) > 1} == set(PALETTE[:3])
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", source)]
    assert sizes
    assert min(sizes) >= 8  # in points: matplotlib's SVG has 72 of its units in an inch
    width = float(re.fullmatch(r"([\d.]+)pt", root.attrib["width"])[1])  # type: ignore[index]
    assert width <= 3.4 * 72
    dashes = set(re.findall(r"stroke-dasharray: ([\d., ]+)", source))
    assert len(dashes) >= 2


def test_pdf_is_a_vector_with_searchable_text(tmp_path: Path) -> None:
    import pypdfium2

    out = drawn(tmp_path, ".pdf")
    assert out.read_bytes().startswith(b"%PDF-")
    assert b"CreationDate" not in out.read_bytes()
    document = pypdfium2.PdfDocument(out)
    page = document[0]
    text = page.get_textpage().get_text_range()
    kinds = {item.type for item in page.get_objects()}
    document.close()
    assert all(word in text for word in ("ROUGE-L", "LMentry score", "Rate (%)", "2-shot", "λ"))
    assert pypdfium2.raw.FPDF_PAGEOBJ_IMAGE not in kinds


def test_png_is_sharp_enough_for_print(tmp_path: Path) -> None:
    data = drawn(tmp_path, ".png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == 990  # 3.3 inches at 300 dots


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_the_same_values_give_the_same_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "again").mkdir()
    assert drawn(tmp_path, suffix).read_bytes() == drawn(tmp_path / "again", suffix).read_bytes()


def test_bars_and_radar_by_category(tmp_path: Path) -> None:
    found = category_panels(series())
    assert [(panel.title, panel.ticks) for panel in found] == [("Vicuna QA", ("math", "coding"))]
    for shape in ("bars", "radar"):
        out = tmp_path / f"{shape}.svg"
        draw(found, shape, "", out)  # type: ignore[arg-type]
        texts = " ".join(ET.parse(out).getroot().itertext())
        assert all(word in texts for word in ("math", "coding", "none", "some", "much"))


@pytest.mark.parametrize("count", [4, 8, 9])
def test_labels_of_a_radar_keep_clear_of_its_circle(tmp_path: Path, count: int) -> None:
    import pypdfium2

    ticks = tuple(f"{'in three words' if i % 2 else 'counterfactual'} {'x' * i}" for i in range(count))
    lines = (Line("a", tuple(Point(i, 50, 40, 60) for i in range(count))),)
    draw([Panel("T", "Y", lines, ticks)], "radar", "", tmp_path / "radar.pdf")
    document = pypdfium2.PdfDocument(tmp_path / "radar.pdf")
    page = document[0]
    bounds = [item.get_bounds() for item in page.get_objects([pypdfium2.raw.FPDF_PAGEOBJ_PATH])]
    left, bottom, right, top = max(
        (box for box in bounds if abs(box[2] - box[0] - (box[3] - box[1])) < 1), key=lambda box: box[2] - box[0]
    )
    radius, x, y = (right - left) / 2, (left + right) / 2, (bottom + top) / 2
    texts = page.get_textpage()
    boxes = [texts.get_charbox(i) for i in range(texts.count_chars()) if texts.get_text_range(i, 1).isalpha()]
    nearest = [math.hypot(max(a - x, x - c, 0), max(b - y, y - d, 0)) for a, b, c, d in boxes]
    document.close()
    assert len(nearest) > 10 * count
    assert min(nearest) > radius + 1.5  # points


def test_lines_differ_in_more_than_colour(tmp_path: Path) -> None:
    draw(category_panels(series()), "radar", "", tmp_path / "radar.svg")
    source = (tmp_path / "radar.svg").read_text(encoding="utf-8")
    markers = re.findall(r'<path id="m[0-9a-f]+" d="([^"]+)" style="stroke: #([0-9a-f]{6})', source)
    shapes = {colour: shape for shape, colour in markers if f"#{colour.upper()}" in PALETTE[:3]}
    assert len(shapes) == len(set(shapes.values())) == 3


def test_the_palette_is_okabe_and_itos() -> None:
    assert set(PALETTE) == {
        "#000000",
        "#E69F00",
        "#56B4E9",
        "#009E73",
        "#F0E442",
        "#0072B2",
        "#D55E00",
        "#CC79A7",
    }


@pytest.mark.parametrize("shape", ["lines", "bars", "radar", "points"])
def test_names_stand_in_the_legend_as_they_are(tmp_path: Path, shape: Shape) -> None:
    names = ["_hidden", "$5 and $a_{", "模型"]
    lines = tuple(Line(name, (Point(0, 0, 0, 0),)) for name in names)
    missing = draw([Panel("$_{", "Win rate (%)", lines, ("$x^{",))], shape, "", tmp_path / "x.svg")
    texts = ["".join(node.itertext()).strip() for node in ET.parse(tmp_path / "x.svg").getroot().iter(f"{SVG}text")]
    assert [text for text in texts if text in names] == names
    assert missing == "型模"
    if shape != "radar":
        assert {"0", "100"} <= set(texts)  # not hundredths around 0


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    frame = frame_of(**{f"m{i}": [judged(i + 1, 3, 4)] for i in range(9)})
    with pytest.raises(ConfigError, match="9 systems cannot be told apart"):
        draw(category_panels(frame), "bars", "", tmp_path / "x.pdf")
    with pytest.raises(ConfigError, match="no kind of figure"):
        draw(category_panels(series()), "bars", "", tmp_path / "x.gif")
    with pytest.raises(DataError, match="none of the runs has a score"):
        metric_panels(Frame(()), {System("a", "run"): 1.0}, is_even=True)
    assert not list(tmp_path.iterdir())


def test_the_users_settings_of_matplotlib_stay(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    drawn(tmp_path)
    assert dict(mpl.rcParams) == before
