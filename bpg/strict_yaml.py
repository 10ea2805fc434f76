"""YAML files that people edit: errors name what is wrong in them."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.events import AliasEvent

from bpg.errors import BPGError
from bpg.files import read_limited

FILE_LIMIT = 2**20
"""Larger files are refused unread: people write kilobytes."""

Kind = TypeVar("Kind")


class _NoAliases(Composer):
    """Refuses aliases: nested ones make a few lines stand for billions."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            problem = "anchors and aliases are not read"
            raise ComposerError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> Any:
    """Read a YAML file with DVC's own parser; a duplicate key is an error.

    Raises:
        BPGError: The file cannot be read, or is not valid YAML without aliases; the message names
            the file and the line.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _NoAliases
    try:
        return yaml.load(read_limited(path, FILE_LIMIT, ", so no parameter file").decode())
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", ""))
        # Of a key that is given twice, it quotes both values, which may be whole sections.
        problem = " ".join(problem.partition(" with value ")[0].split())[:200]
        raise BPGError(f"{path}:{place} not valid YAML: {problem}") from error
    except UnicodeDecodeError as error:
        raise BPGError(f"{path}: not UTF-8 text") from error
    except RecursionError as error:
        raise BPGError(f"{path}: nested too deeply") from error
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        # The parser's words for impossible dates, times and numbers.
        raise BPGError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def read_as(path: Path, kind: type[Kind], renamed: Mapping[str, str] | None = None) -> Kind:
    """Read a YAML file and validate it with pydantic.

    Args:
        path: The file.
        kind: What its content must be, such as a pydantic model.
        renamed: {key with its sections, "a.b.c": what to say about it}, for keys that no longer
            exist.

    Returns:
        The content as `kind`.

    Raises:
        BPGError: The file cannot be read or is not of that kind; the message names the file and the
            key.
    """
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise BPGError(f"{path}: no such parameter file; there are: {known or 'none'}")
    values = read_yaml(path)
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise BPGError(f"{path}: {first_error(error, renamed, kind)}") from error


def first_error(
    error: ValidationError, renamed: Mapping[str, str] | None = None, kind: Any = None
) -> str:
    """Describe the first of the validation errors in one line.

    Args:
        error: What pydantic found.
        renamed: As for `read_as`.
        kind: What was validated; its keys are suggested for an unknown one.

    Returns:
        The key with its sections, and what is wrong with it.
    """
    found = error.errors()
    # A misspelt key is missing, too, under its right name: the user looks for what they wrote.
    unknown = ("extra_forbidden", "unexpected_keyword_argument")
    first = next((one for one in found if one["type"] in unknown), found[0])
    place = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in unknown:
        known = _keys(kind, first["loc"][:-1])
        close = get_close_matches(str(first["loc"][-1]), known, n=1)
        message = "unknown key" + (f"; did you mean {close[0]}?" if close else "")
        if known and not close:
            message += f"; known: {', '.join(known)}"
        for pattern, instead in (renamed or {}).items():
            if fnmatchcase(place, pattern):
                message = instead
    elif first["type"] == "missing":
        message = "missing key"
    elif first["type"] in ("list_type", "tuple_type"):
        message = f"must be a list, such as [{first['input']}]"
    elif first["type"] != "value_error":
        message = f"{message} (found {first['input']!r})"
    return f"{place}: {message}" if place else message


def _keys(kind: Any, path: Sequence[int | str]) -> list[str]:
    """Name the keys of the section at `path` of something of the type `kind`."""
    if get_origin(kind) in (Annotated, list, tuple, dict, UnionType, Union):
        arguments = [one for one in get_args(kind) if one is not type(None)]
        if get_origin(kind) in (Annotated, UnionType, Union):
            return _keys(arguments[0], path)
        return _keys(arguments[-1], path[1:]) if path else []
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__pydantic_fields__", {})
    by_key = {field.alias or name: field for name, field in fields.items()}
    if not path:
        return list(by_key)
    field = by_key.get(str(path[0]))
    return [] if field is None else _keys(field.annotation, path[1:])
