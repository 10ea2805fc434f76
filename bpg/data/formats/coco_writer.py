"""COCO JSON, one file for all images: each stroke is an annotation, a run-length code of pixels.

Source: the data format at <https://cocodataset.org/#format-data>. A category's id is its label, so
that the background is 0. `iscrowd` is 0, because many readers leave out what is a crowd.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpg.data.formats.rle import encode_coco
from bpg.data.strokes import Pixels, Strokes, covered


def write_coco(
    path: Path, strokes: Mapping[str, Strokes], classes: Sequence[str], line_width: float
) -> None:
    """Write strokes as COCO JSON; equal input gives equal bytes.

    Not atomic, like the writers of one file an image. Strokes that cover no pixel are left out.

    Args:
        path: File to write.
        strokes: By name of the image, in the order of the file.
        classes: Class names by label.
        line_width: Width of the lines in pixels.

    Raises:
        ValueError: A stroke has no tag, or one that is not in `classes`: the format has none of
            these.
    """
    labels = {name: label for label, name in enumerate(classes)}
    images = [
        {"id": number, "file_name": name, "width": one.width, "height": one.height}
        for number, (name, one) in enumerate(strokes.items(), 1)
    ]
    categories = [{"id": label, "name": name} for name, label in labels.items()]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        # One object a line: annotations are many.
        for heading, entries in (
            ('{\n"images": [', images),
            ('],\n"categories": [', categories),
            ('],\n"annotations": [', _annotations(strokes, labels, line_width)),
        ):
            file.write(heading)
            for number, entry in enumerate(entries):
                file.write(("," if number else "") + "\n" + json.dumps(entry, ensure_ascii=False))
            file.write("\n")
        file.write("]\n}\n")


def _annotations(
    strokes: Mapping[str, Strokes], labels: Mapping[str, int], line_width: float
) -> Iterator[dict[str, Any]]:
    number = 0
    for image, one in enumerate(strokes.values(), 1):
        for stroke in one.strokes:
            if stroke.tag is None or stroke.tag not in labels:
                raise ValueError(f"COCO's annotations have a category, not {stroke.tag!r}")
            pixels = covered(stroke.shape, one.width, one.height, line_width)
            height, width = pixels.mask.shape
            if not height:
                continue
            number += 1
            yield {
                "id": number,
                "image_id": image,
                "category_id": labels[stroke.tag],
                "iscrowd": 0,
                "area": int(pixels.mask.sum()),
                "bbox": [pixels.left, pixels.top, width, height],
                "segmentation": {
                    "size": [one.height, one.width],
                    "counts": _counts(pixels, one.width, one.height),
                },
            }


def _counts(pixels: Pixels, width: int, height: int) -> list[int]:
    """Encode a box within an image: column by column, so that only its columns are looked at."""
    rows, columns = pixels.mask.shape
    strip = np.zeros((height, columns), bool)
    strip[pixels.top : pixels.top + rows] = pixels.mask
    counts = encode_coco(strip)
    counts[0] += pixels.left * height
    behind = (width - pixels.left - columns) * height
    if len(counts) % 2:  # ends with what is not covered
        counts[-1] += behind
    elif behind:
        counts.append(behind)
    return counts
