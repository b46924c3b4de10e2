"""Metadata: joined, kept, made upright or left out, with one warning for each loss."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import IFD, Base

import vqcodec
from vqcodec.image.exif_blocks import with_resolution, without_thumbnail
from vqcodec.image.files import as_picture, read_picture, write_picture
from vqcodec.image.metadata import density, upright_exif
from vqcodec.image.picture import from_pillow, strip, to_pillow

from ..commands import Invoke
from ..image_parts import chunk, exif_of, noise, saved

GIVEN = Path(__file__).parents[3] / "shared" / "faults" / "inputs"
GUID = b"0123456789ABCDEF0123456789ABCDEF"
RDF = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">%b</rdf:RDF></x:xmpmeta>'
NOTE = b' xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
MAIN = RDF % (b'<rdf:Description%b xmpNote:HasExtendedXMP="%b"/>' % (NOTE, GUID))
MORE = RDF % (b'<rdf:Description xmlns:a="urn:a" a:long="' + b"y" * 70000 + b'"/>')


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">HH", marker, len(data) + 2) + data


def jpeg(*segments: bytes, **options: object) -> bytes:
    data = saved(Image.fromarray(noise(24, 16, 3)), "JPEG", **options)
    return data[:2] + b"".join(segments) + data[2:]


def packet(xmp: bytes) -> bytes:
    return segment(0xFFE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)


def extension(data: bytes, step: int = 40000, guid: bytes = GUID) -> list[bytes]:
    head = b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">I", len(data))
    return [segment(0xFFE1, head + struct.pack(">I", at) + data[at : at + step]) for at in range(0, len(data), step)]


# --- XMP in several segments ---


@pytest.mark.parametrize("turned", [False, True])
def test_extended_xmp_is_joined(turned: bool) -> None:
    parts = extension(MORE)
    picture = read_picture(jpeg(packet(MAIN), *(parts[::-1] if turned else parts)))
    assert picture.xmp is not None
    assert b"HasExtendedXMP" not in picture.xmp
    assert b"y" * 70000 in picture.xmp
    assert picture.xmp.count(b"<rdf:Description") == 2
    assert picture.warnings == ()
    assert read_picture(write_picture(picture, "png")[0]).xmp == picture.xmp


@pytest.mark.parametrize(
    "parts",
    [
        extension(MORE)[:1],
        [],
        extension(MORE, guid=b"F" * 32),
        extension(b"<!DOCTYPE x><rdf:RDF>" + MORE),
        extension(b"not XML at all"),
        extension(RDF % b"<rdf:Description>"),
        extension(RDF % b"<!-- -->"),
    ],
    ids=["cut", "gone", "another's", "entities", "no XML", "unclosed", "declarations"],
)
def test_an_invalid_extension_is_dropped_with_a_warning(parts: list[bytes]) -> None:
    picture = read_picture(jpeg(packet(MAIN), *parts))
    assert picture.xmp is not None
    assert b"HasExtendedXMP" not in picture.xmp
    assert len(picture.warnings) == 1
    assert "extended XMP dropped" in picture.warnings[0]


def test_pointers_as_elements_and_two_packets() -> None:
    element = RDF % (
        b"<rdf:Description%b><xmpNote:HasExtendedXMP>%b</xmpNote:HasExtendedXMP></rdf:Description>" % (NOTE, GUID)
    )
    picture = read_picture(jpeg(packet(element)))
    assert picture.xmp is not None
    assert b"HasExtendedXMP" not in picture.xmp
    twice = read_picture(jpeg(packet(b"<a/>"), packet(b"<b/>")))
    assert twice.xmp == b"<b/>"
    assert twice.warnings == ("1 of 2 XMP packets kept, the last",)


def test_hostile_xmp_takes_no_time() -> None:
    code = """
