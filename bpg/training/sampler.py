"""The order in which a training run sees its images."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from bpg.distributed import share


class EpochSampler:
    """Batches of keys for `TrainingImages`: each epoch is a permutation that follows from the seed.

    A key is epoch · items + item. An incomplete last batch of an epoch is dropped. Of several
    processes (`bpg.distributed`), each gets its share of every batch.

    Args:
        items: Number of images.
        batch: Images in a batch.
        epochs: How many.
        seed: Of the permutations, together with the number of the epoch.
        first: Number of the first epoch.
        skip: Batches to leave out at the start, when resuming.
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
            # Images draw from [seed, epoch, item] with item < items, so this stream is distinct.
            order = np.random.default_rng([self.seed, epoch, self.items]).permutation(self.items)
            for first in range(0, self.items - self.batch + 1, self.batch):
                batch = order[first : first + self.batch].tolist()
                yield [epoch * self.items + item for item in share(batch)]
