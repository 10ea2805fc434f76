"""What every stage does around its work: arguments, errors in one line, the time it took."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from bpg.errors import BPGError
from bpg.variants import VARIANTS
from stages.layout import ROOT
from stages.parameters import read_parameters
from stages.unfinished import at_stage


def run_stage(name: str, work: Callable[..., None], *, of_run: bool = False) -> None:
    """Call `work(parameters)` or, with `of_run`, `work(parameters, variant, seed)`; then exit.

    The arguments variant and seed come from the command line. Bad input ends in one line on
    standard error and status 1, an interrupt (Ctrl-C or SIGTERM) in status 130.
    """
    started = time.monotonic()
    try:
        with _terminated_as_interrupted():
            arguments = _run_arguments(name) if of_run else _no_arguments(name)
            parameters = read_parameters(ROOT)
            with at_stage(name, parameters, *arguments):
                work(parameters, *arguments)
    except BPGError as error:
        sys.exit(f"{name}: error: {error}")
    except OSError as error:
        sys.exit(f"{name}: error: {error.filename or 'a file'}: {error.strerror or error}")
    except MemoryError:
        sys.exit(f"{name}: error: the memory is full; close other programs and run again")
    except BrokenProcessPool:
        sys.exit(
            f"{name}: error: one of its processes was killed: out of memory? Run again, it goes on"
        )
    except RuntimeError as error:
        # PyTorch's own class, without an import that costs the other stages seconds.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        sys.exit(f"{name}: error: the GPU's memory is full; lower training.batch or crop")
    except KeyboardInterrupt as interrupt:
        print(f"{name}: interrupted {interrupt}".rstrip(), file=sys.stderr)
        sys.exit(130)
    print(f"{name}: done in {time.monotonic() - started:.1f} s")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, which batch systems send before they kill, end a stage as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _no_arguments(name: str) -> tuple[()]:
    if len(sys.argv) > 1:
        raise BPGError(f"unexpected argument {sys.argv[1]!r}; usage: python -m stages.{name}")
    return ()


def _run_arguments(name: str) -> tuple[str, int]:
    usage = f"usage: python -m stages.{name} VARIANT SEED"
    if len(sys.argv) != 3:
        raise BPGError(usage)
    variant, seed = sys.argv[1:]
    if variant not in VARIANTS:
        raise BPGError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}; {usage}")
    if not seed.isdecimal():
        raise BPGError(f"seed {seed!r} is not a whole number from 0; {usage}")
    return variant, int(seed)