from PIL import Image
from vqcodec.image.picture import from_pillow
for text in (b"<xmp:Thumbnails>", b"<hdrgm:Version>", b" hdrgm:Version='", b"<rdf:RDF ", b" xmpNote:HasExtendedXMP="):
    image = Image.new("RGB", (4, 3))
    image.info["xmp"] = text * (4_000_000 // len(text))
    from_pillow(image)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# --- further pictures in the file ---


def multi_picture(xmp: bytes | None) -> bytes:
    """Two JPEGs with an index of the multi-picture format."""
    stream = io.BytesIO()
    first, second = (Image.fromarray(noise(24, 16, 3, seed)) for seed in (0, 1))
    first.save(stream, "MPO", save_all=True, append_images=[second])
    data = stream.getvalue()
    if xmp is None:
        return data
    added = packet(xmp)
    place = data.index(b"\xff\xe2")  # before the index, whose offsets count from itself
    return data[:place] + added + data[place:]


@pytest.mark.parametrize(
    "claim",
    [b'<x hdrgm:Version="1.0" a="1"/>', b"<x hdrgm:Version = '1.0'/>", b"<x><hdrgm:Version>1.0</hdrgm:Version></x>"],
)
def test_a_gain_map_is_left_out_with_a_warning_and_its_claim_removed(claim: bytes) -> None:
    picture = read_picture(multi_picture(claim))
    assert picture.xmp is not None
    assert b"hdrgm:Version" not in picture.xmp
    assert sum("HDR gain map" in text for text in picture.warnings) == 1
    assert len(picture.warnings) <= 2
    assert not any("auxiliary" in text for text in picture.warnings)


def test_other_second_pictures_and_motion_photos() -> None:
    assert read_picture(multi_picture(None)).warnings == ("1 of 2 frames kept, 1 left out",)
    motion = read_picture(jpeg(packet(b'<x GCamera:MotionPhoto="1" GCamera:MicroVideo="1" b="2"/>')))
    assert motion.xmp == b'<x b="2"/>'
    assert motion.warnings == ("video of a motion photo left out",)
    image = Image.fromarray(noise(4, 3, 3))
    image.info["depth_images"] = [object()]
    assert from_pillow(image).warnings == ("1 auxiliary picture left out",)


# --- copies of the picture in its metadata ---


def exif_with_thumbnail(orientation: int, behind: bytes = b"", order: str = "<") -> tuple[bytes, bytes]:
    """A block with the orientation in its first directory and a JPEG in its second; and that JPEG."""
    thumb = saved(Image.fromarray(noise(16, 12, 3)), "JPEG")
    make = b"Camera\0\0"
    first, second = 8, 8 + 2 + 24 + 4 + len(make)
    at = second + 2 + 24 + 4
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first)
    data += struct.pack(
        order + "HHHIIHHIHH", 2, Base.Make, 2, 7, second - len(make), Base.Orientation, 3, 1, orientation, 0
    )
    data += struct.pack(order + "I", second) + make
    data += struct.pack(order + "HHHIIHHIII", 2, 0x0201, 4, 1, at, 0x0202, 4, 1, len(thumb), 0)
    return b"Exif\0\0" + data + thumb + behind, thumb


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 6, 3])
def test_the_thumbnail_is_left_out_with_its_bytes(orientation: int, order: str) -> None:
    exif, thumb = exif_with_thumbnail(orientation, order=order)
    picture = read_picture(jpeg(exif=exif))
    assert picture.exif is not None
    kept = Image.Exif()
    kept.load(picture.exif)
    assert 0x0201 not in kept.get_ifd(IFD.IFD1)
    assert (kept[Base.Make], kept.get(Base.Orientation)) == ("Camera", 1)
    assert thumb[-40:] not in picture.exif
    assert len(picture.exif) < len(exif) - len(thumb) + 1
    assert picture.warnings == ()


def test_data_after_a_thumbnail_is_kept() -> None:
    exif, _ = exif_with_thumbnail(6, b"maker notes of some camera")
    found = upright_exif(exif)[1]
    assert found.endswith(b"maker notes of some camera")
    kept = Image.Exif()
    kept.load(found)
    assert 0x0201 not in kept.get_ifd(IFD.IFD1)


