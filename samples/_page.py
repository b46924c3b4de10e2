"""A printed page: headline, columns of text, an engraving, rosettes and colour strips, photographed on a desk."""

import numpy as np
from _render import F32, blur, fbm, finish, mix, noise, normalise, reduce, sample, smoothstep, tonemap, wood
from PIL import Image, ImageDraw, ImageFont

INK, RED = (34, 31, 36), (150, 42, 34)
COLUMNS = (
    "A picture begins with light. It leaves the sun white and whole, strikes the bark of a tree, the skin of an "
    "orange, the glaze of a bowl, and comes away changed. What the bark keeps we never see; what it gives back we "
    "call its colour.\n\nA lens gathers these leavings and lays them on a flat sheet, upside down and very small. "
    "There the landscape waits, complete to the last leaf, until something takes note of it.",
    "To keep a picture is to choose what may be lost. The eye forgives a great deal in the shadows of a wood and "
    "nothing at all in the line of a mouth. Smooth skies need few words; a field of grass needs many, yet nobody "
    "counts the blades.\n\nSo the good printer spends ink where the eye will rest. Fine lines carry form, soft tones "
    "carry depth, and the white of the paper does the work of the sun.",
)
SMALL = (
    "Small print. Hold this page at arm's length: the headline stays, the columns turn to grey, and the rosettes melt "
    "into a tint. Bring it close and every line comes back. A careful copy should do the same: 0 1 2 3 4 5 6 7 8 9, "
    "a b c d e f g, commas, full stops; nothing dropped and nothing made up."
)


def engraving(w, h):
    """Ink coverage of a line engraving: a lit sphere before a ruled sky, every tone made by the width of its lines."""
    y, x = np.mgrid[0:h, 0:w].astype(F32)
    cx, cy, r = w * 0.43, h * 0.50, h * 0.33
    u, v = (x - cx) / r, (y - cy) / r
    depth = np.sqrt(np.maximum(1 - u * u - v * v, 0))
    light = np.array((-0.52, -0.62, 0.59), F32)
    ball = smoothstep(1.0, 0.992, np.hypot(u, v))
    shade = np.clip(u * light[0] + v * light[1] + depth * light[2], 0, 1) + 0.13 * smoothstep(0, 1, u + v) * depth
    shade += 0.5 * np.exp(-((u + 0.42) ** 2 + (v + 0.46) ** 2) * 26)
    floor = smoothstep(0.62, 0.66, v + 0.012 * np.sin(u * 3))
    cast = smoothstep(1.15, 0.5, np.hypot((u - 0.98) / 1.35, (v - 0.88) / 0.25))
    back = 0.60 + 0.28 * fbm(5, x / h * 2.2, y / h * 3.4, octaves=4) - 0.22 * v
    tone = mix(mix(back, 0.80 - 0.62 * cast - 0.12 * fbm(6, x / h * 3, y / h * 14, octaves=3), floor), shade, ball)
    pitch = h / 96
    sky_line = y / pitch + 0.9 * fbm(7, x / h * 1.3, y / h * 1.3, octaves=2)
    floor_line = 150 / (v + 0.75) + 0.35 * noise(8, u * 3, v * 3)
    ball_line = np.arcsin(np.clip(v * 0.94 + u * 0.34, -1, 1)) * 2 * r / pitch / np.pi + 2.2 * depth
    phase = np.where(ball > 0.5, ball_line, np.where(floor > 0.5, floor_line, sky_line))
    cross = np.arcsin(np.clip(u * 0.94 - v * 0.34, -1, 1)) * 2 * r / pitch / np.pi + 2.2 * depth
    cross = np.where(ball > 0.5, cross, (x + y * 0.55) / pitch)
    dark = np.clip(1 - tone, 0.03, 0.95)

    def lines(p, width):
        return smoothstep(width + 0.12, width - 0.12, np.abs(p - np.floor(p) - 0.5) * 2)

    ink = np.maximum(lines(phase, dark * 0.85), lines(cross, np.clip(dark - 0.52, -0.2, 1) * 1.3))
    ring = np.exp(-(((np.hypot(u, v) - 1) * r / 2.2) ** 2))
    return np.clip(np.maximum(ink, ring), 0, 1)


