"""An old brick wall with ivy, in low dappled sun."""

from itertools import pairwise

import numpy as np
from _render import F32, blur, cells, fbm, finish, mix, noise, normalise, over, reduce, sample, smoothstep, tonemap
from PIL import Image, ImageDraw

SUN = normalise((-0.62, -0.52, 0.59))  # x to the right, y down, z out of the wall
LOBES = ((0, 0.26), (0.16, 0.44), (0.40, 0.46), (0.45, 0.20), (0.62, -0.02), (0.40, -0.12), (0.26, -0.36), (0.0, -0.72))


def bricks(x, y):
    """Height, linear colour and roughness of weathered running-bond brickwork; one unit is one brick length."""
    warp = 0.02 * fbm(1, x * 1.1, y * 1.1, octaves=3)
    v = (y + warp) / 0.335
    row = np.floor(v)
    u = x + 0.5 * (row % 2) + 0.04 * np.sin(row * 12.9) + 0.012 * fbm(2, x * 2, y * 6, octaves=2)
    col = np.floor(u)
    rnd = np.random.default_rng(5).random((6, 64, 64)).astype(F32)
    a, b, c, d, e, f = (t[row.astype(int) % 64, col.astype(int) % 64] for t in rnd)
    px, py = np.abs(u - col - 0.5), np.abs(v - row - 0.5) * 0.335
    ragged = 0.012 * fbm(3, x * 9, y * 9, octaves=4) + 0.006 * fbm(4, x * 30, y * 30, octaves=2)
    inset = np.minimum(0.5 - 0.022 - 0.012 * a - px, 0.1675 - 0.020 - 0.010 * b - py)
    corner = np.hypot(np.maximum(px - 0.43, 0), np.maximum(py - 0.10, 0))
    inset = np.minimum(inset, 0.062 - corner) + ragged
    face = smoothstep(-0.004, 0.020, inset)
    pits = smoothstep(0.35, 0.9, fbm(5, x * 14 + row * 7, y * 14 + col * 5, octaves=4))
    chips = smoothstep(0.45, 0.75, fbm(6, x * 3.3 + col, y * 3.3 + row, octaves=4) + 0.12 * (e > 0.8)) * face
    rough = fbm(7, x * 24, y * 24, octaves=4, gain=0.65)
    tilt = (u - col - 0.5) * (c - 0.5) * 0.03 + ((v - row) - 0.5) * (d - 0.5) * 0.016
    height = face * (0.040 + 0.014 * (e - 0.5) + tilt - 0.012 * pits - 0.020 * chips) + 0.0035 * rough
    height += (1 - face) * 0.006 * fbm(8, x * 18, y * 18, octaves=3)
    palette = np.array(((0.215, 0.072, 0.046), (0.27, 0.098, 0.058), (0.17, 0.054, 0.042), (0.31, 0.145, 0.085),
                        (0.115, 0.052, 0.046), (0.25, 0.092, 0.066)), F32)  # fmt: skip
    clay = palette[(f * 6).astype(int)] * (0.72 + 0.5 * a)[..., None]
    burnt = smoothstep(0.0, 0.9, fbm(9, x * 2.2 + col * 3, y * 2.2 + row * 3, octaves=4))
    clay *= (1 - 0.5 * burnt * (b > 0.45) + 0.14 * rough)[..., None]
    clay = mix(clay, clay * 1.25 + np.array((0.05, 0.02, 0.01), F32), chips)
    lime = fbm(10, x * 40, y * 40, octaves=3)
    mortar = (
        np.array((0.30, 0.275, 0.235), F32) * (0.85 + 0.17 * lime + 0.14 * fbm(11, x * 2, y * 2, octaves=3))[..., None]
    )
    colour = mix(mortar, clay, face)
    bloom = smoothstep(0.35, 1.0, fbm(12, x * 0.7, y * 0.8, octaves=6, gain=0.6))
    colour = mix(colour, (0.55, 0.50, 0.44), 0.45 * bloom * (0.6 + 0.4 * lime))
    streak = fbm(13, x * 3.2 + 0.15 * np.sin(y * 2), y * 0.28, octaves=5) + 0.5 * fbm(14, x * 0.6, y * 0.5, octaves=3)
    colour *= (1 - 0.5 * smoothstep(0.15, 1.1, streak))[..., None]
    damp = smoothstep(3.2, 4.9, y + 0.5 * fbm(15, x * 1.3, y * 1.3, octaves=4))
    moss = damp * smoothstep(-0.15, 0.6, fbm(16, x * 7, y * 7, octaves=4) + 0.5 * (1 - face))
    colour = mix(colour * (1 - 0.6 * damp)[..., None], (0.050, 0.062, 0.024), 0.8 * moss)
    return height + 0.006 * moss, colour


