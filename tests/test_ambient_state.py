"""The codec's results do not depend on torch modes, forks, threads and models that its caller has used."""

from __future__ import annotations

import io
import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vqcodec
import vqcodec.pillow_plugin
from vqcodec.errors import UsageError
from vqcodec.inference.compiled.networks import CompiledNetworks
from vqcodec.models import loading
from vqcodec.runtime import compilation
from vqcodec.runtime.forking import ForkLock
from vqcodec.runtime.torch_state import codec_modes

from .conftest import write_tiny_model
from .rated import rate_model

MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast half": lambda: torch.autocast("cpu", torch.float16),
}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Iterator[None]:
    base = tmp_path_factory.mktemp("models")
    write_tiny_model(base / tiny_model)
    rate_model(base / "rated", "rated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQCODEC_MODELS", str(base))
        yield


@pytest.fixture
def rated_model() -> str:
    return "rated"


@pytest.fixture
def fresh(tiny_model: str) -> Iterator[str]:
    """The tiny model, as in a process that has not loaded it."""
    loading._load.cache_clear()
    yield tiny_model
    loading._load.cache_clear()


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> Image.Image:
    return photo.resize((64, 48))


@pytest.mark.parametrize("mode", MODES)
def test_bytes_and_pixels_are_the_same_within_torch_modes(
    small: Image.Image, fresh: str, mode: str, rated_model: str
) -> None:
    data = vqcodec.encode(small, rated_model)
    pixels = np.asarray(vqcodec.decode(data))
    loading._load.cache_clear()
    with MODES[mode]():
        assert vqcodec.encode(small, rated_model) == data
        assert vqcodec.encode(small, rated_model, max_bytes=len(data)) == data
        assert np.array_equal(np.asarray(vqcodec.decode(data)), pixels)
        tokens = vqcodec.tokenize(small, rated_model)
        assert vqcodec.decode_tokens(data) == tokens
        assert vqcodec.encode_tokens(tokens) == data
        assert np.array_equal(np.asarray(vqcodec.detokenize(tokens)), pixels)
        assert np.array_equal(np.asarray([*vqcodec.previews(data)][-1].image), pixels)


def test_a_first_use_in_inference_mode_spoils_nothing(small: Image.Image, fresh: str, rated_model: str) -> None:
    data = vqcodec.encode(small, rated_model)
    loading._load.cache_clear()
    with torch.inference_mode():
        vqcodec.decode(data)
    assert not any(p.is_inference() for p in loading.load_model(rated_model).tokenizer.parameters())
    assert vqcodec.encode(small, rated_model) == data


def test_modes_of_the_caller_come_back_between_previews(tiny_vqc: bytes) -> None:
    with torch.inference_mode():
        for _ in vqcodec.previews(tiny_vqc):
            assert torch.is_inference_mode_enabled()
    with torch.autocast("cpu", torch.bfloat16), codec_modes():
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("spoil", ["half", "step", "tensors", "training"])
def test_loaded_models_are_copies(small: Image.Image, tiny_model: str, spoil: str) -> None:
    data = vqcodec.encode(small, tiny_model, effort=3)
    model = vqcodec.load_model(tiny_model)
    if spoil == "half":
        model.tokenizer.half()
    elif spoil == "training":
        model.tokenizer.train().requires_grad_(True)
    elif spoil == "step":
        with torch.no_grad():
            for parameter in model.tokenizer.parameters():
                parameter.add_(1)
    else:
        for value in model.tensors.values():
            value[...] = 0
    assert vqcodec.encode(small, tiny_model, effort=3) == data
    assert vqcodec.load_model(tiny_model).tokenizer is not model.tokenizer


def _encoded(image: Image.Image, model: str, effort: int) -> bytes:
    return vqcodec.encode(image, model, effort=effort)


