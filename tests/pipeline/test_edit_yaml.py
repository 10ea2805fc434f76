"""Values change, all else of the file stays."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.errors import BPGError
from pipeline.edit_yaml import edit_yaml

FILE = """\
# Before.

one: 1 # a number
two: 'it''s'   # quoted

section: # of lists
  flow: [a,
    b] # over two lines

  # Of the block.
  block: # behind its key
    - { name: x, from: y } # of an item
    - z

  # Of the last one.
  last: []

# At the end.
"""


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"one": "x y"}, "one: 1 # a", "one: x y # a"),
        ({"two": "l'été: # 1"}, "two: 'it''s'   # quoted", "two: 'l''été: # 1' # quoted"),
        ({"two": "a\nb"}, "two: 'it''s'   # quoted", 'two: "a\\nb" # quoted'),
        ({"two": "no"}, "two: 'it''s'   # quoted", "two: 'no' # quoted"),
        ({"section": {"flow": ["c"]}}, "flow: [a,\n    b] # over", "flow: [c] # over"),
        (
            {"section": {"block": []}},
            "block: # behind its key\n    - { name: x, from: y } # of an item\n    - z\n",
            "block: [] # behind its key\n",
        ),
        (
            {"section": {"last": [{"a": "b", "c": "d"}, {"a": "e"}]}, "one": "0"},
            None,
            FILE.replace("one: 1", "one: '0'").replace(
                "last: []", "last:\n    - { a: b, c: d }\n    - { a: e }"
            ),
        ),
    ],
)
def test_only_the_value_changes(tmp_path, changes, old, new):
    path = tmp_path / "a.yaml"
    path.write_text(FILE, encoding="utf-8")
    edit_yaml(path, changes)
    expected = new if old is None else FILE.replace(old, new)
    assert path.read_text(encoding="utf-8") == expected


@settings(deadline=None, max_examples=50)
@given(value=st.text(st.characters(exclude_categories=["C"], include_characters="\n"), min_size=1))
def test_any_text_is_read_back(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "a.yaml"
    path.write_text(FILE, encoding="utf-8")
    edit_yaml(path, {"two": value, "section": {"flow": [value, value]}})
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert (found["two"], found["section"]["flow"]) == (value, [value, value])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one: 1\n", "a.yaml: two: missing; add it"),
        ("", "a.yaml: one: missing; add it"),
        ("{one: 1, two: [3]}\n", "a.yaml: its layout is too unusual; give each key a line"),
        ("one: |\n  text\ntwo: 2\n", "a.yaml: its layout is too unusual"),
    ],
)
def test_what_cannot_be_edited_stays_as_it_is(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BPGError, match=message):
        edit_yaml(path, {"one": "a", "two": "b"})
    assert path.read_text(encoding="utf-8") == text
