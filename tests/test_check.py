import re

import pytest

from bpg.check import check
from bpg.data.options import FolderOptions
from tests.data.folders import ALL, CAT, GROUND, draw, line


@pytest.fixture
def checked(tmp_path, capsys):
    """Return a function that checks a folder: whether it is sound, what was printed, the page."""

    def checked(root, **options):
        sound = check(
            root,
            FolderOptions(**options),
            classes=(),
            line_width=3,
            longest_side=None,
            sheet=tmp_path / "sheet.html",
        )
        page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
        return sound, capsys.readouterr().out, page

    return checked


def test_a_sound_folder(tmp_path, checked):
    for number in range(5):
        draw(tmp_path / "mine", f"été {number}.jpg")
    draw(tmp_path / "mine", "nothing.jpg", ())
    sound, out, page = checked(tmp_path / "mine")
    assert sound
    assert re.search(r"^background +5 +10 +2 ", out, re.MULTILINE)
    assert re.search(r"^cat +5 +5 +1 ", out, re.MULTILINE)
    assert "images: 5 with strokes, 0 with masks, 1 with neither" in out
    assert "trained on the strokes of 5 images, scored on 4 held-out strokes on" in out
    assert "warning" not in out
    assert page.count("<figure>") == 6
    assert "été 3.jpg" in page
    assert "http" not in page  # nothing from the network


def test_every_planted_fault_is_named_in_text_and_on_the_page(tmp_path, checked):
    root = tmp_path / "mine"
    draw(root, "a.jpg", ALL)
    draw(root, "b.jpg", (GROUND, CAT, line("dog", (15.5, 8.5), (15.5, 22.5))))
    draw(root, "c.jpg", (CAT,))
    draw(root, "gone.jpg").unlink()
    (root / "images/broken.png").write_bytes(b"\x89PNG")
    (root / "strokes/cut.json").write_text('{"shapes": [', encoding="utf-8")
    sound, out, page = checked(root)
    assert not sound
    faults = (
        "broken.png: no JPEG",
        "cut.json: no valid JSON",
        "no image is called gone.jpg",
        "strokes of cat and dog cross",
        "no stroke of background on 1 image: c.jpg",
        "strokes of one class only on 1 image: c.jpg",
    )
    for text in faults:
        assert text in out
        assert text in page
    assert out.endswith("2 errors: fix before training\n")
    # The worst first, and those images first.
    assert out.index("error:") < out.index("warning:") < out.index("note:")
    assert page.index("<strong>b.jpg") < page.index("<strong>a.jpg")


def test_what_cannot_be_divided_is_an_error(tmp_path, checked):
    draw(tmp_path / "mine", "a.jpg", (GROUND, CAT))
    sound, out, _ = checked(tmp_path / "mine")
    assert not sound
    assert "no stroke can be held out to score on" in out


def test_names_are_escaped_on_the_page(tmp_path, checked):
    draw(tmp_path / "mine", "<b>&.jpg", (GROUND, line("<script>", (3, 3), (9, 9))))
    draw(tmp_path / "mine", "b.jpg", ALL)
    _, _, page = checked(tmp_path / "mine")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
