"""Checks before any work of a batch, and the digest of what determines the bytes of its targets."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from vqcodec.config.effort import same_files
from vqcodec.errors import InputError, OutputError, UsageError

from .. import options
from .remote_tree import RemoteTree, is_inside
from .settings import Settings


def check(settings: Settings) -> str:
    """Refuse options that fail for every file; returns the digest of what determines the bytes of a target.

    Raises InputError, OutputError, UsageError and ModelError.
    """
    check_folders(settings)
    if settings.shards and not takes_shards(settings):
        raise UsageError("--shards needs folders, not URLs, for SRC and DST")
    if settings.shards and is_inside(settings.src, settings.dst):
        raise UsageError("--shards: DST must be another folder than SRC, since shards keep their names")
    rates = {option: settings.rate[key] for option, key in options.RATE.items()}
    if settings.to != "vqc":
        options.check_picture_quality(rates.pop("-q"), settings.to)
        given = [name for name, value in rates.items() if value is not None] + ["--strip"] * settings.strip
        if given:
            raise UsageError(f"{given[0]} is for --to vqc only")
        quality = settings.rate["quality"]
        return _digest({"to": settings.to} | ({} if quality is None else {"quality": quality}))
    from vqcodec.encoder.size_options import check_size_options
    from vqcodec.models import loading, registry
    from vqcodec.models.ladder import step_for_quality

    config = registry.find(settings.model).config
    check_size_options(settings.model, config, **settings.rate)
    loading.load_model(settings.model)  # a damaged model is one error instead of one per file
    if settings.rate["quality"] is not None:  # the digest holds the step, since a model's ladder may change
        step = step_for_quality(config, settings.rate["quality"])
        rates |= {"-q": None, "--keep": step.keep} | ({"rate": step.lmbda} if step.lmbda != 1 else {})
    effort = same_files(settings.effort)
    more = {} if effort == options.DEFAULT_EFFORT else {"effort": effort}
    return _digest({"to": "vqc", "model": config.weights_sha256, "strip": settings.strip} | rates | more)


def takes_shards(settings: Settings) -> bool:
    """True where tar shards can be converted: between folders, not URLs."""
    return not (isinstance(settings.src, RemoteTree) or isinstance(settings.dst, RemoteTree))


def check_folders(settings: Settings) -> None:
    """Raise InputError if SRC is no folder, OutputError if DST is not, UsageError for --keep-times with a URL."""
    src, dst = settings.src, settings.dst
    if isinstance(src, RemoteTree):
        src.check_readable()
    elif not os.path.isdir(src):
        hint = "not a folder; single files are for `vqcodec encode` and `decode`"
        hint = hint if os.path.exists(src) else "no such folder"
        raise InputError(f"{src}: {hint}")
    if isinstance(dst, RemoteTree):
        dst.expect_targets()
        if settings.keep_times:
            raise UsageError(f"--keep-times: files behind URLs have no times of their own ({dst})")
    elif os.path.exists(dst) and not dst.is_dir():
        raise OutputError(f"{dst}: is not a folder")


def check_writable(settings: Settings) -> None:
    """Raise OutputError, before any file is converted, if no file can be created in DST."""
    if isinstance(settings.dst, RemoteTree):
        settings.dst.check_writable()
    elif not os.access(settings.dst, os.W_OK | os.X_OK):
        raise OutputError(f"{settings.dst}: not writable; choose another folder, or change its permissions")


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
