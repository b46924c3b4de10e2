"""A ray-traced still life: spheres of several materials on a wooden table by a window."""

import numpy as np
from _render import F32, cells, fbm, finish, mix, noise, normalise, reduce, smoothstep, tonemap, wood

CENTRES = np.array([
    (-1.72, 1.05, 0.75), (0.42, 1.25, 1.45), (-0.28, 0.62, -0.55), (1.55, 0.74, -0.12), (2.72, 0.95, 1.35),
    (0.72, 0.30, -1.30), (-1.42, 0.36, -1.12), (-2.75, 0.50, -0.35), (2.45, 0.27, -1.05),
    (0.02, 0.19, -1.62)], F32)  # fmt: skip
RADII = CENTRES[:, 1].copy()
KINDS = ("marble", "porcelain", "glass", "chrome", "orange", "gold", "wood", "orange", "marble", "chrome")
LAMP, LAMP_SIZE, WALL = np.array((-5.2, 6.2, -3.2), F32), 0.13, 4.2
KEY, FILL = np.array((2.5, 2.1, 1.6), F32), np.array((0.24, 0.30, 0.40), F32)


def environment(d):
    """Light from the room: dim warm walls, a tall window with bars at the left, a pale one behind the camera."""
    up = d[:, 1:2]
    light = mix((0.10, 0.075, 0.06), (0.34, 0.33, 0.34), smoothstep(-0.3, 1.0, up[:, 0]))
    for axis, strength, lo, hi in ((-d[:, 0], 6.5, -1.25, 0.05), (-d[:, 2], 1.5, -0.2, 0.7)):
        across = np.where(axis is d[:, 2], 0, d[:, 2] if strength > 2 else d[:, 0]) / np.maximum(axis, 1e-3)
        high = d[:, 1] / np.maximum(axis, 1e-3)
        pane = smoothstep(lo - 0.015, lo + 0.015, across) * smoothstep(hi + 0.015, hi - 0.015, across)
        pane *= smoothstep(0.24, 0.27, high) * smoothstep(1.72, 1.69, high) * (axis > 0.05)
        bars = smoothstep(0.02, 0.035, np.abs(across - (lo + hi) / 2)) * smoothstep(0.02, 0.035, np.abs(high - 0.98))
        sky = mix((1.0, 0.93, 0.82), (0.72, 0.86, 1.0), smoothstep(0.3, 1.7, high))
        light = light + (pane * bars * strength)[:, None] * sky
    return light


def hit(o, d):
    """Nearest hit of each ray: distance and object (sphere number, -1 table, -2 wall, -3 none)."""
    far, what = np.full(len(o), 1e9, F32), np.full(len(o), -3)
    with np.errstate(divide="ignore", invalid="ignore"):
        for ident, t in ((-1, -o[:, 1] / d[:, 1]), (-2, (WALL - o[:, 2]) / d[:, 2])):
            ok = (t > 1e-3) & (t < far) & (t < 60)
            far, what = np.where(ok, t, far), np.where(ok, ident, what)
    for i, (centre, radius) in enumerate(zip(CENTRES, RADII, strict=True)):
        oc = o - centre
        b = (oc * d).sum(1)
        disc = b * b - (oc * oc).sum(1) + radius * radius
        t = -b - np.sqrt(np.maximum(disc, 0))
        ok = (disc > 0) & (t > 1e-3) & (t < far)
        far, what = np.where(ok, t, far), np.where(ok, i, what)
    return far, what


