"""Pillow plugins of formats that Pillow itself does not read, used where they are installed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from PIL import Image


@dataclass(frozen=True)
class Plugin:
    """A package that teaches Pillow a format."""

    format: str
    """Pillow's name of the format."""
    package: str
    """Name for `pip install`."""
    module: str
    register: str | None
    """Function of the module that registers the plugin; None: its import does."""
    suffixes: tuple[str, ...]


PLUGINS = {
    "HEIC": Plugin("HEIF", "pillow-heif", "pillow_heif", "register_heif_opener", (".heic", ".heif", ".hif")),
    "JPEG XL": Plugin("JXL", "pillow-jxl-plugin", "pillow_jxl", None, (".jxl",)),
}
"""Name of a format in messages -> its plugin."""


def installed(name: str) -> bool:
    """True if the format called `name` in PLUGINS can be read: its plugin is registered or installed."""
    plugin = PLUGINS[name]
    return plugin.format in Image.OPEN or find_spec(plugin.module) is not None


@cache
def register(name: str) -> None:
    """Register the plugin of the format called `name` in PLUGINS with Pillow, if it is installed."""
    plugin = PLUGINS[name]
    if plugin.format in Image.OPEN or find_spec(plugin.module) is None:
        return
    module = importlib.import_module(plugin.module)
    if plugin.register is not None:
        getattr(module, plugin.register)()


def suffixes() -> frozenset[str]:
    """Suffixes of the formats that installed plugins read, lower case (".heic")."""
    return frozenset(suffix for name, plugin in PLUGINS.items() if installed(name) for suffix in plugin.suffixes)
