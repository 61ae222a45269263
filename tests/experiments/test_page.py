import io

import numpy as np
import pytest
from PIL import Image

from timbrel.experiments import page
from timbrel.experiments.page import Column, Figure, Heading, Table, Text

TABLE = Table(["", "LSD dB"], [["a & b", "7.9"], ["longer, title", "17.25"]], {"LSD dB": "better: lower"})
ROW = {"lsd_db": {"mean": 7.85, "low": 7.75, "high": 7.95}, "exact": {"mean": 1, "low": 1, "high": 1}}


def test_one_table_in_four_kinds():
    assert TABLE.text() == "               LSD dB\na & b          7.9\nlonger, title  17.25"
    assert TABLE.markdown() == "|  | LSD dB |\n|---|---|\n| a & b | 7.9 |\n| longer, title | 17.25 |"
    assert TABLE.csv() == ',LSD dB\na & b,7.9\n"longer, title",17.25\n'
    html = page.html("T", [TABLE])
    assert '<tr><th><th title="better: lower">LSD dB\n<tr><td>a &amp; b<td>7.9\n' in html


def test_a_column_prints_means_and_intervals():
    column = Column("lsd_db", "LSD dB", 1, "lower")
    assert column.mean(ROW) == "7.8"
    assert column.bracketed(ROW) == "7.8 [7.8, 8.0]"
    assert column.plus_minus(ROW) == "7.8 ± 0.1"
    assert Column("exact", "", 2).plus_minus(ROW) == "1.00"
    assert [getattr(Column("other", "", 2), way)(ROW) for way in ("mean", "bracketed", "plus_minus")] == ["", "", ""]
    assert (
        Column("plain", "", 2).bracketed({"plain": 0.5}) == Column("plain", "", 2).plus_minus({"plain": 0.5}) == "0.50"
    )


def test_a_table_of_rows_has_the_columns_that_some_row_has():
    columns = [Column("lsd_db", "LSD dB", 1, "lower"), Column("other", "", 2)]
    table = page.table("row", {"none": {}, "one": ROW}, columns, Column.plus_minus)
    assert table == Table(["row", "LSD dB"], [["none", ""], ["one", "7.8 ± 0.1"]], {"LSD dB": "better: lower"})


def test_a_page_has_its_blocks_in_order_and_escapes_what_they_say():
    figure = Figure("<piano>", "figures/a.png", {"source": "audio/a.flac"})
    html = page.html("Report 001", [Text(["one <two>", "three"]), Heading("A & B"), figure])
    parts = [
        "<title>timbrel: report 001</title>",
        "<p>one &lt;two&gt;<br>three</p>",
        "<h2>A &amp; B</h2>",
        "&lt;piano&gt;",
        'src="figures/a.png"',
        'source <audio controls preload="none" src="audio/a.flac">',
    ]
    places = [html.index(part) for part in parts]
    assert places == sorted(places)


def test_spectrograms_are_a_picture_and_sounds_of_their_own():
    clips = {name: 0.1 * np.random.default_rng(0).standard_normal((2, 22050)) for name in ("source", "result")}
    figure = page.spectrograms("title", clips)
    assert figure.picture.startswith("data:image/png;base64,")
    assert {name: address.partition(",")[0] for name, address in figure.sounds.items()} == {
        "source": "data:audio/ogg;base64",
        "result": "data:audio/ogg;base64",
    }


def test_pictures_have_few_colours():
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(2, 1))
    drawing.subplots().imshow(np.random.default_rng(0).random((20, 20)))
    with Image.open(io.BytesIO(page.png(drawing, colours=16))) as picture:
        assert len(picture.getcolors() or ()) in range(1, 17)


@pytest.mark.parametrize("headings", [["a"], ["a", "b", "c"]])
def test_a_table_of_uneven_lines_is_no_text(headings):
    with pytest.raises(ValueError, match="zip"):
        Table(headings, [["1", "2"]]).text()
