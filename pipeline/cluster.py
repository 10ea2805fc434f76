"""Per-image work on a Dask cluster instead of this machine's cores (`machine.dask`)."""

from collections.abc import Iterator
from contextlib import contextmanager

import joblib

from bpg.errors import BPGError

PATIENCE = 30  # seconds, for the scheduler to answer
WORKER_PATIENCE = 30  # seconds, for a first worker


@contextmanager
def spread(scheduler: str) -> Iterator[None]:
    """Let joblib send its tasks to a Dask scheduler within the block.

    The workers read the same files as this process: they run in this folder, of a file system that
    all share, with the same environment. Results come back here, in order, and are written here.
    What a worker that is lost had under way is computed by another one.

    Args:
        scheduler: Its address, "tcp://HOST:PORT"; empty: this machine's own cores.

    Raises:
        BPGError: Dask is not installed, or no scheduler answers or none of its workers does.
    """
    if not scheduler:
        yield
        return
    try:
        from distributed import Client, KilledWorker  # noqa: PLC0415 an optional package
        from distributed.client import FutureCancelledError  # noqa: PLC0415
        from distributed.comm import CommClosedError  # noqa: PLC0415
    except ImportError as error:
        raise BPGError(
            "machine.dask: Dask is not installed; run pip install -e '.[train,cluster]'"
        ) from error
    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise BPGError(
            f"machine.dask: no Dask scheduler answers at {scheduler}; start one with "
            "`python -m dask scheduler`, or set it to '' to use this machine's cores"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKER_PATIENCE)
        except TimeoutError as error:
            raise BPGError(
                f"machine.dask: the scheduler at {scheduler} has no worker; start some with "
                f"`python -m dask worker {scheduler}` in this folder"
            ) from error
        if sum(client.nthreads().values()) == 1:
            # joblib sees no second one to work beside.
            print("machine.dask: the cluster has one thread so far; this process does all itself")
        try:
            with joblib.parallel_config("dask"):
                yield
        except KilledWorker as error:
            raise BPGError(
                "several Dask workers died of the same image, out of memory? Run again, it resumes"
            ) from error
        except (CommClosedError, FutureCancelledError) as error:
            raise BPGError(
                f"machine.dask: the scheduler at {scheduler} is gone; run again, it resumes"
            ) from error
