import numpy as np
import pytest

from bpg.data.masks import write_mask
from bpg.errors import BPGError
from bpg.report.examples import choose_images, rule

IDS = [f"id_{number}" for number in range(6)]
EMPTY = np.zeros((4, 5), np.uint8)
EMPTY[0] = 255  # not scored is no object


@pytest.fixture
def masks(tmp_path):
    """Six masks, each with an object."""
    for image_id in IDS:
        write_mask(tmp_path / f"{image_id}.png", np.full((4, 5), 1, np.uint8))
    return tmp_path


def test_the_first_image_with_an_object_of_each_run(masks):
    write_mask(masks / "id_2.png", EMPTY)
    assert choose_images(IDS[::-1], masks, 3) == ["id_0", "id_3", "id_4"]
    assert choose_images(IDS[:2], masks, 6) == ["id_0", "id_1"]


def test_a_run_without_enough_objects_gives_none(masks):
    for image_id in ("id_2", "id_3"):
        write_mask(masks / f"{image_id}.png", EMPTY)
    assert choose_images(IDS, masks, 3) == ["id_0", "id_4"]
    assert choose_images(IDS, masks, 2, nth=1) == ["id_1", "id_5"]
    assert choose_images(IDS, masks, 2, nth=2) == []


def test_where_no_mask_shows_an_object_the_first_images_are_shown(masks):
    for image_id in IDS:
        write_mask(masks / f"{image_id}.png", np.full_like(EMPTY, 255))
    assert choose_images(IDS, masks, 2) == ["id_0", "id_3"]
    assert choose_images(IDS, masks, 2, nth=1) == []
    assert choose_images([], masks, 3) == []


def test_nth_gives_other_images(masks):
    write_mask(masks / "id_1.png", EMPTY)
    assert [choose_images(IDS, masks, 2, nth=nth) for nth in range(3)] == [
        ["id_0", "id_3"],
        ["id_2", "id_4"],
        ["id_5"],
    ]


def test_chosen_ids_are_plain_strings(masks):
    assert {type(image_id) for image_id in choose_images(IDS, masks, 3)} == {str}


def test_a_missing_mask_is_named(masks):
    (masks / "id_0.png").unlink()
    with pytest.raises(BPGError, match=r"id_0\.png"):
        choose_images(IDS, masks, 3)


def test_the_rule_in_words():
    assert "into 6 equal runs, and of each the first image" in rule(6)
    assert [rule(4, nth).split("of each the ")[1].split()[0] for nth in range(5)] == [
        "first",
        "second",
        "third",
        "4th",
        "5th",
    ]
