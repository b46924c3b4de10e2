"""Settings tables: frozen structs, and their reader for parsed JSON and TOML.

A setting's type states its choices (`Literal`) and its range (`Annotated` with `msgspec.Meta`). A table that is one of
several kinds (a tagged union of structs) names its kind by the key `kind`; without that key it is of the first kind.
"""

from __future__ import annotations

import difflib
import re
from copy import deepcopy
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta
from msgspec import inspect as types

from ..errors import ModelError

T = TypeVar("T")

Count: TypeAlias = Annotated[int, Meta(ge=0)]
"""Integer of at least 0."""
Positive: TypeAlias = Annotated[int, Meta(ge=1)]
"""Integer of at least 1."""
MAX_DEPTH = 128
"""Most blocks of a stage of a network: building takes time for each."""
MAX_CHANNELS = 2**16
"""Most channels of a network."""
Depth: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_DEPTH)]
"""Number of blocks of a stage."""
DepthOrNone: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_DEPTH)]
"""Number of blocks of a stage that may have none."""
Channels: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_CHANNELS)]
"""Number of channels, or of tokens or pixels along a side."""
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
"""Number in 0..1."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table of settings. Ranges hold for tables that `read` has read, not for structs that are made in Python."""


class KindSettings(Settings, frozen=True, tag_field="kind", tag="none"):
    """Table of settings of one of several kinds; each subclass states its own `tag`."""

    @property
    def kind(self) -> str:
        """Value of the key `kind`."""
        return str(type(self).__struct_config__.tag)


def read(kind: type[T], data: Any, where: str = "config") -> T:
    """Build settings of type `kind` from parsed JSON or TOML.

    Raises ModelError naming the place, `where` and the keys after it, for an unknown key (with the nearest known one),
    a missing key, a wrong type, or a value that is no choice or out of range.
    """
    data = deepcopy(data)
    while True:
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            path = path.removesuffix("`")
            node, value = _at(kind, data, path)
            if message.endswith("required field `kind`"):
                value["kind"] = _structs(node)[0].tag
            else:
                raise ModelError(f"{where}{path}: {_reworded(message, node, value)}") from None


def _at(kind: Any, data: Any, path: str) -> tuple[types.Type, Any]:
    """Type and value at a path such as `.backbone.blocks[0]`, or at the last part of it that has a name or number."""
    node: Any = types.type_info(kind)
    for name, number in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path):
        union, node = node, _chosen(node, data)
        if name == getattr(node, "tag_field", None):
            return union, data[name]
        if name:
            node = next(field.type for field in node.fields if field.encode_name == name)
        elif isinstance(node, types.TupleType):
            node = node.item_types[int(number)]
        else:
            node = node.item_type
        data = data[name or int(number)]
    return node, data


def _structs(node: Any) -> list[types.StructType]:
    options = node.types if isinstance(node, types.UnionType) else [node]
    return [option for option in options if isinstance(option, types.StructType)]


def _chosen(node: Any, value: Any) -> Any:
    """Member of a union that `value` has the type of: the struct of its `kind`, or else the one that is not None."""
    if not isinstance(node, types.UnionType):
        return node
    options = [option for option in node.types if not isinstance(option, types.NoneType)]
    kind = value.get("kind") if isinstance(value, dict) else None
    return next((option for option in options if kind is not None and getattr(option, "tag", None) == kind), options[0])


def _reworded(message: str, node: Any, value: Any) -> str:
    """Message of msgspec in the words of this project: `value` is at fault, or the table that holds the key."""
    chosen = _chosen(node, value)
    if key := re.fullmatch(r"Object contains unknown field `(.*)`", message):
        near = difflib.get_close_matches(key[1], [field.encode_name for field in chosen.fields], n=1)
        return f"unknown key '{key[1]}'" + (f"; did you mean '{near[0]}'?" if near else "")
    if key := re.fullmatch(r"Object missing required field `(.*)`", message):
        return f"key '{key[1]}' is missing"
    if isinstance(chosen, types.LiteralType):
        return f"{value!r} is not one of {', '.join(map(str, chosen.values))}"
    if message.startswith("Invalid value") or (isinstance(chosen, types.StructType) and "`str`" in message):
        return f"{value!r} is not one of {', '.join(str(struct.tag) for struct in _structs(node))}"
    needed = re.sub(r"Expected |, got .*", "", message).replace("`", "").replace("object", "table")
    return f"{needed.replace('array', 'list')} needed, found {value!r}"
