"""The compiled modules (`setup.py`), which must match the source files beside their callers."""

import hashlib
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from bpg.errors import BPGError

_REMEDY = "run make check, or pip install -e ."


@cache
def compiled(name: str, source: Path) -> ModuleType:
    """Import a compiled module and check that it was built from the present source.

    Otherwise the results of old code would be recorded as those of the new code.

    Args:
        name: The module, such as "_bpg_regions".
        source: The C++ file it is built from; without that file, nothing is checked.

    Raises:
        BPGError: The module is not built, or it was built from another version of the source.
    """
    try:
        module = import_module(name)
    except ImportError as error:
        raise BPGError(f"{source.name} is not compiled; {_REMEDY}") from error
    if source.is_file() and hashlib.sha256(source.read_bytes()).hexdigest() != module.SOURCE:
        raise BPGError(f"{source} is not what was compiled; {_REMEDY}")
    return module
