import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpg.data.formats.names import label_text, relative_names, url_names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("cat", "cat"),
        ("0", "0"),
        (0, "0"),
        (3.0, "3"),
        (2.5, "2.5"),
        (" a-b c ", "a-b c"),
        (unicodedata.normalize("NFD", "größe"), "größe"),
        ("", ""),
        (" \n", ""),
        (None, ""),
        (True, ""),
        (["cat"], ""),
        ({"cat": 1}, ""),
        ("\ud83d", "?"),
    ],
)
def test_labels_are_text(value, text):
    assert label_text(value) == text


def test_names_are_relative_paths_and_their_ends():
    assert relative_names("a.jpg") == ("a.jpg",)
    assert relative_names("C:\\photos\\more\\a b.jpg") == (
        "photos/more/a b.jpg",
        "more/a b.jpg",
        "a b.jpg",
    )
    assert relative_names("/x/../a.jpg", None, 5, "./b.jpg") == ("x/a.jpg", "a.jpg", "b.jpg")
    assert relative_names("", "..", "/", "a\0b", None) == ()


@pytest.mark.parametrize(
    ("url", "first", "also"),
    [
        ("a#1?.jpg", "a#1?.jpg", "a#1?.jpg"),
        ("https://h.org:80/x/caf%C3%A9%201.jpg?sig=a/b#c", "x/café 1.jpg", "café 1.jpg"),
        ("s3://bucket/key/a.jpg", "key/a.jpg", "a.jpg"),
        ("/data/local-files/?d=p/caf%C3%A9%201.jpg", "p/café 1.jpg", "café 1.jpg"),
        ("http://h/data/local-files/?d=p%2Fa.jpg", "p/a.jpg", "a.jpg"),
        ("/data/local-files/?d=p/a+b.jpg", "p/a b.jpg", "a+b.jpg"),
        ("/data/upload/1/0123abcd-a%20b.jpg", "data/upload/1/0123abcd-a b.jpg", "a b.jpg"),
        ("/data/upload/0123abcd-a.jpg", "data/upload/0123abcd-a.jpg", "0123abcd-a.jpg"),
        ("0123abcd-a.jpg", "0123abcd-a.jpg", "a.jpg"),
        ("50%.jpg", "50%.jpg", "50%.jpg"),
        ("http://[x/a.jpg", "http:/[x/a.jpg", "a.jpg"),
    ],
)
def test_urls_end_in_names(url, first, also):
    names = url_names(url)
    assert names[0] == first
    assert also in names
    assert len(names) == len(set(names))


def test_images_within_urls_have_no_name():
    assert url_names("data:image/png;base64,AA/BB", None, {}) == ()


def test_what_only_looks_like_an_upload_keeps_its_name():
    for name in ("0123abc-a.jpg", "0123ABCD-a.jpg", "0123abcd-"):
        assert url_names(name) == (name,)


@given(st.text() | st.text("/.\\:%?#=[]\0ab", max_size=30))
def test_no_name_leads_out_of_a_folder(text):
    for name in (*relative_names(text), *url_names(text)):
        assert not name.startswith("/")
        assert not {"", ".", ".."} & set(name.split("/"))
        assert "\\" not in name
        assert "\0" not in name
        name.encode()
