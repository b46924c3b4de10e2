"""Hostile files: correct checksums over invalid contents."""

from __future__ import annotations

import dataclasses
import random
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec import structs
from PIL import Image

import vqcodec
from vqcodec import container
from vqcodec.container.alpha import encode_alpha
from vqcodec.container.chunks import Chunk
from vqcodec.errors import FormatError, LimitError, ModelError
from vqcodec.models import loading
from vqcodec.tokens.reading import read_tokens

from ..refusal import Invoke, decodes_or_refuses, fails


def segments_of(file: container.File) -> list[list[bytes]]:
    return [[segment or b"" for segment in layer] for layer in file.segments]


def rewritten(data: bytes, **changes: object) -> bytes:
    """The file with other values in its header, correct checksums, and its own or empty segments."""
    file = container.read(data)
    header = dataclasses.replace(file.header, **changes)  # type: ignore[arg-type]
    kept = [[segment or b"" for segment in layer] for layer in file.segments]
    fits = header.n_tiles == file.header.n_tiles
    segments = [
        kept[i] if fits and i < len(kept) else [b""] * header.n_tiles for i in range(header.n_layers)
    ]  # fmt: skip
    return container.write(header, segments, file.alpha, file.chunks)


def test_huge_sizes_take_no_memory(tiny_vqc: bytes, tmp_path: Path, invoke: Invoke) -> None:
    side = container.MAX_SIDE
    hostile = rewritten(tiny_vqc, width=side, height=side, tile=32768)
    for call in (vqcodec.decode, vqcodec.verify, vqcodec.inspect, lambda data: list(vqcodec.previews(data))):
        tracemalloc.start()
        try:
            with pytest.raises(LimitError, match="--max-pixels"):
                call(hostile)
            assert tracemalloc.get_traced_memory()[1] < 50e6
        finally:
            tracemalloc.stop()
    (tmp_path / "x.vqc").write_bytes(hostile)
    fails(invoke, 6, "decode", tmp_path / "x.vqc")


@pytest.mark.parametrize(
    "changes",
    [{"width": 500}, {"height": 5}, {"width": 2000}, {"tile": 16}, {"width": 600, "height": 600, "tile": 16}],
    ids=str,
)
def test_sizes_that_do_not_match_the_segments(tiny_vqc: bytes, changes: dict[str, int]) -> None:
    decodes_or_refuses(rewritten(tiny_vqc, **changes))


def test_more_layers_than_the_model_has(tiny_vqc: bytes, tmp_path: Path, invoke: Invoke) -> None:
    hostile = rewritten(tiny_vqc, n_layers=5)
    for partial in (False, True):
        with pytest.raises(FormatError, match="claims 5, its model has 4"):
            vqcodec.decode(hostile, allow_partial=partial)
    (tmp_path / "x.vqc").write_bytes(hostile)
    fails(invoke, 4, "decode", tmp_path / "x.vqc", "--allow-partial")


@pytest.mark.parametrize("stride", [24, 128])
def test_tiles_that_are_no_multiple_of_the_stride(tiny_vqc: bytes, tiny_model: str, stride: int) -> None:
    model = loading.load_model(tiny_model)
    config = structs.replace(model.config, tokenizer=structs.replace(model.config.tokenizer, stride=stride))
    file = container.read(rewritten(tiny_vqc, tile=64))
    with pytest.raises(FormatError, match="multiple"):
        read_tokens(file, SimpleNamespace(config=config, entropy=model.entropy))


@pytest.mark.parametrize("changes", [{"token_id": b"\0" * 6}, {"entropy_id": b"\xff" * 4}], ids=str)
def test_other_models(tiny_vqc: bytes, changes: dict, tmp_path: Path, invoke: Invoke) -> None:
    hostile = rewritten(tiny_vqc, **changes)
    with pytest.raises(ModelError, match="not installed"):
        vqcodec.decode(hostile, allow_partial=True)
    (tmp_path / "x.vqc").write_bytes(hostile)
    fails(invoke, 5, "decode", tmp_path / "x.vqc")


@pytest.mark.parametrize("alpha", [encode_alpha(np.eye(9, dtype=np.uint8)), b"\0\0", b"\x28\xb5\x2f\xfd" * 9], ids=len)
def test_invalid_alpha(tiny_vqc: bytes, alpha: bytes) -> None:
    file = container.read(tiny_vqc)
    hostile = container.write(file.header, segments_of(file), alpha)
    with pytest.raises(FormatError, match="alpha"):
        vqcodec.decode(hostile)


def test_segments_of_garbage(tiny_vqc: bytes) -> None:
    file, source = container.read(tiny_vqc), random.Random(4711)
    for n in range(60):
        segments = segments_of(file)
        size = source.choice((0, 4, 8, len(segments[n % 4][0]), 400)) if n else 2**20
        # Not zeros: a stream that ends in zeros can be valid.
        segments[n % 4] = [source.choice((source.randbytes(size), b"\xff" * size))]
        if segments == segments_of(file):
            continue
        with pytest.raises(FormatError):
            vqcodec.decode(container.write(file.header, segments))


@pytest.mark.slow
def test_metadata_of_garbage(tiny_vqc: bytes, tmp_path: Path, invoke: Invoke) -> None:
    file, path = container.read(tiny_vqc), tmp_path / "x.vqc"
    for junk in (b"", b"junk", b"Exif\0\0II*\0\xff\xff\xff\xff", bytes(200), b"\xff" * 70_000):
        chunks = [Chunk(kind, junk) for kind in ("iCCP", "eXIf", "xMPd")] + [Chunk("zzZz", junk)]
        path.write_bytes(container.write(file.header, segments_of(file), None, chunks))
        assert vqcodec.decode(path.read_bytes()).size == (200, 150)
        for format in ("png", "jpg", "webp", "ppm"):
            assert invoke("decode", path, "-f", "--format", format)[0] == 0
        assert invoke("preview", path, "-f", "-o", tmp_path / "sheet.png")[0] == 0
        with Image.open(tmp_path / "x.png") as found:
            assert found.size == (200, 150)
