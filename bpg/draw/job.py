"""Commands that a page starts: they outlive it, and the next page finds them again.

Run as a program, this is the process that runs them one after the other and records how they end.
"""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from bpg.atomic import write_text
from bpg.errors import BPGError
from bpg.resumable import file_digest

LOST = -1
"""Status of what was killed, or ended with the machine."""
STOPPED = 130
"""Status of what was asked to end, and had ended well just then."""
_LOCK = "draw.lock"  # held by who runs; by the operating system, so it ends with the processes
_POLL = 0.2  # seconds between two looks for a request to end
_PATIENCE = 2.0  # seconds for a look of another page to end
# DVC's, of outputs that a first run has not yet, or that a row does not fill.
_HARMLESS = re.compile(r"WARNING: (No file hash info found|'.*' is empty\.)")
_SHOWN = 4000  # characters of what it has said last
_READ = 2**18  # bytes of the log's end: bars are many lines there, and one here


class Record(BaseModel):
    """NAME.json: the last start.

    `session` is the number of the processes' session; `status` is that of the last command, once
    there is one; `product` is the SHA-256 of what was to be made, if it was.
    """

    model_config = ConfigDict(extra="forbid")

    folder: str
    session: int | None = None
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
    """Commands for a folder of images; in a checkout one job is under way at a time.

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

    def start(self, steps: Sequence[Sequence[str]], outdates: Sequence["Job"] = ()) -> None:
        """Begin in the background; after a command that fails, none is run.

        Args:
            steps: The commands.
            outdates: Jobs of the checkout whose products count no more.

        Raises:
            BPGError: One is under way in the checkout, perhaps of another page.
        """
        self.log.parent.mkdir(exist_ok=True)
        with self._alone() as lock:
            for path in self.log.parent.glob("*.json"):
                other = _read(path)
                if other is not None and other.status is None:  # who ran it is no more
                    write_text(path, other.model_copy(update={"status": LOST}).model_dump_json())
            for job in outdates:
                job._record.unlink(missing_ok=True)
            self._request.unlink(missing_ok=True)
            begun = Record(folder=str(self.root))
            write_text(self._record, begun.model_dump_json())
            environment = os.environ | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
                "PYTHONUNBUFFERED": "1",
            }
            words = [str(self._record), str(self.product), str(lock), json.dumps(list(steps))]
            with self.log.open("wb") as said:
                process = subprocess.Popen(
                    [sys.executable, "-m", "bpg.draw.job", *words],
                    cwd=self.checkout,
                    env=environment,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C ends the page; this has its own button
                    pass_fds=(lock,),
                )
            assert process.stdin is not None
            try:
                begun.session = process.pid
                write_text(self._record, begun.model_dump_json())
                process.stdin.write(b"\n")  # until then it waits
                process.stdin.close()
            except BaseException:
                process.kill()
                process.wait()
                raise
            self._process = process

    def stop(self) -> None:
        """Interrupt it; the next start resumes what can be resumed."""
        record = self._own()
        if record is None or record.status is not None or not self._is_held():
            return
        self._request.touch()
        if record.session is not None and not psutil.pid_exists(record.session):
            # What reads requests was killed; what it had begun has not ended.
            _interrupt(one for one in psutil.process_iter() if _session(one) == record.session)

    def progress(self) -> Progress:
        """Return how far it is."""
        if self._process is not None:
            self._process.poll()  # collects it, if it has ended
        held = self._is_held()  # before the record is read: it is written first
        record = self._own()
        if record is None:
            return Progress(False, None, "")
        if record.status is not None:
            return Progress(False, record.status, self._said())
        return Progress(held, None if held else LOST, self._said())

    def is_done(self) -> bool:
        """Tell whether what there is was made by the last job, and for this folder."""
        record = self._own()
        if record is None or record.product is None:
            return False
        try:
            return file_digest(self.product) == record.product
        except OSError:
            return False

    @property
    def _request(self) -> Path:
        return _request(self._record)

    def _own(self) -> Record | None:
        record = _read(self._record)
        return None if record is None or record.folder != str(self.root) else record

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        """Hold the lock; it stays held for as long as a process has its descriptor."""
        lock = os.open(self.log.with_name(_LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            until = time.monotonic() + _PATIENCE
            while not _locked(lock, fcntl.LOCK_EX):
                if time.monotonic() > until:
                    raise BPGError(self._who())
                time.sleep(0.05)
            yield lock
        finally:
            os.close(lock)

    def _who(self) -> str:
        for path in self.log.parent.glob("*.json"):
            record = _read(path)
            if record is not None and record.status is None:
                article = "an" if path.stem[0] in "aeiou" else "a"
                return f"{article} {path.stem} is under way for {record.folder}"
        return "something is under way in this checkout"

    def _is_held(self) -> bool:
        try:
            lock = os.open(self.log.with_name(_LOCK), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not _locked(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)

    def _said(self) -> str:
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _READ))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        # Of a progress bar, what it shows now.
        lines = (line.rpartition("\r")[2] for line in text.rstrip("\r").split("\n"))
        return "\n".join(line for line in lines if not _HARMLESS.match(line))[-_SHOWN:]


def _locked(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> Record | None:
    try:
        return Record.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _request(record: Path) -> Path:
    """Return the file by which a page asks for an end, whatever is being run just then."""
    return record.with_suffix(".stop")


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None


def _interrupt(processes: Iterator[psutil.Process]) -> None:
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGINT)


def _run(step: Sequence[str], request: Path, lock: int) -> int:
    """Run a command; once asked to end, interrupt it and all that it has started or starts yet."""
    process = subprocess.Popen(step, stdin=subprocess.DEVNULL, pass_fds=(lock,))
    told: set[psutil.Process] = set()
    while True:
        try:
            return process.wait(timeout=_POLL)
        except subprocess.TimeoutExpired:
            if not request.exists():
                continue
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid)
            new = {family, *family.children(recursive=True)} - told
            _interrupt(iter(new))
            told |= new


def main(record: Path, product: Path, lock: int, steps: Sequence[Sequence[str]]) -> None:
    """Run the commands, and record how they end.

    Args:
        record: A `Record`, written by who has started this process and then sends it a line.
        product: The file that they make.
        lock: A descriptor that is kept open while they run.
        steps: The commands.
    """
    # A shell's background jobs ignore it; the commands must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not sys.stdin.readline():
        return  # who has started it could not record it
    status, request = 0, _request(record)
    for step in steps:
        if request.exists():
            status = STOPPED
            break
        print("$", *step, flush=True)
        status = _run(step, request, lock)
        if status:
            break
    begun = _read(record)
    if begun is None or begun.session != os.getpid():
        return  # deleted meanwhile
    begun.status = status
    if status == 0 and product.is_file():
        begun.product = file_digest(product)
    write_text(record, begun.model_dump_json())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
