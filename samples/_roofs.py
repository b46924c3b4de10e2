"""Evening sky over roofs: smooth gradients, pale flat colours and straight edges, without any texture.

Codecs show steps in such gradients, and wrong colours in such areas; `vqcodec eval --metrics patch,step` measures both.
"""

import numpy as np
from _render import F32, mix, over, smoothstep
from PIL import Image, ImageDraw

WALLS = ((232, 222, 210), (206, 214, 224), (228, 208, 204), (214, 222, 206))
"""Pale colours of the house fronts, sRGB."""
ROOF, WINDOW = (96, 74, 70), (58, 66, 84)


def roofs(width=768, height=512):
    """Sky from deep blue to pale orange with the glow of the sun, and a row of flat house fronts."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(F32)
    high, low = mix((0.22, 0.38, 0.66), (0.62, 0.74, 0.86), smoothstep(0, 0.55, y)), (0.98, 0.84, 0.70)
    sky = mix(high, np.asarray(low, F32), smoothstep(0.3, 0.95, y))
    glow = np.exp(-(((x - 0.72) / 0.22) ** 2 + ((y - 0.62) / 0.28) ** 2))
    sky = mix(sky, np.asarray((1.0, 0.95, 0.82), F32), 0.75 * glow)
    img = over(sky, _houses(width, height, 4))
    rng = np.random.default_rng(3)
    out = img * 255 + rng.random((height, width, 1), F32) - 0.5  # dither: no steps of its own
    return Image.fromarray(np.clip(np.round(out), 0, 255).astype(np.uint8))


def _houses(width, height, scale):
    """The houses as an RGBA layer of `scale` times the size."""
    layer = Image.new("RGBA", (width * scale, height * scale))
    pen = ImageDraw.Draw(layer)
    rng = np.random.default_rng(8)
    left, number = -20.0, 0
    while left < width:
        wide, top = rng.uniform(90, 150), rng.uniform(0.62, 0.74) * height
        peak, right = top - rng.uniform(30, 62), left + wide
        _polygon(pen, [(left, top), (right, top), (right, height), (left, height)], WALLS[number % len(WALLS)], scale)
        middle = left + wide * rng.uniform(0.35, 0.65)
        _polygon(pen, [(left - 5, top + 2), (middle, peak), (right + 5, top + 2)], ROOF, scale)
        for row in range(2):
            for column in range(3):
                x, y = left + wide * (0.14 + 0.28 * column), top + 26 + 62 * row
                _polygon(pen, [(x, y), (x + 17, y), (x + 17, y + 30), (x, y + 30)], WINDOW, scale)
        left, number = right, number + 1
    return layer


def _polygon(pen, points, colour, scale):
    pen.polygon([(x * scale, y * scale) for x, y in points], fill=(*colour, 255))
