"""The compiled parts (`setup.py`), which must be of the source that lies beside their callers."""

import hashlib
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from bpg.errors import BPGError

_REMEDY = "run make check, or pip install -e ."


@cache
def compiled(name: str, source: Path) -> ModuleType:
    """Return the module `name`, built of the file `source`.

    Raises BPGError where it is not built or, where `source` is there, built of another one: its
    results would be filed as those of the new code.
    """
    try:
        module = import_module(name)
    except ImportError as error:
        raise BPGError(f"{source.name} is not compiled; {_REMEDY}") from error
    if source.is_file() and hashlib.sha256(source.read_bytes()).hexdigest() != module.SOURCE:
        raise BPGError(f"{source} is not what was compiled; {_REMEDY}")
    return module
