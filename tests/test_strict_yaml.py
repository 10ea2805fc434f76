"""The strict reader: what is no YAML, or not to be read, is named with file and line."""

import pytest

from bpg.errors import BPGError
from bpg.strict_yaml import FILE_LIMIT, read_as, read_yaml


def refusal(path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(BPGError) as caught:
        read_yaml(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and not message.endswith(": ") and "\n" not in message
    return message


@pytest.mark.parametrize(
    "data",
    [
        b"a: \xff\xfe\n",
        b"a: \x07\n",
        b"a: 2020-13-45\n",
        b"a: !!python/object:os.system x\n",
        b"a: !!bool foo\n",
        b"[" * 20_000,
        b"a: " + b"x" * FILE_LIMIT,
    ],
)
def test_what_is_not_to_be_read_is_refused(tmp_path, data):
    refusal(tmp_path / "x.yaml", data)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"kind: shapes\n\nclasses: [a, b\nsource: {}\n", 4),
        (b"a: 1\nb: 2\na: 3\n", 3),
        (b"a: 1\nb: &x [1]\nc: *x\n", 2),
        (b"a: |\n x\n y\na: 2\n", 4),
    ],
)
def test_the_line_is_named(tmp_path, data, line):
    assert f": line {line} not valid YAML: " in refusal(tmp_path / "x.yaml", data)


def test_a_key_given_twice_is_named(tmp_path):
    assert '"lambda"' in refusal(tmp_path / "x.yaml", b"lambda: 1\nlambda: 2\n")


def test_aliases_cannot_grow(tmp_path):
    lines = ["a0: &a0 [x]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)
    ]
    refusal(tmp_path / "x.yaml", "\n".join(lines).encode())


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a list\n", "a word\n", "3\n", "1: x\n"])
def test_a_file_of_another_kind_is_named(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BPGError) as caught:
        read_as(path, dict[str, str])
    assert str(caught.value).startswith(f"{path}: ")
