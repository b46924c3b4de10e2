"""XMP of a picture as one packet, without statements about parts of the source file that are left out.

Packets are edited as text, not parsed and serialized, in time linear in their length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from PIL import Image

from ..container.chunks import MAX_CHUNK_BYTES

STANDARD, EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"


def _claim(name: bytes) -> re.Pattern[bytes]:
    """Pattern of a property with a value of at most 99 bytes, as an attribute or as an element."""
    attribute = rb"""\s%b\s{0,9}=\s{0,9}(?:"[^"<]{0,99}"|'[^'<]{0,99}')""" % name
    return re.compile(attribute + rb"|<%b>[^<]{0,99}</%b>" % (name, name))


POINTER = _claim(b"xmpNote:HasExtendedXMP")
CLAIMS = (
    (_claim(b"hdrgm:Version"), "HDR gain map left out: the picture is the SDR one"),
    (_claim(b"GCamera:(?:MotionPhoto|MicroVideo)"), "video of a motion photo left out"),
)
"""Statements about further pictures or video in the file, and the warning for each."""
THUMBNAILS = ((b"<xmp:Thumbnails", b"</xmp:Thumbnails>"), (b"<xap:Thumbnails", b"</xap:Thumbnails>"))


def whole_xmp(image: Image.Image) -> tuple[bytes | None, list[str]]:
    """XMP packet of an image with its extension joined, without thumbnails and CLAIMS, or None; and warnings."""
    notes: list[str] = []
    xmp = image.info.get("xmp", image.info.get("XML:com.adobe.xmp"))
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if not isinstance(xmp, bytes) or not xmp:
        return None, notes
    segments = [data for kind, data in getattr(image, "applist", ()) if kind == "APP1" and isinstance(data, bytes)]
    packets = sum(data.startswith(STANDARD) for data in segments)
    if packets > 1:
        notes.append(f"1 of {packets} XMP packets kept, the last")
    xmp = _joined(xmp, [data for data in segments if data.startswith(EXTENSION)], notes)
    for claim, note in CLAIMS:
        xmp, found = claim.subn(b"", xmp)
        if found:
            notes.append(note)
    for begin, end in THUMBNAILS:
        xmp = _without(xmp, begin, end)
    if len(xmp) > MAX_CHUNK_BYTES:
        notes.append(f"XMP of {len(xmp)} bytes dropped: a file holds at most {MAX_CHUNK_BYTES}")
        return None, notes
    return xmp, notes


def _joined(xmp: bytes, segments: Sequence[bytes], notes: list[str]) -> bytes:
    """The packet joined with its extension segments (XMP specification part 3, section 1.1.3.1)."""
    pointer = POINTER.search(xmp)
    if pointer is None and not segments:
        return xmp
    plain = POINTER.sub(b"", xmp)
    extension = b"" if pointer is None else _extension(pointer[0], segments)
    found = re.search(rb"<rdf:RDF[^>]{0,9999}>", extension)
    inner = extension[found.end() : extension.rfind(b"</rdf:RDF>")] if found else b""
    place = plain.rfind(b"</rdf:RDF>")
    joined = plain[:place] + inner + plain[place:]
    if inner and place > 0 and len(joined) <= MAX_CHUNK_BYTES and _is_xml(joined):
        return joined
    notes.append("extended XMP dropped: it is incomplete, damaged or too long")
    return plain


def _extension(pointer: bytes, segments: Sequence[bytes]) -> bytes:
    """The extension that the pointer names; b"" if a part of it is missing."""
    parts: dict[int, bytes] = {}
    length = 0
    for segment in segments:
        name, body = segment[len(EXTENSION) : len(EXTENSION) + 32], segment[len(EXTENSION) + 40 :]
        if len(name) == 32 and name in pointer:
            length = int.from_bytes(segment[len(EXTENSION) + 32 : len(EXTENSION) + 36], "big")
            parts[int.from_bytes(segment[len(EXTENSION) + 36 : len(EXTENSION) + 40], "big")] = body
    whole, place = [], 0
    for offset, body in sorted(parts.items()):
        if offset != place:
            return b""
        whole.append(body)
        place += len(body)
    return b"".join(whole) if place == length else b""


def _is_xml(packet: bytes) -> bool:
    """True if the packet is well-formed XML without declarations: entities could expand without bound."""
    if b"<!" in packet:
        return False
    try:
        ElementTree.fromstring(packet.strip(b"\0 \r\n\t"))
    except (ElementTree.ParseError, ValueError, LookupError):
        return False
    return True


def _without(xmp: bytes, begin: bytes, end: bytes) -> bytes:
    """`xmp` without the elements from `begin` to `end`."""
    kept: list[Any] = []
    place = 0
    while (start := xmp.find(begin, place)) >= 0 and (stop := xmp.find(end, start)) >= 0:
        kept.append(xmp[place:start])
        place = stop + len(end)
    return b"".join([*kept, xmp[place:]])
