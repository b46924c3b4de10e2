"""Shared helpers of the rendered sample pictures: noise, height fields, tone mapping and finishing."""

import numpy as np
from PIL import Image

F32 = np.float32


def smoothstep(lo, hi, x):
    """Hermite step from 0 at `lo` to 1 at `hi` (either order)."""
    t = np.clip((x - lo) / (hi - lo), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a, b, t):
    """Linear blend of `a` and `b`; colours (last axis 3) blend under a scalar mask."""
    a, b, t = (np.asarray(v, F32) for v in (a, b, t))
    if t.ndim and (a.shape[-1:] == (3,) or b.shape[-1:] == (3,)) and t.shape[-1] not in (1, 3):
        t = t[..., None]
    return a + (b - a) * t


def normalise(v):
    """Vectors (last axis) scaled to length one."""
    v = np.asarray(v, F32)
    return v / np.maximum(np.sqrt((v * v).sum(-1, keepdims=True)), 1e-9)


def noise(seed, *coords):
    """Gradient noise in one to three dimensions, about -1 to 1, quintic interpolation."""
    rng, n = np.random.default_rng(seed), len(coords)
    perm = rng.permutation(256)
    grads = normalise(rng.normal(size=(256, n))).T.copy() * 1.5
    coords = np.broadcast_arrays(*[np.asarray(c, F32) for c in coords])
    cells = [np.floor(c) for c in coords]
    frac = [c - f for c, f in zip(coords, cells, strict=True)]
    cells = [f.astype(np.intp) for f in cells]
    fade = [f * f * f * (f * (f * 6 - 15) + 10) for f in frac]
    total = np.zeros(coords[0].shape, F32)
    for corner in range(1 << n):
        bits = [corner >> i & 1 for i in range(n)]
        h, weight = 0, 1
        for cell, f, bit in zip(cells, fade, bits, strict=True):
            h = perm.take((h + cell + bit) & 255)
            weight = weight * (f if bit else 1 - f)
        total += weight * sum(g.take(h) * (f - bit) for g, f, bit in zip(grads, frac, bits, strict=True))
    return total


def fbm(seed, *coords, octaves=6, gain=0.5, ridged=False):
    """Fractal sum of noise octaves, turned between octaves so that no lattice shows; `ridged` gives sharp crests."""
    coords, total, weight, amp, norm = list(coords), 0, 1, 1.0, 0.0
    c, s = 0.7986 * 2.03, 0.6018 * 2.03
    for octave in range(octaves):
        n = noise(seed * 131 + octave, *coords)
        if ridged:
            n = (1 - np.abs(n)) ** 2 * weight
            weight = np.clip(n * 1.6, 0, 1)
        total, norm, amp = total + n * F32(amp), norm + amp, amp * gain
        if len(coords) > 1:
            coords[:2] = [c * coords[0] - s * coords[1] + 17.3, s * coords[0] + c * coords[1] - 9.1]
            coords[2:] = [v * 2.03 + 5.7 for v in coords[2:]]
        else:
            coords = [coords[0] * 2.03 + 17.3]
    return total / F32(norm if ridged else norm**0.5)


def cells(seed, x, y, jitter=0.9):
    """Worley cells: distance to the nearest and second nearest feature point, and the nearest one's random value."""
    table = np.random.default_rng(seed).random((3, 64, 64)).astype(F32)
    ix, iy = np.floor(x).astype(int), np.floor(y).astype(int)
    near, second, ident = np.full(x.shape, 9, F32), np.full(x.shape, 9, F32), np.zeros(x.shape, F32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            px, py, value = (t[(iy + dy) & 63, (ix + dx) & 63] for t in table)
            d = np.hypot(ix + dx + 0.5 + (px - 0.5) * jitter - x, iy + dy + 0.5 + (py - 0.5) * jitter - y)
            closer = d < near
            second = np.where(closer, near, np.minimum(second, d))
            near, ident = np.where(closer, d, near), np.where(closer, value, ident)
    return near, second, ident


def blur(img, sigma):
    """Gaussian blur of a plane or colour image (by FFT, reflected borders)."""
    if img.ndim == 3:
        return np.stack([blur(img[..., i], sigma) for i in range(img.shape[2])], -1)
    pad = int(3 * sigma) + 1
    p = np.pad(img, pad, mode="symmetric")
    fy, fx = np.fft.fftfreq(p.shape[0])[:, None], np.fft.rfftfreq(p.shape[1])
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (fy * fy + fx * fx))
    return np.fft.irfft2(np.fft.rfft2(p) * kernel, p.shape)[pad:-pad, pad:-pad].astype(F32)


def sample(grid, u, v):
    """Bilinear look-up of a plane or colour image at column `u` and row `v`, clamped to the border."""
    u, v = np.clip(u, 0, grid.shape[1] - 1.001), np.clip(v, 0, grid.shape[0] - 1.001)
    iu, iv = u.astype(np.int32), v.astype(np.int32)
    fu, fv = (u - iu).astype(F32), (v - iv).astype(F32)
    if grid.ndim == 3:
        fu, fv = fu[..., None], fv[..., None]
    top = grid[iv, iu] * (1 - fu) + grid[iv, iu + 1] * fu
    return top * (1 - fv) + (grid[iv + 1, iu] * (1 - fu) + grid[iv + 1, iu + 1] * fu) * fv


