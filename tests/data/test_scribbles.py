import numpy as np
import pytest

from bpg.data.formats import annotations
from bpg.data.formats.scribblesup import write_scribblesup
from bpg.data.scribbles import label_map, read_strokes
from bpg.data.strokes import Line, Stroke, Strokes
from bpg.errors import BPGError

CLASSES = ["background", "cat", "dog"]
CAT = Stroke("cat", Line(((2.5, 2.5), (8.5, 2.5))))


def test_label_map_reads_checks_and_draws(tmp_path):
    path = tmp_path / "a.xml"
    write_scribblesup(path, Strokes(12, 9, (CAT,)))
    labels = label_map(path, (12, 9), CLASSES, 3)
    assert labels.shape == (9, 12)
    assert set(np.unique(labels)) == {1, 255}
    with pytest.raises(BPGError, match=r"a\.xml: drawn on 12x9 pixels, but the image has 9x12"):
        label_map(path, (9, 12), CLASSES, 3)
    with pytest.raises(BPGError, match=r"a\.xml: stroke 1: unknown tag 'cat'; the tags are sky, o"):
        label_map(path, (12, 9), ["sky", "other"], 3)
    write_scribblesup(path, Strokes(12, 9))
    with pytest.raises(BPGError, match=r"a\.xml: no pixel is labelled"):
        label_map(path, (12, 9), CLASSES, 3)


def test_a_share_of_each_line_is_drawn(tmp_path):
    path = tmp_path / "a.xml"
    write_scribblesup(path, Strokes(12, 9, (CAT,)))
    labels = label_map(path, (12, 9), CLASSES, 1, 0.5)
    # 2.5..8.5 becomes 4..7, and pixels count whose centre lies within half a pixel.
    assert np.argwhere(labels == 1).tolist() == [[2, column] for column in (3, 4, 5, 6, 7)]
    assert (label_map(path, (12, 9), CLASSES, 1) == 1).sum() == 7


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BPGError, match=r"none\.xml: cannot be read"):
        read_strokes(tmp_path / "none.xml")


def test_large_files_are_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "a.xml"
    write_scribblesup(path, Strokes(12, 9, (CAT,) * 20))
    monkeypatch.setattr(annotations, "FILE_LIMIT", 1000)
    with pytest.raises(BPGError, match="larger than 1,000 bytes"):
        read_strokes(path)
