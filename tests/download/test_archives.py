import errno
import gzip
import hashlib
import re
import shutil
import stat
import tarfile
import threading
import tracemalloc
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpg.download import archives
from bpg.download.archives import extract, obtain, read_members
from bpg.errors import BPGError

CONTENT = bytes(range(256)) * 5000
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
NAME = "data.tar"


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; `server.script` holds, for the next requests, how to misbehave."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append((self.path, wanted))
        todo = server.script.pop(0) if server.script else {}
        body = server.files.get(self.path)
        if body is None or "status" in todo:
            self.answer(todo.get("status", 404), b"", {})
            return
        status, headers, start = 200, dict(todo.get("headers", {})), 0
        if wanted and not todo.get("ignore_range"):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(body):
                size = {} if todo.get("no_size") else {"Content-Range": f"bytes */{len(body)}"}
                self.answer(416, b"", size)
                return
            status, start = 206, start + todo.get("shift", 0)
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.answer(status, body[start:], headers, todo.get("cut"))

    def answer(self, status, body, headers, cut=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for header in headers.items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(archives, "FIRST_PAUSE", 0.001)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # clients that hang up are part of the tests
    server.files = {f"/{NAME}": CONTENT}
    server.script, server.requests = [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def get(server, folder, checksum=MD5, mirror=None):
    return obtain(NAME, f"{server.url}/{NAME}", checksum, folder, mirror)


def part(folder, checksum=MD5):
    return folder / f"{NAME}.{checksum.partition(':')[2][:8]}.part"


def ranges(server):
    return [wanted for _, wanted in server.requests]


# Downloads


@pytest.mark.parametrize("checksum", [MD5, SHA256, SHA256[:15], None, ""])
def test_a_download_lies_in_place_alone(server, tmp_path, checksum):
    path = get(server, tmp_path / "new", checksum)
    assert path == tmp_path / "new" / NAME
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_a_right_file_is_not_fetched_again_and_a_wrong_one_is(server, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT)
    get(server, tmp_path)
    assert server.requests == []
    (tmp_path / NAME).write_bytes(b"old")
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_broken_transfers_are_resumed_until_whole(server, tmp_path):
    server.script = [{"cut": 300_000}, {"status": 503}, {"cut": 500_000}]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=300000-", "bytes=300000-", "bytes=800000-"]


def test_a_flaky_server_may_break_more_often_than_the_limit_if_bytes_come(server, tmp_path):
    server.script = [{"cut": 100_000}] * (archives.ATTEMPTS + 3)
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_the_part_survives_giving_up_and_the_next_call_resumes(server, tmp_path):
    server.script = [{"cut": 1000}] + [{"status": 500}] * 20
    with pytest.raises(BPGError, match=r"download failed \(HTTP status 500\); run again to resume"):
        get(server, tmp_path)
    assert len(server.requests) == archives.ATTEMPTS
    assert part(tmp_path).read_bytes() == CONTENT[:1000]
    assert not (tmp_path / NAME).exists()
    server.script, server.requests = [], []
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["bytes=1000-"]
    assert not part(tmp_path).exists()


def test_a_server_without_range_starts_over(server, tmp_path):
    part(tmp_path).write_bytes(CONTENT[:1000])
    server.script = [{"ignore_range": True, "cut": 5000}, {"ignore_range": True}]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["bytes=1000-", "bytes=5000-"]


def test_416_on_a_complete_part_is_success(server, tmp_path):
    part(tmp_path).write_bytes(CONTENT)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("script", [[], [{"no_size": True}]])
def test_416_otherwise_starts_over(server, tmp_path, script):
    part(tmp_path).write_bytes(CONTENT + b"too long")
    server.script = script
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={len(CONTENT) + 8}-", None]


def test_an_answer_with_another_range_is_not_appended(server, tmp_path):
    part(tmp_path).write_bytes(CONTENT[:1000])
    server.script = [{"shift": 7}]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_tgz_that_is_announced_as_gzip_encoding_keeps_its_bytes(server, tmp_path):
    server.script = [{"headers": {"Content-Encoding": "x-gzip"}}]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_told_and_nothing_is_kept(server, tmp_path):
    server.files[f"/{NAME}"] = b"other" * 1000
    got = hashlib.md5(b"other" * 1000).hexdigest()
    with pytest.raises(BPGError, match=rf"{NAME}: wrong checksum, expected {MD5}, got md5:{got}"):
        get(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_beginning_of_a_checksum_is_checked_too(server, tmp_path):
    with pytest.raises(BPGError, match="expected sha256:00000000, got sha256:"):
        get(server, tmp_path, "sha256:00000000")


def test_a_web_page_in_place_of_the_file_is_told(server, tmp_path):
    server.script = [{"headers": {"Content-Type": "text/html; charset=utf-8"}}]
    with pytest.raises(BPGError, match="a web page instead of the file"):
        get(server, tmp_path, None)


def test_not_found_is_told_at_once(server, tmp_path):
    server.files = {}
    with pytest.raises(BPGError, match="HTTP status 404; check the address"):
        get(server, tmp_path)
    assert len(server.requests) == 1


def test_an_unreachable_server_is_told(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(BPGError, match="download failed") as caught:
        get(server, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "no address", "http://"])
def test_no_address_is_told_at_once(tmp_path, url):
    with pytest.raises(BPGError, match="no valid address"):
        obtain(NAME, url, MD5, tmp_path, None)


@pytest.mark.parametrize(
    "checksum", ["md5:12", "sha256:1234567", MD5[:20], "crc:" + "0" * 32, "0" * 32, MD5.upper()]
)
def test_a_malformed_checksum_is_told(tmp_path, checksum):
    with pytest.raises(BPGError, match="must be md5:<32 hex> or sha256:<8 to 64 hex>"):
        obtain(NAME, "http://127.0.0.1", checksum, tmp_path, None)


@pytest.mark.parametrize("name", ["../x.tar", "a/b.tar", "/x.tar", "", ".", ".."])
def test_a_name_is_no_path(tmp_path, name):
    with pytest.raises(BPGError, match="plain file name"):
        obtain(name, "http://127.0.0.1", MD5, tmp_path, None)


def test_a_full_disk_is_told_before_the_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1234))
    with pytest.raises(BPGError, match=r"disk is full \(1,280,000 bytes needed, 1,234 free\)"):
        get(server, tmp_path)


def test_a_disk_that_fills_up_on_the_way_is_told(tmp_path):
    with (
        pytest.raises(BPGError, match=r"the disk is full \([\d,]+ free\)"),
        archives.disk_full_named(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), archives.disk_full_named(tmp_path):
        raise PermissionError(errno.EACCES, "denied")


# Mirrors


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / NAME).write_bytes(CONTENT)
    return folder


def test_a_folder_is_copied_and_held_against_the_official_checksum(tmp_path, mirror):
    path = obtain(NAME, "http://127.0.0.1:1", MD5, tmp_path / "out", str(mirror))
    assert path.read_bytes() == CONTENT
    assert (mirror / NAME).read_bytes() == CONTENT
    with pytest.raises(BPGError, match="wrong checksum, expected md5:0000"):
        obtain(NAME, "http://127.0.0.1:1", "md5:" + "0" * 32, tmp_path / "b", str(mirror))
    assert list((tmp_path / "b").iterdir()) == []


def test_sha256sums_take_the_place_of_the_official_checksum(tmp_path, mirror):
    wrong = "md5:" + "0" * 32
    (mirror / "SHA256SUMS").write_text(f"{'1' * 64}  other.tar\n{SHA256[7:]} *{NAME}\n")
    assert obtain(NAME, "", wrong, tmp_path / "out", str(mirror)).read_bytes() == CONTENT
    (mirror / "SHA256SUMS").write_text(f"{'1' * 64}  {NAME}\n")
    with pytest.raises(BPGError, match="wrong checksum, expected sha256:1111"):
        obtain(NAME, "", MD5, tmp_path / "b", str(mirror))
    (mirror / "SHA256SUMS").write_text(f"{'1' * 64}  other.tar\n")
    with pytest.raises(BPGError, match=rf"SHA256SUMS: has no valid line for {NAME}"):
        obtain(NAME, "", MD5, tmp_path / "b", str(mirror))


def test_a_missing_mirror_or_file_is_told(tmp_path, mirror):
    with pytest.raises(BPGError, match=r"mirror .*none: no such folder"):
        obtain(NAME, "", MD5, tmp_path, str(tmp_path / "none"))
    with pytest.raises(BPGError, match=r"other\.tar: no such file in the mirror"):
        obtain("other.tar", "", MD5, tmp_path, str(mirror))


def test_a_mirror_that_is_the_target_folder_is_left_alone(tmp_path, mirror):
    assert obtain(NAME, "", None, mirror, str(mirror)).read_bytes() == CONTENT
    with pytest.raises(BPGError, match="wrong checksum"):
        obtain(NAME, "", "md5:" + "0" * 32, mirror, str(mirror))
    assert (mirror / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_by_address(server, tmp_path, slash):
    server.files = {f"/m/{NAME}": CONTENT}
    mirror = f"{server.url}/m{slash}"
    assert get(server, tmp_path / "a", MD5, mirror).read_bytes() == CONTENT
    server.files["/m/SHA256SUMS"] = f"{SHA256[7:]}  {NAME}\n".encode()
    server.script = [{"status": 503}]
    assert get(server, tmp_path / "b", "md5:" + "0" * 32, mirror).read_bytes() == CONTENT
    server.files["/m/SHA256SUMS"] = b"<html>"
    with pytest.raises(BPGError, match="SHA256SUMS: has no valid line"):
        get(server, tmp_path / "c", MD5, mirror)


# Extraction


def everything(name):
    return name


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_wanted_files_of_a_tar_are_unpacked(tmp_path, make_tar, mode):
    path = make_tar("a.bin", {"./x/1.txt": b"one", "x/2.txt": b"two", "y": b""}, mode)
    count = extract(path, tmp_path / "out", lambda n: f"{n[-5:]}" if "x/" in n else None)
    assert count == 2
    assert (tmp_path / "out/1.txt").read_bytes() == b"one"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["1.txt", "2.txt"]


def test_wanted_files_of_a_zip_are_unpacked_below_new_folders(tmp_path, make_zip):
    path = make_zip("a.zip", {"d/": b"", "d/1.txt": b"one", "2.txt": b"two"})
    assert extract(path, tmp_path / "out", everything) == 2
    assert (tmp_path / "out/d/1.txt").read_bytes() == b"one"
    assert dict(read_members(path, lambda name: name == "2.txt")) == {"2.txt": b"two"}


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


HOSTILE = {
    "../up": b"x",
    "a/../../up": b"x",
    "/absolute": b"x",
    "soft": special("soft", tarfile.SYMTYPE, "/etc/passwd"),
    "hard": special("hard", tarfile.LNKTYPE, "good"),
    "char": special("char", tarfile.CHRTYPE),
    "block": special("block", tarfile.BLKTYPE),
    "fifo": special("fifo", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("member", HOSTILE)
def test_hostile_members_of_a_tar_are_refused_by_name(tmp_path, make_tar, member):
    path = make_tar("a.tar", {"good": b"fine", member: HOSTILE[member]})
    with pytest.raises(BPGError, match=rf"a\.tar: member '{re.escape(member)}' is .*: refused"):
        extract(path, tmp_path / "out/in", everything)
    written = {p.name for p in tmp_path.rglob("*") if p.is_file() or p.is_symlink()}
    assert written == {"a.tar", "good"}
    assert extract(path, tmp_path / "out", lambda n: n if n == "good" else None) == 1


@pytest.mark.parametrize("member", ["../up", "a/../../up", "/absolute", "link"])
def test_hostile_members_of_a_zip_are_refused_by_name(tmp_path, make_zip, member):
    info = zipfile.ZipInfo(member)
    kind = stat.S_IFLNK if member == "link" else stat.S_IFREG
    info.external_attr = (kind | 0o644) << 16
    path = make_zip("a.zip", {info: b"/etc/passwd"})
    with pytest.raises(BPGError, match=rf"a\.zip: member '{re.escape(member)}' is .*: refused"):
        extract(path, tmp_path / "out", everything)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["../up", "/tmp/absolute", ""])
def test_a_target_outside_the_destination_is_refused(tmp_path, make_tar, target):
    path = make_tar("a.tar", {"good": b"fine"})
    with pytest.raises(BPGError, match="outside"):
        extract(path, tmp_path / "out", lambda _: target)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, make_tar, make_zip):
    zeros = {"zeros": bytes(5_000_000)}
    for path in (make_tar("a.tgz", zeros, "w:gz"), make_zip("a.zip", zeros)):
        with pytest.raises(BPGError, match="'zeros' has 5,000,000 bytes, more than the limit"):
            extract(path, tmp_path / "out", everything, limit=4_999_999)
        assert extract(path, tmp_path / "out", everything, limit=5_000_000) == 1


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_bomb_in_a_tars_header_is_refused(tmp_path, kind):
    info = tarfile.TarInfo("head")
    info.type, info.size = kind, 2**31
    zeros = bytes(2**20)
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(64):  # of the 2048 that it claims
            file.write(zeros)
    tracemalloc.start()
    with pytest.raises(BPGError, match=r"a\.tgz: .*a header of 2,147,483,648 bytes"):
        extract(tmp_path / "a.tgz", tmp_path / "out", everything)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**23


@pytest.mark.parametrize("header", ["old", "pax 0.0", "pax 0.1", "pax 1.0"])
def test_sparse_members_are_refused_with_their_maps_unread(tmp_path, header):
    info = tarfile.TarInfo("sparse")
    if header == "old":
        info.type = tarfile.GNUTYPE_SPARSE
        data = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        data[482] = 1  # the map goes on in a further block, which is not there
        data[148:156] = b"%06o\0 " % (256 + sum(data[:148]) + sum(data[156:512]))
    else:
        info.size = 512
        info.pax_headers = {
            "pax 0.0": {"GNU.sparse.size": "9", "GNU.sparse.numblocks": "1"},
            "pax 0.1": {"GNU.sparse.size": "9", "GNU.sparse.map": "0,1"},
            "pax 1.0": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        }[header]
        data = info.tobuf(tarfile.PAX_FORMAT) + b"9" * 512
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(BPGError, match=r"a\.tar: .*a sparse file"):
        extract(tmp_path / "a.tar", tmp_path / "out", lambda name: None)


def test_a_member_that_would_take_hours_to_pass_over_is_refused(tmp_path):
    info = tarfile.TarInfo("endless")
    info.size = 2**40
    with gzip.open(tmp_path / "a.tgz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(2**20))
    with pytest.raises(BPGError, match=r"a\.tgz: with member 'endless' it comes to 1,099,511"):
        extract(tmp_path / "a.tgz", tmp_path / "out", lambda name: None)


NOISE = {f"{n}.bin": hashlib.sha256(bytes([n])).digest() * 40 for n in range(20)}


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip"])
def test_cut_off_archives_are_told(tmp_path, make_tar, make_zip, kind):
    if kind == "zip":
        path = make_zip("a.zip", NOISE)
    else:
        path = make_tar(f"a.{kind}", NOISE, "w:gz" if kind == "tgz" else "w")
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) // 2 + 300):
        path.write_bytes(whole[:length])
        with pytest.raises(BPGError, match=rf"a\.{kind}: .*broken or cut off") as caught:
            extract(path, tmp_path / "out", everything)
        assert "\n" not in str(caught.value)


def test_other_files_and_missing_ones_are_told(tmp_path):
    (tmp_path / "a.zip").write_text("<html>not found</html>" * 100)
    with pytest.raises(BPGError, match=r"a\.zip: no tar or zip archive"):
        extract(tmp_path / "a.zip", tmp_path / "out", everything)
    with pytest.raises(BPGError, match=r"none\.tar: cannot be read .* fetch it first"):
        extract(tmp_path / "none.tar", tmp_path / "out", everything)


def test_an_encrypted_zip_is_told(tmp_path, make_zip):
    path = make_zip("a.zip", {"x": b"x"})
    data = bytearray(path.read_bytes())
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + place] |= 1
    path.write_bytes(data)
    with pytest.raises(BPGError, match=r"a\.zip: .*encrypted"):
        extract(path, tmp_path / "out", everything)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(["w", "w:gz", "zip"]), st.integers(0), st.binary(min_size=1, max_size=8))