def rounded(points, rounds=2):
    """Corner-cutting of an open line that keeps its ends."""
    for _ in range(rounds):
        cut = [((1 - t) * a[0] + t * b[0], (1 - t) * a[1] + t * b[1])
               for a, b in pairwise(points) for t in (0.22, 0.78)]  # fmt: skip
        points = [points[0], *cut[1:-1], points[-1]]
    return points


LEAF = rounded(LOBES)


def leaf(draws, rng, x, y, size, turn, lift, sun):
    """One ivy leaf with veins onto the picture layer, its outline onto the shadow layer moved by its height."""
    c, s, squash = np.cos(turn), np.sin(turn), rng.uniform(0.65, 1.0)

    def place(px, py):
        px *= squash
        return x + size * (c * px + s * py), y + size * (s * px - c * py)

    wide, tall = rng.uniform(0.88, 1.12, 2)
    half = [(px * wide, py * tall) for px, py in LEAF]
    right, left = [place(px, py) for px, py in half], [place(-px, py) for px, py in half]
    old, bright = rng.random() < 0.04, np.clip(rng.normal(0.62, 0.15), 0.25, 1) * sun
    base = np.array((172, 96, 34) if old else (96 + rng.normal(0, 16), 122 + rng.normal(0, 10), 54 + rng.normal(0, 9)))
    shine = rng.uniform(0.7, 1.05)
    halves = (bright * (1.28 - 0.3 * c * shine), bright * (0.88 + 0.3 * c * shine))
    picture, shadow = draws
    dx, dy = -SUN[0] / SUN[2] * lift, -SUN[1] / SUN[2] * lift
    outline = right + left[::-1]
    shadow.polygon([(px + dx, py + dy) for px, py in outline], 255)
    for side, k in zip((right, left), halves, strict=True):
        hue = tuple(int(v) for v in np.clip(base * k, 0, 255))
        picture.polygon([*side, place(0, 0.30)], (*hue, 255))
        flip = 0.55 if side is right else -0.55
        blade = [place(0, 0.1), *(place(px * flip, py * 0.6) for px, py in half[2:-2])]
        picture.polygon(blade, (*(min(int(v * 1.10 + 4), 255) for v in hue), 255))
    vein = (*(min(int(v * bright * 1.25 + 34), 255) for v in base), 255)
    for tip in ((0, -0.66), (0.36, 0.36), (0.5, 0), (-0.36, 0.36), (-0.5, 0)):
        picture.line([place(0, 0.28), place(tip[0] * 0.85, tip[1] * 0.85)], vein, max(1, int(size / 26)))
    picture.line([place(0, 0.28), place(rng.normal(0, 0.2), 0.75)], (92, 78, 40, 255), max(1, int(size / 18)))


def ivy(rng, w, h, ss):
    """Vines climbing from the lower left and hanging from the upper right: picture layer and two shadow layers."""
    picture = Image.new("RGBA", (w, h), (50, 66, 24, 0))
    shadows = [Image.new("L", (w, h), 0) for _ in range(3)]
    draw, darks = ImageDraw.Draw(picture), [ImageDraw.Draw(s) for s in shadows]
    leaves = []
    starts = [
        (rng.uniform(-0.02, 0.42) ** 1.15 if i else 0.1, 1.03, -np.pi / 2 + rng.normal(0.05, 0.3), 1.0)
        for i in range(30)
    ]
    starts += [(rng.uniform(0.62, 1.03), -0.03, np.pi / 2 + rng.normal(0.05, 0.35), 0.55) for i in range(22)]
    starts += [(-0.02, rng.uniform(0.05, 1.0), rng.normal(0, 0.8), 0.45) for i in range(20)]
    for x, y, heading, vigour in starts:
        x, y, reach = x * w, y * h, rng.uniform(0.25, 1.0) * vigour * (1.15 - 0.9 * (x if vigour == 1 else 0.3))
        path, steps = [(x, y)], int(reach * h / (7 * ss))
        for k in range(max(steps, 4)):
            heading += rng.normal(0, 0.16)
            x, y = x + 7 * ss * np.cos(heading), y + 7 * ss * np.sin(heading)
            path.append((x, y))
            for _ in range(rng.poisson(1.15)):
                t = k / max(steps, 4)
                size = ss * rng.uniform(17, 34) * (1.1 - 0.6 * t)
                off = rng.normal(0, 13 * ss * (1 - 0.5 * t), 2)
                leaves.append((rng.random() * (1.2 - 0.5 * t), x + off[0], y + off[1], size))
        draw.line(path, (66, 50, 36, 255), 3 * ss, joint="curve")
        darks[0].line([(px + 3 * ss, py + 3 * ss) for px, py in path], 255, 3 * ss)
    leaves.sort()
    for k, (level, x, y, size) in enumerate(leaves):
        layer = min(int(level * 2.6), 2)
        turn = np.pi + rng.normal(0, 0.75)
        leaf((draw, darks[layer]), rng, x, y, size, turn, ss * (3 + 11 * level), 0.42 + 0.62 * min(level, 1.0))
        if k % 5 == 0 and level > 0.25:  # shade the leaves below a little before drawing on
            d = 4 * ss
            draw.ellipse(
                [x + d - size * 0.3, y + d + size * 0.1, x + d + size * 0.3, y + d + size * 0.5], (20, 32, 14, 255)
            )
            leaf((draw, darks[layer]), rng, x, y, size, turn, ss * (3 + 11 * level), 0.42 + 0.62 * min(level, 1.0))
    return picture, [np.asarray(s, F32) / 255 for s in shadows]


