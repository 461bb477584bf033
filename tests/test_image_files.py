"""Which files are images: links are followed, odd names are names, and what is left out is counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lottery_pools.data.image_files import LeftOut, folders, images
from lottery_pools.errors import UserError
from tests.image_sets import Image, pixels, png

CONTENT = png(pixels(1)[0])


def write(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "_x.png",
        "x.JPEG",
        "x.png.jpg",
        "[a]*?.png",
        "ends in a dot..png",
        "x",
        "x.bak",
        "x.txt",
        "4.5",
        "été.png",
        "-x.webp",
    ],
)
def test_an_image_is_one_whatever_its_name(tmp_path: Path, name: str) -> None:
    out = LeftOut()
    file = write(tmp_path / name)
    assert images(tmp_path, out) == [file]
    assert out.notes(tmp_path) == ()


@pytest.mark.parametrize(
    "format_name", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "QOI", "ICO", "AVIF"]
)
def test_images_without_an_ending_are_known_by_their_content(tmp_path: Path, format_name: str) -> None:
    if format_name not in Image.SAVE and Image.init() and format_name not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {format_name}")
    Image.fromarray(pixels(1, (16, 16, 3))[0]).save(tmp_path / "x", format_name)
    assert images(tmp_path, LeftOut()) == [tmp_path / "x"]


def test_what_is_no_image_is_counted_and_named(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png")
    for name in ("notes.txt", "labels.csv", "Thumbs.db", ".DS_Store", "BMW", "P5 is a format"):
        write(tmp_path / "a" / name, b"BM and P5 begin images, too")
    write(tmp_path / "a" / "._1.png")
    write(tmp_path / "a" / ".cache" / "2.png")
    out = LeftOut()
    assert images(tmp_path, out) == [tmp_path / "a" / "1.png"]
    assert sorted(out.notes(tmp_path)) == [
        "left out: 2 hidden files or folders (a/._1.png, a/.cache)",
        "left out: 4 files that are no images (a/BMW, a/P5 is a format, …)",
    ]


def test_links_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "store" / "deep" / "1.png")
    write(tmp_path / "store" / "2.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "folder").symlink_to(tmp_path / "store" / "deep", True)
    (tmp_path / "set" / "file.png").symlink_to(tmp_path / "store" / "2.png")
    (tmp_path / "link").symlink_to(tmp_path / "set", True)
    root = tmp_path / "link"
    assert images(root, LeftOut()) == [root / "file.png", root / "folder" / "1.png"]
    assert folders(root, LeftOut()) == [root / "folder"]
    assert images(root, LeftOut(), is_nested=False) == [root / "file.png"]


def test_links_that_lead_nowhere_or_in_a_circle_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"2.png is a link that leads nowhere"):
        images(tmp_path, LeftOut())
    (tmp_path / "a" / "2.png").unlink()
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    with pytest.raises(UserError, match=r"self is a link that leads nowhere"):
        images(tmp_path, LeftOut())
    (tmp_path / "a" / "self").unlink()
    (tmp_path / "a" / "up").symlink_to(tmp_path, True)
    with pytest.raises(UserError, match=r"a/up is a link to a folder that it lies in"):
        images(tmp_path, LeftOut())


@pytest.mark.parametrize("name", ["x.heic", "x.CR2", "x.tga", "x.svg"])
def test_images_of_formats_that_are_not_read_are_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, b"content")
    with pytest.raises(UserError, match=rf"{name} has a format that is not read: convert"):
        images(tmp_path, LeftOut())


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    out = LeftOut()
    assert images(tmp_path, out) == []
    assert out.notes(tmp_path) == ("left out: 1 files that are no images (pipe.png)",)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the folder .*gone: No such file"):
        images(tmp_path / "gone", LeftOut())
