"""Commands that a page starts: they outlive it, and the next page finds them again.

Run as a program, this is the process that runs them one after the other and records how they end.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from bpg.atomic import write_text
from bpg.errors import BPGError
from bpg.resumable import file_digest

LOST = -1
"""Status of what was killed, or ended with the machine."""
_POLL = 0.2  # seconds between two looks for a request to end
_SHOWN = 4000  # characters of what it has said last


class Record(BaseModel):
    """NAME.json: the last start.

    `pid` and `created` (seconds since 1970) tell the process from a later one of the same number;
    `status` is that of the last command, once there is one; `product` is the SHA-256 of what it was
    to make, if it succeeded.
    """

    model_config = ConfigDict(extra="forbid")

    folder: str
    pid: int
    created: float
    status: int | None = None
    product: str | None = None


@dataclass(frozen=True)
class Progress:
    """How far it is.

    Attributes:
        running: Whether it is under way.
        status: How it ended; None before, and while another folder's is what there is.
        said: The end of what it has printed.
    """

    running: bool
    status: int | None
    said: str


class Job:
    """Commands for a folder of images, one job of the name at a time in a checkout.

    Args:
        checkout: Where the commands are run.
        root: The folder.
        log: A folder for NAME.log, what is printed, and NAME.json.
        name: What it is called, "training" for one.
        product: The file that it makes.
    """

    def __init__(self, checkout: Path, root: Path, log: Path, name: str, product: Path):
        self.checkout, self.root, self.name, self.product = checkout, root, name, product
        self.log = log / f"{name}.log"
        self._record = log / f"{name}.json"
        self._process: subprocess.Popen | None = None

    def start(self, steps: Sequence[Sequence[str]]) -> None:
        """Begin in the background; after a command that fails, none is run.

        Args:
            steps: The commands.

        Raises:
            BPGError: One is under way, perhaps of another page.
        """
        self.log.parent.mkdir(exist_ok=True)
        with FileLock(self.log.with_suffix(".lock")):
            record = self._read()
            if record is not None and self._runs(record):
                raise BPGError(f"{_article(self.name)} is under way for {record.folder}")
            _request(self._record).unlink(missing_ok=True)
            environment = os.environ | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
                "PYTHONUNBUFFERED": "1",
            }
            words = [str(self._record), str(self.product), json.dumps([list(s) for s in steps])]
            with self.log.open("wb") as said:
                process = subprocess.Popen(
                    [sys.executable, "-m", "bpg.draw.job", *words],
                    cwd=self.checkout,
                    env=environment,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C ends the page; this has its own button
                    # In a background job of a shell, Ctrl-C would be ignored for good.
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
                )
            self._process = process
            created = psutil.Process(process.pid).create_time()
            begun = Record(folder=str(self.root), pid=process.pid, created=created)
            write_text(self._record, begun.model_dump_json())
            assert process.stdin is not None
            process.stdin.close()  # until then it waits

    def stop(self) -> None:
        """Interrupt it; the next start resumes what can be resumed."""
        record = self._own()
        if record is not None and self._runs(record):
            _request(self._record).touch()

    def forget(self) -> None:
        """Let what was made by the last start count no more."""
        with FileLock(self.log.with_suffix(".lock")):
            self._record.unlink(missing_ok=True)

    def progress(self) -> Progress:
        """Return how far it is."""
        record = self._own()
        if record is None:
            return Progress(False, None, "")
        running = self._runs(record)
        if not running:
            record = self._own() or record  # it may have ended since it was read
        status = None if running else LOST if record.status is None else record.status
        return Progress(running, status, self._said())

    def is_done(self) -> bool:
        """Tell whether what there is was made by the last job, and for this folder."""
        record = self._own()
        made = None if record is None else record.product
        return made is not None and self.product.is_file() and file_digest(self.product) == made

    def _read(self) -> Record | None:
        try:
            return Record.model_validate_json(self._record.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def _own(self) -> Record | None:
        record = self._read()
        return None if record is None or record.folder != str(self.root) else record

    def _runs(self, record: Record) -> bool:
        if self._process is not None:
            self._process.poll()  # collects it, if it was ours and has ended
        try:
            process = psutil.Process(record.pid)
            ended = process.status() == psutil.STATUS_ZOMBIE
            return not ended and abs(process.create_time() - record.created) < 1
        except psutil.NoSuchProcess:
            return False

    def _said(self) -> str:
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 4 * _SHOWN))
                text = file.read().decode(errors="replace")[-_SHOWN:]
        except FileNotFoundError:
            return ""
        # Of a progress bar, what it shows now.
        return "\n".join(line.rpartition("\r")[2] for line in text.rstrip("\r").split("\n"))


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _request(record: Path) -> Path:
    """Return the file by which a page asks for an end, whatever is being run just then."""
    return record.with_suffix(".stop")


def _run(step: Sequence[str], request: Path) -> int:
    """Run a command, interrupt it with all that it has started if asked to; return its status."""
    process = subprocess.Popen(step, stdin=subprocess.DEVNULL)
    while True:
        try:
            return process.wait(timeout=_POLL)
        except subprocess.TimeoutExpired:
            if not request.exists():
                continue
        request.unlink()
        family = psutil.Process(process.pid)
        for one in [*family.children(recursive=True), family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGINT)


def main(record: Path, product: Path, steps: Sequence[Sequence[str]]) -> None:
    """Run the commands, and record how they end.

    Args:
        record: A `Record`, written by who has started this process and then closes its input.
        product: The file that they make.
        steps: The commands.
    """
    sys.stdin.read()
    status = 0
    for step in steps:
        print("$", *step, flush=True)
        status = _run(step, _request(record))
        if status:
            break
    begun = Record.model_validate_json(record.read_bytes())
    begun.status = status
    if status == 0 and product.is_file():
        begun.product = file_digest(product)
    write_text(record, begun.model_dump_json())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
