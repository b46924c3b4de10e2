"""Truncated and damaged files in the whole decoder: a picture, or an error of the documented class."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

import vqcodec
from vqcodec import container
from vqcodec.errors import FormatError, InputError
from vqcodec.models import loading
from vqcodec.tokens.tokens import write_tokens

from ..refusal import Invoke, contents, decodes_or_refuses, fails


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: more threads slow the decoding of small pictures down."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def rich(tiny_model: str, photo: Image.Image) -> bytes:
    """With alpha, ICC, Exif and XMP."""
    image = photo.resize((90, 70))
    image.putalpha(Image.linear_gradient("L").resize(image.size).rotate(30))
    exif = Image.Exif()
    exif[0x010E] = "a caption"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.info = {"icc_profile": profile, "exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}
    data = vqcodec.encode(image, tiny_model)
    assert vqcodec.inspect(data).alpha_bytes > 10
    assert {chunk.kind for chunk in container.read(data).chunks} >= {"eXIf", "xMPd"}
    return data


@pytest.fixture(scope="module")
def tiled(tiny_model: str, photo: Image.Image) -> bytes:
    """Twelve access tiles."""
    data = write_tokens(vqcodec.tokenize(photo, tiny_model), loading.load_model(tiny_model), tile_px=64)
    assert vqcodec.inspect(data).n_tiles == 12
    return data


# --- cut files ---


def cut_everywhere(data: bytes, ends: list[int]) -> None:
    """Prefixes are refused; with allow_partial all of them from some length on are decoded."""
    size, decoded = vqcodec.inspect(data).size, 0
    for end in ends:
        with pytest.raises(FormatError):
            vqcodec.decode(data[:end])
        try:
            found = vqcodec.decode(data[:end], allow_partial=True)
        except FormatError:
            assert not decoded, f"{end} bytes are refused, fewer are not"
        else:
            assert found.size == size
            decoded += 1
    assert decoded > 10
    assert vqcodec.decode(data, allow_partial=True) == vqcodec.decode(data)


@pytest.mark.slow
def test_every_prefix_of_a_small_file(tiny_vqc: bytes) -> None:
    cut_everywhere(tiny_vqc, list(range(1, len(tiny_vqc))))
    with pytest.raises(InputError):
        vqcodec.decode(b"", allow_partial=True)


@pytest.mark.parametrize("name", ["rich", "tiled"])
def test_prefixes_of_larger_files(name: str, request: pytest.FixtureRequest) -> None:
    data: bytes = request.getfixturevalue(name)
    head = container.read_head(data)
    borders = {head.size, head.segment_offset(1, 0), head.segment_offset(3, 0), head.chunks_offset}
    near = {border + d for border in borders for d in (-1, 0, 1)}
    spread = {round(x) for x in np.linspace(1, len(data) - 1, 48)}
    first = head.alpha_offset if head.header.n_tiles == 1 else head.segment_offset(0, 1)
    cut_everywhere(data, sorted(end for end in near | spread if first <= end < len(data) or end % 3 == 0))


def test_cut_files_on_the_command_line(rich: bytes, tmp_path: Path, invoke: Invoke) -> None:
    path = tmp_path / "cut.vqc"
    for end in (1, 3, 4, 5, 20, 40, len(rich) // 2, len(rich) - 1):
        path.write_bytes(rich[:end])
        fails(invoke, 4, "decode", path)
        fails(invoke, 4, "verify", path)
    code, _, err = invoke("decode", path, "--allow-partial")
    assert code == 0
    assert "cut or damaged" in err


# --- damaged files ---


@pytest.mark.slow
def test_every_flipped_bit_is_detected(tiny_vqc: bytes) -> None:
    for bit in range(8 * len(tiny_vqc)):
        damaged = bytearray(tiny_vqc)
        damaged[bit // 8] ^= 1 << bit % 8
        kind = InputError if bit < 32 else FormatError
        with pytest.raises(kind):
            vqcodec.decode(bytes(damaged))
        if bit % 5 == 0:
            try:
                file = container.read(bytes(damaged), allow_partial=True)
                vqcodec.decode(bytes(damaged), allow_partial=True)
            except kind:
                continue
            assert not file.complete


@st.composite
def damaged(draw: st.DrawFn, *originals: bytes) -> bytes:
    """A file with bytes replaced, removed, repeated, or copied from another file."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 40))
        other = draw(st.sampled_from(originals))
        start = draw(st.integers(0, len(other)))
        data[at : at + draw(st.integers(0, 40))] = draw(
            st.one_of(st.just(other[start : start + size]), st.binary(max_size=40), st.just(b"\xff" * size))
        )
    return bytes(data)


QUICK = settings(max_examples=150, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@QUICK
@given(data=st.data())
def test_mutations(data: st.DataObject, tiny_vqc: bytes, rich: bytes, tiled: bytes) -> None:
    decodes_or_refuses(data.draw(damaged(tiny_vqc, rich, tiled)))


@QUICK
@given(tail=st.binary(max_size=300), start=st.integers(0, 33))
def test_random_bytes(tail: bytes, start: int, tiny_vqc: bytes) -> None:
    decodes_or_refuses(tiny_vqc[:start] + tail)


# --- files after a failure ---


def test_failures_leave_the_folder_as_it_was(
    tiny_vqc: bytes, photo: Image.Image, tmp_path: Path, invoke: Invoke
) -> None:
    photo.save(tmp_path / "cat.png")
    picture, junk, good, bad = (tmp_path / name for name in ("cat.png", "junk.png", "good.vqc", "bad.vqc"))
    junk.write_bytes(picture.read_bytes()[:5000])
    good.write_bytes(tiny_vqc)
    bad.write_bytes(tiny_vqc[:-1])
    tiny = ("-m", "tiny")
    fails(invoke, 2, "encode", picture, *tiny, "--keep", 5)
    fails(invoke, 3, "encode", junk, *tiny)
    fails(invoke, 3, "encode", junk, *tiny, "-o", good, "-f")
    fails(invoke, 5, "encode", picture, "-m", "none")
    fails(invoke, 6, "encode", picture, *tiny, "--max-pixels", 99)
    fails(invoke, 7, "encode", picture, *tiny, "-o", good)
    fails(invoke, 8, "encode", picture, *tiny, "--target-size", 20)
    fails(invoke, 8, "encode", picture, *tiny, "--min-quality", "psnr=99")
    fails(invoke, 3, "decode", picture, "-o", tmp_path / "new.png")
    fails(invoke, 4, "decode", bad, "-o", picture, "-f")
    fails(invoke, 2, "decode", good, "--region", "0,0,201,1")
    fails(invoke, 4, "truncate", bad, "-o", tmp_path / "new.vqc", "--keep", 1)
    bad.write_bytes(tiny_vqc[:30])
    fails(invoke, 4, "preview", bad, "-o", tmp_path / "new.webp")


@pytest.mark.slow
def test_ctrl_c_while_the_network_runs(tiny_model: str, photo: Image.Image, tmp_path: Path) -> None:
    photo.resize((4000, 3000)).save(tmp_path / "big.ppm")
    before = contents(tmp_path)
    code = """
import sys
from vqcodec.inference import networks
from vqcodec.cli.main import run
real = networks.pixels_to_planes
def announced(*arguments, **options):
    print("working", flush=True)
    return [real(*arguments, **options) for _ in range(100)][0]
networks.pixels_to_planes = announced
sys.argv[0] = "vqcodec"
run()
"""
    command = [sys.executable, "-c", code, "encode", "big.ppm", "-m", tiny_model]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "vqcodec: interrupted\n")
    assert contents(tmp_path) == before
