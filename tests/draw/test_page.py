"""The page of `bpg draw` in a real browser: strokes are drawn and read back from the files."""

import os
import shutil
from pathlib import Path

import pytest
import skimage
from playwright.sync_api import expect

from bpg.data.folder import read_folder
from bpg.data.options import FolderOptions
from bpg.data.strokes import Line, Pixels
from tests.browsers import new_window
from tests.draw.conftest import ROOT, make_photographs, serving

COFFEE = {
    "background": [((30, 60), (60, 260)), ((450, 380), (580, 250)), ((520, 30), (580, 120))],
    "cup": [((240, 110), (380, 110)), ((200, 130), (260, 240)), ((230, 40), (360, 40))],
    "saucer": [((120, 190), (120, 290)), ((200, 345), (390, 355)), ((450, 150), (440, 240))],
}


@pytest.fixture
def opened(served, browser):
    """Return a function that opens the page, in one of several windows."""
    link = served()
    contexts, heard = [], []

    def open_page(**options):
        context = new_window(browser, **{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        view = context.new_page()
        view.on("pageerror", lambda error: heard.append(str(error)))
        view.goto(link)
        expect(view.locator("#name")).not_to_be_empty()
        return view

    yield open_page
    assert not heard
    for context in contexts:
        context.close()


def add_class(view, name):
    view.fill("#class-name", name)
    view.click("#new-class button")
    expect(view.locator("#classes button", has_text=name)).to_have_attribute("aria-pressed", "true")


def place(view, x, y, size=(160, 120)):
    """Where a pixel of the image is on the screen: it is fitted into the canvas."""
    width, height = size
    box = view.locator("#canvas").bounding_box()
    zoom = min(box["width"] / width, box["height"] / height) * 0.96
    left = box["x"] + (box["width"] - width * zoom) / 2
    top = box["y"] + (box["height"] - height * zoom) / 2
    return left + x * zoom, top + y * zoom


def stroke(view, *points, size=(160, 120)):
    view.mouse.move(*place(view, *points[0], size))
    view.mouse.down()
    for point in points[1:]:
        view.mouse.move(*place(view, *point, size), steps=8)
    view.mouse.up()
    expect(view.locator("#state")).to_have_text("saved")


def strokes(folder, name="a.jpg"):
    return read_folder(folder, FolderOptions()).strokes.get(name, ())


def test_strokes_are_in_the_files_where_they_were_drawn(opened, photographs):
    view = opened()
    add_class(view, "cat")
    stroke(view, (20, 30), (100, 30), (100, 90))
    view.keyboard.press("1")
    view.select_option("#brush", "9")
    stroke(view, (20, 100), (140, 100))
    line, painted = strokes(photographs)
    assert (line.tag, painted.tag) == ("cat", "background")
    assert isinstance(line.shape, Line)
    first, *_, last = line.shape.points
    assert first == pytest.approx((20, 30), abs=0.3) and last == pytest.approx((100, 90), abs=0.3)
    corner = min(((x - 100) ** 2 + (y - 30) ** 2) ** 0.5 for x, y in line.shape.points)
    assert corner < 0.5
    assert isinstance(painted.shape, Pixels)
    assert painted.shape.mask.shape[0] == pytest.approx(9, abs=1)
    assert painted.shape.left == pytest.approx(20 - 4.5, abs=1)
    expect(view.locator("#images button").first).to_have_text("a.jpg · 2")


def test_keys_are_for_drawing_again_after_a_class_and_a_brush(opened):
    view = opened()
    add_class(view, "cat")
    view.keyboard.press("d")
    expect(view.locator("#name")).to_have_text("b.jpg")
    view.select_option("#brush", "9")
    view.keyboard.press("1")
    first = view.locator("#classes button").first
    expect(first).to_have_attribute("aria-pressed", "true")
    expect(view.locator("#brush")).to_have_value("9")
    view.fill("#class-name", "Cat")
    view.click("#new-class button")
    expect(view.locator("#class-says")).to_contain_text("there is a class")
    expect(view.locator("#state")).not_to_contain_text("class")


def test_erase_undo_redo_and_reload(opened, photographs):
    view = opened()
    add_class(view, "cat")
    stroke(view, (20, 30), (140, 30))
    view.keyboard.press("e")
    stroke(view, (80, 10), (80, 50))
    assert len(strokes(photographs)) == 2
    view.keyboard.press("Control+z")
    expect(view.locator("#images button").first).to_have_text("a.jpg · 1")
    view.keyboard.press("Control+z")
    expect(view.locator("#images button").first).to_have_text("a.jpg")
    assert not strokes(photographs)
    for number in (1, 2):
        view.keyboard.press("Control+Shift+z")
        expect(view.locator("#images button").first).to_have_text(f"a.jpg · {number}")
    before = strokes(photographs)
    view.reload()
    expect(view.locator("#images button").first).to_have_text("a.jpg · 2")
    assert strokes(photographs) == before


def test_buttons_that_do_nothing_are_off_and_an_image_is_cleared(opened, photographs):
    view = opened()
    off = {name: view.locator(f"#{name}") for name in ("undo", "redo", "clear", "rename", "remove")}
    for button in off.values():
        expect(button).to_be_disabled()
    add_class(view, "cat")
    expect(off["rename"]).to_be_enabled()
    for height in (30, 60):
        stroke(view, (20, height), (140, height))
    expect(view.locator("#classes button").last).to_contain_text("cat · 2")
    expect(view.locator("#images-title")).to_have_text("Images: 1 of 3 drawn")
    before = strokes(photographs)
    view.click("#clear")
    expect(view.locator("#images-title")).to_have_text("Images: 0 of 3 drawn")
    expect(off["clear"]).to_be_disabled()
    assert not strokes(photographs)
    view.click("#undo")
    expect(view.locator("#classes button").last).to_contain_text("cat · 2")
    expect(off["redo"]).to_be_enabled()
    assert strokes(photographs) == before
    view.keyboard.press("d")
    expect(view.locator("#name")).to_have_text("b.jpg")
    expect(off["undo"]).to_be_disabled()


def test_classes_are_renamed_merged_and_removed(opened, photographs):
    view = opened()
    answers = []

    def reply(dialog):
        answer = answers.pop(0)
        dialog.accept(answer) if isinstance(answer, str) else dialog.accept()

    view.on("dialog", reply)
    for name in ("cat", "dog", "cart"):
        add_class(view, name)
    stroke(view, (20, 30), (140, 30))
    names = view.locator("#classes button")
    answers[:] = ["kitten"]
    view.click("#rename")
    expect(names.last).to_contain_text("kitten · 1")
    answers[:] = [" CAT", True]  # another class's name: it asks
    view.click("#rename")
    expect(names).to_have_count(3)
    assert not answers
    expect(names.nth(1)).to_have_attribute("aria-pressed", "true")
    assert [one.tag for one in strokes(photographs)] == ["cat"]
    names.nth(1).click()
    view.click("#remove")
    expect(view.locator("#class-says")).to_contain_text("cat has strokes (1)")
    names.nth(2).click()
    view.click("#remove")
    expect(names).to_have_count(2)
    assert (photographs / "classes.txt").read_text().split() == ["background", "cat"]


def test_a_class_that_another_window_changes(opened, photographs):
    """Here another image is shown, and the eraser is in use."""
    view, other = opened(), opened()
    for name in ("cat", "dog", "fox"):
        add_class(view, name)
    names = other.locator("#classes button")
    expect(names).to_have_count(4)
    other.keyboard.press("d")
    expect(other.locator("#name")).to_have_text("b.jpg")
    other.keyboard.press("3")
    stroke(other, (20, 30), (140, 30))
    other.keyboard.press("e")
    view.on("dialog", lambda dialog: dialog.accept("lynx"))
    view.locator("#classes button", has_text="cat").click()
    view.click("#remove")
    expect(names).to_have_count(3)
    expect(names.nth(1)).to_contain_text("dog · 1")
    expect(names.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(other.locator("#tool-erase")).to_have_attribute("aria-pressed", "true")
    view.locator("#classes button", has_text="fox").click()
    view.click("#rename")
    expect(names.nth(2)).to_contain_text("lynx")
    names.nth(2).click()
    stroke(other, (20, 60), (140, 60))
    assert [one.tag for one in strokes(photographs, "b.jpg")] == ["dog", "lynx"]


def test_strokes_on_their_way_are_saved_before_their_class_is_renamed(opened, photographs):
    view = opened()
    add_class(view, "cat")
    view.on("dialog", lambda dialog: dialog.accept("lynx"))
    view.route("**/api/strokes/*", lambda route: (view.wait_for_timeout(200), route.continue_()))
    for height in (20, 50, 80):
        view.mouse.move(*place(view, 20, height))
        view.mouse.down()
        view.mouse.move(*place(view, 140, height), steps=3)
        view.mouse.up()
    view.click("#rename")
    expect(view.locator("#classes button").last).to_contain_text("lynx · 3")
    expect(view.locator("#state")).to_have_text("saved")
    assert [one.tag for one in strokes(photographs)] == ["lynx"] * 3
    view.unroute_all(behavior="ignoreErrors")  # the page polls, even while it closes


def test_the_number_of_epochs_is_checked_where_it_is_typed(tmp_path, browser):
    make_photographs(tmp_path)
    with serving(tmp_path) as start:
        context = new_window(browser)
        view = context.new_page()
        view.goto(start(cwd=ROOT))
        expect(view.locator("#name")).not_to_be_empty()
        expect(view.locator("#start")).to_be_disabled()
        expect(view.locator("#plan")).to_contain_text("Draw on some images")
        add_class(view, "cat")
        stroke(view, (20, 30), (140, 30))
        expect(view.locator("#epochs")).to_have_value("200")
        expect(view.locator("#plan")).to_contain_text("1 image, 200 in all")
        expect(view.locator("#plan")).to_contain_text("Fewer than two strokes: background, cat")
        for text, enabled in (
            ("", False),
            ("x", False),
            ("-3", False),
            ("1.5", False),
            ("30", True),
        ):
            view.fill("#epochs", text)
            expect(view.locator("#epochs")).to_have_value(text)
            expect(view.locator("#start")).to_be_enabled(enabled=enabled)
        expect(view.locator("#plan")).to_contain_text("1 image, 30 in all")
        view.fill("#epochs", "")
        view.locator("#epochs").blur()
        expect(view.locator("#epochs")).to_have_value("200")
        context.close()


def test_two_windows_see_each_other(opened, photographs):
    one, other = opened(), opened()
    add_class(one, "cat")
    stroke(one, (20, 30), (140, 30))
    other.reload()
    expect(other.locator("#classes button")).to_have_count(2)
    other.locator("#images button").first.click()
    expect(other.locator("#name")).to_have_text("a.jpg")
    stroke(other, (20, 60), (140, 60))
    stroke(one, (20, 90), (140, 90))
    assert len(strokes(photographs)) == 3
    one.keyboard.press("Control+z")
    expect(one.locator("#images button").first).to_have_text("a.jpg · 2")
    assert len(strokes(photographs)) == 2


def test_zoom_does_not_move_strokes(opened, photographs):
    view = opened()
    add_class(view, "cat")
    view.mouse.move(*place(view, 80, 60))
    view.mouse.wheel(0, -400)
    x, y = place(view, 80, 60)  # what is under the pointer stays there
    view.mouse.down()
    view.mouse.move(x + 30, y, steps=4)
    view.mouse.up()
    expect(view.locator("#state")).to_have_text("saved")
    (line,) = strokes(photographs)
    assert line.shape.points[0] == pytest.approx((80, 60), abs=0.3)


def test_a_stroke_belongs_to_the_image_it_was_begun_on(opened, photographs):
    view = opened()
    add_class(view, "cat")
    view.mouse.move(*place(view, 20, 30))
    view.mouse.down()
    view.keyboard.press("d")  # while the pen is down
    view.keyboard.press("1")
    view.mouse.move(*place(view, 90, 30), steps=4)
    expect(view.locator("#name")).to_have_text("b.jpg")
    view.mouse.up()
    # It changed before the pen was lifted: what was begun on the one is not put on the other.
    view.wait_for_timeout(300)
    assert not strokes(photographs, "b.jpg")
    stroke(view, (20, 60), (90, 60))
    assert [s.tag for s in strokes(photographs, "b.jpg")] == ["background"]


def test_an_image_that_is_gone_is_said_and_the_one_before_stays(opened, photographs):
    view = opened()
    add_class(view, "cat")
    (photographs / "images/b.jpg").unlink()
    view.keyboard.press("d")
    expect(view.locator("#state.bad")).to_contain_text("b.jpg cannot be shown")
    expect(view.locator("#name")).to_have_text("a.jpg")
    stroke(view, (20, 30), (90, 30))
    assert len(strokes(photographs, "a.jpg")) == 1


def test_outside_the_image_nothing_is_drawn(opened, photographs):
    view = opened()
    add_class(view, "cat")
    view.mouse.move(*place(view, -3, 60))
    view.mouse.down()
    view.mouse.move(*place(view, 60, 60), steps=4)
    view.mouse.up()
    view.wait_for_timeout(300)
    assert not strokes(photographs)


def test_touch_draws_and_two_fingers_do_not(opened, photographs):
    view = opened(has_touch=True)
    add_class(view, "cat")
    x, y = place(view, 40, 40)
    tools = view.context.new_cdp_session(view)

    def touch(kind, *points):
        tools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    touch("touchStart", {"x": x, "y": y, "id": 1})
    for step in range(1, 6):
        touch("touchMove", {"x": x + 20 * step, "y": y, "id": 1})
    touch("touchEnd")
    expect(view.locator("#images button").first).to_have_text("a.jpg · 1")
    (line,) = strokes(photographs)
    assert line.shape.points[0] == pytest.approx((40, 40), abs=0.5)
    touch("touchStart", {"x": x, "y": y, "id": 1}, {"x": x + 90, "y": y, "id": 2})
    touch("touchMove", {"x": x - 30, "y": y, "id": 1}, {"x": x + 120, "y": y, "id": 2})
    touch("touchEnd")
    view.wait_for_timeout(300)
    assert len(strokes(photographs)) == 1


def test_a_pen_draws_and_the_palm_beside_it_does_not(opened, photographs):
    view = opened(has_touch=True)
    add_class(view, "cat")
    x, y = place(view, 30, 30)
    tools = view.context.new_cdp_session(view)

    def pen(kind, x, y):
        about = {"button": "left", "buttons": int(kind != "mouseReleased"), "clickCount": 1}
        event = {"type": kind, "x": x, "y": y, "pointerType": "pen", **about}
        tools.send("Input.dispatchMouseEvent", event)

    def touch(kind, *points):
        tools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    palm = {"x": x + 90, "y": y + 90, "id": 1}
    for palm_first in (False, True):
        if palm_first:
            touch("touchStart", palm)
        pen("mousePressed", x, y)
        if not palm_first:
            touch("touchStart", palm)
        for step in range(1, 6):
            pen("mouseMoved", x + 20 * step, y)
        pen("mouseReleased", x + 100, y)
        touch("touchEnd")
        y += 60
    expect(view.locator("#images button").first).to_have_text("a.jpg · 2")
    for line in strokes(photographs):
        assert line.shape.points[0][0] == pytest.approx(30, abs=0.5)


def test_the_answer_and_where_to_draw_next(opened):
    view = opened()
    add_class(view, "cat")
    stroke(view, (20, 30), (140, 30))
    stroke(view, (20, 40), (140, 40))
    view.keyboard.press("1")
    stroke(view, (20, 90), (140, 90))
    stroke(view, (20, 100), (140, 100))
    score = view.locator("#score-says")  # by itself, once there are two classes
    expect(score).to_contain_text("on 2 held-out strokes", timeout=120_000)
    expect(view.locator("#answer-says")).to_contain_text("forest")
    view.click("#next")
    unsure = view.locator("#unsure button")
    expect(unsure).to_have_count(3, timeout=120_000)
    # Both follow what is drawn.
    shown = view.locator("#unsure").text_content()
    for height in (5, 75, 110, 115):
        stroke(view, (5, height), (150, height))
    expect(score).to_contain_text("on 3 held-out strokes", timeout=120_000)
    expect(view.locator("#unsure")).not_to_have_text(shown, timeout=120_000)
    view.keyboard.press("r")  # off
    stroke(view, (5, 60), (150, 60))
    expect(view.locator("#show-answer")).not_to_be_checked()
    name = unsure.first.text_content().partition(":")[0]
    unsure.first.click()
    expect(view.locator("#name")).to_have_text(name)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768, 375])
def test_it_fits_and_is_accessible(opened, axe, width, scheme):
    view = opened(viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    found = axe(view)
    assert not found, found


def test_photographs_and_their_answer(tmp_path, browser):
    """Draws what docs/own_images.md shows; BPG_SCREENSHOTS=docs/images writes it there."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("coffee.png", "chelsea.png", "astronaut.png"):
        shutil.copy(Path(skimage.__file__).parent / "data" / name, folder)
    folder_of_screenshots = Path(os.environ.get("BPG_SCREENSHOTS", tmp_path))
    with serving(tmp_path) as start:
        context = new_window(browser, viewport={"width": 1280, "height": 760})
        view = context.new_page()
        view.goto(start())
        view.locator("#images button", has_text="coffee").click()
        expect(view.locator("#name")).to_have_text("coffee.png")
        for name, lines in COFFEE.items():
            if name != "background":
                add_class(view, name)
            view.locator("#classes button", has_text=name).click()
            for line in lines:
                stroke(view, *line, size=(600, 400))
        expect(view.locator("#score-says")).to_contain_text("held-out", timeout=120_000)
        # The first answer has loaded all that it takes: the second one's time is the usual one.
        # Its text may be the first one's, so wait for the requests.
        with (
            view.expect_response("**/api/score/*", timeout=120_000) as score,
            view.expect_response("**/api/answer/*", timeout=120_000) as answer,
        ):
            stroke(view, (150, 320), (190, 340), size=(600, 400))
        assert answer.value.ok and score.value.ok
        expect(view.locator("#score-says")).to_contain_text("held-out")
        view.screenshot(path=folder_of_screenshots / "draw.jpg", type="jpeg", quality=85)
        context.close()
    found = strokes(folder, "coffee.png")
    assert {one.tag: sum(s.tag == one.tag for s in found) for one in found} == {
        name: len(lines) + (name == "saucer") for name, lines in COFFEE.items()
    }


def test_a_lost_server_is_said(opened, served):
    view = opened()
    add_class(view, "cat")
    served.processes[0].kill()
    view.mouse.move(*place(view, 20, 20))
    view.mouse.down()
    view.mouse.move(*place(view, 90, 20))
    view.mouse.up()
    expect(view.locator("#state.bad")).not_to_be_empty()