def test_damaged_archives_give_bytes_or_one_line(make_tar, make_zip, mode, place, junk):
    members = {"a.bin": b"first" * 20, "b.bin": b"second" * 20}
    path = make_zip("f.zip", members) if mode == "zip" else make_tar("f.tar", members, mode)
    data = bytearray(path.read_bytes())
    place %= min(len(data), 2000)
    data[place : place + len(junk)] = junk
    path.write_bytes(data)
    try:
        assert all(isinstance(data, bytes) for _, data in read_members(path, bool))
    except BPGError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "line",
    ["{digest}  {name}", "{digest} *./{name}", "{upper}  {name}", "SHA256 ({name}) = {digest}"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_checksums_of_any_tool_and_editor_are_read(tmp_path, mirror, line, encoding, end):
    digest = hashlib.sha256(CONTENT).hexdigest()
    text = line.format(digest=digest, upper=digest.upper(), name=NAME) + end
    (mirror / "SHA256SUMS").write_bytes(("# sums" + end + text).encode(encoding))
    assert obtain(NAME, "http://127.0.0.1:1", None, tmp_path / "out", str(mirror)).is_file()
    (mirror / NAME).write_bytes(b"other")
    with pytest.raises(BPGError, match="wrong checksum"):
        obtain(NAME, "http://127.0.0.1:1", None, tmp_path / "b", str(mirror))
