"""Which process this is, of those that a launcher started; known without loading PyTorch."""

import os


def launched() -> bool:
    """Say whether a launcher started this process, as one of several or as the only one.

    Some clusters set RANK and WORLD_SIZE in every container, but not the rank on the machine.
    """
    return {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys()


def rank() -> int:
    """Return the number of this process: 0 writes the files and speaks for all."""
    return int(os.environ["RANK"]) if launched() else 0


def local_rank() -> int:
    """Return the number of this process on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() else 0


def local_size() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched() else 1
