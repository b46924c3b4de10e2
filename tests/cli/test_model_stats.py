"""`vqcodec models stats`: raw bits, usage and perplexity against values computed from known indices."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec.config.model import ConvConfig, TokenizerConfig
from vqcodec.config.quantizers import BinaryConfig, ProductVQConfig, ResidualConfig, SplitConfig, VQConfig
from vqcodec.evaluation.codebook_usage import UsageCounter, capacity, codebooks_of
from vqcodec.importing.release import find_release
from vqcodec.inference.networks import pixels_to_planes
from vqcodec.models import loading

from ..commands import Invoke, fails


@pytest.mark.parametrize(
    ("name", "bits", "bpp"),
    [
        ("mgvq-f16c32-g4", 52 * 256, 0.2031),
        ("mgvq-f8c32-g8", 88 * 1024, 1.375),
        ("xqgan-vq-4096", 12 * 256, 0.0469),
        ("xqgan-msvr10p2-4096", 6864, 0.105),
        ("xqgan-vp2-16384", 14 * 512, 0.109),
        ("fqgan-dual-16", 28 * 256, 0.109),
        ("fqgan-triple-8", 42 * 1024, 0.656),
    ],
)
def test_raw_bits_are_those_of_the_papers(name: str, bits: float, bpp: float) -> None:
    config = find_release(name)[1]
    found = capacity(config, config.quantizer.layers)
    assert found.side == 256
    assert found.bits == pytest.approx(bits)
    assert found.bpp == pytest.approx(bpp, abs=6e-4)


def test_stages_that_share_codewords_are_one_codebook() -> None:
    multi = find_release("xqgan-msvr10p2-4096")[1].quantizer
    books = codebooks_of(multi)
    assert [book.size for book in books] == [4096, 4096]
    assert sorted(s for book in books for s in book.planes) == list(range(20))
    assert books[0].planes == tuple(range(0, 20, 2))
    own = ResidualConfig(3, VQConfig(8, 4))
    assert [book.planes for book in codebooks_of(own)] == [(0,), (1,), (2,)]
    assert [book.planes for book in codebooks_of(ResidualConfig(3, VQConfig(8, 4), shared=True))] == [(0, 1, 2)]
    assert [book.name for book in codebooks_of(SplitConfig(2, own))][:2] == ["part 1, stage 1", "part 1, stage 2"]
    assert [book.name for book in codebooks_of(SplitConfig(2, BinaryConfig(4)))] == ["part 1", "part 2"]
    assert [book.size for book in codebooks_of(find_release("softvq-l-64")[1].quantizer)] == [8192] * 4


def test_usage_and_perplexity_of_known_indices() -> None:
    config = TokenizerConfig(16, ConvConfig((8, 8), (1, 1), (1, 1)), ProductVQConfig(2, 16, 4))
    counter = UsageCounter(config)
    counter.add([np.array([[0, 1], [2, 3]]), np.array([[5, 5], [5, -1]])], 100)
    counter.add([np.array([[0, 1, 2, 3]]), np.array([[5, 5, 5, 5]])], 28)
    first, second = counter.usages()
    assert (first.indices, first.used, first.usage) == (8, 4, 0.25)
    assert first.perplexity == pytest.approx(4)
    assert (second.indices, second.used, second.perplexity) == (7, 1, 1.0)
    assert counter.entropy_bpp == pytest.approx(8 * 2 / 128)


def test_segments_of_a_sequence_are_counted_apart() -> None:
    config = find_release("softvq-l-64")[1]
    counter = UsageCounter(config)
    first = np.repeat(np.arange(4), 16)[None].repeat(3, 0)  # [windows, 64]: segment k holds index k alone
    counter.add([first] + [np.zeros_like(first)] * (len(config.quantizer.sizes) - 1), 1)
    for k, counts in enumerate(counter.counts):
        assert counts.nonzero()[0].tolist() == [k]
        assert counts.sum() == 48


def test_the_command_counts_a_folder(tiny_model: str, src: Path, invoke: Invoke) -> None:
    (src / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    code, out, err = invoke("models", "stats", tiny_model, src, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["pictures"], found["skipped"]) == (3, 1)
    assert "broken.png" in err
    assert (found["raw_bits"], found["indices"]) == (4 * 4 * 256, 4 * 256)
    assert found["raw_bits_by_layer"] == [1024, 2048, 3072, 4096]
    model = loading.load_model(tiny_model)
    pictures = [
        np.asarray(Image.open(path).convert("RGB")) for path in sorted(src.rglob("*.*g")) if "broken" not in path.name
    ]
    pictures.append(np.asarray(Image.open(src / "a/b/three.webp").convert("RGB")))
    indices = [np.concatenate([pixels_to_planes(model, p)[s].ravel() for p in pictures]) for s in range(4)]
    for book, each in zip(found["codebooks"], indices, strict=True):
        share = np.bincount(each, minlength=16) / len(each)
        assert book["indices"] == len(each) == 3 * 6
        assert book["used"] == len(np.unique(each))
        assert book["usage"] == pytest.approx(len(np.unique(each)) / 16)
        assert book["entropy"] == pytest.approx(-sum(p * math.log2(p) for p in share if p), abs=1e-4)
        assert book["perplexity"] == pytest.approx(2 ** book["entropy"], abs=2e-3)


def test_without_pictures_it_prints_raw_bits_and_loads_no_weights(
    tiny_model: str, src: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load", None)
    code, out, _ = invoke("models", "stats", tiny_model)
    assert code == 0
    assert "4,096 in 1,024 indices for 256x256 pixels, 0.0625 bpp" in out
    assert "usage" not in out
    fails(invoke("models", "stats", "nothing", src), 5)
    fails(invoke("models", "stats", tiny_model, src / "missing"), 3)


def test_limit_and_text(tiny_model: str, src: Path, invoke: Invoke) -> None:
    code, out, _ = invoke("models", "stats", tiny_model, src, "--limit", "1")
    assert code == 0
    assert "over 1 pictures" in out
    assert sum(line.strip().startswith("group") for line in out.splitlines()) == 4
