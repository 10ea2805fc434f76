"""What a prepared data set's labels mean, and what its validation masks are."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from bpg.atomic import write_json
from bpg.data.options import Colour
from bpg.errors import BPGError
from bpg.options import NO_EXTRA
from bpg.strict_yaml import first_error

Truth = Literal["masks", "held-out strokes"]


@dataclass(frozen=True, config=NO_EXTRA)
class Description:
    """A prepared data set.

    Attributes:
        classes: Class names by label, background first.
        colours: Their colours, "#rrggbb".
        truth: What `masks/ID.png` of the validation images holds: full masks, or strokes that were
            held out of training, 255 elsewhere.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=255)]
    colours: tuple[Colour, ...]
    truth: Truth = "masks"

    def rgb(self) -> tuple[tuple[int, int, int], ...]:
        """Return the colours as red, green and blue in 0..255."""
        return tuple((c[0], c[1], c[2]) for c in (bytes.fromhex(c[1:]) for c in self.colours))

    @model_validator(mode="after")
    def _agree(self) -> "Description":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a name is there twice")
        if len(self.colours) != len(self.classes):
            raise ValueError("colours: must be one for each class")
        return self


def write_description(path: Path, description: Description) -> None:
    """Write a description as JSON."""
    write_json(
        path,
        {
            "classes": list(description.classes),
            "colours": list(description.colours),
            "truth": description.truth,
        },
    )


def read_description(path: Path) -> Description:
    """Read what `write_description` wrote.

    Raises:
        BPGError: The file is missing or holds something else; the message names it.
    """
    try:
        return TypeAdapter(Description).validate_python(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise BPGError(f"{path}: no such description of a data set; run prepare") from error
    except ValidationError as error:
        raise BPGError(f"{path}: {first_error(error, kind=Description)}; run prepare") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BPGError(f"{path}: no description of a data set; run prepare") from error
