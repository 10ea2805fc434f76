"""Options of the training images and of a user's folder; without PyTorch."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from bpg.options import NO_EXTRA, NUMBER, Positive, Seed, Share

Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]


@dataclass(frozen=True, config=NO_EXTRA)
class Augmentation:
    """A random scale in [low, high], a square crop of side `crop`, a flip of half the images."""

    crop: Annotated[int, Field(ge=1, le=4097), NUMBER]
    low: Positive
    high: Positive
    flip: bool

    @model_validator(mode="after")
    def _ordered(self) -> "Augmentation":
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self


@dataclass(frozen=True, config=NO_EXTRA)
class FolderOptions:
    """How a folder of images and strokes is read.

    Attributes:
        images: Folder of the images, relative to the root.
        strokes: Folder of what annotation tools wrote; may be the same.
        masks: Folder of full masks, where there are any.
        unlabelled: Value in PNG strokes of pixels without a label.
        unknown_tags: What to do with strokes of other classes than `classes`.
        colours: Of classes, "#rrggbb"; the others have bright ones.
        truth: What the networks are scored on; auto: masks where there are any, else strokes.
        hold_out: Share of the strokes, or of the images with masks, that is held out.
        hold_out_by: Whether strokes are held out one by one, or all strokes of an image together.
        seed: Of the choice of what is held out.
        pool: So many of the images without strokes are prepared, to say where to draw next.
        tolerance: So many pixels of the shrunk image a stroke may run over its object's border.
    """

    images: str = "images"
    strokes: str = "strokes"
    masks: str = "masks"
    unlabelled: Literal[0, 255] = 255
    unknown_tags: Literal["refuse", "unlabelled"] = "refuse"
    colours: dict[str, Colour] = field(default_factory=dict)
    truth: Literal["auto", "masks", "strokes"] = "auto"
    hold_out: Share = 0.2
    hold_out_by: Literal["stroke", "image"] = "stroke"
    seed: Seed = 0
    pool: Annotated[int, Field(ge=0), NUMBER] = 100
    tolerance: Annotated[int, Field(ge=0, le=100), NUMBER] = 3

    @model_validator(mode="after")
    def _below_the_root(self) -> "FolderOptions":
        for name in ("images", "strokes", "masks"):
            parts = getattr(self, name).split("/")
            if not getattr(self, name) or parts[0] == "" or ".." in parts:
                raise ValueError(f"{name}: must be a folder below the root, or . for the root")
        return self
