import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from bpg.data.masks import write_mask
from bpg.evaluation.bootstrap import Difference
from bpg.report.answer import Line
from bpg.report.charts import Bar, difference_chart
from bpg.report.columns import difference, label, make_table
from bpg.report.page import Figure, Section, Viewer, stacked, write_page
from bpg.report.runs import read_runs
from bpg.report.tables import table1, table2, table3
from bpg.report.viewer import shot

FIGURE = Figure("figure4.png", "Figure 4", "Chosen by <rule>.")
ANSWER = [
    Line("a → <b>b</b>, mIoU", "+1.0 (+0.5 to +1.5)", "confirmed", "holds"),
    Line("b → c, mIoU", "+0.1 (−0.5 to +0.7)", "not confirmed", "open"),
]


@pytest.fixture
def page(tmp_path, runs_folder, write_run, setting, shipped):
    def write(name="report"):
        runs = read_runs(runs_folder, ["scribble", "bpg"], [0])
        folder = tmp_path / name
        folder.mkdir()
        Image.new("RGB", (4, 4)).save(folder / FIGURE.file)
        svg = difference_chart(
            folder / "claims.png", {"mIoU": [Bar("a & b", Difference(1.0, 0.5, 1.5, None))]}
        )
        hero = Figure("claims.png", "What each step gains", "In points.", svg)
        tables = [table1(runs, setting), table2(runs, setting), table3(runs, setting, shipped)]
        sections = [Section("Tables", tuple(tables)), Section("Figures", (FIGURE,), folded=True)]
        shots = []
        for number in range(2):
            image, mask = tmp_path / f"{number}.png", tmp_path / f"mask{number}.png"
            pixels = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
            Image.fromarray(pixels).save(image)
            write_mask(mask, np.full((12, 16), number, np.uint8))
            maps = {"truth": mask, "BPG </script>": mask}
            shots.append(shot(f"name{number}", "best, +1.0", image, maps, {"truth": "note"}))
        viewer = Viewer(tuple(shots), "By <rule>.", "BPG", (("cat & <b>dog</b>", "#ff0000"),))
        write_page(folder, setting, ANSWER, hero, viewer, sections, ["commit abc; torch 2 <b>"])
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
        if tag == "img" and "src" in attributes:
            self.images.append(attributes["src"])
        self.links += [v for k, v in attributes.items() if k in ("src", "href", "xlink:href")]

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


def _text(folder):
    return (folder / "index.html").read_text(encoding="utf-8")


def test_the_page_has_every_cell_of_every_table(page):
    folder, tables = page()
    expected = [
        row
        for table in map(stacked, tables)
        for row in (
            list(table.header),
            *([cell.text + "".join(cell.below) for cell in row] for row in table.rows),
        )
    ]
    assert _read(folder).rows == expected
    text = _text(folder)
    for table in tables:
        assert f">{table.title}<" in text
    assert text.count("commit abc; torch 2 &lt;b&gt;") == 1
    assert text.count("data set shapes (400 training") == 1 + len(tables)
    assert re.findall("<strong>([^<]*)</strong>", text) == ["Ours:", "53.0", "54.0", "54.0"]


def test_the_page_opens_with_the_answer_and_a_chart_of_it(page):
    text = _text(page()[0])
    answer = text.index('<span class="verdict holds">confirmed</span>')
    assert answer < text.index('<span class="verdict open">not confirmed</span>')
    assert answer < text.index("<svg") < text.index('class="viewer"') < text.index("<table>")


def test_intervals_stand_below_the_numbers_that_they_belong_to():
    found = Difference(1.0, 0.5, 1.5, 0.2)
    rows = [("a", found), ("b", None)]
    columns = [
        label("name", "name", lambda row: row[0]),
        *difference("gain", "gain", lambda row: row[1]),
        *difference("other", "other", lambda row: row[1]),
    ]
    table = stacked(make_table("t", "T", "", columns, rows, ()))
    assert table.header == ("name", "gain", "other")
    with_numbers, without = table.rows
    assert [cell.below for cell in with_numbers] == [
        (),
        *[("95 %: +0.50 to +1.50", "excludes 0: yes, higher")] * 2,
    ]
    assert [cell.below for cell in without] == [(), (), ()]


def test_a_users_page_names_neither_the_paper_nor_its_method(tmp_path, setting):
    own = replace(setting, own=True, truth="held-out strokes")
    write_page(tmp_path, own, [], None, None, [], [])
    text = _text(tmp_path)
    body = text.partition("<title>")[2]
    assert body.count("Results on your images") == 2
    assert "scored on held-out strokes" in body
    assert "<strong>Yours:</strong>" in body
    assert "Ours" not in body and "Boundary Perception" not in body and "Wang" not in body
    assert "<script type" not in body


def test_the_page_is_one_file_that_needs_nothing_else(page):
    folder, _ = page()
    reader = _read(folder)
    assert reader.images
    assert all(source.startswith("data:image/png;base64,") for source in reader.images)
    assert all(link.startswith(("data:", "#")) for link in reader.links)
    text = _text(folder)
    text = text.replace("http://www.w3.org/2000/svg", "").replace(
        "http://www.w3.org/1999/xlink", ""
    )
    assert not re.search(r"https?:|<script src|<link|@import|url\((?!#)", text)


def test_names_cannot_inject_markup(page):
    folder, _ = page()
    text = _text(folder)
    assert "cat &amp; &lt;b&gt;dog&lt;/b&gt;" in text
    assert "cat & <b>" not in text
    assert "Chosen by &lt;rule&gt;." in text
    assert "a → &lt;b&gt;b&lt;/b&gt;" in text
    assert "a &amp; b" in text
    found = re.search(r'id="shots">(.*?)</script>', text, re.DOTALL)
    assert [one["name"] for one in json.loads(found[1])] == ["name0", "name1"]
    layers = [name for name, _, _ in json.loads(found[1])[0]["layers"]]
    assert layers == ["image", "truth", "BPG </script>"]


def test_a_figure_that_is_not_there_is_a_fault(tmp_path, setting):
    with pytest.raises(FileNotFoundError, match=r"figure4\.png"):
        write_page(tmp_path, setting, [], None, None, [Section("Figures", (FIGURE,))], [])
    assert not (tmp_path / "index.html").exists()


def test_equal_input_gives_equal_bytes(page):
    one, two = (page(name)[0] / "index.html" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_the_ids_of_two_charts_differ(tmp_path):
    bars = {"mIoU": [Bar("x", Difference(1.0, 0.5, 1.5, None))]}
    one, two = (difference_chart(tmp_path / f"{name}.png", bars) for name in ("one", "two"))
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, two)]
    assert ids[0] and not ids[0] & ids[1]
    for text, own in zip((one, two), ids, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text)) <= own


def test_a_chart_has_the_pages_ink_and_ground(tmp_path):
    bars = {"mIoU": [Bar("x", Difference(1.0, 0.5, 1.5, None))]}
    text = difference_chart(tmp_path / "one.png", bars)
    assert "currentColor" in text and "var(--ground)" in text
    assert not re.search("#(000000|333333|ffffff)|<style|<metadata", text)


def test_the_stages_start_without_torch():
    code = (
        "import sys, bpg.evaluation.score, bpg.report.tables, bpg.report.charts, "
        "bpg.report.figures, bpg.report.claims, bpg.report.page; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
