"""The page of `vqcodec eval -o REPORT.html` in headless Chromium: curves, wipe, keys, zoom, themes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ..browser import Tab
from ..stand_ins import run, stand_in
from ..test_metrics import picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two pictures, by a stand-in for a model, JPEG, WebP and a command that fails."""
    folder = tmp_path_factory.mktemp("report")
    Image.fromarray(picture(96, 144)).save(folder / "a<b>.png")
    Image.fromarray(picture(160, 120, 1)).save(folder / "b.png")
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        run(
            folder / "a<b>.png",
            folder / "b.png",
            "--codecs",
            "vqcodec,jpeg,webp",
            "--command",
            "broken=false {in} {out} => false {in} {out}",
            "--metrics",
            "psnr,ms-ssim,patch,step",
            "-o",
            folder / "report.html",
        )
    return folder / "report.html"


def test_files_lie_beside_it(report: Path) -> None:
    names = {path.name for path in report.parent.iterdir() if path.stem == "report"}
    assert {"report.html", "report.json", "report.csv"} <= names
    assert not report.with_name("report.html.partial").exists()
    assert "http" not in report.read_text().replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def clip(tab: Tab) -> str:
    return tab.page.locator("#over").evaluate("layer => layer.style.clipPath")


def test_the_wipe_moves_by_slider_keys_and_pointer(report: Path, tab: Tab) -> None:
    page = tab.open(report)
    width = page.locator("#view").evaluate("view => view.clientWidth")
    half = clip(tab)
    assert half == f"inset(0px 0px 0px {width / 2:g}px)"
    page.fill("#wipe", "25")
    assert clip(tab) == f"inset(0px 0px 0px {width / 4:g}px)"
    page.focus("#view")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#wipe") == "27"
    for key, value in (("Home", "0"), ("End", "100"), ("ArrowLeft", "98")):
        page.keyboard.press(key)
        assert page.input_value("#wipe") == value
    box = page.locator("#view").bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + width * 0.75, box["y"] + 40)
    page.mouse.up()
    assert float(page.input_value("#wipe")) == pytest.approx(75, abs=1)
    tab.screenshot(f"eval-{width}")
    tab.check()


def test_sides_sizes_and_pictures_are_chosen(report: Path, tab: Tab) -> None:
    page = tab.open(report)
    assert page.locator("#left option").all_inner_texts() == ["original", "vqcodec photo", "jpeg", "webp"]
    assert page.input_value("#left") == "vqcodec photo"
    assert page.locator("#targets button").count() == 3
    facts = page.inner_text("#facts-left")
    page.locator("#targets button").last.click()
    assert page.inner_text("#facts-left") != facts
    assert "PSNR" in page.inner_text("#facts-left")
    page.select_option("#right", "original")
    assert page.inner_text("#tag-right") == "original"
    page.locator("body").press("s")
    assert (page.input_value("#left"), page.input_value("#right")) == ("original", "vqcodec photo")
    page.locator("body").press("b")
    assert page.input_value("#right") == "jpeg"
    name = page.locator("#picture option").first.inner_text()
    assert name.endswith("a<b>.png")
    page.locator("body").press("n")
    assert page.input_value("#picture") == "1"
    page.wait_for_function("document.getElementById('img-right').naturalWidth === 120")
    page.locator("body").press("n")
    assert page.input_value("#picture") == "0"
    tab.check()


def test_bytes_match(report: Path, tab: Tab) -> None:
    """No codec shows a file of more bytes than the button says."""
    page = tab.open(report)
    for button in page.locator("#targets button").all():
        button.click()
        target = int(button.inner_text().split()[0].replace(",", ""))
        shown = page.evaluate(
            "data.pictures[0].files.filter(f => f.target === state.target).map(f => [f.codec, f.bytes])"
        )
        assert shown
        assert all(n_bytes <= target for _, n_bytes in shown)


def test_zoom_by_buttons_and_keys(report: Path, tab: Tab) -> None:
    page = tab.open(report)
    image = page.locator("#img-left")
    before = image.bounding_box()
    page.click("#in")
    page.locator("body").press("+")
    after = image.bounding_box()
    assert before
    assert after
    assert after["width"] == pytest.approx(before["width"] * 2.25, rel=0.02)
    page.locator("body").press("0")
    whole = image.bounding_box()
    assert whole
    assert whole["width"] == pytest.approx(before["width"], abs=0.1)
    assert page.inner_text("#zoom") == "Fit"
    tab.check()


@pytest.mark.parametrize("across", [True, False])
def test_two_fingers_zoom_about_their_middle(across: bool, report: Path, phone: Tab) -> None:
    page = phone.open(report)
    page.locator("#view").scroll_into_view_if_needed()
    before = page.locator("#img-left").bounding_box()
    assert before
    x, y = before["x"] + 0.75 * before["width"], before["y"] + 0.5 * before["height"]
    phone.pinch(x, y, 40, 120, across)
    after = page.locator("#img-left").bounding_box()
    assert after
    assert after["width"] == pytest.approx(3 * before["width"], rel=0.02)
    assert after["x"] + 0.75 * after["width"] == pytest.approx(x, abs=5)
    assert after["y"] + 0.5 * after["height"] == pytest.approx(y, abs=5)
    assert page.evaluate("visualViewport.scale") == 1
    phone.pinch(195, y, 200, 40, across)
    assert page.locator("#img-left").bounding_box() == pytest.approx(before)
    phone.check()


def test_curves_are_hovered_and_hidden(report: Path, tab: Tab) -> None:
    page = tab.open(report)
    assert page.locator("#charts figure").count() == 2
    assert page.locator("#worst figure").count() == 2
    dot = page.locator("#charts figure").first.locator("circle").first
    dot.hover(force=True)
    tip = page.locator("#charts .tip").first
    assert tip.is_visible()
    assert "bpp" in tip.inner_text()
    paths = page.locator("#charts path").count()
    page.locator("#legend button", has_text="jpeg").click()
    assert page.locator("#charts path").count() == paths - 2
    assert "smaller" in page.inner_text("#verdict") or "larger" in page.inner_text("#verdict")
    assert "broken" in page.inner_text("#failures")
    tab.check()


def test_light_and_dark(report: Path, tab: Tab) -> None:
    page = tab.open(report)

    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = ground()
    page.emulate_media(color_scheme="dark")
    dark = ground()
    assert dark != light
    page.click("#theme")
    assert ground() == light
    page.click("#theme")
    assert ground() == dark
    tab.check()
