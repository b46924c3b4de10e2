"""Files of models that earlier versions bundled: one line that names the model and the version that decodes it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec import container
from vqcodec.errors import ModelError
from vqcodec.models import registry
from vqcodec.models.retired import RETIRED

from ..commands import Invoke, fails
from ..containers import HEADER, SEGMENTS


@pytest.mark.parametrize("ids", RETIRED)
@pytest.mark.parametrize("command", [("decode",), ("verify",), ("tokens",)])
def test_a_file_of_a_retired_model(
    ids: str,
    command: tuple[str, ...],
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path / "none"))
    token_id, entropy_id = map(bytes.fromhex, ids.split("/"))
    header = replace(HEADER, token_id=token_id, entropy_id=entropy_id)
    (tmp_path / "old.vqc").write_bytes(container.write(header, SEGMENTS))
    name, version, loads = RETIRED[ids]
    outcome = invoke(*command, tmp_path / "old.vqc")
    message = f"model {ids}: '{name}' of vqcodec {version}, not part of this version; decode with vqcodec {version}"
    folder = f", or put its folder into {tmp_path / 'none'}"
    fails(outcome, 5, "old.vqc", message + (folder if loads else ""))
    assert loads or "folder" not in outcome[2]
    with pytest.raises(ModelError, match=re.escape(message)):
        registry.find_by_id(token_id, entropy_id)
    code, out, _ = invoke("info", tmp_path / "old.vqc")
    assert (code, f"not installed ('{name}' of vqcodec {version})" in out) == (0, True)


def test_no_installed_model_is_retired_unless_it_is_in_the_cache_folder(photo: Image.Image) -> None:
    """A retired model decodes if its folder is in the cache folder."""
    bundled = [entry.config for entry in registry.entries() if entry.bundled]
    assert not {f"{config.token_id}/{config.entropy_id}" for config in bundled} & set(RETIRED)
    config = registry.find("product-vq").config
    assert f"{config.token_id}/{config.entropy_id}" in RETIRED
    small = photo.resize((48, 32))
    decoded = vqcodec.decode(vqcodec.encode(small, "product-vq", effort=1))
    assert np.asarray(decoded).shape == np.asarray(small).shape
