"""What a set of label maps holds, and what cannot be right about it."""

import re

import numpy as np
import pytest

from bpg.data.masks import write_mask
from bpg.data.survey import survey, survey_table

CLASSES = ["background", "cat", "dog"]


@pytest.fixture
def maps(tmp_path):
    """Return a function that writes label maps of 4 pixels, and gives their paths."""

    def write(*rows):
        paths = []
        for number, row in enumerate(rows):
            paths.append(tmp_path / f"{number}.png")
            write_mask(paths[-1], np.array([row], np.uint8))
        return paths

    return write


def test_images_and_pixels_are_counted_by_class(maps):
    found = survey(maps([0, 0, 1, 255], [0, 1, 1, 1]), CLASSES)
    assert found.images.tolist() == [2, 2, 0]
    assert found.pixels.tolist() == [3, 4, 0]
    assert (found.unlabelled, found.number) == (1, 2)
    assert (found.present, found.absent) == (["background", "cat"], ["dog"])
    assert found.mistake() is None
    table = survey_table({"masks": found}).splitlines()
    assert len(table) == 2 + len(CLASSES)
    assert "2 images  57 %" in table[2]
    assert table[-1].endswith("12.5 % of all")


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([[255] * 4, [255] * 4], "no pixel has a label"),
        ([[0, 0, 255, 255], [0, 0, 0, 0]], "only class is background.*Binary masks"),
        ([[2, 2, 2, 255]], "only class is dog"),
    ],
)
def test_what_teaches_nothing_is_a_mistake(maps, rows, named):
    found = survey(maps(*rows), CLASSES).mistake()
    assert re.search(named, found)
