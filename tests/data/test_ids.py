"""Lists of image names."""

import pytest

from bpg.data.ids import read_ids
from bpg.errors import BPGError


@pytest.mark.parametrize("data", [b"a\nb\n", b"a\r\nb\r\n", b"\xef\xbb\xbfa\nb", b" a \n\nb"])
def test_lists_of_any_editor_are_read(tmp_path, data):
    (tmp_path / "x.txt").write_bytes(data)
    assert read_ids(tmp_path / "x.txt") == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "no image"),
        (b"\n", "no image"),
        (b"a\n../b\n", "'../b'"),
        (b"a\nb\na\n", "'a' twice"),
        (b"\xff\xfe", "no list"),
    ],
)
def test_what_is_no_list_is_named(tmp_path, data, named):
    (tmp_path / "x.txt").write_bytes(data)
    with pytest.raises(BPGError, match=rf"x\.txt: .*{named}"):
        read_ids(tmp_path / "x.txt")
