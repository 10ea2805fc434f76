"""A real browser, where the system has one."""

import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")  # while it is there, nothing else can run an event loop
def browser():
    """Headless Chromium: Debian's, for Playwright's own cannot be had from a package index."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415

    expect.set_options(timeout=60_000)  # of a busy machine

    with sync_playwright() as playwright:
        # Without its sandbox, which root may not have.
        found = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"], timeout=180_000
        )
        yield found
        found.close()


def new_window(browser, **options):
    """Return a window (Playwright's "context") in which a busy machine has time for each action."""
    window = browser.new_context(**options)
    window.set_default_timeout(120_000)
    return window


@pytest.fixture
def axe():
    """Return a function that returns what axe finds wrong with a page: one line a fault."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415

    def check(view):
        found = Axe().run(view).response["violations"]
        return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html']}" for one in found]

    return check