def reduce(img, factor=2):
    """Box filter by a whole factor: the last step of supersampling."""
    h, w = img.shape[0] // factor, img.shape[1] // factor
    return img[: h * factor, : w * factor].reshape(h, factor, w, factor, *img.shape[2:]).mean((1, 3), dtype=F32)


def cast_terrain(height, slopes, across, depths, eye):
    """Depth at which each pixel's ray first meets the terrain `height(x, z)`, inf where it meets none.

    `slopes` are the rays' rises per unit of depth, one a row; `across` their sideways slopes, one a column.
    """
    z = depths[:, None].astype(F32)
    rise = (height(across[None, :] * z, np.broadcast_to(z, (len(depths), len(across)))) - eye) / z
    crest, out = np.maximum.accumulate(rise, 0), np.full((len(slopes), len(across)), np.inf, F32)
    for c in range(len(across)):
        k = np.searchsorted(crest[:, c], slopes)
        rows = (k < len(depths)) & (k > 0)
        k = k[rows]
        a, b = rise[k - 1, c], rise[k, c]
        out[rows, c] = depths[k - 1] + np.clip((slopes[rows] - a) / (b - a), 0, 1) * (depths[k] - depths[k - 1])
    return out


def sun_shadow(grid, cell, direction, steps=48, reach=1.5):
    """Share of sunlight (0 to 1, soft) at each point of a height grid; rows are z, columns x, `cell` their size."""
    v, u = np.mgrid[: grid.shape[0], : grid.shape[1]].astype(F32)
    flat, lit = np.hypot(direction[0], direction[2]), np.ones(grid.shape, F32)
    for k in range(1, steps + 1):
        dist = reach * (k / steps) ** 1.5
        su, sv = u + direction[0] / flat * dist / cell, v + direction[2] / flat * dist / cell
        above = sample(grid, su, sv) - grid - dist * direction[1] / flat
        lit = np.minimum(lit, smoothstep(0.08, -0.04, above / dist))
    return lit


def wood(seed, x, y):
    """Colour (linear light) and gloss of a planed wooden board; grain runs along x, one unit is about 10 cm."""
    ring = fbm(seed, x * 0.35, y * 1.9, octaves=4) * 2.6 + y * 2.2 + 0.5 * fbm(seed + 1, x * 0.12, y * 0.9, octaves=2)
    band = ring - np.floor(ring)
    late = smoothstep(0.25, 0.93, band) * smoothstep(1.0, 0.94, band)
    fibre = fbm(seed + 2, x * 2.2, y * 46, octaves=4)
    pores = smoothstep(0.42, 0.75, fbm(seed + 3, x * 3.5, y * 60, octaves=2))
    tone = np.clip(0.45 + 0.33 * late + 0.16 * fibre + 0.22 * fbm(seed + 4, x * 0.4, y * 0.6, octaves=3), 0, 1)
    colour = mix((0.36, 0.185, 0.082), (0.105, 0.042, 0.018), tone) * (1 - 0.5 * pores[..., None])
    return colour, 0.6 + 0.4 * (1 - tone) - 0.4 * pores


def tonemap(light, exposure=1.0):
    """Filmic curve from linear light to display values 0 to 1."""
    x = np.maximum(light, 0) * exposure
    x = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    return np.where(x < 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-6) ** (1 / 2.4) - 0.055).astype(F32)


def over(img, layer):
    """Composite an RGBA Pillow layer, drawn at a whole multiple of the size, over a display-referred image."""
    factor = layer.height // img.shape[0]
    out = img.copy()
    for top in range(0, img.shape[0], 128):
        box = (0, top * factor, layer.width, min(top + 128, img.shape[0]) * factor)
        part = np.asarray(layer.crop(box), F32) / 255
        alpha = part[..., 3:]
        colour, alpha = reduce(part[..., :3] * alpha, factor), reduce(alpha, factor)
        out[top : top + 128] = colour + out[top : top + 128] * (1 - alpha)
    return out


def finish(img, seed, vignette=0.3, grain=0.6, bloom=0.0):
    """Lens and sensor: bloom, vignette, a little luminance grain (in 8-bit steps) and rounding with dither."""
    h, w = img.shape[:2]
    if bloom:
        glow = blur(smoothstep(0.6, 1.0, img) * img, w / 90)
        img = 1 - (1 - img) * (1 - bloom * glow)
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(F32)
    img = img * (1 - vignette * np.clip((x * x + y * y) / 2, 0, 1) ** 1.3)[..., None]
    rng = np.random.default_rng(seed)
    luma = rng.normal(0, 1, (h, w, 1)).astype(F32) * grain
    out = img * 255 + luma + rng.random((h, w, 1), F32) - 0.5
    return Image.fromarray(np.clip(np.round(out), 0, 255).astype(np.uint8))
