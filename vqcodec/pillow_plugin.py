"""Pillow plugin: after `import vqcodec.pillow_plugin`, `Image.open` and `image.save` read and write .vqc files.

Opening reads the head, and metadata if present, without torch and the model. `load()` decodes the pixels.
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
"""(one channel of colour, alpha) -> mode."""
METADATA = {"iCCP": "icc_profile", "eXIf": "exif", "xMPd": "xmp"}
"""Type of chunk -> key of `info`, and keyword of `save`."""
SAVE_OPTIONS = ("model", "quality", "keep", "max_bytes", "bpp", "min_quality", "effort", "strip", "device")
"""Keywords of `save` that are passed to `vqcodec.encode`."""


class VqcImageFile(ImageFile.ImageFile):
    """A .vqc file of mode RGB, RGBA, L or LA. `info["vqcodec"]` holds its number of layers and its identities."""

    format = FORMAT
    format_description = "vqcodec, an image of learned tokens"

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read(container.MAX_HEAD_BYTES)
        if not _accept(data):
            raise SyntaxError("not a .vqc file")  # Pillow then tries other plugins
        try:
            head = container.read_head(data, max_pixels=None)  # Image.open has a limit of its own
        except VqcError as error:
            raise OSError(str(error)) from error
        header = head.header
        self._size = (header.width, header.height)
        self.info["vqcodec"] = {
            "layers": header.n_layers,
            "cut": header.cut,
            "token_id": header.token_id.hex(),
            "entropy_id": header.entropy_id.hex(),
        }
        if head.chunks_bytes:
            self.info.update(_metadata(data + self.fp.read()))
        one_channel = header.grey and self.info.get("icc_profile", b"")[16:20] != b"RGB "
        self._mode = MODES[one_channel, head.alpha_bytes is not None]
        # Marks the pixels as not yet decoded; Pillow's own decoders never see it, since `load` removes it. The class
        # has no public name.
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]  # noqa: SLF001

    def verify(self) -> None:
        """Check every checksum, without the model. Raises OSError for a damaged or cut file.

        As in Pillow's own plugins, open the file again to read its pixels.
        """
        if self.fp is None:
            raise ValueError("Operation on closed image")
        self.fp.seek(0)
        try:
            container.read(self.fp.read(), max_pixels=None)
        except VqcError as error:
            raise OSError(str(error)) from error
        super().verify()

    def load(self) -> Any:
        """Decode the pixels. Raises OSError for a damaged file or a model that is not installed."""
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
    """Undamaged ICC profile, Exif and XMP of a file, by key of `info`; `load` reports damage."""
    try:
        chunks = container.read(data, allow_partial=True, max_pixels=None).chunks
    except FormatError:
        return {}
    return {METADATA[chunk.kind]: chunk.data for chunk in chunks if chunk.kind in METADATA}


def _save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """`image.save("x.vqc", quality=, keep=, max_bytes=, bpp=, model=, effort=, strip=, icc_profile=, exif=, xmp=)`.

    The default of `model` is that of `vqcodec.encode`. Metadata given as a keyword replaces that of `image.info`; None
    or b"" removes it.
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
        raise  # a ValueError, as Pillow's own plugins raise
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
