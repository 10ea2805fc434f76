"""Masks as the tools write them, for files to read: only COCO's list of counts is written by us."""

from itertools import groupby

import numpy as np
from pycocotools import mask as coco_mask

_HEADER = 32 + 5 + 4 * 4
_WORD = 8
_RUN_BITS = (3, 4, 8, 16)


def encode_coco_text(mask):
    """COCO's compressed text, by pycocotools."""
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def encode_cvat(mask):
    """A mask as in CVAT's XML: the lengths of runs along the rows, the first one not covered."""
    runs = [(value, len(list(group))) for value, group in groupby(mask.ravel().tolist())]
    counts = [length for _, length in runs]
    return ", ".join(map(str, [0, *counts] if runs[0][0] else counts))


def encode_label_studio(alpha):
    """A brush mask, uint8 (h, w), as Label Studio writes it: all four channels hold the mask."""
    pixels = alpha.ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=~pixels[:1]))
    lengths = 4 * np.diff(starts, append=len(pixels))
    longest = 2 ** _RUN_BITS[-1]
    pieces = -(-lengths // longest)
    values = np.repeat(pixels[starts], pieces).astype(np.int64)
    last = np.zeros(len(values), bool)
    last[np.cumsum(pieces) - 1] = True
    parts = np.full(len(values), longest)
    parts[last] = lengths - (pieces - 1) * longest
    which = np.searchsorted(2 ** np.array(_RUN_BITS), parts)
    bits = np.array(_RUN_BITS)[which]
    tokens = (4 + which) << (bits + _WORD) | (parts - 1) << _WORD | values
    sizes = 0
    for size in _RUN_BITS:
        sizes = sizes << 4 | (size - 1)
    header = (4 * len(pixels) << 5 | (_WORD - 1)) << 16 | sizes
    codes = np.concatenate([[header], tokens])
    widths = np.concatenate([[_HEADER], 3 + bits + _WORD])
    token = np.repeat(np.arange(len(codes)), widths)
    behind = np.repeat(np.cumsum(widths), widths) - 1 - np.arange(len(token))
    return np.packbits((codes[token] >> behind & 1).astype(bool)).tolist()
