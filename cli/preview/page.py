"""The page that `vqcodec preview -o OUT.html` writes: one file with its pictures, style and script inside.

It asks nothing of the network (its content security policy forbids that too) and works from a disk or a mail.
"""

from __future__ import annotations

import base64
import io
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from vqcodec.models.file_info import Info

    from .command import Step

WEBP_QUALITY = 90


def page(name: str, info: Info, n_bytes: int, steps: list[Step]) -> str:
    """HTML that shows `steps` of the file called `name`, of which `n_bytes` are there."""
    facts = [f"{info.width:,} × {info.height:,} pixels", f"model {info.model or info.token_id}"]
    facts.append(f"{info.file_bytes:,} bytes, {info.bpp:.3f} bpp")
    if n_bytes < info.file_bytes:
        facts.append(f"cut off at {n_bytes:,} bytes")
    first = steps[0].image
    assert first is not None
    if first.size != info.size:
        facts.append(f"shown at {first.width:,} × {first.height:,}")
    values = {
        "name": escape(name.encode("utf-8", "replace").decode("utf-8")),
        "facts": escape(" · ".join(facts)),
        "pictures": "\n".join(_picture(step, last=step is steps[-1]) for step in steps),
        "count": str(len(steps)),
        "alone": "disabled" if len(steps) == 1 else "",
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], TEMPLATE)


def _picture(step: Step, last: bool) -> str:
    assert step.image is not None
    kind = "alpha" if "A" in step.image.getbands() else "opaque"
    facts = {
        "layers": f"{step.layers} of {step.n_layers}",
        "bytes": f"{step.n_bytes:,}",
        "percent": f"{step.percent:.1f}",
        "bpp": f"{step.bpp:.3f}",
    }
    data = " ".join(f'data-{key}="{escape(value)}"' for key, value in facts.items())
    look = f'class="{kind}" width="{step.image.width}" height="{step.image.height}" decoding="sync"'
    state = "" if last else " hidden"
    return f'<img {look} {data} alt="{escape(step.caption)}" src="{_uri(step.image)}"{state}>'


