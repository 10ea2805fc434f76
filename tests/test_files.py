from pathlib import Path

import pytest

from bpg.errors import BPGError
from bpg.files import read_limited, read_lines


def test_a_file_of_the_limit_is_read_and_a_larger_one_is_not(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_limited(path, 5, "") == b"12345"
    with pytest.raises(BPGError) as caught:
        read_limited(path, 4, "; shorten it")
    assert str(caught.value) == f"{path}: larger than 4 bytes; shorten it"


def test_of_an_endless_file_a_byte_more_than_the_limit_is_read():
    with pytest.raises(BPGError, match="/dev/zero: larger than 1,000 bytes"):
        read_limited(Path("/dev/zero"), 1000, "")


def test_what_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(BPGError) as caught:
            read_limited(path, 9, "")
        assert str(caught.value).startswith(f"{path}: cannot be read (")
        assert "\n" not in str(caught.value)


def test_lines_are_without_blanks_around_them(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff  two words \r\n\r\n\tgröße\nlast".encode())
    assert read_lines(path, "class name") == ["two words", "größe", "last"]


def test_what_is_no_text_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BPGError) as caught:
        read_lines(path, "class name")
    assert str(caught.value) == f"{path}: not UTF-8 text; write one class name a line"