def test_damaged_second_directories() -> None:
    exif, _ = exif_with_thumbnail(6)
    data = exif[6:]
    for end in range(38, len(data), 7):
        assert without_thumbnail(data[:end])[:8] == data[:8]
    far = data[:34] + struct.pack("<I", 0xFFFFFFF0) + data[38:]
    assert without_thumbnail(far)[34:38] == bytes(4)
    looping = data[:34] + struct.pack("<I", 8) + data[38:]
    assert without_thumbnail(looping)[34:38] == bytes(4)


def test_thumbnails_in_xmp_are_left_out() -> None:
    picture = read_picture(jpeg(packet(b"<x><xmp:Thumbnails><a>/9j/4AAQ</a></xmp:Thumbnails><b/></x>")))
    assert picture.xmp == b"<x><b/></x>"


# --- density ---


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP"])
@pytest.mark.parametrize("dpi", [(300, 300), (150, 96)])
def test_density_goes_through_a_file(tiny_model: str, format: str, dpi: tuple[int, int]) -> None:
    data = saved(Image.fromarray(noise(24, 16, 3)), format, dpi=dpi)
    picture = read_picture(data)
    assert picture.warnings == ()
    assert tuple(map(round, vqcodec.decode(vqcodec.encode(picture, tiny_model)).info["dpi"])) == dpi
    for to in ("png", "jpg"):
        with Image.open(io.BytesIO(write_picture(picture, to)[0])) as image:
            assert tuple(map(round, image.info["dpi"])) == dpi
    assert strip(picture).exif is None


def test_density_is_added_to_exif_without_one() -> None:
    exif = exif_of(6).tobytes()
    picture = read_picture(jpeg(dpi=(300, 300), exif=exif))
    kept = Image.Exif()
    kept.load(picture.exif)
    assert (kept[Base.Make], kept[Base.XResolution], kept[Base.ResolutionUnit]) == ("Camera", 300, 2)
    assert kept.get_ifd(IFD.Exif)[Base.ISOSpeedRatings] == 400
    own = with_resolution(None, 240.0, 240.0)
    assert density(own) == (240, 240)
    assert density(read_picture(jpeg(dpi=(300, 300), exif=own)).exif) == (240, 240)
    assert density(with_resolution(None, 299.9994, 118.11)) == pytest.approx((300, 118.11), abs=0.01)


def test_default_density_is_not_stored() -> None:
    for options in ({}, {"dpi": (72, 72)}):
        assert read_picture(jpeg(**options)).exif is None
    assert read_picture(saved(Image.fromarray(noise(4, 3, 3)), "PNG")).exif is None
    assert "dpi" not in to_pillow(as_picture(noise(4, 3, 3))).info


# --- text, comments, captions ---


def test_text_is_named_once() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a lake, steps: 20")
    info.add_itxt("Titel", "ein See")
    info.add_text("Software", "gimp")
    info.add_text("date:create", "2024-01-01")
    data = saved(Image.fromarray(noise(4, 3, 3)), "PNG", pnginfo=info)
    assert read_picture(data).warnings == ("text left out: Titel, parameters",)
    trivial = PngImagePlugin.PngInfo()
    trivial.add_text("Software", "gimp")
    assert read_picture(saved(Image.fromarray(noise(4, 3, 3)), "PNG", pnginfo=trivial)).warnings == ()


def test_comments_and_captions_are_named() -> None:
    assert read_picture(jpeg(comment=b"hello")).warnings == ("comment left out",)
    assert read_picture(saved(Image.new("P", (4, 3)), "GIF", comment=b"hello")).warnings == ("comment left out",)
    iptc = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", 0x0404, 0, 4) + b"\x1c\x02\0\0"
    assert read_picture(jpeg(segment(0xFFED, iptc))).warnings == ("IPTC captions left out",)