def wall(width=1280, height=853):
    """Brick wall with ivy and the shadows of a tree."""
    ss = 2
    w, h = width * ss, height * ss
    y, x = np.mgrid[0:h, 0:w].astype(F32)
    unit = w / 9.2
    bx, by = x / unit, y / unit + 0.12 * x / w
    relief, colour = bricks(bx, by)
    gy, gx = np.gradient(relief * unit)
    normal = normalise(np.stack([-gx, -gy, np.ones_like(gx)], -1))
    lit = np.ones((h, w), F32)
    for k in range(1, 15):
        d = k * 1.3 * ss
        du, dv, rise = d * SUN[0] / SUN[2], d * SUN[1] / SUN[2], d
        if rise * 0.5 > 0.075 * unit:
            break
        high = sample(relief, x + du * 0.5, y + dv * 0.5) * unit
        lit = np.minimum(lit, smoothstep(1.2 * ss, -0.6 * ss, high - relief * unit - rise * 0.5))
    occlusion = np.clip(1 - 6 * (blur(relief, 0.03 * unit) - relief) / 0.04 * 0.16, 0.35, 1.1)
    layer, shadows = ivy(np.random.default_rng(12), w, h, ss)
    for shadow, soft in zip(shadows, (1.2, 2.2, 3.4), strict=True):
        lit *= 1 - 0.93 * blur(shadow, soft * ss)
    mass = blur(np.asarray(layer.getchannel("A"), F32) / 255, 14 * ss)
    occlusion *= 1 - 0.45 * smoothstep(0, 0.9, mass)
    sx, sy = bx * 0.8 + by * 0.3, by * 0.9 - bx * 0.35
    near, _, ident = cells(4, sx * 1.9 + 0.3 * noise(31, sx * 2, sy * 2), sy * 1.9 + 0.3 * noise(32, sx * 2, sy * 2))
    crowd = fbm(33, sx * 0.75, sy * 0.75, octaves=3)
    leafy = smoothstep(0.62, 0.30, near + 0.25 * ident - 0.35 * crowd - 0.06) * smoothstep(-0.5, 0.3, crowd)
    bough = np.abs(sy - 1.6 - 0.5 * noise(34, sx * 0.5, sx * 0.1)) + np.abs(noise(35, sx * 0.4, sy * 0.4)) * 0.2
    canopy = blur(np.clip(leafy + smoothstep(0.12, 0.03, bough), 0, 1), 5 * ss)
    lit *= 1 - 0.86 * canopy
    sun = (np.clip(normal @ SUN, 0, 1) * lit)[..., None] * np.array((4.1, 3.3, 2.35), F32)
    fill = np.array((0.46, 0.57, 0.76), F32) * (occlusion * (0.82 - 0.25 * normal[..., 1]))[..., None]
    img = tonemap(reduce(colour * (sun + fill)), 0.86)
    leaves = over(np.zeros_like(img), layer)
    alpha = reduce(np.asarray(layer.getchannel("A"), F32) / 255)[..., None]
    shade = mix((0.50, 0.60, 0.66), (1.18, 1.12, 1.0), 1 - 0.9 * reduce(canopy))
    speckle = 1 + 0.06 * fbm(40, reduce(bx) * 22, reduce(by) * 22, octaves=4)[..., None]
    img = img * (1 - alpha) + leaves * shade * speckle
    return finish(np.clip(img, 0, 1), 6, vignette=0.34, grain=0.8, bloom=0.1)
