"""Mutation of model folders, as one string of bytes: config.json and model.safetensors, with digest and identities.

length of config.json, 4 bytes little-endian | config.json | model.safetensors
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from vqcodec.config.model import ModelConfig
from vqcodec.config.reading import read
from vqcodec.models.identity import token_identity
from vqcodec.models.loading import ENTROPY, entropy_from_tensors
from vqcodec.models.registry import CONFIG, WEIGHTS
from vqcodec.models.weights_int8 import unpack

from .byte_edits import edited, number


def packed_folder(folder: Path) -> bytes:
    """The two files of a model folder as one string."""
    return joined((folder / CONFIG).read_bytes(), (folder / WEIGHTS).read_bytes())


def joined(config: bytes, weights: bytes) -> bytes:
    """The string of both files."""
    return len(config).to_bytes(4, "little") + config + weights


def divided(data: bytes) -> tuple[bytes, bytes]:
    """config.json and model.safetensors of the string."""
    n = int.from_bytes(data[:4], "little")
    return data[4 : 4 + n], data[4 + n :]


def mutated(data: bytes, random: Random) -> bytes:
    """A model folder made of the valid one `data` by 1 to 3 changes of settings, of tensors, or of the files."""
    config, weights = divided(data)
    tree = json.loads(config)
    for _ in range(random.randint(1, 3)):
        kind = random.randrange(10)
        if kind < 5:
            tree = _with_other_value(tree, random)
        elif kind < 8:
            weights = _with_other_tensor(weights, random)
        elif kind == 8:
            weights = _with_other_table(weights, random)
        else:
            weights = edited(weights, random)
    if random.random() < 0.9 and isinstance(tree, dict):
        tree = with_digests(tree, weights)
    config = json.dumps(tree).encode()
    return joined(edited(config, random) if random.random() < 0.1 else config, weights)


def repaired(data: bytes) -> bytes:
    """`data` with the right digest and identities, where its config.json is JSON."""
    config, weights = divided(data)
    try:
        tree = json.loads(config)
    except (ValueError, RecursionError):
        return data
    return joined(json.dumps(with_digests(tree, weights)).encode(), weights) if isinstance(tree, dict) else data


def with_digests(tree: dict[str, Any], weights: bytes) -> dict[str, Any]:
    """`tree` with the SHA-256 of the weights and, where they can be computed, the identities."""
    tree = tree | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    try:
        tensors: Mapping[str, np.ndarray] = load(weights)
        config = read(ModelConfig, tree)
        entropy = {name: value for name, value in tensors.items() if name.startswith(ENTROPY)}
        tree["token_id"] = token_identity(config, unpack(tensors)).hex()
        if len(config.tokenizer.quantizer.sizes) <= 256:
            tree["entropy_id"] = entropy_from_tensors(config.tokenizer.quantizer, entropy).identity().hex()
    except Exception:  # whatever is wrong is for the reader to find
        pass
    return tree


def _with_other_value(tree: Any, random: Random) -> Any:
    """JSON in which one value is another one, missing, doubled or moved."""
    paths = list(_paths(tree))
    if not paths:
        return tree
    *path, key = random.choice(paths)
    parent = tree
    for step in path:
        parent = parent[step]
    kind = random.randrange(6)
    if kind == 0 and isinstance(parent, dict):
        parent[key + random.choice(("", "x", "\x1b[31m"))] = parent.pop(key)
    elif kind == 0:
        parent.insert(key, parent[key])
    elif kind == 1:
        del parent[key]
    else:
        old = parent[key]
        parent[key] = random.choice(
            (
                *(number(random, old if isinstance(old, int) else 0),) * 4,
                *(
                    -number(random),
                    0.5,
                    1e308,
                    float("nan"),
                    None,
                    True,
                    "",
                    "\x1b[2J",
                    "vq",
                    [],
                    {},
                    [old],
                    [old] * 20,
                ),
                *(2**70, [[]], "fsq", "residual", "uniform", "multi-scale", "split", {"kind": "fsq", "levels": [2, 2]}),
            )
        )
    return tree


def _paths(tree: Any) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (key,)
        for path in _paths(value):
            yield (key, *path)


def _with_other_tensor(weights: bytes, random: Random) -> bytes:
    """Weights in which one tensor has other values, another type, shape or name, or is missing."""
    try:
        tensors = load(weights)
    except Exception:  # edited before
        return weights
    if not tensors:
        return weights
    name = random.choice(sorted(tensors))
    value = tensors[name]
    kind = random.randrange(8)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[random.choice((name + "x", "prior.lut", "scalar.check", "entropy.tables.9", "\x1b[m"))] = value
    elif kind == 2:
        types = ("u1", "i1", "i4", "i8", "f2", "f4", "f8", "u4")
        with np.errstate(all="ignore"):
            tensors[name] = value.astype(random.choice(types))
    elif kind == 3:
        tensors[name] = value.reshape(-1)[: random.choice((0, 1, value.size // 2))].copy()
    elif kind == 4:
        tensors[name] = np.concatenate([value.reshape(-1), value.reshape(-1)[:1]])
    elif kind == 5:
        tensors[name] = value.reshape((1, *value.shape)) if random.random() < 0.5 else value.reshape(-1)
    else:
        flat = value.copy().reshape(-1)
        if flat.size:
            extreme = (0, 1, -1, 127, np.inf, np.nan, 1e30) if value.dtype.kind == "f" else (0, 1, -1, 2**31 - 1, 2**62)
            with np.errstate(all="ignore"):
                some = np.asarray(random.choice(extreme)).astype(value.dtype)
            flat[random.randrange(flat.size)] = some
            if random.random() < 0.2:
                flat[:] = some
        tensors[name] = flat.reshape(value.shape)
    return bytes(save(tensors))


def _with_other_table(weights: bytes, random: Random) -> bytes:
    """Weights with another table of names: types, shapes, offsets, and the length of the table."""
    n = int.from_bytes(weights[:8], "little")
    try:
        tree = json.loads(weights[8 : 8 + n])
    except (ValueError, RecursionError):
        return weights
    text = json.dumps(_with_other_value(tree, random)).encode()
    length = len(text) if random.random() < 0.8 else min(2**63, number(random, len(text)))
    return length.to_bytes(8, "little") + text + weights[8 + n :]
