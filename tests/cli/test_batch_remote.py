"""`vqcodec batch` from and to URLs: memory:// and a local server of S3."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import vqcodec

from ..object_store import Store, memory_store, s3_store

pytest.importorskip("fsspec", reason="the extra remote is not installed")

Invoke = Callable[..., tuple[int, str, str]]
MANIFEST = ".vqcodec-manifest.jsonl"


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, src: Path) -> Iterator[Store]:
    """A store with the pictures of `src` below in/."""
    with (memory_store if request.param == "memory" else s3_store)() as found:
        for path in src.rglob("*"):
            if path.is_file():
                found.write(f"in/{path.relative_to(src)}", path.read_bytes())
        found.write("in/.hidden.png", b"")
        yield found


def counts(result: dict[str, object]) -> tuple[object, ...]:
    return tuple(result[name] for name in ("done", "skipped", "failed", "ignored"))


def run(invoke: Invoke, *words: object) -> dict[str, object]:
    code, out, err = invoke("batch", *words, "--json", "-j", "1")
    assert code == 0, err
    return json.loads(out)


def test_url_to_url_and_back(store: Store, invoke: Invoke, tiny_model: str, src: Path, tmp_path: Path) -> None:
    source, target = store.url("in"), store.url("out")
    result = run(invoke, source, target, "-m", tiny_model)
    assert counts(result) == (3, 0, 0, 2)
    assert result["manifest"] == f"{target}/{MANIFEST}"
    written = [name for name in store.names() if name.startswith("out/")]
    assert written == [f"out/{MANIFEST}", "out/a/b/three.vqc", "out/a/two.vqc", "out/one.vqc"]
    assert store.read("out/one.vqc") == vqcodec.encode(str(src / "one.png"), tiny_model)
    lines = [json.loads(line) for line in store.read(f"out/{MANIFEST}").splitlines()]
    assert [line["status"] for line in lines] == ["done"] * 3
    assert counts(run(invoke, source, target, "-m", tiny_model)) == (0, 3, 0, 2)

    local = tmp_path / "pictures"
    assert counts(run(invoke, target, local, "--to", "png")) == (3, 0, 0, 0)
    with Image.open(local / "a" / "two.png") as image:
        assert image.size == (48, 32)
    assert counts(run(invoke, src, store.url("again"), "-m", tiny_model)) == (3, 0, 0, 1)
    assert store.read("again/one.vqc") == store.read("out/one.vqc")


def test_changed_sources_are_converted_again_and_changed_targets_kept(
    store: Store, invoke: Invoke, tiny_model: str, src: Path
) -> None:
    source, target = store.url("in"), store.url("out")
    run(invoke, source, target, "-m", tiny_model)
    Image.new("RGB", (50, 40)).save(src / "one.png")
    store.write("in/one.png", (src / "one.png").read_bytes())
    assert counts(run(invoke, source, target, "-m", tiny_model)) == (1, 2, 0, 2)
    assert vqcodec.inspect(store.read("out/one.vqc")).size == (50, 40)
    store.write("out/one.vqc", b"made by hand")
    code, _, err = invoke("batch", source, target, "-m", tiny_model, "-j", "1")
    assert code == 10
    assert "was changed after a batch made it; add -f" in err
    assert store.read("out/one.vqc") == b"made by hand"
    assert counts(run(invoke, source, target, "-m", tiny_model, "-f")) == (1, 2, 0, 2)


def test_a_batch_without_its_manifest_repeats_nothing(store: Store, invoke: Invoke, tiny_model: str) -> None:
    """The state after a kill before the manifest was uploaded."""
    run(invoke, store.url("in"), store.url("out"), "-m", tiny_model)
    store.write(f"out/{MANIFEST}", b"")
    assert counts(run(invoke, store.url("in"), store.url("out"), "-m", tiny_model)) == (0, 3, 0, 2)


def test_a_file_that_fails_is_named(store: Store, invoke: Invoke, tiny_model: str) -> None:
    store.write("in/bad.png", b"no picture")
    code, out, err = invoke("batch", store.url("in"), store.url("out"), "-m", tiny_model, "-j", "1")
    assert code == 10
    assert "failed: bad.png: " in err
    assert "done 3" in err
    assert "out/bad.vqc" not in store.names()


def test_patterns_and_dry_run(store: Store, invoke: Invoke, tiny_model: str) -> None:
    options = ("-m", tiny_model, "--exclude", "b", "--include", "*.png", "--include", "*.webp")
    code, out, _ = invoke("batch", store.url("in"), store.url("out"), *options, "--dry-run")
    assert (code, out) == (0, "new     one.png -> one.vqc\n")
    assert not any(name.startswith("out/") for name in store.names())


def test_missing_folders_and_buckets_are_one_line(store: Store, invoke: Invoke, tiny_model: str, src: Path) -> None:
    for name in (store.url("none"), store.base.replace("pictures", "no-such-bucket")):
        code, _, err = invoke("batch", name, store.url("out"), "-m", tiny_model)
        assert (code, err) == (3, f"vqcodec: {name}: no such file, folder or bucket\n")
    code, _, err = invoke("batch", src, store.url("out"), "-m", tiny_model, "--keep-times")
    assert code == 2
    assert "--keep-times" in err


@pytest.mark.slow
def test_targets_in_a_missing_or_forbidden_bucket(
    invoke: Invoke, tiny_model: str, src: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_store() as store:
        code, _, err = invoke("batch", src, "s3://no-such-bucket/out", "-m", tiny_model)
        assert code == 7
        assert err == "vqcodec: s3://no-such-bucket/out/.vqcodec-parts/probe: no such file, folder or bucket\n"

        import s3fs

        async def refused(*_: object, **__: object) -> None:
            raise PermissionError("Access Denied")

        s3fs.S3FileSystem.clear_instance_cache()
        monkeypatch.setattr(s3fs.S3FileSystem, "_pipe_file", refused)
        code, _, err = invoke("batch", src, store.url("out"), "-m", tiny_model)
        assert code == 7
        assert "no permission (Access Denied); check the credentials" in err
        assert err.count("\n") == 1


def test_urls_without_the_extra(invoke: Invoke, tiny_model: str, src: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.import_module("fsspec.registry")
    monkeypatch.delitem(known._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    code, _, err = invoke("batch", src, "s3://bucket/out", "-m", tiny_model)
    assert code == 2
    assert "pip install 'vqcodec[remote]'" in err
    for name in [name for name in sys.modules if name.partition(".")[0] == "fsspec"]:
        monkeypatch.setitem(sys.modules, name, None)
    code, _, err = invoke("batch", "memory://in", "out", "-m", tiny_model)
    assert code == 2
    assert "pip install 'vqcodec[remote]'" in err
    assert not os.path.exists("out")


def test_unknown_protocols(invoke: Invoke, tiny_model: str, src: Path) -> None:
    code, _, err = invoke("batch", src, "nonsense://bucket/out", "-m", tiny_model)
    assert code == 2
    assert err.startswith("vqcodec: nonsense://bucket/out: Protocol not known: nonsense")
