import hashlib
import json

import pytest

from bpg.errors import BPGError
from bpg.report.provenance import UNKNOWN, document, lines, read_records

MADE = {
    "commit": "abc123",
    "python": "3.11.2",
    "torch": "2.15.0",
    "hardware": "A processor, 2 cores",
    "precision": "fp32",
    "threads": 1,
    "seconds": 12.5,
}


@pytest.fixture
def train(tmp_path):
    """Write a network's file and the record of its training."""

    def make(run, **changes):
        model = tmp_path / f"{run}.safetensors"
        model.write_text(run)
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        (tmp_path / f"{digest}.json").write_text(json.dumps(MADE | changes), encoding="utf-8")
        return model

    return make


def test_runs_made_alike_are_one_line_without_commits_and_times(train, tmp_path):
    models = {"scribble 0": train("scribble 0"), "bpg 0": train("bpg 0", commit="x", seconds=99.0)}
    (line,) = lines(read_records(tmp_path, models))
    for part in ("torch 2.15.0", "A processor, 2 cores", "fp32", "1 thread"):
        assert part in line
    assert "abc123" not in line
    assert "12.5" not in line


def test_the_document_has_commits_times_and_digests(train, tmp_path):
    models = {run: train(run) for run in ("scribble 0", "bpg 0")}
    (entry,) = json.loads(document(read_records(tmp_path, models)))
    assert entry["commit"] == "abc123"
    digest = hashlib.sha256(b"bpg 0").hexdigest()
    assert entry["runs"]["bpg 0"] == {"model": digest, "seconds": 12.5}


def test_runs_made_otherwise_are_told_apart(train, tmp_path):
    models = {"scribble 0": train("scribble 0"), "scribble 1": train("scribble 1", hardware="GPU")}
    first, second = lines(read_records(tmp_path, models))
    assert first.startswith("scribble 0: python")
    assert second.startswith("scribble 1: python")


def test_a_record_is_found_by_the_network_and_not_by_its_place(train, tmp_path):
    """As when DVC brings the network of an earlier experiment back into place."""
    model = train("bpg 0", hardware="GPU")
    train("other")
    model.write_text("other")
    assert "A processor" in lines(read_records(tmp_path, {"bpg 0": model}))[0]


def test_a_network_from_elsewhere_has_no_record(train, tmp_path):
    model = train("bpg 0")
    model.write_text("from somebody else's cache")
    records = read_records(tmp_path, {"bpg 0": model})
    assert lines(records) == [UNKNOWN]
    (entry,) = json.loads(document(records))
    assert entry["commit"] == "unknown"
    assert "seconds" not in entry["runs"]["bpg 0"]


def test_what_is_missing_or_wrong_is_named(train, tmp_path):
    with pytest.raises(BPGError, match=r"none\.safetensors: missing; train bpg 0 again"):
        read_records(tmp_path, {"bpg 0": tmp_path / "none.safetensors"})
    models = {"bpg 0": train("bpg 0", threads="many")}
    with pytest.raises(BPGError, match=r"[0-9a-f]{64}\.json: not what a training was made with"):
        read_records(tmp_path, models)
