"""Outdoor scenes over height fields: a mountain lake and a field of dunes."""

import numpy as np
from _render import (
    F32,
    blur,
    cast_terrain,
    fbm,
    finish,
    mix,
    noise,
    normalise,
    over,
    reduce,
    sample,
    smoothstep,
    sun_shadow,
    tonemap,
)
from PIL import Image, ImageDraw

SUN = normalise((-0.86, 0.33, 0.22))


def sky(across, slopes, seed):
    """Evening sky in linear light for rays with the given sideways and upward slopes: glow, cirrus, lit cumulus."""
    x, y = np.meshgrid(across.astype(F32), np.maximum(slopes, 0.002).astype(F32))
    ray = normalise(np.stack([x, y, np.ones_like(x)], -1))
    toward = np.clip(ray @ normalise((-0.66, 0.13, 0.75)), 0, 1)
    up = ray[..., 1]
    light = mix((1.05, 0.62, 0.36), (0.38, 0.48, 0.64), smoothstep(-0.02, 0.20, up))
    light = mix(light, (0.065, 0.17, 0.42), smoothstep(0.08, 0.5, up))
    light += toward[..., None] ** 9 * np.array((0.95, 0.42, 0.12), F32)
    light += toward[..., None] ** 120 * np.array((2.4, 1.5, 0.75), F32)
    u, v = x / (y + 0.10) * 0.9, 1 / (y + 0.10) * 0.9
    wu, wv = u + 0.35 * fbm(seed, u, v, octaves=3), v + 0.35 * fbm(seed + 1, u, v, octaves=3)
    density = [fbm(seed + 2, (wu - s) * 0.62, (wv - s * 0.5) * 0.85, octaves=8, gain=0.53) for s in (0.0, 0.16)]
    cover = 0.06 + 0.35 * noise(seed + 7, u * 0.4, v * 0.4)
    cloud = smoothstep(0.02, 0.75, density[0] + cover) * smoothstep(0.03, 0.14, y)
    lit = np.clip(0.55 + 1.1 * (density[0] - density[1]) - 0.38 * cloud, 0, 1.3)
    white = mix((1.5, 1.02, 0.68), (1.25, 1.12, 1.02), smoothstep(0.1, 0.4, y))
    shade = mix((0.40, 0.30, 0.33), (0.24, 0.28, 0.38), smoothstep(0.1, 0.4, y))
    light = mix(light, mix(shade, white * (0.85 + 0.9 * toward[..., None] ** 6), lit), cloud * 0.92)
    wisps = smoothstep(0.1, 1.1, fbm(seed + 5, wu * 0.25 + wv * 0.1, wv * 1.5, octaves=7, gain=0.6))
    return mix(light, white, wisps * 0.38 * smoothstep(0.1, 0.3, y) * (1 - cloud)), toward


def conifer(draw, rng, x, base, height, light):
    """One spruce of many needle strokes, lit from the left; `light` scales its brightness."""
    draw.polygon([(x - height * 0.012, base), (x + height * 0.012, base), (x, base - height)], (26, 20, 16, 255))
    for t in np.sort(rng.random(int(60 + height * 0.07))) ** 0.9:
        y, reach = base - height * (0.985 - 0.93 * t), height * (0.012 + 0.17 * t**0.85)
        for angle in np.sort(rng.uniform(-1, 1, 6)) * np.pi:
            side, front = np.sin(angle), -np.cos(angle)
            length = reach * rng.uniform(0.4, 1.2)
            n = int(6 + length * 0.22)
            s = (np.arange(n) + rng.random(n)) / n
            bx = x + side * length * s
            by = y + length * (0.30 * s + 0.22 * s * s - 0.25 * front * s) - length * 0.12 * s**4
            glow = light * (0.30 + 0.25 * front - 0.30 * side * s + rng.uniform(-0.12, 0.2, n) + 0.35 * s)
            drop = length * rng.uniform(0.07, 0.2, n) + height * 0.004
            lean = drop * rng.uniform(-0.9, 0.9, n) + drop * 0.6 * side
            width = max(1, round(height / 500))
            for bxi, byi, g, d, k in zip(bx, by, np.clip(glow, 0.12, 1.5), drop, lean, strict=True):
                colour = (int(13 + 62 * g * g), int(19 + 34 * g + 24 * g * g), int(19 + 15 * g), 255)
                draw.line([(bxi, byi), (bxi + k, byi + d)], colour, width)


