"""Progress reported by the codec: shares of the work, observers, threads."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.encoder import build
from vqcodec.encoder.build import INDEX_PASSES, SCALAR_PASSES
from vqcodec.entropy.workers import for_each
from vqcodec.runtime.progress import Part, WorkDone, expect, observing, working


class Log:
    """Observer that keeps what is reported."""

    def __init__(self) -> None:
        self.expected, self.done = Counter[Part](), Counter[Part]()
        self.threads: set[int] = set()
        self.open = 0

    def expect(self, part: Part, amount: float) -> None:
        self.expected[part] += int(amount)

    def begin(self, part: Part) -> None:
        self.open += 1

    def end(self, part: Part, amount: float) -> None:
        self.open -= 1
        self.done[part] += int(amount)
        self.threads.add(threading.get_ident())


def small_photo(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([(x * 3 + y) % 256, (x + y * 2) % 256, (x * y) % 251], -1).astype(np.uint8))


@pytest.mark.parametrize("small_px", [0, 2**20])
@pytest.mark.parametrize(("model", "layers", "passes"), [("product-vq", 12, INDEX_PASSES), ("photo", 7, SCALAR_PASSES)])
@pytest.mark.parametrize("effort", [5, 6, 7])
def test_an_encoder_reports_all_that_it_announces(
    effort: int, model: str, layers: int, passes: dict[int, int], small_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "SMALL_PX", small_px)
    log, shares = Log(), list[float]()
    with observing(log, WorkDone(shares.append)):
        data = vqcodec.encode(small_photo(96, 64), model, quality=50, effort=effort)
    assert shares == sorted(shares)
    assert shares[0] < 0.5
    assert shares[-1] == pytest.approx(1)
    assert log.done[Part.ENCODER] == 96 * 64
    expected = passes.get(effort, 0)
    if model == "photo" and small_px and expected:
        expected = min(build.MOST_PASSES, build.MOST_REPEATED * expected)
    assert log.done[Part.REFINEMENT] == expected * 96 * 64
    assert log.open == 0
    assert len(vqcodec.inspect(data).layers) == layers


def test_decoding_and_previews_report_all_that_they_announce(tiny_vqc: bytes) -> None:
    for call, pictures in (
        (lambda: vqcodec.decode(tiny_vqc), 1),
        (lambda: vqcodec.decode(tiny_vqc, region=(0, 0, 200, 150)), 1),
        (lambda: list(vqcodec.previews(tiny_vqc, steps=3)), 3),
    ):
        log, shares = Log(), list[float]()
        with observing(log, WorkDone(shares.append)):
            call()
        assert log.expected[Part.DECODER] == pictures * 30000
        assert log.done[Part.DECODER] >= pictures * 30000  # windows reach up to the next multiple of the stride
        assert log.expected[Part.CODING] == log.done[Part.CODING] > 0
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1)


def test_the_share_of_a_search_never_falls(tiny_model: str, photo: Image.Image) -> None:
    for size in ({"max_bytes": 200}, {"min_quality": ("psnr", 5.0)}):
        shares = list[float]()
        with observing(WorkDone(shares.append)):
            vqcodec.encode(photo, tiny_model, **size)
        assert shares == sorted(shares)
        assert 0 < shares[-1] <= 1


def test_more_work_than_announced() -> None:
    done = WorkDone()
    with observing(done):
        expect(Part.DECODER, 100)
        for _ in range(3):
            with working(Part.DECODER, 100):
                pass
            assert done.share == 1
        expect(Part.DECODER, 300)
        assert done.share == 1
        with working(Part.CONTAINER):
            assert done.part is Part.CONTAINER


def test_observers_see_their_own_context_only() -> None:
    inner, outer = Log(), Log()
    with observing(outer):
        with observing(inner), working(Part.CODING, 1):
            pass
        with working(Part.CODING, 2):
            pass
    with working(Part.CODING, 4):
        pass
    assert (inner.done[Part.CODING], outer.done[Part.CODING]) == (1, 3)


def test_a_failure_ends_its_part() -> None:
    log = Log()
    with observing(log), pytest.raises(ZeroDivisionError), working(Part.MODEL):
        _ = 1 / 0
    assert log.open == 0


def test_worker_threads_report_to_the_observers_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.entropy.workers.thread_count", lambda: 2)
    log, both = Log(), threading.Barrier(2)

    def work(amount: int) -> None:
        with working(Part.CODING, amount):
            both.wait(60)

    with observing(log):
        for_each(work, [1, 2], 2)
    assert log.done[Part.CODING] == 3
    assert len(log.threads) == 2


def test_small_pictures_have_more_passes() -> None:
    found = {side: build.scalar_passes(6, side * side) for side in (100, 512, 724, 1100, 1143, 1200, 2000)}
    assert found == {
        100: (10, True),
        512: (10, True),
        724: (5, True),
        1100: (2, True),
        1143: (2, True),
        1200: (1, False),
        2000: (1, False),
    }
    assert build.scalar_passes(5, 100) == (0, True)
    assert [build.scalar_passes(effort, 2000**2) for effort in (7, 8, 9)] == [(2, True), (4, True), (10, True)]
    assert [build.scalar_passes(effort, 100**2) for effort in (7, 8, 9)] == [(20, True)] * 3
