"""Contenders of `peers.py`: commands and in-process calls of vqcodec, other codecs at equal bytes, and MGVQ's networks.

Each contender is a list of timed steps for one picture. Commands start a process each and read and write files; calls
run in this process on pixels in memory, with the models loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from vqcodec.evaluation.codecs import Avif, Jxl, ReferenceCodec, WebP
from vqcodec.evaluation.rate_sweep import RateSweep

MGVQ_RELEASE = "mgvq-f16c32-g4"


class Avif6(Avif):
    """AVIF at Pillow's default speed."""

    name = "avif-6"
    options: ClassVar[dict[str, object]] = Avif.options | {"speed": 6}


class Avif4(Avif):
    """AVIF at the speed of the evaluation."""

    name = "avif-4"


PEERS: dict[str, type[ReferenceCodec]] = {"webp": WebP, "avif-6": Avif6, "avif-4": Avif4, "jxl-7": Jxl}
"""Name -> codec. Threads as in the evaluation: 2, and 1 for WebP."""


@dataclass(frozen=True)
class Step:
    """Something that is timed."""

    contender: str
    """Such as "vqcodec" or "avif-4"."""
    action: str
    """encode, decode, verify or preview; with the effort, such as "encode, effort 5"."""
    way: str
    """command or call."""
    run: Callable[[], object]
    n_bytes: int = 0
    """Bytes of the file made or read; 0 where there is no single one."""


@dataclass(frozen=True)
class Subject:
    """A picture in work: its pixels, its file, and the .vqc file that fixes the bytes of the peers."""

    pixels: np.ndarray
    """uint8 [H, W, 3]."""
    file: Path
    """The picture as PNG."""
    vqc: Path
    """Its file at the default effort."""

    @property
    def n_pixels(self) -> int:
        """Width times height."""
        return self.pixels.shape[0] * self.pixels.shape[1]


def prepare(pixels: np.ndarray, folder: Path, options: Sequence[str]) -> Subject:
    """Write the PNG of a picture, and its .vqc file by the command with `options`."""
    subject = Subject(pixels, folder / "picture.png", folder / "picture.vqc")
    Image.fromarray(pixels).save(subject.file, compress_level=1)
    command("encode", subject.file, "-o", subject.vqc, "-f", *options)
    return subject


def command(*arguments: object) -> None:
    """Run `vqcodec` in a process of its own; exits if it fails."""
    words = [sys.executable, "-m", "vqcodec.cli", *map(str, arguments), "--quiet", "--max-pixels", str(2**28)]
    code = subprocess.run(words, check=False).returncode
    if code:
        sys.exit(f"{' '.join(words)}: exit code {code}")


def vqcodec_commands(subject: Subject, efforts: Sequence[int], threads: int) -> Iterator[Step]:
    """Steps of the command: encode at each effort, decode, verify and a preview page."""
    folder, n_bytes = subject.vqc.parent, subject.vqc.stat().st_size
    limit = ("-f", "--threads", threads) if threads else ("-f",)
    for effort in efforts:
        arguments = ("encode", subject.file, "-o", folder / "x.vqc", "--effort", effort, *limit)
        yield Step("vqcodec", f"encode, effort {effort}", "command", lambda a=arguments: command(*a))  # type: ignore[misc]
    yield Step(
        "vqcodec", "decode", "command", lambda: command("decode", subject.vqc, "-o", folder / "x.png", *limit), n_bytes
    )
    yield Step("vqcodec", "verify", "command", lambda: command("verify", subject.vqc), n_bytes)
    page = folder / "x.html"
    yield Step("vqcodec", "preview", "command", lambda: command("preview", subject.vqc, "-o", page, *limit), n_bytes)


def vqcodec_calls(subject: Subject, efforts: Sequence[int]) -> Iterator[Step]:
    """Steps of the Python functions: encode at each effort, decode."""
    import vqcodec

    data = subject.vqc.read_bytes()
    for effort in efforts:

        def encode(effort: int = effort) -> bytes:
            return vqcodec.encode(subject.pixels, quality=50, effort=effort)

        yield Step("vqcodec", f"encode, effort {effort}", "call", encode)
    yield Step("vqcodec", "decode", "call", lambda: vqcodec.decode(data, max_pixels=None), len(data))


def peer_setting(name: str, subject: Subject) -> int | None:
    """The setting of a peer whose file is the largest that is not larger than the .vqc file; None if there is none."""
    return RateSweep(PEERS[name](), subject.pixels).largest_within(subject.vqc.stat().st_size)


def peer_calls(name: str, subject: Subject, setting: int) -> Iterator[Step]:
    """Steps of another codec through Pillow, at `setting`."""
    codec = PEERS[name]()
    if max(subject.pixels.shape[:2]) > codec.max_side_px:
        return
    data = codec.encode(subject.pixels, setting)
    yield Step(name, "encode", "call", lambda: codec.encode(subject.pixels, setting), len(data))
    yield Step(name, "decode", "call", lambda: codec.decode(data), len(data))


def mgvq_calls(subject: Subject, model: Path) -> Iterator[Step]:
    """Steps of MGVQ's networks with the weights of the folder `model`."""
    import vqcodec

    data = vqcodec.encode(subject.pixels, str(model))
    yield Step(model.name, "encode", "call", lambda: vqcodec.encode(subject.pixels, str(model)), len(data))
    yield Step(model.name, "decode", "call", lambda: vqcodec.decode(data, max_pixels=None), len(data))


def write_mgvq(folder: Path) -> Path:
    """Write a model folder of MGVQ_RELEASE with random weights; its networks take the time of the released ones."""
    import torch

    from vqcodec.config.model import ModelConfig
    from vqcodec.importing.mgvq import RELEASES
    from vqcodec.models.loading import write_model
    from vqcodec.tokenizer import Tokenizer, training_only

    tokenizer_config = RELEASES[MGVQ_RELEASE]
    config = ModelConfig(
        name=MGVQ_RELEASE,
        tokenizer=tokenizer_config,
        token_id="",
        entropy_id="",
        weights_sha256="",
        layers=tokenizer_config.quantizer.layers,
        ladder=(),
        license="none",
        description="Random weights, for times only.",
    )
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        state = Tokenizer(tokenizer_config).eval().state_dict()
    tensors = {name: value.half().numpy() for name, value in state.items() if not training_only(name)}
    model = folder / MGVQ_RELEASE
    write_model(model, config, tensors)
    os.environ["VQCODEC_MODELS"] = str(folder)
    return model


def crop_of(picture: Image.Image, megapixels: float) -> np.ndarray:
    """A part of the picture of about so many megapixels and of its shape; larger ones are tiled by reflection.

    So texture and bytes per pixel are similar at every size.
    """
    pixels = np.asarray(picture.convert("RGB"))
    scale = (megapixels * 1e6 / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    height, width = (max(16, round(side * scale)) for side in pixels.shape[:2])
    top, left = (max(0, (whole - part) // 2) for whole, part in zip(pixels.shape[:2], (height, width), strict=True))
    part = pixels[top : top + height, left : left + width]
    rows, columns = (-(-whole // side) for whole, side in zip((height, width), part.shape[:2], strict=True))
    down = np.concatenate([part[:: -1 if i % 2 else 1] for i in range(rows)])[:height]
    return np.ascontiguousarray(np.concatenate([down[:, :: -1 if i % 2 else 1] for i in range(columns)], 1)[:, :width])
