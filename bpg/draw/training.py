"""Trainings and exports that are started from the page: the same commands as by hand."""

from pathlib import Path

from bpg.draw.job import Job
from bpg.errors import BPGError
from bpg.inference.card import FILE, Scores, read_card
from bpg.strict_yaml import read_yaml

RECIPE = "small"
VARIANT = "bpg"
MODEL = Path("runs") / VARIANT / "0"
EXPORTED = "model.onnx"


class Training:
    """Trains a network on a folder, in a checkout of BPG, and exports it.

    Args:
        checkout: With dvc.yaml and params/.
        root: The folder of images and strokes.
        log: A folder for what is printed.

    Attributes:
        model: What is trained.
        training: The job that trains.
        export: The job that exports.
    """

    def __init__(self, checkout: Path, root: Path, log: Path):
        self.checkout = checkout = checkout.resolve()
        self.root, self.model = root, checkout / MODEL
        self.exported = checkout / EXPORTED
        weights = self.model / "model.safetensors"
        self.training = Job(checkout, root, log, "training", weights)
        self.export = Job(checkout, root, log, "export", self.exported)

    def commands(self, epochs: int) -> list[list[str]]:
        """Return the commands: the folder becomes the data set, and the experiment is run."""
        return [
            ["python", "-m", "pipeline.choose", "--folder", str(self.root), VARIANT],
            ["dvc", "exp", "run", "-S", f"params/recipe/{RECIPE}.yaml:training.epochs={epochs}"],
        ]

    def export_commands(self) -> list[list[str]]:
        """Return the command that exports what was trained."""
        return [["bpg", "export", "--model", MODEL.as_posix(), "--out", EXPORTED]]

    def start(self, epochs: int) -> None:
        """Begin to train, in the background.

        Raises:
            BPGError: A training or an export is under way in the checkout, or params.yaml lacks
                seed 0.
        """
        path = self.checkout / "params.yaml"
        switches = read_yaml(path)
        if not isinstance(switches, dict) or 0 not in switches.get("seeds", []):
            raise BPGError(f"{path}: seeds: the page shows the network of seed 0; add it")
        # An export is of the network before.
        self.training.start(self.commands(epochs), outdates=[self.export])

    def start_export(self) -> None:
        """Begin to export, in the background.

        Raises:
            BPGError: Nothing was trained on this folder, or a training or an export is under way.
        """
        self.require_model()
        self.export.start(self.export_commands())

    def require_model(self) -> Path:
        """Return what was trained on this folder.

        Raises:
            BPGError: There is none; the network in its place may be another folder's.
        """
        if not self.training.is_done():
            raise BPGError(f"{self.model}: not trained on these strokes from here; train first")
        return self.model

    def scores(self) -> Scores | None:
        """Return how well the network does that was trained on this folder, if that is known."""
        try:
            return read_card(self.model / FILE).scores if self.training.is_done() else None
        except BPGError:  # the stage evaluate is yet to write it
            return None

    def running(self) -> str | None:
        """Return the name of the job that is under way for this folder."""
        jobs = (self.training, self.export)
        return next((job.name for job in jobs if job.progress().running), None)
