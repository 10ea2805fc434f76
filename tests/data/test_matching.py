import pytest

from bpg.data.matching import Images, normalised

FOLDER = ["a/x.jpg", "b/x.jpg", "c/y 1.JPG", "z.tar.png", "é.jpg", "sub/é 2.webp"]


@pytest.mark.parametrize(
    ("candidates", "meant"),
    [
        (["a/x.jpg"], ["a/x.jpg"]),
        (["x.jpg"], ["a/x.jpg", "b/x.jpg"]),  # cannot be decided
        (["b/x.jpg", "x.jpg"], ["b/x.jpg"]),  # the best name first
        ([r"C:\Users\me\photos\a\x.jpg"], ["a/x.jpg"]),  # Windows
        (["../images/a/x.jpg"], ["a/x.jpg"]),
        (["/data/b/x.jpg"], ["b/x.jpg"]),
        (["y 1.png"], ["c/y 1.JPG"]),  # another suffix
        (["Y 1.jpg"], ["c/y 1.JPG"]),  # another case
        (["z.tar"], ["z.tar.png"]),
        (["z.tar.png.json"], ["z.tar.png"]),
        (["e\u0301.jpg"], ["é.jpg"]),  # the accent as a character of its own
        (["sub/e\u0301 2"], ["sub/é 2.webp"]),
        (["nothing.jpg", ""], []),
        ([], []),
        (["unknown.jpg", "é"], ["é.jpg"]),
    ],
)
def test_names_find_their_image(candidates, meant):
    assert Images(FOLDER).find(candidates) == meant


def test_an_exact_name_wins_over_a_longer_guess():
    images = Images(["x.jpg", "x.png", "folder/x.jpg"])
    assert images.find(["x.jpg"]) == ["x.jpg"]
    assert images.find(["C:/other/x.jpg"]) == ["x.jpg", "folder/x.jpg"]
    assert images.find(["folder/x.jpg"]) == ["folder/x.jpg"]
    assert images.find(["x.png"]) == ["x.png"]


def test_paths_are_normalised():
    assert normalised(r"C:\a\..\.\b.jpg") == "a/b.jpg"
    assert normalised("//a//b.jpg") == "a/b.jpg"
    assert normalised("") == ""