def visibility(p, n, what):
    """Soft shadow of the lamp (coloured behind glass) and ambient occlusion of all spheres, both in closed form."""
    to = LAMP - p
    dist = np.sqrt((to * to).sum(1, keepdims=True))
    to /= dist
    shadow, ambient = np.ones((len(p), 3), F32), np.ones(len(p), F32)
    for i, (centre, radius, kind) in enumerate(zip(CENTRES, RADII, KINDS, strict=True)):
        oc = centre - p
        along = (oc * to).sum(1)
        gap = np.sqrt(np.maximum((oc * oc).sum(1) - along * along, 0)) - radius
        clear = smoothstep(-1, 1, gap / (np.maximum(along, 0.05) * LAMP_SIZE))
        clear = np.where((along > 0) & (what != i), clear, 1)
        if kind == "glass":
            focus = 1.9 * smoothstep(-0.45 * radius, -radius, gap) ** 2 + 0.28
            clear = clear + (1 - clear) * focus
        shadow *= clear[:, None] if kind != "glass" else clear[:, None] * mix((1, 1, 1), (0.86, 1.0, 0.95), 1 - clear)
        away = np.maximum((oc * oc).sum(1), radius * radius)
        facing = np.maximum((n * oc).sum(1) / np.sqrt(away) * 0.75 + 0.25, 0)
        weight = 0.4 if kind == "glass" else 0.95
        ambient *= np.where(what != i, 1 - weight * np.clip(facing * radius * radius / away, 0, 1), 1)
    return to, dist[:, 0], shadow, ambient


def bumpy(p, n, seed, scale, depth):
    """Normal `n` tilted by a three-dimensional noise relief."""
    eps, base = 0.35 / scale, noise(seed, *(p.T * scale))
    grad = np.stack([noise(seed, *((p + eps * np.eye(3, dtype=F32)[k]).T * scale)) - base for k in range(3)], 1)
    return normalise(n - depth * (grad - n * (grad * n).sum(1, keepdims=True)))


