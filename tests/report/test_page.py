import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from PIL import Image

from bpg.report.page import Figure, write_page
from bpg.report.runs import read_runs
from bpg.report.tables import table1, table2, table3

PICTURE = Figure("figure4.png", "Figure 4", "Chosen by <rule>.")


@pytest.fixture
def page(tmp_path, runs_folder, write_run, setting, shipped):
    def write(name="report"):
        runs = read_runs(runs_folder, ["scribble", "bpg"], [0])
        folder = tmp_path / name
        folder.mkdir()
        Image.new("RGB", (4, 4)).save(folder / PICTURE.file)
        tables = [table1(runs, setting), table2(runs, setting), table3(runs, setting, shipped)]
        write_page(folder, setting, tables, [PICTURE], ["commit abc; torch 2 <b>"])
        return folder, tables

    classes = ["background", "cat & <b>dog</b>"]
    write_run("scribble", 0, 51.0, classes=classes)
    write_run("bpg", 0, 54.0, classes=classes, edge_loss=0.05)
    return write


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.images, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True
        if tag == "img":
            self.images.append(attributes["src"])
        self.links += [v for k, v in attributes.items() if k in ("src", "href")]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = False

    def handle_data(self, text):
        if self.rows and getattr(self, "cell", False):
            self.rows[-1][-1] += text


def _read(folder):
    reader = _Reader()
    reader.feed((folder / "index.html").read_text(encoding="utf-8"))
    return reader


def test_the_page_has_every_cell_of_every_table(page):
    folder, tables = page()
    expected = [
        row
        for table in tables
        for row in (list(table.header), *([cell.text for cell in row] for row in table.rows))
    ]
    assert _read(folder).rows == expected
    text = (folder / "index.html").read_text(encoding="utf-8")
    for table in tables:
        assert f">{table.title}<" in text
    assert text.count("commit abc; torch 2 &lt;b&gt;") == len(tables)
    assert text.count("data set shapes (400 training") == 1 + len(tables)
    assert re.findall("<strong>([^<]*)</strong>", text) == ["Ours:", "53.0", "54.0", "54.0"]


def test_the_page_needs_nothing_but_its_pictures(page):
    folder, _ = page()
    reader = _read(folder)
    assert reader.images == reader.links == [PICTURE.file]
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|<script|@import|url\(", text)


def test_names_cannot_inject_markup(page):
    folder, _ = page()
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "cat &amp; &lt;b&gt;dog&lt;/b&gt;" in text
    assert "Chosen by &lt;rule&gt;." in text


def test_a_picture_that_is_not_there_is_a_fault(tmp_path, setting):
    with pytest.raises(FileNotFoundError, match=r"figure4\.png"):
        write_page(tmp_path, setting, [], [PICTURE], [])
    assert not (tmp_path / "index.html").exists()


def test_equal_input_gives_equal_bytes(page):
    one, two = (page(name)[0] / "index.html" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_the_stages_start_without_torch():
    code = (
        "import sys, bpg.evaluation.score, bpg.report.tables, bpg.report.charts, "
        "bpg.report.figures, bpg.report.claims, bpg.report.page; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
