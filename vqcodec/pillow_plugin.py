"""`import vqcodec.pillow_plugin` makes `Image.open("x.vqc")` and `image.save("x.vqc")` work.

Opening reads the head alone, and metadata if there is any: no torch, no model. Pixels come with `load()`.
"""

from __future__ import annotations

from typing import IO, Any

from PIL import Image, ImageFile

from . import container
from .errors import FormatError, UsageError, VqcError

FORMAT = "VQC"
EXTENSION = ".vqc"
MIME = "image/x-vqc"

MODES = {(False, False): "RGB", (False, True): "RGBA", (True, False): "L", (True, True): "LA"}
"""(grey, alpha) -> mode."""
METADATA = {"iCCP": "icc_profile", "eXIf": "exif", "xMPd": "xmp"}
"""Chunk -> key of `info`, which is also the keyword of `save`."""
SAVE_OPTIONS = ("model", "quality", "keep", "max_bytes", "bpp", "min_quality", "effort", "strip", "device")
"""Keywords of `save` that go to `vqcodec.encode` as they are."""


class VqcImageFile(ImageFile.ImageFile):
    """A .vqc file; modes RGB, RGBA, L and LA. `info["vqcodec"]` says how many layers it holds, and more."""

    format = FORMAT
    format_description = "vqcodec, an image of learned tokens"

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read(container.MAX_HEAD_BYTES)
        if not _accept(data):
            raise SyntaxError("not a .vqc file")  # Pillow then asks other plugins
        try:
            head = container.read_head(data, max_pixels=None)  # Image.open has a limit of its own
        except VqcError as error:
            raise OSError(str(error)) from error
        header = head.header
        self._size = (header.width, header.height)
        self._mode = MODES[header.grey, head.alpha_bytes is not None]
        self.info["vqcodec"] = {
            "layers": header.n_layers,
            "cut": header.cut,
            "token_id": header.token_id.hex(),
            "entropy_id": header.entropy_id.hex(),
        }
        if head.chunks_bytes:
            self.info.update(_metadata(data + self.fp.read()))
        # Not a tile for Pillow's decoders: it says that pixels are still to come, `load` takes it away.
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def verify(self) -> None:
        """Check every checksum, without a model; OSError for a damaged or cut file. Open it again to read pixels."""
        if self.fp is None:
            raise ValueError("Operation on closed image")
        self.fp.seek(0)
        try:
            container.read(self.fp.read(), max_pixels=None)
        except VqcError as error:
            raise OSError(str(error)) from error
        super().verify()

    def load(self) -> Any:
        """Decode the pixels. OSError for a damaged file or a model that is not at hand."""
        if self.tile:
            from .api import decode

            if self.fp is None:
                raise ValueError("Operation on closed image")
            self.fp.seek(0)
            data = self.fp.read()
            try:
                decoded = decode(data, allow_partial=ImageFile.LOAD_TRUNCATED_IMAGES, max_pixels=None)
            except VqcError as error:
                raise OSError(str(error)) from error
            if decoded.mode != self.mode:  # a cut file can lack its alpha
                decoded = decoded.convert(self.mode)
            self.im = decoded.im
            self.tile = []
            self.readonly = 0
            if self._exclusive_fp:
                self.fp.close()
                self.fp = None
        return super().load()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def _metadata(data: bytes) -> dict[str, bytes]:
    """ICC profile, Exif and XMP of a file, as far as they are there and whole; damage is for `load` to report."""
    try:
        chunks = container.read(data, allow_partial=True, max_pixels=None).chunks
    except FormatError:
        return {}
    return {METADATA[chunk.kind]: chunk.data for chunk in chunks if chunk.kind in METADATA}


def _save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """`image.save("x.vqc", quality=, keep=, max_bytes=, bpp=, model=, effort=, strip=, icc_profile=, exif=, xmp=)`.

    Without `model` it is chosen as `vqcodec.encode` does, by quality or by how much of a budget is used.
    Metadata comes from the keywords first, then from `image.info`; a keyword of None or b"" leaves it out.
    """
    from .api import encode

    given = getattr(im, "encoderinfo", {})
    replaced = {key: given[key] for key in METADATA.values() if key in given}
    if replaced:
        im = im.copy()
        _replace(im.info, replaced)
    try:
        fp.write(encode(im, **{key: given[key] for key in SAVE_OPTIONS if key in given}))
    except UsageError:
        raise  # a ValueError, as Pillow's own plugins have it
    except VqcError as error:
        raise OSError(str(error)) from error


def _replace(info: dict[str | tuple[int, int], Any], replaced: dict[str, Any]) -> None:
    if "xmp" in replaced:
        info.pop("XML:com.adobe.xmp", None)  # where Pillow's PNG reader puts it
    for key, value in replaced.items():
        if value:
            info[key] = value
        else:
            info.pop(key, None)


Image.register_open(FORMAT, VqcImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, EXTENSION)
Image.register_mime(FORMAT, MIME)
