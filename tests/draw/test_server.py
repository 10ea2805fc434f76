"""The server of `bpg draw`: who may use it, and what it refuses."""

import contextlib
import json
import re
import signal
import subprocess
import time
from http.client import HTTPConnection
from urllib.parse import parse_qs, urlsplit

import pytest

from bpg.data.folder import read_folder
from bpg.data.options import FolderOptions
from tests.draw.conftest import NAMES, make_photographs, serving

ADD = {"kind": "add", "tag": "background", "points": [[1, 1], [9, 9]], "brush": None}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder and its server, for tests that leave no stroke behind: (folder, ask)."""
    root = tmp_path_factory.mktemp("shared")
    folder = make_photographs(root)
    with serving(root) as start:
        yield folder, asking(start())


@pytest.fixture
def ask(served):
    return asking(served())


def asking(link):
    """Return a function that sends a request as the page would, but for what is changed."""
    link = urlsplit(link)
    token = parse_qs(link.query)["token"][0]

    cookie = f"bpg-draw-{link.port}"
    sessions = []

    def send(path, body=None, *, method=None, data=None, **changes):
        headers = {"Cookie": f"{cookie}={token}", "X-Session": (sessions and sessions[0]) or None}
        if body is not None or data is not None:
            headers["Content-Type"] = "application/json"
        headers |= {key.replace("_", "-"): value for key, value in changes.items()}
        headers = {key: value for key, value in headers.items() if value is not None}
        connection = HTTPConnection("127.0.0.1", link.port, timeout=120)
        content = data if data is not None else None if body is None else json.dumps(body).encode()
        connection.request(method or ("GET" if content is None else "POST"), path, content, headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers

    sessions.append(json.loads(send("/api/folder")[1])["session"])
    send.token, send.port = token, link.port
    return send


def test_the_link_opens_the_page_and_nothing_else_does(shared):
    _, ask = shared
    status, _, headers = ask(f"/?token={ask.token}", Cookie=None)
    assert status == 303
    cookie = headers["set-cookie"]
    assert ask.token in cookie and "HttpOnly" in cookie and "SameSite=strict" in cookie
    for path in ("/", "/draw.js", "/api/folder", "/image/0", "/?token=other"):
        status, body, _ = ask(path, Cookie=None)
        assert status == 403
        assert b"open the link that bpg draw printed" in body
    assert ask("/", Cookie=f"bpg-draw-{ask.port}=other")[0] == 403
    assert ask("/")[0] == 200


def test_the_browser_gets_a_link_for_a_single_use(served, tmp_path):
    """Its command line is seen by all users of the machine."""
    opened = tmp_path / "opened"
    program = tmp_path / "browser"
    script = f"#!/bin/sh\nprintf %s \"$1\" > '{opened}.part'\nmv '{opened}.part' '{opened}'\n"
    program.write_text(script)
    program.chmod(0o755)
    ask = asking(served("--browser", BROWSER=f"{program} %s"))
    until = time.monotonic() + 120
    while not opened.exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    once = urlsplit(opened.read_text())
    assert ask.token not in once.query
    first, again = (ask(f"/?{once.query}", Cookie=None) for _ in range(2))
    assert first[0] == 303 and ask.token in first[2]["set-cookie"]
    # Whoever used it first may not have been the browser: nobody stays in.
    assert again[0] == 403
    assert ask("/")[0] == 403 and ask(f"/?token={ask.token}", Cookie=None)[0] == 403
    links = re.findall(r"http://\S+", (tmp_path / "said0").read_text())
    assert len(links) == 2
    assert ask(f"/?{urlsplit(links[1]).query}", Cookie=None)[0] == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_other_pages_and_names_are_refused_even_with_the_token(shared, headers):
    _, ask = shared
    assert ask("/api/strokes/0", ADD, **headers)[0] == 403
    assert ask(f"/?token={ask.token}", **headers)[0] == 403


def test_its_own_page_may(ask, photographs):
    origin = f"http://localhost:{ask.port}"
    status, body, headers = ask("/api/strokes/0", ADD, Origin=origin)
    assert status == 200
    assert json.loads(body)["revision"] == 1
    assert "default-src 'self'" in headers["content-security-policy"]
    assert len(read_folder(photographs, FolderOptions()).strokes["a.jpg"]) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/image/3",
        "/image/-1",
        "/image/../../etc/passwd",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/image/%2fetc%2fpasswd",
        "/api/strokes/..%2f..%2fetc%2fpasswd",
    ],
)
def test_nothing_outside_the_folder_is_given(shared, path):
    _, ask = shared
    status, body, _ = ask(path)
    assert status in (400, 404)
    assert b"root:" not in body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({**ADD, "tag": "dog"}, "no class 'dog'"),
        ({**ADD, "points": []}, "points"),
        ({**ADD, "points": [[1, 2, 3]]}, "points"),
        ({**ADD, "points": [["x", 1]]}, "points"),
        ({**ADD, "points": [[1, 1]] * 20_001}, "points"),
        ({**ADD, "brush": 0}, "brush"),
        ({**ADD, "brush": 1e9}, "brush"),
        ({**ADD, "more": 1}, "more"),
        ({"kind": "format"}, "kind"),
        ([], "should be an object"),
    ],
)
def test_bad_edits_get_a_line_and_change_nothing(shared, body, message):
    folder, ask = shared
    status, said, _ = ask("/api/strokes/0", body)
    assert status == 400
    assert message in json.loads(said)["error"]
    assert not list(folder.rglob("*.json"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"kind": "rename", "name": "dog", "to": "cat"}, "no class 'dog'"),
        ({"kind": "rename", "name": "background"}, "to"),
        ({"kind": "remove", "name": "background"}, "it stays"),
        ({"kind": "add", "name": " "}, "a name of 1 to"),
        ({"name": "cat"}, "kind"),
    ],
)
def test_bad_changes_of_the_classes_get_a_line(shared, body, message):
    folder, ask = shared
    status, said, _ = ask("/api/classes", body)
    assert status == 400
    assert message in json.loads(said)["error"]
    assert not (folder / "classes.txt").exists()


def test_a_page_of_another_process_is_told_to_reload(shared):
    _, ask = shared
    for session in (None, "other"):
        status, said, _ = ask("/api/strokes/0", ADD, X_Session=session)
        assert status == 409
        assert "reload this page" in json.loads(said)["error"]


def test_what_is_no_json_or_too_long(shared):
    _, ask = shared
    assert ask("/api/strokes/0", data=b"{")[0] == 400
    assert ask("/api/strokes/0", data=b'{"kind":"add","tag":"x","points":[[NaN,1]]}')[0] == 400
    assert ask("/api/strokes/0", ADD, Content_Type="text/plain")[0] == 415
    assert ask("/api/strokes/0", data=b" " * (4 * 2**20 + 1))[0] == 413


def test_the_images_are_those_of_the_folder(shared):
    _, ask = shared
    found = json.loads(ask("/api/folder")[1])
    assert [one["name"] for one in found["images"]] == list(NAMES)
    assert found["classes"] == ["background"]
    assert not found["trains"]  # not started in a checkout
    status, data, headers = ask("/image/2")
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert data.startswith(b"\xff\xd8")
    status, small, headers = ask("/thumbnail/2")
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert small.startswith(b"\xff\xd8")
    assert ask("/thumbnail/3")[0] == 400
    assert "no checkout" in json.loads(ask("/api/train")[1])["error"]


def test_the_answer_needs_two_classes_and_then_is_scored_on_held_out_strokes(ask):
    assert "a second class" in json.loads(ask("/api/answer/0")[1])["error"]
    assert ask("/api/classes", {"kind": "add", "name": "cat"})[0] == 200
    for place in range(3):
        ask("/api/strokes/0", {**ADD, "points": [[5, 5 + 9 * place], [150, 5 + 9 * place]]})
        ask("/api/strokes/1", {**ADD, "tag": "cat", "points": [[5, 60 + place], [150, 99]]})
    found = json.loads(ask("/api/answer/2")[1])
    assert found["by"] == "forest"
    assert found["labels"].startswith("data:image/png;base64,")
    score = json.loads(ask("/api/score/2")[1])
    assert 0 <= score["miou"] <= 100
    assert (score["measured_on"], score["images"]) == ("2 held-out strokes", 2)
    said = json.loads(ask("/api/model", {"by": "network"})[1])
    assert "no network was trained on these strokes" in said["error"]
    assert ask("/api/model", {"by": "forest"})[0] == 200
    unsure = json.loads(ask("/api/next")[1])
    assert {one["index"] for one in unsure} == {0, 1, 2}
    values = [one["uncertainty"] for one in unsure]
    assert values == sorted(values, reverse=True)
    region = unsure[0]["regions"][0]
    assert region["left"] + region["width"] <= 160 and region["top"] + region["height"] <= 120


def test_classes_counts_and_clearing(ask, photographs):
    for name in ("cat", "dog"):
        ask("/api/classes", {"kind": "add", "name": name})
    for place, tag in enumerate(("background", "cat", "cat")):
        line = {**ADD, "tag": tag, "points": [[1, 9 * place], [90, 9 * place]]}
        found = json.loads(ask("/api/strokes/0", line)[1])
    assert (found["classes"], found["counts"]) == (["background", "cat", "dog"], [1, 2, 0])
    ask("/api/classes", {"kind": "remove", "name": "dog"})
    folder = json.loads(ask("/api/classes", {"kind": "rename", "name": "cat", "to": "lynx"})[1])
    assert (folder["classes"], folder["counts"]) == (["background", "lynx"], [1, 2])
    assert folder["colours"] == ["#505050", "#ff9f1c"]
    ask("/api/classes", {"kind": "add", "name": "dog"})
    joining = {"kind": "rename", "name": "dog", "to": " LYNX"}
    status, said, _ = ask("/api/classes", joining)
    assert (status, json.loads(said)["merges"]) == (409, "lynx")
    assert ask("/api/classes", {**joining, "merge": True})[0] == 200
    drawn = read_folder(photographs, FolderOptions()).strokes["a.jpg"]
    assert [stroke.tag for stroke in drawn] == ["background", "lynx", "lynx"]
    cleared = json.loads(ask("/api/strokes/0", {"kind": "clear"})[1])
    assert cleared["own"] == [] and len(cleared["removed"]) == 3
    assert "a.jpg" not in read_folder(photographs, FolderOptions()).strokes


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_quietly(served, tmp_path, way):
    served(PYTHONFAULTHANDLER="1")
    (process,) = served.processes
    process.send_signal(way)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=120)
    process.send_signal(signal.SIGABRT)  # if it is still running, this makes it say where it hangs
    status = process.wait(timeout=120)
    said = (tmp_path / "said0").read_text()
    assert status == 0, said
    assert said.splitlines()[-1].startswith("http://")


def test_a_second_process_on_the_folder_is_refused(served, photographs):
    served()
    with pytest.raises(AssertionError, match="another bpg draw has this folder open"):
        served()