def test_sizes_of_icons_are_named() -> None:
    image = Image.fromarray(noise(64, 64, 4))
    assert read_picture(saved(image, "ICO", sizes=[(64, 64)])).warnings == ()
    assert read_picture(saved(image, "ICO", sizes=[(16, 16), (32, 32), (64, 64)])).warnings == (
        "1 of 3 sizes kept, 2 left out",
    )


def test_layers_and_credentials_are_named() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[37724], tags.tagtype[37724] = b"Adobe Photoshop Document Data Block\0", 7
    assert read_picture(saved(Image.fromarray(noise(4, 3, 3)), "TIFF", tiffinfo=tags)).warnings == (
        "Photoshop layers left out",
    )
    signed = "content credentials (C2PA) left out"
    assert read_picture(jpeg(segment(0xFFEB, b"JP\0\1\0\0\0\1\0\0\0\x20jumbc2pa"))).warnings == (signed,)
    data = saved(Image.fromarray(noise(4, 3, 3)), "PNG")
    place = data.index(b"IDAT") - 4
    assert read_picture(data[:place] + chunk(b"caBX", b"jumb") + data[place:]).warnings == (signed,)


# --- warnings in Python ---


def losing() -> dict[str, Image.Image]:
    frames = io.BytesIO()
    Image.new("RGB", (24, 16)).save(frames, "GIF", save_all=True, append_images=[Image.new("RGB", (24, 16), "red")])
    return {
        "frames": Image.open(frames),
        "CMYK": Image.new("CMYK", (24, 16)),
        "16-bit": Image.new("I;16", (24, 16)),
        "damaged Exif": Image.open(io.BytesIO(jpeg(exif=b"Exif\0\0junk"))),
    }


@pytest.mark.parametrize("name", ["frames", "CMYK", "16-bit", "damaged Exif"])
def test_encode_warns_in_python(tiny_model: str, name: str) -> None:
    import vqcodec.pillow_plugin

    image = losing()[name]
    assert len([*ImageSequence.Iterator(image)]) >= 1
    image.seek(0)
    with pytest.warns(vqcodec.LossWarning, match=name) as caught:
        vqcodec.encode(image, tiny_model)
    assert caught[0].filename == __file__
    with pytest.warns(vqcodec.LossWarning, match=name):
        assert vqcodec.tokenize(image, tiny_model).warnings
    with pytest.warns(vqcodec.LossWarning, match=name):
        image.save(io.BytesIO(), "VQC", model=tiny_model)


def test_pictures_do_not_warn_again(tiny_model: str, work: Path, invoke: Invoke) -> None:
    picture = from_pillow(Image.new("CMYK", (24, 16)))
    assert picture.warnings
    vqcodec.encode(picture, tiny_model)  # warnings are errors here
    Image.new("CMYK", (24, 16)).save("c.jpg")
    code, _, err = invoke("encode", "c.jpg", "-m", tiny_model)
    assert code == 0
    assert err.count("CMYK") == 1


@pytest.mark.skipif(not GIVEN.is_dir(), reason="the given inputs are not installed next to this checkout")
def test_given_inputs() -> None:
    assert b"HasExtendedXMP" not in (read_picture(GIVEN / "xmp_extended.jpg").xmp or b"")
    ultra = read_picture(GIVEN / "ultrahdr.jpg")
    assert len(ultra.warnings) == 1
    assert b"hdrgm:Version" not in (ultra.xmp or b"")
    for name in ("dpi300.png", "dpi300.jpg"):
        assert round(to_pillow(read_picture(GIVEN / name)).info["dpi"][0]) == 300
    for name in ("text_chunks.png", "comment_iptc.jpg"):
        assert read_picture(GIVEN / name).warnings
    assert len(read_picture(GIVEN / "thumb_orient6.jpg").exif or b"") < 100
    adobe = read_picture(GIVEN / "adobergb_exif.jpg")
    assert not np.array_equal(strip(adobe).pixels, adobe.pixels)