def surface(p, n, kind, i):
    """Albedo, shading normal, reflectance at normal incidence and highlight exponent of a material at points `p`."""
    q = p - (CENTRES[i] if i >= 0 else 0)
    x, y, z = q.T / (RADII[i] if i >= 0 else 1)
    mirror, shine = np.full((len(p), 3), 0.04, F32), np.full(len(p), 250.0, F32)
    if kind == "marble":
        warp = fbm(21 + i, x * 1.3, y * 1.3, z * 1.3, octaves=5)
        vein = 1 - np.abs(fbm(31 + i, x * 1.1 + warp, y * 1.1 + 0.8 * warp, z * 1.1 - warp, octaves=4))
        fine = 1 - np.abs(fbm(41 + i, x * 3 + warp, y * 3 + warp, z * 3, octaves=4))
        base = mix((0.02, 0.10, 0.075), (0.06, 0.235, 0.17), np.clip(0.5 + 0.7 * warp, 0, 1))
        if i > 3:
            base = mix((0.16, 0.02, 0.025), (0.42, 0.07, 0.05), np.clip(0.5 + 0.7 * warp, 0, 1))
        albedo = mix(
            base, (0.80, 0.78, 0.70), np.clip(0.9 * smoothstep(0.90, 1, vein) + 0.3 * smoothstep(0.90, 1, fine), 0, 1)
        )
    elif kind == "porcelain":
        lon, lat = np.arctan2(z, x) + 0.35, np.arcsin(np.clip(y, -1, 1))
        u, v = lon * 18 / np.pi, lat * 18 / np.pi
        petal = np.abs(np.hypot((u % 4) - 2, v * 0.9) - 1.15 - 0.45 * np.cos(6 * np.arctan2(v * 0.9, (u % 4) - 2)))
        rings = np.minimum.reduce([np.abs(np.abs(v) - r) for r in (2.6, 2.95, 6.6, 6.8)])
        scale = np.abs(np.hypot((u % 1) - 0.5, (np.abs(v) - 3.3) % 1 - 0.2) - 0.46) + 9 * (
            (np.abs(v) < 3.2) | (np.abs(v) > 6.5)
        )
        ink = np.maximum.reduce([smoothstep(0.36, 0.16, petal) * (np.abs(v) < 2.4), smoothstep(0.16, 0.08, rings),
                                 0.85 * smoothstep(0.17, 0.07, scale)])  # fmt: skip
        ink = ink * (0.75 + 0.25 * fbm(51, x * 5, y * 5, z * 5, octaves=3))
        albedo = mix((0.78, 0.78, 0.75), (0.018, 0.05, 0.24), np.clip(ink, 0, 1))
    elif kind == "orange":
        patch = fbm(61 + i, x * 1.6, y * 1.6, z * 1.6, octaves=5)
        albedo = mix((0.78, 0.21, 0.012), (0.74, 0.28, 0.02), np.clip(0.5 + 0.6 * patch, 0, 1))
        stem = np.hypot(x + 0.28, z + 0.45) + 0.03 * noise(66, x * 9, z * 9)
        albedo = mix(albedo, (0.13, 0.14, 0.04), smoothstep(0.13, 0.08, stem) * (y > 0))
        n = bumpy(q / RADII[i], n, 62, 21.0, 0.16)
        n = bumpy(q / RADII[i], n, 63, 7.0, 0.05)
        shine[:], mirror[:] = 38, 0.035
    elif kind in ("chrome", "gold"):
        albedo = np.zeros((len(p), 3), F32)
        mirror[:] = (0.80, 0.81, 0.83) if kind == "chrome" else (0.98, 0.70, 0.30)
        n = bumpy(q, n, 71, 2.5 if kind == "chrome" else 14, 0.006 if kind == "chrome" else 0.03)
    elif kind == "wood":
        albedo, _ = wood(81, x * 2.2 + 3, np.hypot(y * 3, z * 3 + 1.5))
        albedo, shine[:] = albedo * (1.5, 1.35, 1.1), 60
    elif i == -1:
        plank = np.floor(z / 1.25)
        tint = np.random.default_rng(9).random(64)[(plank % 64).astype(int)].astype(F32)
        albedo, gloss = wood(91, x * 0.8 + plank * 37.7, z * 0.8 + plank * 11.3)
        seam = smoothstep(0.012, 0.03, np.abs(z / 1.25 - np.round(z / 1.25)) * 1.25)
        albedo = albedo * ((0.75 + 0.5 * tint) * (0.25 + 0.75 * seam))[:, None]
        scratches = smoothstep(0.75, 0.95, fbm(95, x * 1.5 + z * 0.6, z * 14 - x * 9, octaves=3)) * 0.25
        albedo = albedo * (1 + scratches[:, None])
        n = normalise(n + np.stack([0.006 * fbm(93, x * 3, z * 24, octaves=3), 0 * x,
                                    0.018 * fbm(94, x * 1.5, z * 10, octaves=4)], 1))  # fmt: skip
        mirror[:], shine[:] = (0.05 * np.clip(gloss, 0.2, 1) * seam)[:, None], 70
    else:
        blotch = fbm(97, x * 0.5, y * 0.5, octaves=6)
        albedo = mix((0.155, 0.175, 0.165), (0.27, 0.285, 0.26), np.clip(0.5 + 0.55 * blotch, 0, 1))
        relief = fbm(98, x * 2.6, y * 2.6, octaves=6, gain=0.6)
        crack = cells(99, x * 0.45 + 0.3 * blotch, y * 0.45 + 0.2 * relief)
        albedo = albedo * (1 + 0.18 * relief - 0.20 * smoothstep(0.012, 0.0, crack[1] - crack[0]))[:, None]
        n = normalise(n + np.stack([0.10 * relief, 0.10 * fbm(96, x * 2.6, y * 2.6, octaves=5), 0 * x], 1))
        mirror[:], shine[:] = 0.0, 10
    return albedo, n, mirror, shine


