"""The page of `vqcodec preview` in headless Chromium: slider, wipe, zoom, keys, gallery."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from ..browser import Tab
from ..commands import Invoke

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow


@pytest.fixture
def compared(work: Path, invoke: Invoke) -> Path:
    """A page of one file beside its original."""
    assert invoke("preview", "kitty.vqc", "page.html", "--against", "cat.png")[0] == 0
    return work / "page.html"


@pytest.fixture
def gallery(work: Path, invoke: Invoke) -> Path:
    """A page of three files beside their originals."""
    for name in "abc":
        shutil.copy("kitty.vqc", f"{name}.vqc")
        shutil.copy("cat.png", f"{name}.png")
    (work / "kitty.vqc").unlink()
    assert invoke("preview", ".", "page.html", "--against", ".", "--steps", 2)[0] == 0
    return work / "page.html"


def shown_step(tab: Tab) -> int:
    """Number of the step that is visible, 0, 1 ...; exactly one is."""
    visible = tab.page.locator(".file:not([hidden]) .step").evaluate_all("steps => steps.map(step => !step.hidden)")
    assert sum(visible) == 1
    return visible.index(True)


def test_slider_and_keys_select_the_step(compared: Path, tab: Tab) -> None:
    page = tab.open(compared)
    assert (shown_step(tab), page.inner_text("#layers")) == (3, "4 of 4")
    page.fill("#step", "2")
    assert (shown_step(tab), page.inner_text("#layers")) == (1, "2 of 4")
    for key, step in (("ArrowRight", 2), ("Home", 0), ("ArrowLeft", 0), ("End", 3), ("ArrowDown", 2)):
        page.locator("body").press(key)
        assert shown_step(tab) == step
    assert page.inner_text("#percent").endswith(" %")
    page.locator("body").press(" ")
    assert page.inner_text("#play") == "Pause"
    page.locator("body").press("End")
    assert page.inner_text("#play") == "Play"
    tab.check()


def test_the_divider_uncovers_the_original(compared: Path, tab: Tab) -> None:
    page = tab.open(compared)
    assert page.inner_text("#psnr").endswith(" dB")
    assert 0 < float(page.inner_text("#ms-ssim")) < 1
    clip = "document.querySelector('.original').style.clipPath"
    assert page.evaluate(clip) == "inset(0px 50% 0px 0px)"
    box, handle = page.locator(".file").bounding_box(), page.locator("#handle").bounding_box()
    assert box is not None
    assert handle is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(handle["x"] + handle["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], y)
    page.mouse.up()
    assert 24 <= float(page.input_value("#wipe")) <= 26
    tab.screenshot(f"wipe-{page.viewport_size['width']}")
    page.locator("body").press("]")
    assert 29 <= float(page.input_value("#wipe")) <= 31
    page.fill("#wipe", "0")
    assert page.evaluate(clip) == "inset(0px 100% 0px 0px)"
    page.locator("body").press("o")
    assert page.evaluate(clip) == "inset(0px 0% 0px 0px)"
    page.locator("body").press("o")
    assert page.evaluate(clip) == "inset(0px 100% 0px 0px)"
    tab.check()


def test_a_click_zooms_and_the_mouse_drags(work: Path, invoke: Invoke, photo: Image.Image, tab: Tab) -> None:
    photo.resize((1800, 1350)).save("large.png")
    assert invoke("encode", "large.png", "-m", "tiny")[0] == 0
    assert invoke("preview", "large.vqc", "page.html", "--steps", 2)[0] == 0
    page = tab.open(work / "page.html")
    file = page.locator(".file")
    assert page.locator("#psnr").is_hidden()
    assert page.locator("#compare").is_hidden()
    fitted = file.bounding_box()
    assert fitted is not None
    assert fitted["width"] <= page.viewport_size["width"]
    page.locator(".step:not([hidden])").click(position={"x": fitted["width"] * 0.9, "y": fitted["height"] * 0.9})
    zoomed = file.bounding_box()
    assert zoomed is not None
    assert (zoomed["width"], zoomed["height"]) == (1800, 1350)  # the last step is stored in full size
    natural = page.locator(".step").evaluate_all("steps => steps.map(step => step.naturalWidth)")
    assert natural == [1600, 1800]
    assert page.inner_text("#stored") == "1800×1350"
    before = page.evaluate("document.getElementById('stage').scrollLeft")
    assert before > 0
    page.mouse.move(200, 300)
    page.mouse.down()
    page.mouse.move(260, 340, steps=4)
    page.mouse.up()
    assert page.evaluate("document.getElementById('stage').scrollLeft") == before - 60
    page.locator("body").press("+")
    assert file.evaluate("file => file.clientWidth") == 3600
    page.locator("body").press("z")
    assert file.bounding_box()["width"] == pytest.approx(fitted["width"], abs=1)
    tab.check()


@pytest.mark.parametrize(("device_pixels", "label"), [(1, "2:1"), (1.25, "3:1"), (1.5, "3:1"), (2, "4:1")])
def test_a_zoomed_pixel_covers_whole_pixels_of_the_screen(
    device_pixels: float, label: str, work: Path, invoke: Invoke, browser: Browser
) -> None:
    assert invoke("preview", "kitty.vqc", "page.html", "--steps", 1)[0] == 0
    tab = Tab(browser, "desktop", device_pixels)
    page = tab.open(work / "page.html")
    assert page.inner_text("#zoom") == label
    natural = page.locator(".step").evaluate("step => step.naturalWidth")
    page.locator("#zoom").click()
    width = page.locator(".file").evaluate("file => file.clientWidth")
    assert width * device_pixels == pytest.approx(natural * int(label[0]), abs=device_pixels)
    tab.check()
    tab.close()


@pytest.mark.parametrize("across", [True, False])
def test_two_fingers_zoom_about_their_middle(
    across: bool, work: Path, invoke: Invoke, photo: Image.Image, phone: Tab
) -> None:
    photo.resize((1800, 1350)).save("large.png")
    assert invoke("encode", "large.png", "-m", "tiny")[0] == 0
    assert invoke("preview", "large.vqc", "page.html", "--steps", 2)[0] == 0
    page = phone.open(work / "page.html")
    fitted = page.locator(".file").bounding_box()
    assert fitted is not None
    x, y = fitted["x"] + 0.75 * fitted["width"], fitted["y"] + 0.25 * fitted["height"]
    phone.pinch(x, y, 40, 160, across)
    zoomed = page.locator(".file").bounding_box()
    assert zoomed is not None
    assert zoomed["width"] == pytest.approx(4 * fitted["width"], rel=0.01)
    assert zoomed["x"] + 0.75 * zoomed["width"] == pytest.approx(x, abs=2)
    assert page.evaluate("visualViewport.scale") == 1  # the page around the picture keeps its size
    phone.screenshot("pinch")
    phone.pinch(200, 400, 300, 20, across)
    assert page.locator(".file").bounding_box() == fitted
    assert page.inner_text("#zoom") == "1:1"
    phone.check()


def test_a_gallery_opens_and_turns_its_files(gallery: Path, tab: Tab) -> None:
    page = tab.open(gallery)
    assert page.locator("#gallery button").count() == 3
    assert page.locator("footer").is_hidden()
    tab.screenshot(f"gallery-{page.viewport_size['width']}")
    page.locator("#gallery button").nth(1).click()
    assert page.inner_text("#name") == "b.vqc"
    assert shown_step(tab) == 1
    for key, name in (("n", "c.vqc"), ("n", "a.vqc"), ("p", "c.vqc"), ("PageUp", "b.vqc")):
        page.locator("body").press(key)
        assert page.inner_text("#name") == name
    assert page.locator("#psnr").is_visible()
    page.locator("body").press("Escape")
    assert page.locator("#gallery").is_visible()
    assert page.inner_text("#name") == "3 files"
    page.keyboard.press("Enter")  # the last file has the focus
    assert page.inner_text("#name") == "b.vqc"
    page.click("#back")
    assert page.locator("#gallery").is_visible()
    tab.check()
