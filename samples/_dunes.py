"""Wind-rippled dunes under a clear evening sky, in portrait format."""

import numpy as np
from _render import (
    F32,
    cast_terrain,
    fbm,
    finish,
    mix,
    noise,
    normalise,
    reduce,
    sample,
    smoothstep,
    sun_shadow,
    tonemap,
)

SUN = normalise((-0.90, 0.23, 0.36))


def dune_height(x, z):
    """Height of the sand in metres: asymmetric crests across the wind, bent and broken up by noise."""
    total = 0
    for seed, length, tall in ((1, 95.0, 15.0), (2, 41.0, 3.6)):
        bend = 0.75 * fbm(seed, x / length * 0.55, z / length * 0.55, octaves=3)
        phase = (z * 0.80 + x * 0.60) / length + bend + 0.31 * seed
        t = phase - np.floor(phase)
        windward, slip = (t / 0.70) ** 1.5, ((1 - t) / 0.30) ** 1.15
        round_off = np.maximum(0.09 - np.abs(windward - slip), 0) ** 2 / 0.36
        crest = np.minimum(windward, slip) - round_off
        swell = np.clip(0.72 + 0.55 * noise(seed + 10, x / length * 0.5, z / length * 0.5), 0.1, 1.4)
        total = total + tall * crest * swell
    far = smoothstep(60, 500, z)
    return total * (0.75 + 1.15 * far) + 1.5 * noise(5, x / 60, z / 60) - 9.0


def dunes(width=960, height=1280):
    """Sand dunes with ripples, long shadows and a line of distant hills."""
    ss, eye = 2, 12.0
    w, h = width * ss, height * ss
    focal, horizon = w * 1.25, h * 0.40
    across = ((np.arange(w) + 0.5 - w / 2) / focal).astype(F32)
    slopes = (horizon - np.arange(h) - 0.5) / focal
    rows = np.arange(int(h * 0.25), h)
    z = np.empty((len(rows), w), F32)
    z[::-1] = cast_terrain(dune_height, slopes[rows][::-1], across, np.geomspace(7, 1500, 2800), eye)
    span = 1600.0
    gx, gz = np.meshgrid(np.linspace(-800, 800, 1800, dtype=F32), np.linspace(0, span, 1800, dtype=F32))
    lit_grid = sun_shadow(dune_height(gx, gz), span / 1799, SUN, steps=60, reach=130.0)

    x, y = np.meshgrid(across, slopes.astype(F32))
    ray = normalise(np.stack([x, y, np.ones_like(x)], -1))
    up = np.maximum(ray[..., 1], 0)
    toward = np.clip(ray @ normalise((-0.8, 0.1, 0.75)), 0, 1)[..., None]
    light = mix((1.0, 0.58, 0.35), (0.40, 0.44, 0.58), smoothstep(0.0, 0.17, up))
    light = mix(light, (0.055, 0.13, 0.33), smoothstep(0.06, 0.42, up)) + toward**8 * np.array((0.6, 0.28, 0.10), F32)
    u, v = x / (up + 0.12), 1 / (up + 0.12)
    warp = 0.5 * fbm(20, u * 0.6, v * 0.6, octaves=4)
    veil = smoothstep(0.05, 1.3, fbm(21, u * 0.5 + 0.5 * v + warp, v * 1.6 - u * 0.5 + warp, octaves=8, gain=0.58))
    light = mix(light, (1.15, 0.82, 0.66), veil * 0.55 * smoothstep(0.03, 0.12, up))

    r, c = np.nonzero(np.isfinite(z))
    zz = z[r, c]
    xx = across[c] * zz
    eps = np.maximum(zz * 0.002, 0.05)
    here = dune_height(xx, zz)
    sx, sz = (dune_height(xx + eps, zz) - here) / eps, (dune_height(xx, zz + eps) - here) / eps
    steep = np.hypot(sx, sz)
    wind = 0.34 * fbm(30, xx / 5, zz / 5, octaves=4) + 2.2 * noise(31, xx / 34, zz / 34)
    phase = (xx * 0.95 + zz * 0.42) / 0.62 + wind * 2.2
    foot = zz * zz / (eye * focal) * 0.6
    strength = np.exp(-((foot / 0.30) ** 2)) * smoothstep(0.62, 0.40, steep)
    strength *= np.clip(0.8 + 0.6 * noise(32, xx / 9, zz / 9), 0.15, 1.3)
    ripple = strength * 0.20 * (np.cos(2 * np.pi * phase) + 0.35 * np.cos(4 * np.pi * phase + 0.9))
    grain = 0.05 * fbm(33, xx * 7, zz * 7, octaves=3) * np.exp(-zz / 60)
    normal = normalise(np.stack([-sx - ripple * 0.95 - grain, np.ones_like(sx), -sz - ripple * 0.42 + grain], -1))
    sun = np.clip(normal @ SUN, 0, 1) * sample(lit_grid, (xx + 800) / span * 1799, zz / span * 1799)
    blend = np.clip(0.5 + 0.4 * fbm(34, xx / 12, zz / 12, octaves=5), 0, 1)
    sand = mix((0.50, 0.235, 0.095), (0.60, 0.32, 0.145), blend)
    sand = sand * (1 + 0.10 * fbm(35, xx * 5, zz * 5, octaves=4) * np.exp(-zz / 90))[:, None]
    direct, fill = np.array((4.4, 2.9, 1.7), F32), np.array((0.17, 0.20, 0.33), F32)
    shade = sand * (sun[:, None] * direct + (0.35 + 0.65 * normal[:, 1:2]) * fill)
    haze = 1 - np.exp(-zz / 2400)
    top = rows[0]
    light[top + r, c] = mix(shade, mix((0.55, 0.47, 0.47), (0.98, 0.64, 0.42), toward[top + r, c, 0] ** 3), haze)
    return finish(tonemap(reduce(light), 0.82), 7, vignette=0.3, grain=0.7, bloom=0.15)
