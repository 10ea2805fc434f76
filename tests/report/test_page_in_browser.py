"""The page in a real browser: widths, schemes, pointer and keyboard, accessibility."""

import pytest

from tests.browsers import new_window
from tests.report.test_page import page as page_fixture

page = page_fixture
WIDTHS = (1280, 768, 375)
SCHEMES = ("light", "dark")


@pytest.fixture
def opened(browser, page):
    """Return a function that opens the page, with all that it asks for and complains of."""
    folder, _ = page()
    heard = []

    def open_page(width=1280, scheme="light"):
        view = new_window(
            browser, viewport={"width": width, "height": 900}, color_scheme=scheme
        ).new_page()
        view.on("request", lambda request: heard.append(request.url))
        view.on("console", lambda message: heard.append(message.text))
        view.on("pageerror", lambda error: heard.append(str(error)))
        view.goto((folder / "index.html").as_uri())
        return view

    open_page.heard = heard
    return open_page


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_fits_and_is_accessible(opened, axe, width, scheme):
    view = opened(width, scheme)
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    if width == 1280:
        inner = (
            "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
        )
        assert view.evaluate(f"{inner}.length") == 0
    view.locator("summary").click()
    found = axe(view)
    assert not found, found
    asked = [one for one in opened.heard if not one.startswith("data:")]
    assert len(asked) == 1 and asked[0].endswith("index.html")


def test_the_scheme_changes_ink_and_ground_of_page_and_charts(opened):
    ask = """() => ['body', '.chart text'].map(
        (name) => getComputedStyle(document.querySelector(name)))
        .map((style) => [style.backgroundColor, style.color, style.fill])"""
    light, dark = (opened(scheme=scheme).evaluate(ask) for scheme in SCHEMES)
    assert light[0][:2] != dark[0][:2]
    assert light[1][2] == light[0][1] and dark[1][2] == dark[0][1]


def test_the_line_follows_pointer_and_keys(opened):
    view = opened()
    stage, divide = view.locator(".stage"), view.locator("#divide")
    assert divide.input_value() == "50"
    box = stage.bounding_box()
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    view.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    view.mouse.down()
    view.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    view.mouse.up()
    assert divide.input_value() == "25"
    clip = "getComputedStyle(document.querySelector('.above')).clipPath"
    assert view.evaluate(clip) == "inset(0px 75% 0px 0px)"
    stage.focus()
    view.keyboard.press("ArrowRight")
    assert divide.input_value() == "30"


def test_keys_and_lists_change_the_layers(opened):
    view = opened()
    right = view.locator("#right")
    options = right.locator("option").all_text_contents()
    assert options == ["image", "truth", "BPG </script>"]
    before = right.input_value()
    view.locator(".stage").focus()
    view.keyboard.press("ArrowDown")
    assert right.input_value() == options[(options.index(before) + 1) % 3]
    view.locator("#left").select_option("truth")
    assert "Left: truth: note." in view.locator(".notes").text_content()


def test_another_image_keeps_the_layers(opened):
    view = opened()
    view.locator("#left").select_option("truth")
    second = view.locator(".shots button").nth(1)
    second.focus()
    view.keyboard.press("Enter")
    assert second.get_attribute("aria-pressed") == "true"
    assert view.locator("#left").input_value() == "truth"
    assert view.locator(".notes").text_content().startswith("name1 (best, +1.0).")
    # The image keeps its shape.
    box = view.locator(".stage").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(16 / 12, rel=0.02)


def test_print_leaves_out_what_needs_a_screen(opened):
    view = opened()
    view.emulate_media(media="print")
    assert not view.locator(".viewer").is_visible()
    assert not view.locator("nav").is_visible()
    assert view.locator("table").first.is_visible()
    folded = view.locator("details")
    assert folded.count()
    view.pdf()  # tells the page before
    assert all(one.get_attribute("open") is not None for one in folded.all())
