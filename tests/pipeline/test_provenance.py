"""What only describes a run never stops it."""

import subprocess
import sys

import pytest

from pipeline import provenance


@pytest.fixture
def repository(tmp_path, run, monkeypatch):
    """A git checkout with one committed parameter file."""
    run(tmp_path, "git", "init", "--quiet")
    (tmp_path / "params.yaml").write_text("a: 1\n")
    run(tmp_path, "git", "add", "--all")
    run(tmp_path, "git", "commit", "--quiet", "--message", "First")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", ["a: 2 # caf\xe9\n".encode("latin-1"), "a: 2 # é\n".encode()])
def test_a_change_in_any_encoding_is_told_from_another(repository, text):
    clean = provenance._commit()
    (repository / "params.yaml").write_bytes(text)
    changed = provenance._commit()
    assert changed.startswith(f"{clean} with changes ")
    (repository / "params.yaml").write_bytes(text + b"\n")
    assert provenance._commit() != changed


def test_an_ascii_locale_does_no_harm(repository, tools, environment):
    (repository / "params.yaml").write_text("a: 2 # é\n", encoding="utf-8")
    program = "from pipeline import provenance; print(provenance._commit())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(tools.ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert " with changes " in done.stdout


@pytest.mark.parametrize(("stderr", "said"), [(b"", "128"), (b"fatal: caf\xe9\n", "fatal: caf")])
def test_gits_failure_is_said_whatever_it_says(monkeypatch, stderr, said):
    def fail(*words, **options):
        raise subprocess.CalledProcessError(128, words, stderr=stderr)

    monkeypatch.setattr(provenance.subprocess, "run", fail)
    assert provenance._commit().startswith("unknown: ")
    assert said in provenance._commit()
