"""The order of the images: permutations that follow from the seed."""

from bpg.training.sampler import EpochSampler


def epochs_of(sampler, items):
    keys = [key for batch in sampler for key in batch]
    per_epoch = len(keys) // sampler.epochs
    return [
        [key - epoch * items for key in keys[epoch * per_epoch : (epoch + 1) * per_epoch]]
        for epoch in range(sampler.epochs)
    ]


def test_every_epoch_is_a_permutation_of_its_own():
    sampler = EpochSampler(12, 4, 5, seed=3)
    assert [len(batch) for batch in sampler] == [4] * 15
    assert len(sampler) == 15
    epochs = epochs_of(sampler, 12)
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert list(range(12)) not in epochs


def test_order_follows_from_the_seed():
    orders = [list(EpochSampler(12, 4, 3, seed)) for seed in (3, 3, 4)]
    assert orders[0] == orders[1] != orders[2]
    # A longer training begins like a shorter one.
    assert list(EpochSampler(12, 4, 5, 3))[:9] == orders[0]


def test_a_later_first_epoch_goes_on_where_a_longer_training_would_be():
    whole = list(EpochSampler(11, 4, 5, seed=3))
    for first in range(5):
        later = EpochSampler(11, 4, 5 - first, seed=3, first=first)
        assert list(later) == whole[2 * first :]
        assert len(later) == 2 * (5 - first)


def test_an_incomplete_last_batch_is_dropped_but_others_each_time():
    sampler = EpochSampler(11, 4, 30, seed=0)
    assert len(sampler) == len(list(sampler)) == 60
    left = [set(range(11)) - set(epoch) for epoch in epochs_of(sampler, 11)]
    assert all(len(three) == 3 for three in left)
    assert set.union(*left) == set(range(11))
