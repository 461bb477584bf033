"""From the content of one image file to its pixels.

Processes that only decode import this module: it imports neither torch nor, for ordinary images, NumPy.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lottery_pools.errors import UserError, installing

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM", "TIFF", "JPEG2000", "AVIF", "QOI", "ICO")
"""The formats that are read, as Pillow calls them, if it has them. Others are left out because their files cannot be
told from any bytes (TGA), or because reading them starts another program (EPS)."""
MOST_PIXELS = 100_000_000
"""Pixels of the largest image that is decoded: a few bytes can claim to be an image that fills the memory."""
PIXELS_OF_ANY_FILE, PIXELS_A_BYTE = 12_500_000, 200
"""An image with more pixels than these together allow is not what a file of its size holds, and is not decoded."""
MOST_BYTES = 1 << 30
"""Bytes of the largest image file that is read."""
_PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112
"""The EXIF tag that says how a photograph is turned; 1 is upright."""

REMARKS = {
    "16 bits": "images with 16 bits a channel were reduced to 8 bits",
    "transparent": "images with transparent parts were put on white",
    "frames": "images with several frames: the first is used",
}
"""What is said of images that cannot be taken as they are: after their number, in a note (`Dataset.notes`)."""


class UnreadableImageError(ValueError):
    """An image that cannot be decoded; the message is the reason, without the name of the file."""


@dataclass(frozen=True)
class Pixels:
    """The pixels of one image."""

    shape: tuple[int, int, int]
    """Channels (1 if the image is greyscale, otherwise 3), height and width."""
    values: bytes
    """One byte for each value, in the order of `shape`."""
    remarks: tuple[str, ...]
    """Keys of `REMARKS`."""


def check_installed() -> None:
    """Raise UserError if Pillow is not installed, which decodes images."""
    if importlib.util.find_spec("PIL") is None:
        raise UserError(f"image data need Pillow: {installing('data')}")


def decode(image: bytes | str | None, size: int | None) -> Pixels:
    """Decode one image. With a `size`, its central square is resized to that side (`fitted`).

    Args:
        image: The content of an image file, or its path; None is unreadable.
        size: Height and width of the result, in pixels; none: those of the image.

    Raises:
        UnreadableImageError: It is not the content of an image in one of `FORMATS`, or that is damaged or too large.
    """
    upright, remarks = opened(image)
    if size is not None:
        upright = fitted(upright, size, size)
    channels = upright.split()
    values = b"".join(channel.tobytes() for channel in channels)
    return Pixels((len(channels), upright.height, upright.width), values, remarks)


def fitted(image: Image, height: int, width: int) -> Image:
    """Resize the largest central box with the proportions of `height` and `width` to them.

    Reducing by a whole factor takes the mean of areas; any other change of size is bilinear with antialiasing.
    """
    from PIL import Image

    if image.size == (width, height):
        return image
    if height == width:
        box_width = box_height = min(image.size)
    elif image.width * height < image.height * width:
        box_width, box_height = image.width, max(1, image.width * height // width)
    else:
        box_width, box_height = max(1, image.height * width // height), image.height
    left, top = (image.width - box_width) // 2, (image.height - box_height) // 2
    box = (left, top, left + box_width, top + box_height)
    factor = box_width // width
    if factor > 0 and (box_width, box_height) == (factor * width, factor * height):
        return image.reduce(factor, box)
    return image.resize((width, height), Image.Resampling.BILINEAR, box)


def opened(image: bytes | str | None) -> tuple[Image, tuple[str, ...]]:
    """Decode one image as a viewer shows it: turned upright, and put on white where it is transparent.

    Returns:
        The image in one of Pillow's modes `L` (greyscale) and `RGB`, and keys of `REMARKS`.

    Raises:
        UnreadableImageError: As `decode`.
    """
    try:
        if image is None:
            raise UnreadableImageError("there is none, the cell is null")
        with warnings.catch_warnings():
            # Of damaged metadata, and of images below `MOST_PIXELS` that Pillow finds large.
            warnings.simplefilter("ignore")
            return _opened(_content(image) if isinstance(image, str) else image)
    except UnreadableImageError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many kinds on damaged files
        raise UnreadableImageError(_reason(error)) from error


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this version of Pillow reads."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _content(path: str) -> bytes:
    """The content of a file that may be an image."""
    size = Path(path).stat().st_size
    if size > MOST_BYTES:
        raise UnreadableImageError(f"the file has {size} bytes, more than {MOST_BYTES}")
    return Path(path).read_bytes()


def _opened(content: bytes) -> tuple[Image, tuple[str, ...]]:
    """`opened`, with errors as Pillow raises them."""
    from PIL import Image, ImageOps

    _check_png(content)
    remarks = []
    with Image.open(io.BytesIO(content), formats=_formats()) as file:
        if file.width * file.height > MOST_PIXELS:
            raise UnreadableImageError(f"{file.width}×{file.height} pixels are more than {MOST_PIXELS}: reduce it")
        if file.width * file.height > PIXELS_OF_ANY_FILE + PIXELS_A_BYTE * len(content):
            raise UnreadableImageError(f"{file.width}×{file.height} pixels are too many for {len(content)} bytes")
        if file.mode.startswith("I") or (file.format in ("PNG", "TIFF") and ";16" in str(file.tile)):
            remarks.append("16 bits")
        image: Image.Image = file
        if file.getexif().get(_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(file)
        if image.mode.startswith(("I", "F")):
            image = _eight_bits(image, file.format)
        is_grey = image.mode in ("1", "L", "LA", "La")
        if image.has_transparency_data:
            image, is_transparent = _on_white(image)
            remarks += ["transparent"] * is_transparent
        image = image.convert("L" if is_grey else "RGB")
        if getattr(file, "is_animated", False) and file.format != "MPO":  # MPO: a photograph and its previews
            remarks.append("frames")
    return image, tuple(remarks)


def _eight_bits(image: Image, format_name: str | None) -> Image:
    """Scale greyscale values of 0 to 65,535 to 0 to 255, the nearest whole number each."""
    import numpy as np
    from PIL import Image

    is_16_bits = image.mode.startswith("I;16") or (image.mode == "I" and format_name in ("PNG", "PPM"))
    if not is_16_bits or "transparency" in image.info:
        raise UnreadableImageError(f"pixels of type {image.mode}, neither 8 nor 16 bits")
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _on_white(image: Image) -> tuple[Image, bool]:
    """An image whose transparent parts show white, and whether it has any."""
    from PIL import Image

    layers = image.convert("RGBA")
    lowest, _ = layers.getchannel("A").getextrema()
    if lowest == 255:
        return layers.convert("RGB"), False
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layers).convert("RGB"), True


def _check_png(content: bytes) -> None:
    """Raise UnreadableImageError if a PNG file does not fit its checksums, of which Pillow reads only some."""
    if not content.startswith(_PNG):
        return
    start = len(_PNG)
    while start < len(content):
        end = start + 8 + int.from_bytes(content[start : start + 4], "big")
        checksum = content[end : end + 4]
        if len(checksum) < 4 or zlib.crc32(content[start + 4 : end]) != int.from_bytes(checksum, "big"):
            raise UnreadableImageError(f"the PNG file is cut short or damaged after byte {start}")
        if content[start + 4 : start + 8] == b"IEND":
            return
        start = end + 4
    raise UnreadableImageError("the PNG file is cut short")


def _reason(error: Exception) -> str:
    """Why an image cannot be read, in a few words on one line."""
    if type(error).__name__ == "UnidentifiedImageError":  # its message has the address of an object in memory
        return "cannot identify image file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
