"""What a user of a trained network must know beside its weights; loads no PyTorch.

A run has it as `card.json`, an exported file as metadata; `docs/formats.md` describes it.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from bpg.constants import DEVIATION, MEAN
from bpg.data.masks import PALETTE
from bpg.errors import BPGError
from bpg.inference.options import CRFOptions, InferenceOptions, LongestSide
from bpg.options import NO_EXTRA, NUMBER, Count, Seed
from bpg.strict_yaml import first_error

FILE = "card.json"
FILE_LIMIT = 2**20
"""Larger files are refused unread: a card of 255 classes has some 10 kB."""

Percent = Annotated[float, Field(ge=0, le=100), NUMBER]
Byte = Annotated[int, Field(ge=0, le=255), NUMBER]
Mean = Annotated[float, Field(ge=0, le=1), NUMBER]
Deviation = Annotated[float, Field(ge=1e-3, le=1), NUMBER]
Text = Annotated[str, Field(max_length=1000)]


@dataclass(frozen=True, config=NO_EXTRA)
class Scores:
    """How well the network does, in percent; None where it was not measured.

    Attributes:
        miou: Mean IoU.
        miou_crf: After the dense CRF.
        measured_on: The labels that it is scored on.
        images: How many images they are from.
    """

    miou: Percent | None
    miou_crf: Percent | None
    measured_on: Literal["masks", "held-out strokes"]
    images: Count


@dataclass(frozen=True, config=NO_EXTRA)
class Card:
    """A network's description.

    Attributes:
        format: Of the card.
        classes: Names of the labels 0..K, background first.
        colours: RGB of each label, 0..255; for masks and overlays.
        mean: Of the channels of RGB in 0..1; images are normalised with it.
        deviation: Their standard deviations.
        longest_side: Images whose longer side has more pixels are shrunk to it before the network
            sees them, because it was trained on such; None: images stay as they are.
        inference: What is averaged over.
        crf: Options of the dense CRF; None: not known.
        dataset: What it was trained on.
        variant: Of params/variants.yaml.
        recipe: Of params/recipe.
        seed: Of the training.
        scores: On images that it was not trained on.
        commit: Of the code that trained it.
        parameters: How many numbers were trained; of an exported file.
        model: SHA-256 of the file `model.safetensors` that an exported file was made from.
    """

    classes: Annotated[tuple[Text, ...], Field(min_length=2, max_length=255)]
    colours: tuple[tuple[Byte, Byte, Byte], ...] = ()
    mean: tuple[Mean, Mean, Mean] = MEAN
    deviation: tuple[Deviation, Deviation, Deviation] = DEVIATION
    longest_side: LongestSide | None = None
    inference: InferenceOptions = InferenceOptions(scales=(1.0,), flip=False)
    crf: CRFOptions | None = None
    dataset: Text | None = None
    variant: Text | None = None
    recipe: Text | None = None
    seed: Seed | None = None
    scores: Scores | None = None
    commit: Text | None = None
    parameters: Count | None = None
    model: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    format: Literal[1] = 1

    @model_validator(mode="after")
    def _a_colour_for_each_class(self) -> "Card":
        if not self.colours:
            voc = tuple(tuple(colour) for colour in PALETTE[: len(self.classes)].tolist())
            object.__setattr__(self, "colours", voc)
        if len(self.colours) != len(self.classes):
            raise ValueError(
                f"colours: {len(self.colours)} colours for {len(self.classes)} classes; "
                "give one for each"
            )
        return self

    def to_json(self) -> str:
        """Return the card as indented JSON that ends in a newline."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def palette(self) -> list[int]:
        """Return the colours as Pillow wants them, RGBRGB..., 768 numbers: VOC's from K+1 on."""
        colours = PALETTE.copy()
        colours[: len(self.colours)] = self.colours
        return colours.ravel().tolist()


_CARD = TypeAdapter(Card)


def parse_card(text: str | bytes, name: str) -> Card:
    """Read what `Card.to_json` wrote, strictly: no unknown key, no other type, no NaN.

    Args:
        text: JSON.
        name: What errors call its place.

    Raises:
        BPGError: It is not a card; the message names the place and the key.
    """
    try:
        if len(text) > FILE_LIMIT:
            raise BPGError(f"{name}: larger than {FILE_LIMIT:,} bytes, so no card")
        return _CARD.validate_json(text, strict=True)
    except ValidationError as error:
        raise BPGError(f"{name}: not a network's card: {first_error(error, kind=Card)}") from error


def read_card(path: Path) -> Card:
    """Read a file `card.json`.

    Raises:
        BPGError: It cannot be read, or is not a card; the message names it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise BPGError(f"{path}: cannot be read ({error.strerror})") from error
    return parse_card(data, str(path))


def with_origin(card: Card, *, commit: str | None, parameters: int, model: str) -> Card:
    """Return the card of an exported file.

    Args:
        card: The run's.
        commit: Of the code that trained the network, if known.
        parameters: How many numbers were trained.
        model: SHA-256 of the network's file.
    """
    return replace(card, commit=commit, parameters=parameters, model=model)
