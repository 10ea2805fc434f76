"""What has to happen before anything large is imported: threads, Ctrl-C."""

import os
import signal
import sys
import warnings
from types import TracebackType

PARENT = os.getppid()
"""The process that started this one; another one adopts it when that ends."""

# Read when PyTorch loads: idle threads sleep instead of spinning, which costs a factor of 2 to 15
# wherever another job runs beside this one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _quiet_interrupt(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Show no stack trace for a Ctrl-C that comes while packages are still being imported."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _quiet_interrupt


def leave_at_once(number: int, frame: object) -> None:
    """End the process: nothing has begun yet. `run_stage` puts Python's own handler back.

    Args:
        number: The signal's number.
        frame: Where it came.
    """
    os.write(2, b"interrupted\n")
    os._exit(130)


# Some packages swallow a KeyboardInterrupt while they are imported, and fail later, in many lines.
# Python calls a script "-m" while it imports the package that holds it.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, leave_at_once)

# When a stage stops, joblib would warn about unfinished tasks; the stop has its own line.
warnings.filterwarnings("ignore", category=UserWarning, module="joblib.parallel")
