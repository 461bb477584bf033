"""Decoding one image: as a viewer shows it, or a reason why not."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lottery_pools.data import pixels
from lottery_pools.data.pixels import UnreadableImageError, decode
from tests.image_sets import Image, png
from tests.image_sets import pixels as noise

ImageOps = pytest.importorskip("PIL.ImageOps")


def encoded(image: Any, format_name: str, **options: Any) -> bytes:
    image.save(buffer := io.BytesIO(), format_name, **options)
    return buffer.getvalue()


def array(content: bytes | str, size: int | None = None) -> NDArray[np.uint8]:
    decoded = decode(content, size)
    return np.frombuffer(decoded.values, np.uint8).reshape(decoded.shape)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_viewers_turn_them(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = Image.fromarray(noise(1, (6, 9, 3))[0])
    content = encoded(upright, "PNG", exif=exif)
    with Image.open(io.BytesIO(content)) as file:
        viewed = np.asarray(ImageOps.exif_transpose(file))
    assert (array(content).transpose(1, 2, 0) == viewed).all()
    assert array(content).shape[1:] == ((6, 9) if orientation < 5 else (9, 6))


def test_sixteen_bits_are_scaled_to_eight() -> None:
    values = np.array([[0, 128, 129, 257], [300, 32768, 65406, 65535]], np.uint16)
    for name in ("PNG", "TIFF"):
        decoded = decode(encoded(Image.fromarray(values), name), None)
        assert decoded.shape == (1, 2, 4)
        assert list(decoded.values) == [0, 0, 1, 1, 1, 128, 254, 255]
        assert decoded.remarks == ("16 bits",)


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def test_colours_of_sixteen_bits_are_reduced_and_said() -> None:
    header = chunk(b"IHDR", (1).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes((16, 2, 0, 0, 0)))
    content = (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0\xff\xff\x80\0\0\1")) + chunk(b"IEND", b"")
    )
    decoded = decode(content, None)
    assert list(decoded.values) == [255, 128, 0]
    assert decoded.remarks == ("16 bits",)


def test_a_palette_with_transparency_shows_white_behind_it() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 0, 0, 0])
    image.putdata([0, 1, 2])
    content = encoded(image, "PNG", transparency=bytes((255, 0, 128)))
    decoded = decode(content, None)
    assert array(content)[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255], [127, 127, 127]]
    assert decoded.remarks == ("transparent",)
    opaque = encoded(image, "PNG", transparency=bytes((255, 255, 255)))
    assert array(opaque)[:, 0].T.tolist() == [[10, 20, 30], [40, 50, 60], [0, 0, 0]]
    assert decode(opaque, None).remarks == ()


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("CMYK", 3)])
def test_every_mode_has_one_channel_or_three(mode: str, channels: int) -> None:
    image = Image.fromarray(noise(1)[0]).convert(mode)
    content = encoded(image, "TIFF")
    expected = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(8, 8, channels)
    assert (array(content).transpose(1, 2, 0) == expected).all()
    assert decode(content, None).remarks == ()


def test_of_several_frames_the_first_is_used_and_that_is_said() -> None:
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    content = encoded(first, "GIF", save_all=True, append_images=[second])
    assert array(content)[:, 0, 0].tolist() == [255, 0, 0]
    assert decode(content, None).remarks == ("frames",)
    assert decode(encoded(first, "GIF"), None).remarks == ()


def test_a_file_is_read_as_its_content(tmp_path: Path) -> None:
    (tmp_path / "no ending").write_bytes(png(noise(1)[0]))
    assert decode(str(tmp_path / "no ending"), 4) == decode(png(noise(1)[0]), 4)
    with pytest.raises(UnreadableImageError, match="No such file or directory"):
        decode(str(tmp_path / "absent.png"), None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is none, the cell is null"),
        (b"", "cannot identify image file"),
        (b"no image", "cannot identify image file"),
        (png(noise(1)[0])[:-20], "cut short or damaged after byte 33"),
        (png(noise(1)[0])[:40], "cut short or damaged"),
        (b"\x89PNG\r\n\x1a\n", "the PNG file is cut short"),
        (encoded(Image.fromarray(noise(1, (64, 64, 3))[0]), "JPEG")[:-900], "image file is truncated"),
        (encoded(Image.new("F", (4, 4)), "TIFF"), "pixels of type F, neither 8 nor 16 bits"),
        (encoded(Image.new("I", (4, 4)), "TIFF"), "pixels of type I, neither 8 nor 16 bits"),
        (encoded(Image.new("1", (20_000, 6000)), "PNG"), "20000×6000 pixels are more than 100000000"),
    ],
)
def test_why_an_image_cannot_be_read_is_said(content: bytes | None, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        decode(content, None)


def test_a_file_too_large_to_be_an_image_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.png").write_bytes(png(noise(1)[0]))
    monkeypatch.setattr(pixels, "MOST_BYTES", 100)
    with pytest.raises(UnreadableImageError, match="bytes, more than 100"):
        decode(str(tmp_path / "large.png"), None)


def test_a_pixel_that_changed_in_a_png_file_is_noticed() -> None:
    content = bytearray(png(np.zeros((8, 8, 3), np.uint8)))
    place = content.index(b"IDAT") + 12
    for bit in range(8):
        content[place] ^= 1 << bit
        with pytest.raises(UnreadableImageError):
            decode(bytes(content), None)
        content[place] ^= 1 << bit
    assert not array(bytes(content)).any()


SAMPLES = [
    *(
        encoded(Image.fromarray(noise(1, (20, 24, 3))[0]), name)
        for name in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
    ),
    encoded(Image.fromarray(noise(1, (20, 24, 3))[0]).quantize(16), "PNG", transparency=3),
    encoded(Image.fromarray(noise(1, (20, 24, 4))[0]), "PNG"),
]
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


@given(st.sampled_from(SAMPLES), CHANGES, st.floats(0.05, 1), st.sampled_from([None, 8, 7]))
@settings(max_examples=300)
def test_damaged_images_give_pixels_or_a_reason(
    content: bytes, changes: list[tuple[float, int]], kept: float, size: int | None
) -> None:
    damaged = bytearray(content)
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    check(bytes(damaged[: round(kept * len(damaged))]), size)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0"]))
def test_random_bytes_give_pixels_or_a_reason(content: bytes, start: bytes) -> None:
    check(start + content, None)


def check(content: bytes, size: int | None) -> None:
    reason = "it can be read"
    try:
        decoded = decode(content, size)
        assert len(decoded.values) == np.prod(decoded.shape)
        assert decoded.shape[0] in (1, 3)
        assert size is None or decoded.shape[1:] == (size, size)
    except UnreadableImageError as error:
        reason = str(error)
    assert reason
    assert "\n" not in reason


def test_a_small_file_cannot_claim_an_image_that_fills_the_memory() -> None:
    content = bytearray(encoded(Image.fromarray(noise(1, (24, 24, 3))[0]), "TIFF"))
    wide, long = (content.index(tag) for tag in (b"\x00\x01\x04\x00", b"\x01\x01\x04\x00"))
    for place in (wide, long):
        content[place + 8 : place + 12] = (9000).to_bytes(4, "little")
    with pytest.raises(UnreadableImageError, match=r"9000×9000 pixels are too many for \d+ bytes"):
        decode(bytes(content), None)
    plain = encoded(Image.new("L", (4000, 3000), 7), "PNG")  # large, and small because it is all of one colour
    assert decode(plain, 8).shape == (1, 8, 8)
