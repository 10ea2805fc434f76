"""An interrupt that waits for the step under way."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; what batch systems send before they kill


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Within the block a first interrupt is only noted: the function given says whether there was.

    A second one raises KeyboardInterrupt at once. Ignored signals stay ignored; outside the main
    thread, where Python lets nobody handle signals, nothing is noted.
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
    """Let a loading process outlive a Ctrl-C and a first SIGTERM, which reach the whole job.

    `worker` is its number, which PyTorch hands over. The training, which finishes its step, ends
    it; by a SIGTERM of its own if need be, which is why a second one is obeyed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(
        signal.SIGTERM, lambda number, frame: signal.signal(signal.SIGTERM, signal.SIG_DFL)
    )
