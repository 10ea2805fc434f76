import json

import pytest

from bpg.errors import BPGError
from bpg.report.provenance import document, lines, read_provenance

MADE = {
    "commit": "abc123",
    "python": "3.11.2",
    "torch": "2.15.0",
    "torchvision": "0.29.2",
    "timm": "1.0.31",
    "numpy": "2.3",
    "pillow": "12",
    "hardware": "A processor, 2 cores",
    "precision": "fp32",
    "threads": 1,
    "seconds": 12.5,
}


@pytest.fixture
def write(tmp_path):
    def make(variant, seed, **changes):
        path = tmp_path / variant / str(seed) / "provenance.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(MADE | changes), encoding="utf-8")
        return path

    return make


def test_runs_of_one_making_are_one_line(write, tmp_path):
    write("scribble", 0)
    write("bpg", 0, seconds=99.0)
    found = read_provenance(tmp_path, ["scribble", "bpg"], [0])
    (line,) = lines(found)
    for part in ("commit abc123", "torch 2.15.0", "A processor, 2 cores", "fp32", "1 thread"):
        assert part in line
    assert "12.5" not in line  # seconds differ from run to run
    (entry,) = json.loads(document(found))
    assert entry["seconds"] == {"scribble 0": 12.5, "bpg 0": 99.0}


def test_runs_made_otherwise_are_told_apart(write, tmp_path):
    write("scribble", 0)
    write("scribble", 1, hardware="a GPU")
    first, second = lines(read_provenance(tmp_path, ["scribble"], [0, 1]))
    assert first.startswith("scribble 0: commit")
    assert second.startswith("scribble 1: commit")
    assert "a GPU" in second


def test_what_is_missing_or_wrong_is_named(write, tmp_path):
    with pytest.raises(BPGError, match=r"bpg/0/provenance\.json: missing; train bpg, 0 anew"):
        read_provenance(tmp_path, ["bpg"], [0])
    path = write("bpg", 0, threads="many")
    with pytest.raises(BPGError, match="not what a training was made with"):
        read_provenance(tmp_path, ["bpg"], [0])
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BPGError, match="not what a training was made with"):
        read_provenance(tmp_path, ["bpg"], [0])
