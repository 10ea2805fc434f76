"""A training that is started and watched from the page: the same commands as by hand."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

from bpg.errors import BPGError

RECIPE = "small"
VARIANT = "bpg"
_LOG = "training.log"
_SHOWN = 4000  # characters of what it has said last


@dataclass(frozen=True)
class Progress:
    """A training.

    Attributes:
        command: What is run, as one would type it.
        running: Whether it is under way.
        status: How it ended; None before.
        said: The end of what it has printed.
    """

    command: str
    running: bool
    status: int | None
    said: str


class Training:
    """Trains a network on a folder, in a checkout of BPG.

    Args:
        checkout: With dvc.yaml and params/.
        root: The folder of images and strokes.
        log: A folder for what is printed.
    """

    def __init__(self, checkout: Path, root: Path, log: Path):
        self.checkout, self.root, self.log = checkout.resolve(), root, log / _LOG
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()

    @property
    def model(self) -> Path:
        """What is trained."""
        return self.checkout / "runs" / VARIANT / "0"

    def commands(self, epochs: int) -> list[list[str]]:
        """Return the commands: the folder becomes the data set, and the experiment is run."""
        return [
            ["python", "-m", "pipeline.choose", "--folder", str(self.root), VARIANT],
            ["dvc", "exp", "run", "-S", f"params/recipe/{RECIPE}.yaml:training.epochs={epochs}"],
        ]

    def start(self, epochs: int) -> None:
        """Begin in the background.

        Raises:
            BPGError: A training is under way.
        """
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                raise BPGError("a training is under way")
            # One after the other, in a process that ends with the last one's status.
            steps = self.commands(epochs)
            script = (
                "import subprocess, sys\n"
                f"for step in {steps!r}:\n"
                "    print('$', *step, flush=True)\n"
                "    status = subprocess.call(step)\n"
                "    if status:\n"
                "        sys.exit(status)\n"
            )
            here = Path(sys.executable).parent
            environment = os.environ | {
                "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}",
                "PYTHONUNBUFFERED": "1",
            }
            self.log.parent.mkdir(exist_ok=True)
            with self.log.open("wb") as said:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", script],
                    cwd=self.checkout,
                    env=environment,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C ends the page; the training has its own button
                    # In a background job of a shell, Ctrl-C would be ignored for good.
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
                )

    def stop(self) -> None:
        """Interrupt it; the next start resumes."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return
            for one in psutil.Process(self._process.pid).children(recursive=True):
                try:
                    one.send_signal(signal.SIGINT)
                except psutil.NoSuchProcess:
                    continue

    def progress(self, epochs: int = 100) -> Progress:
        """Return how far it is."""
        lines = [" ".join(step) for step in self.commands(epochs)]
        status = None if self._process is None else self._process.poll()
        running = self._process is not None and status is None
        said = ""
        if self._process is not None and self.log.is_file():
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 4 * _SHOWN))
                text = file.read().decode(errors="replace")[-_SHOWN:]
            # Of a progress bar, what it shows now.
            said = "\n".join(line.rpartition("\r")[2] for line in text.rstrip("\r").split("\n"))
        return Progress("\n".join(lines), running, status, said)
