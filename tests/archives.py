"""Fixtures: archives with whatever members a test needs."""

import io
import tarfile
import zipfile

import pytest


@pytest.fixture
def make_tar(tmp_path):
    """Write a tar of {name: content or TarInfo}."""

    def make(name, members, mode="w"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, mode) as tar:
            for member, content in members.items():
                if isinstance(content, tarfile.TarInfo):
                    tar.addfile(content)
                else:
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        return path

    return make


@pytest.fixture
def make_zip(tmp_path):
    """Write a zip of {name or ZipInfo: content}."""

    def make(name, members):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return path

    return make
