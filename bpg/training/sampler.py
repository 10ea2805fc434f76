"""The order in which a training sees its images."""

from collections.abc import Iterator
from itertools import islice

import numpy as np


class EpochSampler:
    """Batches of keys epoch · n + item: each epoch a permutation of its own, from the seed.

    `first` is the number of the first epoch; `skip` batches are left out at the start.
    """

    def __init__(
        self, items: int, batch: int, epochs: int, seed: int, first: int = 0, skip: int = 0
    ):
        self.items, self.batch, self.epochs, self.seed = items, batch, epochs, seed
        self.first, self.skip = first, skip

    def __len__(self) -> int:
        return self.epochs * (self.items // self.batch) - self.skip

    def __iter__(self) -> Iterator[list[int]]:
        return islice(self._all(), self.skip, None)

    def _all(self) -> Iterator[list[int]]:
        for epoch in range(self.first, self.first + self.epochs):
            # Images draw from [seed, epoch, item] with item < items: this stream is another.
            order = np.random.default_rng([self.seed, epoch, self.items]).permutation(self.items)
            for first in range(0, self.items - self.batch + 1, self.batch):
                yield [epoch * self.items + int(i) for i in order[first : first + self.batch]]
