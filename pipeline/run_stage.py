"""What every stage does around its work: arguments, one-line errors, the time it took."""

import inspect
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import psutil

from bpg.errors import BPGError
from bpg.ranks import launched, rank
from pipeline.cluster import spread
from pipeline.early import PARENT, leave_at_once
from pipeline.params import Parameters, read_parameters
from pipeline.paths import ROOT
from pipeline.resume import at_stage
from pipeline.variants import suggestion

POLL = 0.3  # seconds; the next DVC needs more to start


def run_stage(
    name: str,
    work: Callable[..., None],
    *,
    of_run: bool = False,
    shared: bool = False,
    by_image: bool = False,
) -> None:
    """Run a stage's work, and end the process with a one-line message if it fails.

    Args:
        name: Of the stage, and of its script.
        work: Called as `work(parameters)` or, with `of_run`, `work(parameters, variant, seed)`.
        of_run: Whether the stage takes a variant and a seed, from the command line.
        shared: Whether several processes may do the work together. Where `machine.launcher` is set,
            this process becomes that launcher; of those that it starts, the first one has the
            stage's lock and speaks for all.
        by_image: Whether the work's joblib tasks may run elsewhere, where `machine.dask` is set.

    Raises:
        SystemExit: Bad input or a lack of resources, with one line on standard error and status 1;
            or an interrupt (Ctrl-C or SIGTERM), with status 130.
    """
    usage = f"usage: python -m stages.{name}" + (" VARIANT SEED" if of_run else "")
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(f"{usage}\n\n{inspect.getdoc(work)}")
        return
    started = time.monotonic()
    said = name if rank() == 0 else f"{name}, process {rank()}"
    try:
        with _terminated_as_interrupted(), _ending_with_dvc(name):
            parameters = read_parameters(ROOT)
            arguments = _run_arguments(parameters, usage) if of_run else _no_arguments(usage)
            if shared and parameters.recipe.machine.launcher and not launched():
                _launch(parameters.recipe.machine.launcher, name)
            with (
                at_stage(name, parameters, *arguments) if rank() == 0 else nullcontext(),
                spread(parameters.recipe.machine.dask if by_image else ""),
            ):
                work(parameters, *arguments)
    except BPGError as error:
        sys.exit(f"{said}: error: {error}")
    except OSError as error:
        sys.exit(f"{said}: error: {error.filename or 'a file'}: {error.strerror or error}")
    except MemoryError:
        sys.exit(f"{said}: error: the memory is full; close other programs and run again")
    except BrokenProcessPool as error:
        sys.exit(f"{said}: error: one of its processes died{_of_what(error)}")
    except RuntimeError as error:
        if "DataLoader worker" in str(error):  # it died, noticed after the training
            sys.exit(f"{said}: error: a loading process died; run again, it resumes")
        # PyTorch's own class, without an import that costs the other stages seconds.
        if type(error).__name__ == "OutOfMemoryError":
            sys.exit(f"{said}: error: the GPU's memory is full; lower training.batch_size or crop")
        if "DefaultCPUAllocator" not in str(error):
            raise
        sys.exit(
            f"{said}: error: the memory is full ({_bytes_asked(error)}); close other programs, or "
            "lower training.batch_size, the crop, inference.scales or the widths in the recipe"
        )
    except KeyboardInterrupt as interrupt:
        print(f"{said}: interrupted {interrupt}".rstrip(), file=sys.stderr)
        sys.exit(130)
    if rank() == 0:
        print(f"{name}: done in {time.monotonic() - started:.1f} s")


def _launch(launcher: str, name: str) -> None:
    """Become the launcher, which runs this stage in several processes."""
    try:
        words = shlex.split(launcher)
    except ValueError as error:
        raise BPGError(f"machine.launcher: {error}: {launcher}") from error
    python = (sys.executable, "-m", "torch.distributed.run")  # this environment's `torchrun`
    command = [part for word in words for part in (python if word == "torchrun" else (word,))]
    command += ["-m", f"stages.{name}", *sys.argv[1:]]
    sys.stdout.flush()
    try:
        os.execvp(command[0], command)  # noqa: S606 the user's own command, without a shell
    except OSError as error:
        raise BPGError(f"machine.launcher: {command[0]}: {error.strerror}") from error


def _of_what(error: BrokenProcessPool) -> str:
    """Say of which signal a process has died: joblib lists its processes' exit codes."""
    signals = [name for name in re.findall(r"\b(SIG[A-Z]+)\(", str(error)) if name != "SIGTERM"]
    if not signals or "SIGKILL" in signals:
        return ": killed, out of memory? Run again, it resumes"
    return f" of {signals[0]}, a fault in compiled code; please report it with the command"


def _bytes_asked(error: RuntimeError) -> str:
    found = re.search(r"allocate (\d+) bytes", str(error))
    return f"{int(found[1]):,} bytes were asked for" if found else "PyTorch"


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, which batch systems send before they kill, act on a stage like Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGINT) is leave_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _ending_with_dvc(name: str) -> Iterator[None]:
    """End a stage as Ctrl-C does when the DVC process that runs it has been killed.

    Otherwise it would put its outputs into place under the next DVC process, which may have put
    others there. What it has done is kept.
    """
    if rank() > 0:  # process 0 tells the others
        yield
        return
    over = threading.Event()
    main = threading.get_ident()  # this thread: `run_stage` works in no other
    ancestors = psutil.Process().parents()
    dvc = next(filter(is_dvc, ancestors), None)
    if dvc is None and "DVC_STAGE" in os.environ and not launched():
        # DVC's Python API, in a process of any name, be it the first one of a container.
        dvc = next(filter(_is_python, ancestors), None)
        # DVC was killed during the imports: another process has adopted this one.
        if dvc is None or os.getppid() != PARENT:
            raise KeyboardInterrupt("before it began: its DVC has ended")

    def watch() -> None:
        while not over.wait(POLL):
            if (dvc and not _lives(dvc)) or (launched() and os.getppid() != PARENT):
                # To the main thread: only that one handles it, and it may be waiting for something.
                signal.pthread_kill(main, signal.SIGTERM)
                with suppress(OSError):  # whoever reads this may have ended, too
                    starter = "DVC process" if dvc else "launcher"
                    print(f"{name}: its {starter} has ended; stopping", file=sys.stderr)
                return

    if dvc is not None or launched():
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_dvc(process: psutil.Process) -> bool:
    """Say whether a process is DVC, judging by its command line."""
    try:
        return any(Path(word).name == "dvc" for word in process.cmdline())
    except psutil.Error:
        return False


def _is_python(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("python")
    except psutil.Error:
        return False


def _no_arguments(usage: str) -> tuple[()]:
    if len(sys.argv) > 1:
        raise BPGError(f"unexpected argument {sys.argv[1]!r}; {usage}")
    return ()


def _run_arguments(parameters: Parameters, usage: str) -> tuple[str, int]:
    if len(sys.argv) != 3:
        raise BPGError(usage)
    variant, seed = sys.argv[1:]
    if variant not in parameters.variants:
        meant = suggestion(variant, parameters.variants)
        raise BPGError(f"unknown variant {variant!r}; {meant} {usage}")
    if not seed.isdecimal() or int(seed) >= 2**32:
        raise BPGError(f"seed {seed[:40]!r} is not a whole number from 0 to 2**32 - 1; {usage}")
    return variant, int(seed)
