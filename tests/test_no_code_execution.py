"""Reading of foreign files calls no pickle, eval, exec, process or network function: all of them raise here."""

from __future__ import annotations

import builtins
import io
import marshal
import os
import pickle
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

import vqcodec
from vqcodec.importing.checkpoint import read_checkpoint
from vqcodec.models import loading, registry
from vqcodec.tokens.npz import read_arrays, write_arrays

from .refusal import Invoke


class NotAllowedError(Exception):
    """A function that runs code, or opens a connection, was called."""


FORBIDDEN: tuple[tuple[object, str], ...] = (
    *((builtins, name) for name in ("eval", "exec")),
    *((pickle, name) for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler")),
    *((marshal, name) for name in ("load", "loads")),
    *((socket, name) for name in ("socket", "create_connection", "getaddrinfo", "socketpair")),
    *((subprocess, name) for name in ("Popen", "run")),
    *((os, name) for name in ("system", "popen", "execv", "execve", "posix_spawn", "fork")),
    (urllib.request, "urlopen"),
)


def readers(folder: Path, data: bytes) -> list[Callable[[], object]]:
    """Every function that reads files of others."""
    tokens = vqcodec.decode_tokens(data)
    archive = write_arrays(tokens)
    torch.save({"model": {"w": torch.ones(2)}}, folder / "x.pt")
    torch.save({"model": {"w": torch.ones(2)}}, folder / "old.pt", _use_new_zipfile_serialization=False)
    picture = io.BytesIO()
    Image.new("RGB", (9, 7)).save(picture, "PNG")
    (folder / "x.png").write_bytes(picture.getvalue())
    entry = registry.find(tokens.model)
    return [
        lambda: vqcodec.inspect(data),
        lambda: vqcodec.verify(data),
        lambda: vqcodec.decode(data),
        lambda: vqcodec.decode(data[: len(data) // 2], allow_partial=True),
        lambda: list(vqcodec.previews(data, steps=2)),
        lambda: vqcodec.truncate(data, keep=1),
        lambda: vqcodec.detokenize(vqcodec.decode_tokens(data)),
        lambda: vqcodec.encode_tokens(read_arrays(archive)),
        lambda: vqcodec.tokenize(folder / "x.png", tokens.model),
        lambda: loading.Model(registry.Entry(entry.folder, registry.read_config(entry.folder), False)).tokenizer,
        lambda: read_checkpoint(folder / "x.pt"),
        lambda: read_checkpoint(folder / "old.pt"),
    ]


def forbid(monkeypatch: pytest.MonkeyPatch, functions: Sequence[tuple[object, str]] = FORBIDDEN) -> None:
    """Make each of `functions` raise."""

    def refuse(*_: object, **__: object) -> None:
        raise NotAllowedError

    for module, name in functions:
        monkeypatch.setattr(module, name, refuse)


def test_no_reader_runs_code_or_opens_a_connection(
    tiny_vqc: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = readers(tmp_path, tiny_vqc)
    for call in calls:
        call()  # modules that are imported late are executed now
    with monkeypatch.context() as patch:
        forbid(patch)
        for call in calls:
            call()


def test_commands_run_no_code(tiny_vqc: bytes, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.vqc"
    path.write_bytes(tiny_vqc)
    commands = [
        ("info", path),
        ("verify", path),
        ("decode", path, "-f"),
        ("tokens", path, "-o", tmp_path / "x.npz", "-f"),
        ("tokens", tmp_path / "x.npz", "-o", tmp_path / "y.vqc", "-f"),
    ]
    for command in commands:
        assert invoke(*command)[0] == 0
    with monkeypatch.context() as patch:
        # The parser of the command line evaluates the annotations of our own functions.
        forbid(patch, [(module, name) for module, name in FORBIDDEN if module is not builtins])
        for command in commands:
            assert invoke(*command)[0] == 0, command


def test_the_functions_are_really_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps(1)
    with monkeypatch.context() as patch:
        forbid(patch)
        for call in (lambda: pickle.loads(data), lambda: eval("1"), lambda: socket.socket(), lambda: os.system("true")):
            with pytest.raises(NotAllowedError):
                call()
    assert pickle.loads(data) == 1
