"""encode, decode, info, verify, truncate and tokens on single files behind URLs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import vqcodec
from vqcodec import remote

from ..object_store import Store, memory_store

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(src: Path) -> Iterator[Store]:
    pytest.importorskip("fsspec", reason="the extra remote is not installed")
    with memory_store() as found:
        found.write("one.png", (src / "one.png").read_bytes())
        yield found


def test_a_picture_and_back(store: Store, invoke: Invoke, tiny_model: str, src: Path, tmp_path: Path) -> None:
    code, out, err = invoke("encode", store.url("one.png"), "-m", tiny_model, "--json")
    assert code == 0, err
    record = json.loads(out)
    assert (record["input"], record["output"]) == (store.url("one.png"), store.url("one.vqc"))
    assert store.read("one.vqc") == vqcodec.encode(str(src / "one.png"), tiny_model)
    assert invoke("decode", store.url("one.vqc"), "-o", tmp_path / "back.png", "--quiet")[0] == 0
    with Image.open(tmp_path / "back.png") as image:
        assert image.size == (48, 32)
    assert invoke("decode", store.url("one.vqc"), "-o", store.url("b/") + "/", "--quiet")[0] == 0
    assert store.read("b/one.png").startswith(b"\x89PNG")
    assert invoke("info", store.url("one.vqc"), "--json")[0] == 0
    assert invoke("verify", store.url("one.vqc"))[0] == 0
    assert invoke("truncate", store.url("one.vqc"), store.url("cut.vqc"), "--keep", 1, "-q")[0] == 0
    assert vqcodec.inspect(store.read("cut.vqc")).layers[0].end
    assert not Path("memory:").exists()


def test_existing_targets_and_missing_sources(store: Store, invoke: Invoke, tiny_model: str) -> None:
    store.write("one.vqc", b"made by hand")
    code, _, err = invoke("encode", store.url("one.png"), "-m", tiny_model)
    assert (code, err) == (7, f"vqcodec: {store.url('one.vqc')}: exists already; add -f to overwrite it\n")
    assert store.read("one.vqc") == b"made by hand"
    assert invoke("encode", store.url("one.png"), "-m", tiny_model, "-f")[0] == 0
    code, _, err = invoke("decode", store.url("none.vqc"), "-o", "none.png")
    assert (code, err) == (3, f"vqcodec: {store.url('none.vqc')}: no such file, folder or bucket\n")
    store.write("bad.png", b"no picture")
    code, _, err = invoke("encode", store.url("bad.png"), "-m", tiny_model)
    assert code == 3
    assert err.startswith(f"vqcodec: {store.url('bad.png')}: ")
    assert err.count("bad.png") == 1


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("s3://bucket/a b.png", "s3://bucket/a b.png"),
        ("memory://x", "memory://x"),
        ("C:/pictures/x.png", None),
        ("a/s3:/x", None),
        ("s3:", None),
        ("x.png", None),
        ("/s3:/x", None),
    ],
)
def test_urls_survive_paths(name: str, url: str | None) -> None:
    assert remote.url_of(Path(name)) == url
    assert remote.is_url(name) == (url is not None)


def test_a_local_folder_of_that_name_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "x").write_bytes(b"")
    assert remote.url_of(Path("s3:/x")) is None


@pytest.mark.parametrize("force", [False, True])
def test_files_on_other_protocols_are_written_aside_and_renamed(tmp_path: Path, force: bool) -> None:
    pytest.importorskip("fsspec", reason="the extra remote is not installed")
    url = f"file://{tmp_path}/a/b.vqc"
    remote.write_bytes(url, b"one", force)
    assert remote.read_bytes(url) == b"one"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.vqc"]
    if force:
        remote.write_bytes(url, b"two", force)
        assert remote.read_bytes(url, 1) == b"wo"
    else:
        with pytest.raises(vqcodec.OutputError, match="exists already"):
            remote.write_bytes(url, b"two", force)