def trace(o, d, depth=4):
    """Light along the rays `o + t d`."""
    t, what = hit(o, d)
    out = environment(d)
    for i in np.unique(what[what > -3]):
        m = np.flatnonzero(what == i)
        kind, p, ray = KINDS[i] if i >= 0 else "", o[m] + d[m] * t[m, None], d[m]
        flat = np.array((0, 1, 0) if i == -1 else (0, 0, -1), F32)
        n = (p - CENTRES[i]) / RADII[i] if i >= 0 else np.broadcast_to(flat, p.shape)
        if kind == "glass":
            cos = np.clip(-(ray * n).sum(1, keepdims=True), 0, 1)
            bent = ray / 1.5 + (cos / 1.5 - np.sqrt(1 - (1 - cos * cos) / 2.25)) * n
            chord = -2 * (bent * n).sum(1, keepdims=True) * RADII[i]
            q = p + bent * chord
            n2 = -(q - CENTRES[i]) / RADII[i]
            cos2 = np.clip(-(bent * n2).sum(1, keepdims=True), 0, 1)
            leave = normalise(bent * 1.5 + (cos2 * 1.5 - np.sqrt(np.maximum(1 - 2.25 * (1 - cos2 * cos2), 0))) * n2)
            f = 0.04 + 0.96 * (1 - cos) ** 5
            light = np.zeros_like(p)
            if depth:
                light = (
                    trace(q - n2 * 2e-3, leave, depth - 1)
                    * (1 - f)
                    * np.exp(-chord * np.array((0.10, 0.03, 0.06), F32))
                )
                light += trace(p + n * 2e-3, normalise(ray + 2 * cos * n), depth - 1) * f
            out[m] = light
            continue
        albedo, bent, mirror, shine = surface(p, n, kind, i)
        to, dist, shadow, ambient = visibility(p, n, i)
        lamp = np.clip((bent * to).sum(1) * 1.06, 0, 1)[:, None] * shadow * KEY * (60 / dist**2)[:, None]
        fill = FILL * (0.55 + 0.45 * bent[:, 1:2]) + np.array((0.20, 0.10, 0.05), F32) * (0.5 - 0.5 * bent[:, 1:2])
        light = albedo * (lamp + fill * ambient[:, None])
        if kind in ("orange", "wood") or i == -1:
            half = normalise(to - ray)
            gleam = np.clip((bent * half).sum(1), 0, 1) ** shine * (shine + 8) / 25 * mirror[:, 0]
            light = light + gleam[:, None] * shadow * KEY * 1.3
        if depth and mirror.max() > 0 and kind not in ("wood",):
            cos = np.clip(-(ray * bent).sum(1, keepdims=True), 0, 1)
            f = mirror + (1 - mirror) * (1 - cos) ** 5 * (0.35 if kind == "orange" else 0.45 if i == -1 else 0.9)
            back = normalise(ray + 2 * cos * bent)
            seen = trace(p + n * 2e-3, back, depth - 2 if i == -1 else depth - 1) if depth > 1 else environment(back)
            seen = np.minimum(seen, 2.2) * (0.35 if kind == "orange" else 1.0)
            light = light + f * seen * (0.4 + 0.6 * ambient[:, None])
        out[m] = light
    return out


def still_life(width=1024, height=768):
    """Spheres of marble, porcelain, glass, metal and fruit on a table, with soft window light."""
    ss, eye = 2, np.array((0.15, 2.75, -7.6), F32)
    ahead = normalise(np.array((0.1, 0.86, 0.4), F32) - eye)
    right = normalise(np.cross((0, 1, 0), ahead))
    up = np.cross(ahead, right)
    w, h = width * ss, height * ss
    rng, img, band = np.random.default_rng(3), np.zeros((h, w, 3), F32), 96
    for top in range(0, h, band):
        y, x = np.mgrid[top : min(top + band, h), :w].astype(F32)
        x, y = ((v + rng.random(v.shape, F32)).ravel() for v in (x, y))
        d = ahead * 2.05 + ((x - w / 2) / (w / 2))[:, None] * right - ((y - h / 2) / (w / 2))[:, None] * up
        d = normalise(d).astype(F32)
        img[top : top + band] = trace(np.broadcast_to(eye, d.shape).copy(), d).reshape(-1, w, 3)
    return finish(tonemap(reduce(np.minimum(img, 6)), 0.62), 3, vignette=0.38, grain=0.7, bloom=0.2)
