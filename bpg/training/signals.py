"""Interrupts that wait for the current step to finish."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; what batch systems send before they kill a job


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Only note a first interrupt (Ctrl-C, SIGTERM) within the block.

    Ignored signals stay ignored. Outside the main thread, where Python does not allow signal
    handlers, nothing is noted.

    Yields:
        A function that says whether there was an interrupt.

    Raises:
        KeyboardInterrupt: At once, on a second interrupt.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, note)
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_interrupts_to_the_parent(worker: int) -> None:
    """Let a loading process survive a Ctrl-C and a first SIGTERM, which reach the whole job.

    The training loop, which finishes its step, ends the process; with a SIGTERM of its own if need
    be, which is why a second one is obeyed.

    Args:
        worker: Number of the process, which PyTorch passes; not used.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(
        signal.SIGTERM, lambda number, frame: signal.signal(signal.SIGTERM, signal.SIG_DFL)
    )