@pytest.mark.slow
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("effort", [3, 6])
def test_a_fork_after_threads_were_used_does_not_hang(photo: Image.Image, rated_model: str, effort: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        vqcodec.encode(photo, rated_model, effort=effort)  # the parent's OpenMP threads
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found = pool.apply_async(_encoded, (photo, rated_model, effort)).get(timeout=60)
        torch.set_num_threads(1)
        assert found == vqcodec.encode(photo, rated_model, effort=effort)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_does_not_inherit_a_lock_that_another_thread_holds(work: Path, tiny_model: str) -> None:
    from vqcodec.image.limits import pillow_lock

    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with pillow_lock, loading._loading:
            held.set()
            release.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(60)
    try:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            data = pool.apply_async(_encoded, ("cat.png", tiny_model, 3)).get(timeout=60)
    finally:
        release.set()
        other.join()
    assert data == vqcodec.encode("cat.png", tiny_model, effort=3)


def test_locks_are_re_entrant_and_renewed() -> None:
    lock = ForkLock()
    with lock, lock:
        lock.renew()
        with lock:
            pass
        lock._lock.acquire()
        lock._lock.acquire()


def test_threads_that_begin_together_load_once(small: Image.Image, fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"load": 0, "build": 0, "arrays": 0}
    read, build, arrays = loading.read_tensors, CompiledNetworks.__init__, loading.arrays_from_tensors

    def counted_read(*args: object) -> object:
        counts["load"] += 1
        return read(*args)  # type: ignore[arg-type]

    def counted_build(*args: object) -> None:
        counts["build"] += 1
        build(*args)  # type: ignore[arg-type]

    def counted_arrays(*args: object) -> object:
        counts["arrays"] += 1
        return arrays(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "read_tensors", counted_read)
    monkeypatch.setattr(loading, "arrays_from_tensors", counted_arrays)
    monkeypatch.setattr(CompiledNetworks, "__init__", counted_build)
    together, results = threading.Barrier(8), []

    def work() -> None:
        together.wait()
        results.append(vqcodec.encode(small, fresh, effort=3))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1
    assert counts == {"load": 1, "build": 1, "arrays": 1}


@pytest.mark.parametrize("through_pillow", [False, True])
def test_threads_that_first_decode_different_models(
    small: Image.Image, fresh: str, rated_model: str, monkeypatch: pytest.MonkeyPatch, through_pillow: bool
) -> None:
    files = [vqcodec.encode(small, name, effort=3) for name in (fresh, rated_model)]
    wanted = [np.asarray(vqcodec.decode(data)) for data in files]
    made: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            made[name] += 1
            return function(*args)

        return call

    loading._load.cache_clear()
    monkeypatch.setattr(loading, "read_tensors", counted("load", loading.read_tensors))
    monkeypatch.setattr(CompiledNetworks, "__init__", counted("build", CompiledNetworks.__init__))
    monkeypatch.setattr(compilation, "Compiled", counted("compile", compilation.Compiled))
    together, found = threading.Barrier(8), list[tuple[int, np.ndarray]]()

    def work(i: int) -> None:
        together.wait()
        if through_pillow:
            with Image.open(io.BytesIO(files[i])) as image:
                image.load()
                found.append((i, np.asarray(image)))
        else:
            found.append((i, np.asarray(vqcodec.decode(files[i]))))

    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(i for i, _ in found) == [0] * 4 + [1] * 4
    assert all(np.array_equal(pixels, wanted[i]) for i, pixels in found)
    assert made == {"load": 2, "build": 2, "compile": 2}


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "nonsense", ""])
def test_devices_that_are_not_there(small: Image.Image, tiny_model: str, tiny_vqc: bytes, device: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: vqcodec.encode(small, tiny_model, device=device),
        lambda: vqcodec.decode(tiny_vqc, device=device),
        lambda: vqcodec.tokenize(small, tiny_model, device=device),
        lambda: vqcodec.detokenize(vqcodec.decode_tokens(tiny_vqc), device=device),
        lambda: next(vqcodec.previews(tiny_vqc, device=device)),
        lambda: vqcodec.load_model(tiny_model, device),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=f"device {device}"):
            call()


def test_bytes_up_to_effort_5_do_not_depend_on_threads(photo: Image.Image, tiny_model: str, rated_model: str) -> None:
    before = torch.get_num_threads()
    try:
        for name in (tiny_model, rated_model):
            found = set()
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                found.add(vqcodec.encode(photo, name, effort=5))
            assert len(found) == 1
    finally:
        torch.set_num_threads(before)


def test_broken_names_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_model(tmp_path)
    monkeypatch.chdir(tmp_path)  # Path("") is this folder, which holds a model
    for name in ("", "x" * 300, "a/" * 3000, "nul\0"):
        with pytest.raises(vqcodec.ModelError):
            vqcodec.load_model(name)
