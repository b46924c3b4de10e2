"""Tokens of several files read together, and planes stacked to one array."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec import container
from vqcodec.errors import UsageError
from vqcodec.models import loading
from vqcodec.tokens.reading import read_several


def test_several_files_together_equal_each_alone(tiny_model: str, photo: Image.Image) -> None:
    sizes = [(200, 150), (48, 32), (48, 32), (700, 20), (16, 16)]
    data = [vqcodec.encode(photo.resize(size), tiny_model, keep=1 + i % 4) for i, size in enumerate(sizes)]
    files = [container.read(one) for one in data]
    keeps = [file.header.n_layers for file in files]
    found = read_several(files, loading.load_model(tiny_model), keeps, [None] * len(files))
    assert found == [vqcodec.decode_tokens(one) for one in data]


def test_stack_holds_the_planes_of_the_layers(tiny_model: str, tiny_vqc: bytes) -> None:
    tokens = vqcodec.decode_tokens(tiny_vqc, keep=3)
    stacked = tokens.stack()
    assert stacked.dtype == np.int32
    assert stacked.shape == (3, 10, 13)
    assert tokens.vocabulary == (16, 16, 16)
    for plane, layer in zip(tokens.planes, stacked, strict=False):
        np.testing.assert_array_equal(plane, layer)


def test_planes_of_several_shapes_cannot_be_stacked(stepped: str, photo: Image.Image) -> None:
    tokens = vqcodec.decode_tokens(vqcodec.encode(photo, stepped))
    planes = (tokens.planes[0][:1], *tokens.planes[1:])
    with pytest.raises(UsageError, match="cannot be stacked"):
        vqcodec.Tokens(planes, tokens.width, tokens.height, tokens.model, tokens.layers, step=tokens.step).stack()
