"""The page of `vqcodec preview -o OUT.html`: one file that contains its pictures, style and script.

The page loads nothing from the network, which its content security policy also forbids, and works from a local file.
"""

from __future__ import annotations

import base64
import io
from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from .steps import Step

if TYPE_CHECKING:
    from PIL import Image

    from vqcodec.models.file_info import Info

WEBP_QUALITY = 90


def page(name: str, info: Info, n_bytes: int, steps: list[Step]) -> str:
    """HTML page of `steps` of the file called `name`, of which the first `n_bytes` bytes are available."""
    facts = [f"{info.width:,} × {info.height:,} pixels", f"model {info.model or info.token_id}"]
    facts.append(f"{info.file_bytes:,} bytes, {info.bpp:.3f} bpp")
    if n_bytes < info.file_bytes:
        facts.append(f"cut off at {n_bytes:,} bytes")
    first = steps[0].picture
    if first.size != info.size:
        facts.append(f"shown at {first.width:,} × {first.height:,}")
    template = Template(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        name=escape(name.encode("utf-8", "replace").decode("utf-8")),
        facts=escape(" · ".join(facts)),
        pictures="\n".join(_picture(step, last=step is steps[-1]) for step in steps),
        count=len(steps),
        alone="disabled" if len(steps) == 1 else "",
    )


def _picture(step: Step, last: bool) -> str:
    picture = step.picture
    kind = "alpha" if "A" in picture.getbands() else "opaque"
    facts = {
        "layers": f"{step.layers} of {step.n_layers}",
        "bytes": f"{step.n_bytes:,}",
        "percent": f"{step.percent:.1f}",
        "bpp": f"{step.bpp:.3f}",
    }
    data = " ".join(f'data-{key}="{escape(value)}"' for key, value in facts.items())
    look = f'class="{kind}" width="{picture.width}" height="{picture.height}" decoding="sync"'
    state = "" if last else " hidden"
    return f'<img {look} {data} alt="{escape(step.caption)}" src="{_data_uri(picture)}"{state}>'


def _data_uri(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=WEBP_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")
