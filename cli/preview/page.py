"""The page of `vqcodec preview -o OUT.html`: one file that contains its pictures, style and script.

The page loads nothing from the network, which its content security policy also forbids, and works from a local file.
"""

from __future__ import annotations

import base64
import io
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from vqcodec.runtime.threads import thread_count

from .steps import Shown, Step

if TYPE_CHECKING:
    from PIL import Image

WEBP_QUALITY = 90
WEBP_METHOD = 3
"""Effort of the WebP encoder, 0 (fast) to 6 (small). 3 gives size and error of 4 within 1 %, in 0.9 of the time."""
THUMBNAIL_PX = 320
"""Longest side of the pictures of the gallery."""


def page(files: list[Shown]) -> str:
    """HTML page of one file, or of several with a gallery."""
    several = len(files) > 1
    title = f"{len(files)} files" if several else files[0].name
    with ThreadPoolExecutor(thread_count()) as threads:
        sections = [_section(file, several, threads) for file in files]
        thumbnails = list(threads.map(_thumbnail, files)) if several else []
    return Template(_resource("page.html")).substitute(
        title=_text(title),
        style=_resource("page.css"),
        script=_resource("page.js"),
        files="\n".join(sections),
        thumbnails="\n".join(thumbnails),
        kind="several" if several else "single",
    )


def _section(file: Shown, hidden: bool, threads: Executor) -> str:
    """The element of a file, whose pictures are encoded in `threads`."""
    info = file.info
    facts = [f"{info.width:,} × {info.height:,} pixels", f"model {info.model or info.token_id}"]
    facts.append(f"{info.file_bytes:,} bytes, {info.bpp:.3f} bpp")
    if file.n_bytes < info.file_bytes:
        facts.append(f"cut off at {file.n_bytes:,} bytes")
    largest = file.steps[-1].picture
    if largest.size != info.size:
        facts.append(f"shown at {largest.width:,} × {largest.height:,}")
    data = {"name": file.name, "facts": " · ".join(facts), "width": largest.width, "height": largest.height}
    attributes = " ".join(f'data-{key}="{_text(str(value))}"' for key, value in data.items())
    pictures = [partial(_step, step, last=step is file.steps[-1]) for step in file.steps]
    if file.original is not None:
        pictures.append(partial(_original, file.original))
    body = "\n".join(threads.map(lambda picture: picture(), pictures))
    return f'<section class="file" {attributes}{" hidden" if hidden else ""}>\n{body}\n</section>'


def _step(step: Step, last: bool) -> str:
    picture = step.picture
    facts = {
        "layers": f"{step.layers} of {step.n_layers}",
        "bytes": f"{step.n_bytes:,}",
        "percent": f"{step.percent:.1f}",
        "bpp": f"{step.bpp:.3f}",
    }
    if step.psnr is not None:
        facts |= {"psnr": f"{step.psnr:.2f}", "ms-ssim": "n/a" if step.ms_ssim is None else f"{step.ms_ssim:.4f}"}
    data = " ".join(f'data-{key}="{escape(value)}"' for key, value in facts.items())
    look = f'class="step {_kind(picture)}" width="{picture.width}" height="{picture.height}" decoding="sync"'
    state = "" if last else " hidden"
    return f'<img {look} {data} alt="{escape(step.caption)}" src="{_data_uri(picture)}"{state}>'


def _original(image: Image.Image) -> str:
    return f'<img class="original {_kind(image)}" alt="original" src="{_data_uri(image)}">'


def _thumbnail(file: Shown) -> str:
    small = file.steps[-1].picture.copy()
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    facts = f"{file.info.file_bytes:,} bytes, {file.info.bpp:.3f} bpp"
    if file.steps[-1].psnr is not None:
        facts += f", {file.steps[-1].psnr:.1f} dB"
    picture = f'<img class="{_kind(small)}" alt="" src="{_data_uri(small)}">'
    return f'<button type="button">{picture}<span>{_text(file.name)}</span><small>{facts}</small></button>'


def _kind(image: Image.Image) -> str:
    return "alpha" if "A" in image.getbands() else "opaque"


def _text(text: str) -> str:
    return escape(text.encode("utf-8", "replace").decode("utf-8"))


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _data_uri(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=WEBP_QUALITY, method=WEBP_METHOD)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")
