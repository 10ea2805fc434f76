"""Trained networks behind one interface, whatever file they are in; loads PyTorch for those alone.

model = open_model(Path("model.onnx"))
model.probabilities(image)
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bpg.errors import BPGError
from bpg.inference.card import FILE, Card, parse_card, read_card
from bpg.inference.tiles import Part, region_probabilities

Device = Literal["auto", "cpu", "cuda"]
CARD_KEY = "card"
"""The metadata key of an exported file's card."""
RUN_FILE = "model.safetensors"
ONNX, TORCH = ".onnx", ".pt2"
_SMALLEST = 1e-6  # probability, before a logarithm


class Model(ABC):
    """A trained network, ready to be used.

    Attributes:
        path: Its file.
        card: Its description.
    """

    def __init__(self, path: Path, card: Card):
        self.path = path
        self.card = card

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0..K, background first."""
        return self.card.classes

    @abstractmethod
    def logits(self, images: np.ndarray) -> np.ndarray:
        """Run the network once.

        Args:
            images: float32 (N, H, W, 3), RGB, 0..255; any size.

        Returns:
            float32 (N, K+1, H, W).
        """

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Average class probabilities over the card's scales and flips, the whole image at once.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            float32 (K+1, H, W) in 0..1.
        """
        height, width = image.shape[:2]
        return self.region(image, Part(0, height), Part(0, width), overlap=max(height, width))

    def region(self, image: np.ndarray, rows: Part, columns: Part, *, overlap: int) -> np.ndarray:
        """Do what `probabilities` does for a part of an image, looking at its surroundings only.

        Args:
            image: uint8 (H, W, 3), RGB, the whole.
            rows: The part's.
            columns: The part's.
            overlap: How many pixels around the part the network sees, at every scale.

        Returns:
            float32 (K+1, rows, columns).
        """
        return region_probabilities(
            self.logits, image, rows, columns, self.card.inference, overlap=overlap
        )


class OnnxModel(Model):
    """An exported ONNX file, by ONNX Runtime.

    Raises:
        BPGError: The file is missing or none that `bpg export` has written, ONNX Runtime is not
            installed, or there is no GPU for it.
    """

    def __init__(self, path: Path, device: Device):
        try:
            import onnxruntime  # noqa: PLC0415 takes a third of a second
        except ImportError as error:
            raise BPGError(f"{path}: needs ONNX Runtime: pip install onnxruntime") from error
        there = onnxruntime.get_available_providers()
        gpu = "CUDAExecutionProvider" in there
        if device == "cuda" and not gpu:
            raise BPGError(
                "device: cuda was asked for, but this ONNX Runtime has no CUDA: "
                "pip install onnxruntime-gpu, or set device to auto"
            )
        providers = ["CPUExecutionProvider"]
        if gpu and device != "cpu":
            providers.insert(0, "CUDAExecutionProvider")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised anyhow
        # Threads that wait busily for each other are many times slower beside other programs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # From bytes: a file's name could bring other files with it, as external data.
        data = read_file(path)
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=providers)
            text = self._session.get_modelmeta().custom_metadata_map[CARD_KEY]
        except Exception as error:  # ONNX Runtime raises a dozen kinds
            raise BPGError(f"{path}: not an ONNX file of bpg export; export it again") from error
        super().__init__(path, parse_card(text, str(path)))
        inputs = [(one.name, one.type) for one in self._session.get_inputs()]
        outputs = [(one.name, one.shape[1]) for one in self._session.get_outputs()]
        if inputs != [("images", "tensor(float)")] or outputs != [
            ("logits", len(self.classes)),
            ("probabilities", len(self.classes)),
        ]:
            raise BPGError(f"{path}: not an ONNX file of bpg export: other inputs or outputs")

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Run the network once."""
        try:
            return self._session.run(["logits"], {"images": images})[0]
        except Exception as error:
            message = " ".join(str(error).split())[:200]
            raise BPGError(f"{self.path}: ONNX Runtime fails: {message}") from error


class NetworkModel(Model):
    """A run's `model.safetensors`, by PyTorch."""

    def __init__(self, path: Path, card: Path, device: Device):
        from bpg.devices import choose_bf16, choose_device  # noqa: PLC0415
        from bpg.models.network import load_network  # noqa: PLC0415

        self._device = choose_device(device)
        self._bf16 = choose_bf16("auto", self._device)
        self.network = load_network(path).to(self._device)
        super().__init__(path, _run_card(card, path, self.network.architecture.classes))

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Run the network once."""
        import torch  # noqa: PLC0415

        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16),
        ):
            pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self._device)
            return self.network(pixels.permute(0, 3, 1, 2)).logits.float().cpu().numpy()

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Average over scales and flips, as the stage `predict` does, to the same bytes."""
        from bpg.inference.multiscale import multiscale_probabilities  # noqa: PLC0415

        return (
            multiscale_probabilities(
                self.network, image, self.card.inference, device=self._device, bf16=self._bf16
            )
            .cpu()
            .numpy()
        )


