"""Which of a folder's images are trained on, and what the networks are scored on."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from bpg.data.description import Truth
from bpg.data.folder import Folder
from bpg.data.split import draw, hold_out_strokes
from bpg.errors import BPGError


@dataclass(frozen=True)
class Split:
    """A folder's images by use.

    Attributes:
        truth: What is scored on: full masks, or strokes that were held out.
        train: Names of the images that have strokes to be learnt from.
        val: Names of the images that are scored on.
        held_out: By image, which of its strokes are held out.
        pool: Names of images without strokes, to say where to draw next.
    """

    truth: Truth
    train: tuple[str, ...]
    val: tuple[str, ...]
    held_out: Mapping[str, frozenset[int]]
    pool: tuple[str, ...]

    def kept(self, folder: Folder, name: str) -> list[int]:
        """Return which strokes of an image are learnt from."""
        out = self.held_out.get(name, frozenset())
        return [place for place in range(len(folder.strokes.get(name, ()))) if place not in out]


def split_folder(folder: Folder) -> Split:
    """Divide a folder's images.

    Where there are masks (or `truth` asks for them), the networks are scored on masks: those of the
    images that val.txt lists; or else of all images that have a mask and no strokes; or else, if
    there are none, of a share of the images with masks. Those images' strokes are not learnt from.

    Otherwise whole strokes are held out: all of the images that val.txt lists; or else a share, by
    stroke or by image. An image may then be in both sets, with other strokes.

    Args:
        folder: What `read_folder` returns.

    Raises:
        BPGError: There is nothing to score on, or nothing left to learn from.
    """
    options = folder.options
    truth = options.truth
    if truth == "auto":
        truth = "masks" if folder.masks else "strokes"
    held_out: dict[str, frozenset[int]] = {}
    if truth == "masks":
        val = _with_masks(folder)
        train = [name for name in folder.drawn_on if name not in val]
        train = [n for n in train if any(s.tag is not None for s in folder.strokes[n])]
    else:
        held_out = _held_out(folder)
        val = set(held_out)
        train = [
            name
            for name in folder.drawn_on
            # A stroke without a class takes labels away: nothing is learnt from it.
            if any(
                stroke.tag is not None and place not in held_out.get(name, ())
                for place, stroke in enumerate(folder.strokes[name])
            )
        ]
    if not train:
        raise BPGError(f"{folder.root}: no image with strokes is left to learn from; draw more")
    used = val.union(train)
    unused = [name for name in folder.photos if name not in used]
    pool: set[str] = set()
    if unused and options.pool:
        pool = draw(unused, min(1.0, options.pool / len(unused)), options.seed)
    return Split(
        "masks" if truth == "masks" else "held-out strokes",
        tuple(train),
        tuple(sorted(val)),
        held_out,
        tuple(sorted(pool)),
    )


def _with_masks(folder: Folder) -> set[str]:
    if not folder.masks:
        raise BPGError(
            f"{folder.root}: truth: masks, but there is no mask in {folder.options.masks}/; "
            "set source.truth to strokes"
        )
    if folder.held_out:
        without = sorted(folder.held_out - folder.masks.keys())
        if without:
            raise BPGError(f"{folder.root / 'val.txt'}: {without[0]} has no mask to score on")
        return set(folder.held_out)
    for_scoring = folder.masks.keys() - set(folder.drawn_on)
    return set(for_scoring) or draw(folder.masks, folder.options.hold_out, folder.options.seed)


def _held_out(folder: Folder) -> dict[str, frozenset[int]]:
    options = folder.options
    whole = set(folder.held_out)
    if not whole and options.hold_out_by == "image":
        whole = draw(folder.drawn_on, options.hold_out, options.seed)
    undrawn = sorted(folder.held_out - set(folder.drawn_on))
    if undrawn:
        raise BPGError(f"{folder.root / 'val.txt'}: {undrawn[0]} has no strokes to score on")
    if whole:
        found = {
            name: frozenset(range(len(folder.strokes[name])))
            for name in sorted(whole & set(folder.drawn_on))
        }
    else:
        tags = {name: [s.tag for s in folder.strokes[name]] for name in folder.drawn_on}
        places = defaultdict[str, set[int]](set)
        for name, place in hold_out_strokes(tags, options.hold_out, options.seed):
            places[name].add(place)
        found = {name: frozenset(places[name]) for name in sorted(places)}
    if not found:
        raise BPGError(
            f"{folder.root}: no stroke can be held out to score on, because every class has only "
            "one; draw a second one of each"
        )
    return found