def _uri(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=WEBP_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")


TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{{name}} from coarse to fine</title>
<style>
:root { color-scheme: dark; --ink: #e4e4e4; --dim: #a0a0a0; --line: #3a3a3c; --ground: #18181a; --bar: #232325; }
* { box-sizing: border-box; }
body { margin: 0; height: 100vh; height: 100dvh; display: grid; grid-template-rows: auto minmax(0, 1fr) auto;
  background: var(--ground); color: var(--ink); font: 15px/1.4 system-ui, sans-serif; }
header, footer { background: var(--bar); padding: .6rem 1rem; }
header { display: flex; flex-wrap: wrap; gap: .1rem 1rem; align-items: baseline; }
h1 { margin: 0; font-size: 1rem; font-weight: 600; overflow-wrap: anywhere; }
p { margin: 0; color: var(--dim); }
#stage { display: flex; overflow: auto; padding: .75rem; }
#stage img { flex: none; margin: auto; width: auto; height: auto; max-width: 100%; max-height: 100%; cursor: zoom-in; }
#stage.zoomed img { max-width: none; max-height: none; cursor: zoom-out; }
#stage.doubled img { image-rendering: pixelated; }
#stage img[hidden] { display: none; }
img.alpha { background: repeating-conic-gradient(#606060 0 25%, #808080 0 50%) 0 0 / 16px 16px; }
footer { display: grid; grid-template-columns: auto 1fr auto; gap: .5rem 1rem; align-items: center; }
button { min-width: 4.5rem; padding: .35rem .7rem; color: var(--ink); background: #333336; border: 1px solid #4a4a4d;
  border-radius: 6px; font: inherit; cursor: pointer; }
button:hover:enabled { background: #3e3e42; }
button:disabled { color: #707070; cursor: default; }
input { width: 100%; min-width: 6rem; accent-color: #d0d0d0; }
:focus-visible { outline: 2px solid #8ab4f8; outline-offset: 2px; }
#share { grid-column: 1 / -1; height: 4px; background: var(--line); border-radius: 2px; overflow: hidden; }
#share div { height: 100%; background: #d0d0d0; }
dl { grid-column: 1 / -1; display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .2rem 1rem; margin: 0; }
dt { color: var(--dim); font-size: .8rem; }
dd { margin: 0; font-size: 1.1rem; font-variant-numeric: tabular-nums; }
</style>
<noscript><style>#stage { flex-direction: column; gap: 1rem; } #stage img[hidden] { display: block; }
footer { display: none; }</style></noscript>
</head>
<body>
<header><h1>{{name}}</h1><p>{{facts}}</p></header>
<main id="stage" tabindex="0" aria-label="Picture">
{{pictures}}
</main>
<footer>
<button id="play" type="button" {{alone}}>Play</button>
<input id="step" type="range" min="1" max="{{count}}" value="{{count}}" step="1" {{alone}}
  aria-label="Step, from coarse to fine" title="Arrow keys, Home and End move; space plays; z zooms">
<button id="zoom" type="button" aria-pressed="false">1:1</button>
<div id="share" aria-hidden="true"><div></div></div>
<dl>
<div><dt>Layer</dt><dd id="layers"></dd></div>
<div><dt>Bytes</dt><dd id="bytes"></dd></div>
<div><dt>Of the file</dt><dd id="percent"></dd></div>
<div><dt>Bits per pixel</dt><dd id="bpp"></dd></div>
</dl>
</footer>
<script>
"use strict";
const get = (id) => document.getElementById(id);
const stage = get("stage"), slider = get("step"), play = get("play"), zoom = get("zoom");
const pictures = [...stage.querySelectorAll("img")];
let current = pictures.length - 1, timer = 0;

function show(i) {
  current = Math.max(0, Math.min(pictures.length - 1, i));
  const facts = pictures[current].dataset;
  pictures.forEach((picture, k) => { picture.hidden = k !== current; });
  slider.value = current + 1;
  slider.setAttribute("aria-valuetext", pictures[current].alt);
  get("share").firstElementChild.style.width = facts.percent + "%";
  get("layers").textContent = facts.layers;
  get("bytes").textContent = facts.bytes;
  get("percent").textContent = facts.percent + " %";
  get("bpp").textContent = facts.bpp;
}

function stop() { clearInterval(timer); timer = 0; play.textContent = "Play"; }

function toggle() {
  if (timer) return stop();
  if (pictures.length < 2) return;
  if (current === pictures.length - 1) show(0);
  play.textContent = "Pause";
  timer = setInterval(() => { show(current + 1); if (current === pictures.length - 1) stop(); }, 700);
}

/* One picture pixel for one CSS pixel; two where one would change nothing. The spot at (x, y), 0..1, stays in view. */
function enlarge(x, y) {
  const zoomed = !stage.classList.contains("zoomed"), shown = pictures[current];
  const scale = shown.clientWidth < shown.naturalWidth ? 1 : 2;
  stage.classList.toggle("zoomed", zoomed);
  stage.classList.toggle("doubled", zoomed && scale === 2);
  for (const picture of pictures) picture.style.width = zoomed ? scale * picture.naturalWidth + "px" : "";
  zoom.setAttribute("aria-pressed", zoomed);
  if (!zoomed) return label();
  stage.scrollLeft = x * shown.clientWidth - stage.clientWidth / 2;
  stage.scrollTop = y * shown.clientHeight - stage.clientHeight / 2;
}

function label() {
  if (stage.classList.contains("zoomed")) return;
  zoom.textContent = pictures[current].clientWidth < pictures[current].naturalWidth ? "1:1" : "2:1";
}

slider.addEventListener("input", () => { stop(); show(slider.value - 1); });
play.addEventListener("click", toggle);
zoom.addEventListener("click", () => enlarge(0.5, 0.5));
stage.addEventListener("click", (event) => {
  if (event.target.tagName !== "IMG") return;
  enlarge(event.offsetX / event.target.clientWidth, event.offsetY / event.target.clientHeight);
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const scrolls = event.target === stage && stage.classList.contains("zoomed");
  const moves = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -99, End: 99 };
  if (event.key in moves && !scrolls) { stop(); show(current + moves[event.key]); }
  else if (event.key === " " && event.target.tagName !== "BUTTON") toggle();
  else if (event.key === "z") enlarge(0.5, 0.5);
  else return;
  event.preventDefault();
});
addEventListener("resize", label);
show(current);
label();
</script>
</body>
</html>
"""
