import subprocess
import sys

import pytest
import torch

from bpg.devices import choose_bf16, choose_device, precision, set_up
from bpg.errors import BPGError

CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch):
    """Return a function that says whether PyTorch sees a GPU."""
    return lambda there: monkeypatch.setattr(torch.cuda, "is_available", lambda: there)


def test_cuda_asked_for_where_none_is_an_error(gpu):
    gpu(False)
    with pytest.raises(BPGError, match="device: cuda") as caught:
        choose_device("cuda")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_asked_for_on_this_machine_is_an_error():
    with pytest.raises(BPGError, match="no GPU"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("name", "there", "expected"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cuda", True, "cuda"),
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
    ],
)
def test_device(name, there, expected, gpu):
    gpu(there)
    assert choose_device(name).type == expected


@pytest.mark.parametrize("native", [True, False])
def test_bf16_is_taken_where_the_processor_multiplies_it(native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert choose_bf16("auto", CPU) is native
    assert choose_bf16("on", CPU) is True
    assert choose_bf16("off", CPU) is False


@pytest.mark.parametrize("native", [True, False])
def test_bf16_on_a_gpu_is_not_emulated(native, monkeypatch):
    def supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert choose_bf16("auto", torch.device("cuda")) is native


def test_a_gpu_without_bf16_is_recorded_as_tf32():
    gpu = torch.device("cuda")
    assert [precision(one, bf16=False) for one in (CPU, gpu)] == ["fp32", "tf32"]
    assert [precision(one, bf16=True) for one in (CPU, gpu)] == ["bf16", "bf16"]


def test_uninitialised_memory_is_not_filled():
    torch.utils.deterministic.fill_uninitialized_memory = True
    set_up(CPU, threads=1, seed=0, deterministic=True)
    assert not torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc's")
def test_freed_memory_is_kept_for_the_next_step():
    """A step that asks for the same memory again has no new page."""
    program = (
        "import resource, torch; from bpg.devices import set_up\n"
        "set_up(torch.device('cpu'), threads=1, seed=0, deterministic=True, fixed_size=True)\n"
        "def step(): return [torch.ones(2**20) for _ in range(8)]\n"
        # The heap has its size after two steps or three: from then on there is no new page.
        "for _ in range(5): step()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): step()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(done.stdout) < 2000  # 163,840 where pages are given back


def test_set_up_seeds_and_counts_threads(monkeypatch):
    draws = []
    for seed in (3, 3, 4):
        set_up(CPU, threads=2, seed=seed, deterministic=True)
        draws.append(torch.rand(5))
    assert torch.get_num_threads() == 2
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    torch.set_num_threads(1)
    set_up(CPU, threads=0, seed=0, deterministic=False)
    assert torch.get_num_threads() == 2