class ForestModel(Model):
    """A run's `model.safetensors` that holds a forest, by NumPy."""

    def __init__(self, path: Path, card: Path):
        from bpg.forest.forest import load_forest  # noqa: PLC0415

        self._forest = load_forest(path)
        super().__init__(path, _run_card(card, path, self._forest.classes))

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logarithms of the probabilities."""
        pixels = np.clip(np.rint(images), 0, 255).astype(np.uint8)
        found = np.stack([self._forest.probabilities(one) for one in pixels])
        return np.log(np.maximum(found, _SMALLEST))

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Predict class probabilities at the image's own size, as the stage `predict` does."""
        return self._forest.probabilities(image)

    def region(self, image: np.ndarray, rows: Part, columns: Part, *, overlap: int) -> np.ndarray:
        """Do what `probabilities` does for a part of an image."""
        seen = rows.widened(overlap, image.shape[0]), columns.widened(overlap, image.shape[1])
        found = self._forest.probabilities(image[seen[0].slice, seen[1].slice])
        return found[:, rows.within(seen[0]), columns.within(seen[1])]


def _run_card(card: Path, path: Path, classes: tuple[str, ...]) -> Card:
    found = read_card(card) if card.is_file() else Card(classes=classes)
    if found.classes != classes:
        raise BPGError(f"{card}: has other classes than {path}; run its evaluate stage again")
    return found


class ProgramModel(Model):
    """An exported PyTorch file."""

    def __init__(self, path: Path, device: Device):
        import torch  # noqa: PLC0415

        from bpg.devices import choose_device  # noqa: PLC0415
        from bpg.inference.pt2 import check_program, read_program_card  # noqa: PLC0415

        data = read_file(path)
        card = read_program_card(data, str(path))
        check_program(data, str(path))
        self._device = choose_device(device)
        try:
            program = torch.export.load(io.BytesIO(data))
            self._module: Any = program.module().to(self._device)
        except Exception as error:  # of any kind, for a broken file
            raise BPGError(f"{path}: PyTorch cannot load it; export it again") from error
        super().__init__(path, card)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Run the network once."""
        import torch  # noqa: PLC0415

        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self._device)
            return self._module(pixels)[0].float().cpu().numpy()


@contextmanager
def needs_torch(what: str, extras: str = "train") -> Iterator[None]:
    """Say what to do where PyTorch, or another package, is missing.

    Args:
        what: What needs it.
        extras: Of the installation, with commas.

    Raises:
        BPGError: A package that the block imports is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise BPGError(
            f"{what}: needs the packages for training (no module {error.name}): pip install "
            f"'.[{extras}]' in a checkout of BPG"
            + (", or export the network to ONNX where they are" if extras == "train" else "")
        ) from error


def open_model(path: Path, device: Device = "auto") -> Model:
    """Open a trained network.

    Args:
        path: A run's folder (`runs/bpg/0`), its `model.safetensors`, or what `bpg export` has
            written: an `.onnx` or `.pt2` file. A run without `card.json` is used at its images' own
            size, unflipped, and without CRF.
        device: "auto" is CUDA where there is a GPU, else the CPU.

    Raises:
        BPGError: There is no such model, it is broken, or PyTorch, which runs and `.pt2` files
            need, is not installed.
    """
    if path.is_dir():
        path = path / RUN_FILE
    if not path.is_file():
        raise BPGError(
            f"{path}: no such model; give a run such as runs/bpg/0, or an exported .onnx file"
        )
    if path.suffix == ONNX:
        return OnnxModel(path, device)
    if path.suffix not in (".safetensors", TORCH):
        raise BPGError(f"{path}: not a model: must be a run, or end in .safetensors, .onnx or .pt2")
    with needs_torch(str(path)):
        if path.suffix == TORCH:
            return ProgramModel(path, device)
        from bpg.forest.forest import is_forest  # noqa: PLC0415 scikit-image takes a while

        if is_forest(path):
            return ForestModel(path, path.with_name(FILE))
        return NetworkModel(path, path.with_name(FILE), device)


def read_file(path: Path) -> bytes:
    """Read a model file.

    Raises:
        BPGError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BPGError(f"{path}: cannot be read ({error.strerror})") from error
