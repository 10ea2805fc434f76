"""Change values of a YAML file; its layout and comments stay."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bpg.atomic import write_text
from bpg.errors import BPGError

ONE_LINE = 10**9
"""Characters of a line; no value is folded."""


class _Lines(NamedTuple):
    """Lines `first` to `last` of the file, and what replaces them."""

    first: int
    last: int
    text: list[str]


def edit_yaml(path: Path, changes: dict[str, Any]) -> None:
    """Change values of a file whose keys each have a line of their own.

    What stands behind a key's value as a comment stays there; lists of names are written in one
    line, lists of mappings with a line for each.

    Args:
        path: The file.
        changes: {key: value}. A value is text, a list of texts, a list of {key: text}, or the
            changes of a section, a dict.

    Raises:
        BPGError: A key is missing or not on a line of its own; the message names the file.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.removesuffix("\n").split("\n")
    edits = _edits(yaml.compose(text, Loader=yaml.SafeLoader), changes, lines, path)
    for edit in sorted(edits, reverse=True):
        lines[edit.first : edit.last + 1] = edit.text
    changed = "\n".join(lines) + "\n"
    try:
        right = yaml.safe_load(changed) == _merged(yaml.safe_load(text), changes)
    except yaml.YAMLError:
        right = False
    if not right:
        raise BPGError(f"{path}: its layout is too unusual; give each key a line of its own")
    write_text(path, changed)


def _edits(
    section: yaml.Node | None, changes: dict[str, Any], lines: list[str], path: Path
) -> list[_Lines]:
    entries = section.value if isinstance(section, yaml.MappingNode) else []
    found = {key.value: (key, value) for key, value in entries}
    edits: list[_Lines] = []
    for name, value in changes.items():
        if name not in found:
            raise BPGError(f"{path}: {name}: missing; add it, as the file had it")
        key, old = found[name]
        if isinstance(value, dict):
            edits += _edits(old, value, lines, path)
        else:
            edits.append(_replaced(key, old, value, lines))
    return edits


def _replaced(key: yaml.Node, old: yaml.Node, value: Any, lines: list[str]) -> _Lines:
    first, start = key.start_mark.line, key.start_mark.column
    after_key = key.end_mark.column + 1  # and its colon
    last, column = old.end_mark.line, old.end_mark.column
    if isinstance(old, yaml.CollectionNode) and not old.flow_style:
        # A block ends where the next key starts; comments before that are not its own.
        last -= 1
        while lines[last].lstrip().startswith("#") or not lines[last].strip():
            last -= 1
        comment = lines[first][after_key:]
    else:
        comment = lines[last][column:]
    block, inline = [], f" {_flow(value)}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        block, inline = [f"{' ' * start}  - {_flow(one)}" for one in value], ""
    comment = f" {comment.strip()}" if comment.strip() else ""
    return _Lines(first, last, [lines[first][:after_key] + inline + comment, *block])


def _flow(value: list | dict | str) -> str:
    """Return a value in one line, as it would be written by hand."""
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name}: {_flow(one)}' for name, one in value.items())} }}"
    style = '"' if "\n" in value else None
    listed = yaml.safe_dump(
        [value],  # what may stand in a list may stand anywhere
        allow_unicode=True,
        width=ONE_LINE,
        default_style=style,
        default_flow_style=True,
    )
    return listed.strip()[1:-1]


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return values | {
        name: _merged(values[name], value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
