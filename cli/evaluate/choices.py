"""Values of `eval`'s options: codecs, metrics, anchor, ranges and sizes, checked before any measurement."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vqcodec.errors import InputError, UsageError
from vqcodec.evaluation.preparation import Preparation

from .. import messages

DEFAULT_ANCHOR = "jpeg"
NO_ANCHOR = "none"
OURS = "vqcodec"
METRICS_OF_SETS = ("rfid", "fid")
"""Names of the distance between two sets of pictures, which has no value for a single file."""


@dataclass(frozen=True)
class Codecs:
    """Codecs of an evaluation."""

    with_models: bool
    specs: tuple[str, ...]
    """Reference codecs as `compare` reads them."""
    names: tuple[str, ...]
    """Their names, in the same order."""


def chosen_codecs(text: str | None, commands: Sequence[str], folders: Sequence[str]) -> Codecs:
    """The codecs of --codecs, --command and --folder, each known, installed and named once."""
    from vqcodec.evaluation.codecs import default_codecs, make_codec

    listed_names = [OURS, *default_codecs()] if text is None else listed(text, "--codecs")
    specs = [name for name in listed_names if name != OURS]
    names = []
    with in_option("--codecs"):
        names += [make_codec(name).name for name in specs]
    for option, given, mark in (("--command", commands, "=>"), ("--folder", folders, "=")):
        for spec in given:
            if mark not in spec:
                example = "NAME=ENCODE => DECODE" if mark == "=>" else "NAME=FOLDER"
                raise UsageError(f"{option} {spec}: write {example}")
            with in_option(option):
                names.append(make_codec(spec).name)
            specs.append(spec)
    twice = {name for name in names if names.count(name) > 1 or name == OURS}
    if twice:
        raise UsageError(f"codec {twice.pop()}: named twice; choose another name")
    return Codecs(OURS in listed_names, tuple(specs), tuple(names))


def chosen_metrics(text: str, weights: Sequence[Path], quiet: bool) -> list[str]:
    """The metrics of --metrics that can be computed; one line on stderr for each that has no values here."""
    from vqcodec.evaluation import pretrained
    from vqcodec.evaluation.quality import metric_of

    with in_option("--weights"):
        pretrained.check_files(weights)
    usable = []
    for name in listed(text, "--metrics"):
        if name in METRICS_OF_SETS:
            if not quiet:
                messages.say(f"no {name}: it compares sets of pictures; `vqcodec eval --table NAME` measures it")
            continue
        with in_option("--metrics"):
            try:
                metric_of(name, weights)
            except InputError as error:
                if not quiet:
                    messages.say(f"no {name}: {error}")
            else:
                usable.append(name)
    if not usable:
        raise UsageError(f"--metrics {text}: none of them can be computed here")
    return usable


def chosen_anchor(
    codec: str | None, bpp_range: str | None, codecs: Sequence[str], quiet: bool
) -> tuple[str | None, tuple[float, float] | None]:
    """The anchor of BD-rates and their range; None where BD-rates are not requested and cannot be computed."""
    from vqcodec.evaluation import extra

    default = DEFAULT_ANCHOR if DEFAULT_ANCHOR in codecs or not codecs else codecs[0]
    name = (codec or default).strip()
    requested = codec is not None or bpp_range is not None
    if name == NO_ANCHOR or (name not in codecs and not requested):
        if bpp_range is not None:
            raise UsageError(f"--bd-range {bpp_range}: there are no BD-rates with --bd-anchor {NO_ANCHOR}")
        return None, None
    if name not in codecs:
        known = ", ".join([*codecs, NO_ANCHOR])
        raise UsageError(f"--bd-anchor {name}: not one of the other codecs in --codecs; use one of {known}")
    limits = None if bpp_range is None else parse_range(bpp_range)
    try:
        extra.need("bjontegaard", "--bd-anchor")
    except UsageError as error:
        if requested:
            raise
        if not quiet:
            messages.say(f"no BD-rates: {error}")
        return None, None
    return name, limits


def parse_range(text: str) -> tuple[float, float]:
    """(0.05, 0.8) of "0.05,0.8", bits per pixel. Raises UsageError."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = math.nan
    if not 0 <= low < high:
        raise UsageError(f"--bd-range {text}: write LOW,HIGH in bits per pixel, for example 0.05,0.8")
    return low, high


def chosen_preparation(resize: int | None, crop: str | None) -> Preparation | None:
    """The preparation of --resize and --crop. Raises UsageError."""
    if resize is None and crop is None:
        return None
    size = None
    if crop is not None:
        match = re.fullmatch(r"(\d+)x(\d+)", crop.strip().lower())
        if not match or not all(int(side) for side in match.groups()):
            raise UsageError(f"--crop {crop}: write WxH in pixels, for example 256x256")
        size = int(match[1]), int(match[2])
        if resize is not None and resize < min(size):
            raise UsageError(f"--crop {crop}: larger than the short side of --resize {resize}")
    return Preparation(resize, size)


def listed(text: str, option: str) -> list[str]:
    """The names of a list separated by commas, each once. Raises UsageError if there is none."""
    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError(f"{option}: name at least one")
    return names


@contextmanager
def in_option(option: str) -> Iterator[None]:
    """Usage errors raised inside begin with the option."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from error