def grass(draw, rng, w, h, ground, count):
    """Tapered, bent blades from the far edge of the bank `ground(x)` to the lower border, far ones first."""
    depth = np.sort(rng.random(count)) ** 0.8
    for t in depth:
        x = rng.uniform(-0.02, 1.02) * w
        edge = ground(x / w) * h
        y = edge + (h * 1.05 - edge) * t
        clump = float(noise(11, x / w * 14 + 3 * t, t * 6.0))
        tall = h * (0.012 + 0.075 * t) * rng.uniform(0.4, 1.15) * (1 + 0.5 * clump)
        bend, wide = tall * rng.normal(0.18, 0.3), h * (0.0004 + 0.0014 * t) * rng.uniform(0.7, 1.5)
        g = np.clip(rng.normal(0.5, 0.2) + 0.25 * clump + 0.15 * t, 0.05, 1.1)
        dry = np.clip(rng.normal(0.35, 0.25) - 0.3 * clump, 0, 1)
        low = (int(16 + 20 * g), int(20 + 24 * g), 14, 255)
        tip = (int(38 + g * (62 + 95 * dry)), int(42 + g * (72 + 22 * dry)), int(20 + 38 * g), 255)
        mid = tuple((a + b) // 2 for a, b in zip(low, tip, strict=True))
        mx, my = x + bend * 0.3, y - tall * 0.55
        draw.polygon([(x - wide, y), (x + wide, y), (mx + wide * 0.8, my), (mx - wide * 0.8, my)], low)
        draw.polygon([(mx - wide * 0.8, my), (mx + wide * 0.8, my), (x + bend * 0.75, y - tall * 0.9)], mid)
        draw.line([(mx, my), (x + bend, y - tall)], tip, max(1, int(wide * 1.3)))
        if rng.random() < 0.012:
            r, c = h * 0.0012 * (0.6 + t), [(236, 214, 120), (230, 226, 236), (176, 130, 206)][rng.integers(3)]
            draw.ellipse([x + bend - r * 1.3, y - tall - r, x + bend + r * 1.3, y - tall + r], (*c, 255))


def lake_height(x, z):
    """Terrain of the lake scene in km: a valley floor under water, forested feet, ridged peaks."""
    wx = x + 0.35 * noise(1, x * 0.5, z * 0.5)
    valley = z * 0.60 + 0.62 * np.abs(x + 0.25 - 0.10 * z) + 0.5 * noise(2, x * 0.45, z * 0.45)
    crest = fbm(3, wx * 0.33 + 3.5, z * 0.33 + 0.6, octaves=9, gain=0.47, ridged=True)
    hills = fbm(4, x * 1.1, z * 1.1, octaves=5)
    rise = smoothstep(1.3, 6.0, valley)
    return rise * (crest * 1.85 - 0.12) + 0.10 * (valley - 1.5) * (1 - rise * 0.8) + 0.03 * hills


def lake(width=2560, height=1440):
    """Mountain lake in evening light."""
    seed, ss, eye = 5, 2, 0.022
    w, h, focal, horizon = width * ss, height * ss, width * ss * 0.88, height * ss * 0.575
    across = (np.arange(w) + 0.5 - w / 2) / focal
    rows = np.arange(int(h * 0.02) // 2 * 2, int(h * 0.60) // 2 * 2)
    slopes = (horizon - rows - 0.5) / focal
    depths = np.geomspace(0.5, 16, 850)
    order = np.argsort(slopes)
    z = np.empty((len(rows), w), F32)
    z[order] = cast_terrain(lake_height, slopes[order], across, depths, eye)

    gx, gz = np.meshgrid(np.linspace(-10, 10, 900, dtype=F32), np.linspace(0, 17, 765, dtype=F32))
    lit_grid = sun_shadow(lake_height(gx, gz), 20 / 899, SUN, reach=4.0)
    light, _ = sky(across[::ss] + 0.5 / focal, (horizon - np.arange(h // ss) * ss - 1) / focal, seed)
    land, cover = np.zeros((len(rows), w, 3), F32), np.zeros((len(rows), w), F32)
    checker = (np.arange(len(rows))[:, None] + np.arange(w)) % 2 == 0
    r, c = np.nonzero(np.isfinite(z) & checker)
    zz = z[r, c]
    xx = across[c].astype(F32) * zz
    y0, eps = eye + slopes[r].astype(F32) * zz, np.maximum(zz * 1.5 / focal, 0.002)
    normal = normalise(np.stack([
        lake_height(xx - eps, zz) - lake_height(xx + eps, zz), 2 * eps,
        lake_height(xx, zz - eps) - lake_height(xx, zz + eps)], -1))  # fmt: skip
    patch, fine = fbm(6, xx * 2.5, zz * 2.5, octaves=4), fbm(7, xx * 9, zz * 9, y0 * 30, octaves=4)
    flat = normal[:, 1] + 0.10 * patch
    rock = mix((0.20, 0.175, 0.165), (0.095, 0.09, 0.095), np.clip(0.5 + 0.6 * fine, 0, 1))
    rock *= (1 + 0.22 * noise(8, y0 * 26 + 1.5 * patch, xx * 0.8))[:, None]
    meadow = mix((0.10, 0.105, 0.035), (0.15, 0.115, 0.05), np.clip(0.5 + 0.5 * fine, 0, 1))
    albedo = mix(rock, meadow, smoothstep(0.55, 0.8, flat) * smoothstep(1.0, 0.6, y0 + 0.15 * patch))
    woods = smoothstep(0.42, 0.6, flat) * smoothstep(0.50, 0.30, y0 + 0.16 * patch + 0.04 * fine)
    albedo = mix(albedo, (0.030, 0.042, 0.022), woods * np.clip(0.9 + 0.25 * fine, 0, 1))
    snow = smoothstep(0.42, 0.62, flat + 0.12 * fine) * smoothstep(0.55, 1.0, y0 + 0.22 * patch)
    albedo = mix(albedo, (0.80, 0.83, 0.88), snow)
    sun = np.clip(normal @ SUN, 0, 1) * sample(lit_grid, (xx + 10) * 899 / 20, zz * 764 / 17)
    direct = sun[:, None] * np.array((3.3, 2.15, 1.25), F32)
    ambient = (0.5 + 0.5 * normal[:, 1])[:, None] * np.array((0.30, 0.39, 0.56), F32)
    shade = albedo * (direct + ambient)
    shade *= (0.3 + 0.7 * smoothstep(0.0, 0.02, y0))[:, None]
    haze = 1 - np.exp(-zz / 26 - 0.07 * zz * np.exp(-np.maximum(y0, 0) * 6))
    toward = np.clip((-0.6 * across[c] + 0.8) / np.hypot(across[c], 1), 0, 1).astype(F32) ** 3
    air = mix((0.34, 0.44, 0.60), (0.80, 0.55, 0.40), np.clip(toward, 0, 1))
    land[r, c] = mix(shade, air * 0.85, haze)
    cover[r, c] = 1
    water_edge = np.full(w, horizon)
    above = np.isfinite(z) & (eye + slopes[:, None] * z > 0.0015)
    water_edge = rows[0] + len(rows) - np.argmax(above[::-1], 0)
    top, land, cover = rows[0] // ss, reduce(land) * 2, reduce(cover) * 2
    band = light[top : top + len(land)]
    band[:] = land + band * (1 - cover[..., None])
    img = tonemap(light, 1.05)

    rng = np.random.default_rng(seed)
    layer = Image.new("RGBA", (w, h), (30, 40, 34, 0))
    draw = ImageDraw.Draw(layer)
    spots = np.flatnonzero((woods > 0.5) & above[r, c])
    chance = 1 / zz[spots] ** 0.3
    spots = rng.choice(spots, min(len(spots), 40000), replace=False, p=chance / chance.sum())
    green = shade[spots] * np.array((0.86, 1.0, 0.60), F32) * (1 + 0.45 * patch[spots, None])
    tint = tonemap(mix(green, air[spots] * 0.85, haze[spots] * 0.7), 1.05) * 255
    for i, colour in sorted(zip(spots, np.clip(tint, 0, 255), strict=True), key=lambda p: -zz[p[0]]):
        x, base, tall = c[i], rows[r[i]] + 2, rng.uniform(0.010, 0.026) * focal / zz[i]
        part, k = tall * rng.uniform(0.17, 0.25), rng.uniform(0.55, 1.0)
        dark, pale = ((*(int(v) for v in np.clip(colour * k * s, 0, 255)), 255) for s in (0.62, 1.18))
        ys = np.linspace(0, 1, 6)
        left = [(x - part * v * (1.15 if j % 2 else 0.8), base - tall * (1 - v)) for j, v in enumerate(ys)]
        right = [(2 * x - px, py + tall * 0.03) for px, py in left]
        draw.polygon([*left, (x, base)], pale)
        draw.polygon([*right, (x, base)], dark)
    img = over(img, layer)

    edge = blur(np.repeat((water_edge[::ss] / ss)[None].astype(F32), 3, 0), 1)[1]
    lin, line, f = img**2.2, horizon / ss, focal / ss
    wy = np.arange(int(edge.min() - 0.04 * height), height)
    yy, xs = np.meshgrid(wy.astype(F32), np.arange(width, dtype=F32), indexing="ij")
    drop = np.maximum(yy - line, 1.0)
    dist = eye * f / drop * 1000
    east = (xs - width / 2) / f * dist
    step = dist * dist / (eye * 1000 * f)
    tilt = 0
    for i, (wave, amp) in enumerate(((17, 1.0), (8, 1.0), (4, 1.0), (2.1, 1.0), (1.1, 0.9), (0.6, 0.7))):
        tilt = tilt + noise(40 + i, east / wave * 0.45, dist / wave) * amp * np.exp(-((step / wave) ** 2) * 4)
    breeze = 0.35 + 0.65 * smoothstep(-0.3, 0.6, fbm(50, east / 130, dist / 420, octaves=3))
    shift = tilt * 0.0085 * breeze
    spread = 0.006 + 0.010 * breeze
    mirror, base_row = 0, 2 * np.maximum(line, edge[None] - 4) - yy
    for k in np.linspace(-1, 1, 7):
        mirror = mirror + sample(lin, xs + shift * f * 0.2, base_row - np.abs(2 * (shift + spread * k * 0.7) * f))
    sine = drop / f
    fresnel = (0.04 + 0.96 * (1 - np.clip(sine + shift, 0, 1)) ** 5)[..., None]
    body = np.array((0.018, 0.050, 0.060), F32)
    water = mirror / 7 * fresnel * 0.93 + body * (1 - fresnel)
    wet = smoothstep(-0.5, 0.5, yy - edge[None])
    img[wy[0] :] = mix(lin[wy[0] :], water, wet) ** (1 / 2.2)

    mist = np.clip(0.45 + 0.7 * fbm(51, xs / width * 5, yy / height * 30), 0, 1)
    mist *= np.exp(-(((yy - edge[None] + 3) / (0.017 * height)) ** 2))
    pale = mix((0.86, 0.74, 0.66), (0.62, 0.68, 0.74), smoothstep(0, 0.8, xs / width))
    img[wy[0] :] = mix(img[wy[0] :], pale, 0.26 * mist)

    layer = Image.new("RGBA", (w, h), (24, 28, 18, 0))
    draw = ImageDraw.Draw(layer)

    def bank(x):
        left, right = np.exp(-((x / 0.20) ** 2)), np.exp(-(((x - 1) / 0.24) ** 2))
        return 0.925 - 0.10 * left - 0.13 * right + 0.008 * np.sin(x * 23)

    u = np.linspace(0, 1, 400)
    draw.polygon([(0, h), *zip(u * w, bank(u) * h + 12, strict=True), (w, h)], (24, 28, 16, 255))
    spruces = ((0.012, 0.50, 0.75), (0.135, 0.36, 0.9), (0.072, 0.64, 1.0), (0.185, 0.2, 1.0))
    spruces += ((0.80, 0.24, 0.9), (0.985, 0.58, 0.8), (0.862, 0.42, 0.95), (0.925, 0.72, 1.05))
    for x, tall, bright in spruces:
        conifer(draw, rng, x * w, (bank(x) + 0.02) * h, tall * h, bright)
    grass(draw, rng, w, h, bank, 30000)
    return finish(over(img, layer), seed, vignette=0.28, grain=0.5, bloom=0.25)
