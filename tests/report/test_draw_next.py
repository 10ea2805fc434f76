import numpy as np
import pytest
from PIL import Image

from bpg.atomic import write_rows
from bpg.data.masks import write_grey
from bpg.errors import BPGError
from bpg.report.draw_next import COLUMNS, draw_next_figure, draw_next_table, read_rows
from bpg.report.setting import Setting

SETTING = Setting("mine", 3, 2, "small", (0,), labels={"bpg": "BPG"})


def row(rank, image, left, strokes="no"):
    values = (rank, image, image, strokes, "bpg", "41.0", left, 5, 20, 20, "60.0", "cat or dog")
    return dict(zip(COLUMNS, map(str, values), strict=True))


ROWS = [row(1, "b", 3), row(1, "b", 40), row(2, "a", 7, "yes")]


def test_a_row_for_each_image_with_all_its_places(tmp_path):
    write_rows(tmp_path / "list.csv", COLUMNS, ROWS)
    table = draw_next_table(read_rows(tmp_path / "list.csv"), SETTING)
    shown = [[cell.text for cell in cells] for cells in table.rows]
    assert shown == [
        ["1", "b", "no", "41.0", "(3, 5) 20x20: cat or dog; (40, 5) 20x20: cat or dog"],
        ["2", "a", "yes", "41.0", "(7, 5) 20x20: cat or dog"],
    ]
    assert "BPG is least sure" in table.caption


def test_the_figure_marks_the_places(tmp_path):
    for name in "ab":
        Image.new("RGB", (64, 48), "green").save(tmp_path / f"{name}.png")
        (tmp_path / "maps").mkdir(exist_ok=True)
        write_grey(tmp_path / f"maps/{name}.png", np.full((48, 64), 128, np.uint8))
    path = tmp_path / "figure.png"
    draw_next_figure(path, ROWS, images=tmp_path, maps=tmp_path / "maps")
    drawn = np.asarray(Image.open(path))
    assert (drawn == (255, 0, 255)).all(2).any()
    assert (drawn == (0, 128, 0)).all(2).any()
    first = path.read_bytes()
    draw_next_figure(path, ROWS, images=tmp_path, maps=tmp_path / "maps")
    assert path.read_bytes() == first


@pytest.mark.parametrize("text", ["", "rank,image\n1,a\n", ",".join(COLUMNS) + "\nx" * 3, "\0"])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BPGError, match=r"list\.csv: no list of where to draw next"):
        read_rows(tmp_path / "list.csv")
