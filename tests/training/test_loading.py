"""Loading processes: how many shared memory has room for, and what their deaths are called."""

import warnings

import joblib
import pytest
import torch

from bpg.errors import BPGError
from bpg.training import loading
from bpg.training.loading import dead_workers_named, fitting_workers, make_loader
from bpg.training.sampler import EpochSampler


@pytest.mark.parametrize(
    ("asked", "free", "fit"),
    [
        (8, 64 * 2**20, 4),  # Docker's default, ten crops of 321
        (8, 2**30, 8),
        (8, 2**20, 0),
        (0, 2**20, 0),
        (8, None, 8),
    ],
)
def test_no_more_processes_than_shared_memory_has_room_for(asked, free, fit):
    assert fitting_workers(asked, 10 * 321 * 321 * 6, free) == fit


def test_fewer_processes_are_said_and_train_the_same(
    build, load, fit, tmp_path, monkeypatch, capsys
):
    runs = []
    for free in (2**30, 1):
        monkeypatch.setattr(loading, "_free_shared_memory", lambda free=free: free)
        network = build()
        fit(network, load(), num_workers=1)
        runs.append({k: v.clone() for k, v in network.state_dict().items()})
    said = capsys.readouterr().err
    assert "/dev/shm" in said and "loading with 0" in said
    assert all((runs[0][name] == value).all() for name, value in runs[1].items())


@pytest.mark.parametrize("asked", [0, 1, 1000])
def test_no_more_processes_than_cores(asked, load):
    images = load()
    sampler = EpochSampler(len(images), 4, 1, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch warns of more than it sees
        loader = make_loader(images, sampler, asked, torch.device("cpu"))
    assert loader.num_workers == min(asked, joblib.cpu_count())


@pytest.mark.parametrize(
    ("cause", "named"),
    [
        ("OSError: [Errno 28] No space left on device", "/dev/shm is full"),
        ("RuntimeError: unable to write to file </torch_1_2_3>: shm", "/dev/shm is full"),
        ("MemoryError", "num_workers"),
    ],
)
def test_the_cause_of_a_death_is_the_last_line(cause, named):
    text = f"Caught RuntimeError in DataLoader worker process 0.\nTraceback:\n  ...\n{cause}\n"
    with pytest.raises(BPGError) as caught, dead_workers_named(lambda: False):
        raise RuntimeError(text)
    message = str(caught.value)
    assert "\n" not in message
    assert f"({cause})" in message
    assert named in message