def rosette(draw, cx, cy, radius, petals, colour, turns=30):
    """Guilloche of interlaced closed curves."""
    a = np.linspace(0, 2 * np.pi, 1600)
    for k in range(turns):
        shift = 2 * np.pi * k / turns
        for base, swing, n in ((0.74, 0.24, petals), (0.34, 0.16, petals // 2 + 1)):
            rad = radius * (base + swing * np.sin(n * a + shift) * np.cos(2 * a + shift * 0.5))
            draw.line(list(zip(cx + rad * np.cos(a), cy + rad * np.sin(a), strict=True)), colour, 2, joint="curve")


def spread(draw, xy, text, size, width, fill=INK, leading=1.42):
    """Justified paragraphs in a column `width` wide; returns the height below the last line."""
    font, (x, y) = ImageFont.load_default(size), xy
    for paragraph in text.split("\n\n"):
        lines = [""]
        for word in paragraph.split():
            fits = font.getlength(f"{lines[-1]} {word}".strip()) <= width
            lines[-1:] = [f"{lines[-1]} {word}".strip()] if fits else [lines[-1], word]
        for i, line in enumerate(lines):
            words = line.split()
            gap = (width - sum(font.getlength(word) for word in words)) / max(len(words) - 1, 1)
            gap = gap if i < len(lines) - 1 else font.getlength(" ")
            cx = x
            for word in words:
                draw.text((cx, y), word, fill, font)
                cx += font.getlength(word) + gap
            y += size * leading
        y += size * 0.6
    return y


def layout(w=2160, h=3000):
    """The flat printed sheet as display values."""
    sheet = Image.new("RGB", (w, h), (255, 255, 255))
    draw, m = ImageDraw.Draw(sheet), 170
    draw.rectangle([m, 150, w - m, 156], INK)
    draw.text((m, 176), "NOTES ON SEEING", RED, ImageFont.load_default(40))
    right = "Sheet 4  ·  Pictures & Print"
    font = ImageFont.load_default(40)
    draw.text((w - m - font.getlength(right), 176), right, INK, font)
    draw.rectangle([m, 240, w - m, 242], INK)
    for size, y, text in ((272, 236, "Light, kept"), (104, 548, "How a picture remembers the day")):
        draw.text((m - size / 20, y), text, INK, ImageFont.load_default(size), stroke_width=size / 130)
    top = 720
    ink = engraving(w - 2 * m, 860)
    plate = Image.fromarray((255 - ink * 255).astype(np.uint8))
    sheet.paste(Image.new("RGB", plate.size, (40, 36, 52)), (m, top), Image.fromarray((ink * 255).astype(np.uint8)))
    draw.rectangle([m, top, w - m, top + 860], outline=INK, width=5)
    draw.rectangle([m - 12, top - 12, w - m + 12, top + 872], outline=INK, width=2)
    draw.text(
        (m, top + 890), "Fig. 1.  A ball in window light, cut in lines of one ink.", INK, ImageFont.load_default(36)
    )
    col = (w - 2 * m - 80) / 2
    for i, text in enumerate(COLUMNS):
        spread(draw, (m + i * (col + 80), 1698), text, 44, col, leading=1.44)
    y = 2430
    for i, (petals, colour) in enumerate(((9, (26, 84, 110)), (14, (140, 44, 60)), (7, (52, 96, 52)))):
        rosette(draw, m + 165 + i * 330, y + 165, 160, petals, colour)
    spread(draw, (m + 1040, y + 6), SMALL, 31, w - 2 * m - 1040, leading=1.36)
    x = np.linspace(0, 1, w - 2 * m)[None, :, None]
    hue = 0.5 + 0.46 * np.cos(2 * np.pi * (x - np.array((0.0, 1 / 3, 2 / 3))))
    strip = np.concatenate([np.repeat(hue, 62, 0), np.repeat(np.repeat(x, 3, 2), 40, 0)])
    sheet.paste(Image.fromarray((strip * 255).astype(np.uint8)), (m, y + 350))
    for i in range(21):
        draw.line(
            [(m + i * (w - 2 * m) / 20, y + 456), (m + i * (w - 2 * m) / 20, y + (480 if i % 5 else 496))], INK, 3
        )
    return np.asarray(sheet, F32) / 255


def page(width=900, height=1200):
    """The sheet on a wooden desk, seen at a slight angle under a lamp."""
    flat = blur(layout(), 0.8)
    fh, fw = flat.shape[:2]
    ss = 2
    w, h = width * ss, height * ss
    corners = np.array(((0.095, 0.050), (0.915, 0.068), (0.968, 0.958), (0.030, 0.940))) * (w, h)
    rows = []
    for (x, y), (u, v) in zip(corners, ((0, 0), (fw, 0), (fw, fh), (0, fh)), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y, u], [0, 0, 0, x, y, 1, -v * x, -v * y, v]]
    system = np.array(rows, float)
    a = np.append(np.linalg.solve(system[:, :8], system[:, 8]), 1).reshape(3, 3)
    y, x = np.mgrid[0:h, 0:w].astype(float)
    x, y = x + 0.5, y + 0.5
    curl = 5 * ss * np.exp(-(((x - w * 0.95) / (w * 0.22)) ** 2) - ((y - h * 0.95) / (h * 0.16)) ** 2)
    xc, yc = x + curl, y + curl
    d = a[2, 0] * xc + a[2, 1] * yc + 1
    u, v = ((a[i, 0] * xc + a[i, 1] * yc + a[i, 2]) / d for i in (0, 1))
    inside = np.minimum.reduce([u, v, fw - u, fh - v])
    cover = smoothstep(-1, 1, inside).astype(F32)
    pu, pv = (u / 300).astype(F32), (v / 300).astype(F32)
    fibres = fbm(3, pu * 22, pv * 30, octaves=4, gain=0.7)
    cloud = fbm(4, pu * 0.9, pv * 0.9, octaves=5)
    specks = smoothstep(0.78, 0.95, noise(5, pu * 31, pv * 31)) * 0.10
    paper = np.array((0.80, 0.75, 0.645), F32) * (1 + 0.022 * fibres + 0.035 * cloud - specks)[..., None]
    foxing = smoothstep(0.35, 0.9, fbm(6, pu * 0.6 + 3, pv * 0.6, octaves=4)) + smoothstep(130, 0, inside) * 0.5
    paper *= mix((1, 1, 1), (0.90, 0.80, 0.64), np.clip(foxing * 0.55, 0, 1))
    print_ = np.clip(sample(flat, u, v), 0, 1) ** 2.2
    wear = np.clip(0.90 + 0.09 * fibres + 0.06 * cloud, 0, 1)[..., None]
    sheet = paper * (1 - (1 - print_) * wear)
    fold = np.exp(-(((v - fh * 0.503) / 9) ** 2)) * 0.10 - np.exp(-(((v - fh * 0.503 - 22) / 16) ** 2)) * 0.07
    warp = fbm(8, pu * 0.22, pv * 0.22, octaves=3)
    slope = np.gradient(blur(warp.astype(F32), 6 * ss), axis=1) * 16 * ss
    sheet *= (1 - fold + slope - 0.007 * curl / ss * 4)[..., None]
    desk, gloss = wood(31, (x / w * 7 + y / w * 0.25).astype(F32), (y / w * 7 - x / w * 0.25).astype(F32))
    desk = desk * np.array((0.62, 0.50, 0.44), F32) + 0.012 * gloss[..., None]
    near = np.clip((inside + 14) / fw, -0.1, 0.02).astype(F32)
    shadow = np.roll(blur((near > 0.0).astype(F32), 11 * ss), (8 * ss, 9 * ss), (0, 1))
    desk *= (1 - 0.80 * shadow)[..., None]
    lamp = np.hypot(x / w - 0.28, (y / w - 0.30) * 0.9)
    light = (0.42 + 0.88 * np.exp(-(lamp**2) * 1.25)).astype(F32)
    glow = normalise((1.06, 0.98, 0.90)) * 1.732
    img = reduce(mix(desk, sheet, cover) * light[..., None] * glow)
    return finish(tonemap(img, 0.98), 4, vignette=0.26, grain=0.9)
