"""Exported PyTorch files (`torch.export`), checked before PyTorch loads them.

`torch.export.load` unpickles, evaluates expressions and looks functions up by name, so that a
forged file can run anything. Ours need none of that: weights are plain bytes, sizes are sums and
products of the image's, and all functions are PyTorch's operators.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from bpg.errors import BPGError
from bpg.inference.card import FILE, FILE_LIMIT, Card, parse_card

GRAPH_LIMIT = 2**27
"""A larger description of the operations is refused unread: that of ResNet-101 has 6 MB."""

_FILES = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
    r"|models/model\.json|extra/card\.json|data/(weights/(weight_\d+|model_weights_config\.json)"
    r"|constants/(tensor_\d+|model_constants_config\.json)|sample_inputs/model\.pt))"
)
_WORDS = {"Add", "Mul", "Integer", "Symbol", "FloorDiv", "Min", "Max", "Mod", "PythonMod", "Pow"}
_WORDS |= {"positive", "integer", "nonnegative", "True"}
_WORD = re.compile(r"[A-Za-z_]\w*")
_SIZE = re.compile(r"s\d+")
_EXPRESSION = re.compile(r"[\w\s(),='+*/<>-]*")
_OPERATOR = re.compile(r"torch\.ops\.aten\.\w+\.\w+|_operator\.\w+|torch\.sym_\w+")


def read_program_card(data: bytes, name: str) -> Card:
    """Read the card in a `.pt2` file.

    Args:
        data: Content of the file.
        name: What errors call the file.

    Raises:
        BPGError: There is none, or it is broken.
    """
    return parse_card(_entry(data, name, f"extra/{FILE}", FILE_LIMIT), name)


def check_program(data: bytes, name: str) -> None:
    """Refuse a `.pt2` file whose loading could run more than PyTorch's operators.

    Args:
        data: Content of the file.
        name: What errors call the file.

    Raises:
        BPGError: It holds something else than what `bpg export` writes.
    """
    import torch  # noqa: PLC0415 others read the card without it

    with _archive(data, name) as archive:
        strange = [entry for entry in archive.namelist() if not _FILES.fullmatch(entry)]
    if strange:
        raise _forged(name, f"the entry {strange[0]!r}")
    for config in ("weights/model_weights_config.json", "constants/model_constants_config.json"):
        for key, value in _pairs(_json(data, name, f"data/{config}")):
            if key == "use_pickle" and value is not False:
                raise _forged(name, "a pickle")
            if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(value)):
                raise _forged(name, f"the path {value!r}")
    for key, value in _pairs(_json(data, name, "models/model.json")):
        if key == "guards_code" and value:
            raise _forged(name, "code of guards")
        if key == "target" and isinstance(value, str) and not _OPERATOR.fullmatch(value):
            raise _forged(name, f"the function {value!r}")
        if key in ("expr_str", "as_expr") and isinstance(value, str):
            words = set(_WORD.findall(value))
            sizes = {word for word in words if _SIZE.fullmatch(word)}
            if not _EXPRESSION.fullmatch(value) or words - sizes - _WORDS:
                raise _forged(name, f"the expression {value[:80]!r}")
    sample = _entry(data, name, "data/sample_inputs/model.pt", GRAPH_LIMIT)
    try:
        torch.load(io.BytesIO(sample), weights_only=True)
    except Exception as error:  # PyTorch would then unpickle anything
        raise _forged(name, "a pickle") from error


def _forged(name: str, what: str) -> BPGError:
    return BPGError(f"{name}: not a file of bpg export: holds {what}; export the network again")


def _archive(data: bytes, name: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise BPGError(f"{name}: broken or cut off; export the network again") from error


def _entry(data: bytes, name: str, entry: str, limit: int) -> bytes:
    with _archive(data, name) as archive:
        found = [one for one in archive.infolist() if one.filename.partition("/")[2] == entry]
        try:
            if len(found) != 1 or found[0].file_size > limit:
                raise KeyError(entry)
            return archive.read(found[0])
        except Exception as error:  # of many kinds, for a broken archive
            raise BPGError(
                f"{name}: not a file of bpg export: no readable {entry}; export the network again"
            ) from error


def _json(data: bytes, name: str, entry: str) -> Any:
    try:
        return json.loads(_entry(data, name, entry, GRAPH_LIMIT))
    except (ValueError, RecursionError) as error:
        raise BPGError(f"{name}: {entry} is not JSON; export the network again") from error


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """All keys with their values, anywhere in a JSON document."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
