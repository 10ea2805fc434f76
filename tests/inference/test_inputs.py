"""Which images a command line means."""

import pytest

from bpg.errors import BPGError
from bpg.inference.inputs import find_inputs


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "my photos"
    for name in ("b.JPG", "a é.png", "trip/a é.webp", "trip/x.tiff", "notes.txt", ".hidden.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def names(found):
    return [one.name for one in found]


def test_a_folder_is_searched_and_subfolders_kept(photos, tmp_path):
    found = find_inputs([str(photos)], tmp_path / "out")
    assert names(found) == ["a é", "b", "trip/a é", "trip/x"]
    assert found[1].path == photos / "b.JPG"


def test_files_and_patterns(photos, tmp_path):
    out = tmp_path / "out"
    assert names(find_inputs([str(photos / "trip/x.tiff")], out)) == ["x"]
    assert names(find_inputs([f"{photos}/**/a*"], out)) == ["a é", "trip/a é"]
    assert names(find_inputs([f"{photos}/t*/x.*"], out)) == ["trip/x"]
    # Once, under the first name.
    assert names(find_inputs([f"{photos}/trip", str(photos / "trip/x.tiff")], out)) == ["a é", "x"]


def test_results_inside_the_folder_are_no_inputs(photos):
    out = photos / "out"
    out.mkdir()
    (out / "b.png").write_bytes(b"")
    assert "out/b" not in names(find_inputs([str(photos)], out))


def test_two_images_of_one_name_are_refused(photos, tmp_path):
    (photos / "b.png").write_bytes(b"")
    with pytest.raises(BPGError, match=r"b\.JPG and .*b\.png: their results would both be called"):
        find_inputs([str(photos)], tmp_path / "out")


def test_no_input_is_overwritten(photos, tmp_path, monkeypatch):
    with pytest.raises(BPGError, match="images are read from there; give another folder"):
        find_inputs([str(photos)], photos)
    with pytest.raises(BPGError, match=r"a é\.png: its result would overwrite it"):
        find_inputs([str(photos / "a é.png")], photos)
    monkeypatch.chdir(photos)
    with pytest.raises(BPGError, match=r"a é\.png: its result would overwrite it"):
        find_inputs(["a é.png"], type(photos)("."))
    (tmp_path / "link").symlink_to(photos)
    with pytest.raises(BPGError, match="images are read from there"):
        find_inputs([str(tmp_path / "link")], photos)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "nowhere: no such file or folder"),
        ("nowhere/*.jpg", r"nowhere/\*\.jpg: no image is there \(looked for .jpg"),
        ("empty", "empty: no image is there"),
    ],
)
def test_what_means_no_image_is_named(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BPGError, match=f"^{message}"):
        find_inputs([given], tmp_path / "out")
