"""Pages in headless Chromium, driven by Playwright: a tab that records console errors and requests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
"""Width and height of the window in CSS pixels."""


class Tab:
    """One page in a window; `check` fails for errors in the console and for requests."""

    def __init__(self, browser: Browser, size: str, device_pixels: float = 1) -> None:
        """A window of SIZES with `device_pixels` for a CSS pixel."""
        width, height = SIZES[size]
        self._context = browser.new_context(
            viewport={"width": width, "height": height},
            has_touch=size == "phone",
            device_scale_factor=device_pixels,
        )
        self.page: Page = self._context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda message: self._note_message(message.type, message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._note_request(request.url))

    def _note_message(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(f"{kind}: {text}")

    def _note_request(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.faults.append(f"request: {url}")

    def open(self, path: Path) -> Page:
        """Load a file."""
        self.page.goto(path.resolve().as_uri())
        return self.page

    def check(self) -> None:
        """Fail for errors and requests, and for a page that is wider than its window."""
        assert self.faults == []
        wider = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0

    def pinch(self, x: float, y: float, before: float, after: float, across: bool = True) -> None:
        """Two fingers around the point (x, y) move from `before` to `after` pixels apart, across or along the page."""
        session = self._context.new_cdp_session(self.page)

        def touch(kind: str, *distances: float) -> None:
            points = [
                {"id": k, "x": x + (d if across else 0), "y": y + (0 if across else d)} for k, d in enumerate(distances)
            ]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", -before / 2)
        touch("touchStart", -before / 2, before / 2)
        for step in range(1, 9):
            half = (before + (after - before) * step / 8) / 2
            touch("touchMove", -half, half)
        touch("touchEnd")
        session.detach()

    def screenshot(self, name: str) -> None:
        """Save what the window shows in the folder $SCREENSHOTS, if it is set, to be looked at."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"))

    def close(self) -> None:
        """Close the window."""
        self._context.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium of the system, or the one that Playwright has installed; skips the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="pages are tested with the package playwright")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}; install Debian's chromium")
        yield started
        started.close()


@pytest.fixture(params=list(SIZES))
def tab(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Tab]:
    """A window of each of SIZES."""
    opened = Tab(browser, request.param)
    yield opened
    opened.close()


@pytest.fixture
def phone(browser: Browser) -> Iterator[Tab]:
    """A window of a phone, with a touch screen."""
    opened = Tab(browser, "phone")
    yield opened
    opened.close()
