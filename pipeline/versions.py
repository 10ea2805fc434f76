"""The packages that determine a run's numbers. A separate file: it imports none of them."""

import platform
from importlib.metadata import version

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "scikit-image",
    "pillow",
    "opencv-python-headless",
)


def versions() -> dict[str, str]:
    """Return {"python" or package: version}."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
