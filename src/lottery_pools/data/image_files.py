"""Which files below a folder are images: links are followed, and what is left out is counted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lottery_pools.errors import UserError

_ENDINGS = frozenset(
    [
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".ico",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".jpx",
        ".mpo",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".qoi",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""The endings of image files that are read (`pixels.FORMATS`)."""
_OTHER_ENDINGS = frozenset(
    [
        ".arw",
        ".cr2",
        ".cr3",
        ".dcm",
        ".dng",
        ".eps",
        ".exr",
        ".heic",
        ".heif",
        ".jxl",
        ".nef",
        ".orf",
        ".pcx",
        ".psd",
        ".raf",
        ".rw2",
        ".sgi",
        ".svg",
        ".tga",
        ".xcf",
    ]
)
"""The endings of images in formats that are not read."""
_START = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|II\*\x00|MM\x00\*|BM....\x00\x00\x00\x00|qoif"
    rb"|\x00\x00\x01\x00.\x00|\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51|....ftypavif|P[1-6]\s+\d+\s+\d+\s",
    re.DOTALL,
)
"""How the content of an image begins, for files whose ending does not tell."""
_LITTER = frozenset(
    (".DS_Store", ".directory", ".gitignore", ".gitkeep", ".nomedia", "Thumbs.db", "desktop.ini", "ehthumbs.db")
)
"""What file managers leave in folders, of which nothing is said."""


class LeftOut:
    """What below a folder is no sample: lists of paths by their kind, for notes."""

    HIDDEN = "hidden files or folders"
    """Those whose names begin with a dot, as notebooks and file managers make them."""
    OTHERS = "files that are no images"

    def __init__(self) -> None:
        self.paths: dict[str, list[Path]] = {}

    def add(self, kind: str, paths: Iterable[Path]) -> None:
        """Add paths of a kind, which is a plural that fits after "left out: 3"."""
        self.paths.setdefault(kind, []).extend(paths)

    def notes(self, root: Path) -> tuple[str, ...]:
        """Return a note for each kind: how many there are, and the first of them, as they lie below `root`."""
        notes = []
        for kind, paths in self.paths.items():
            shown = ", ".join(str(path.relative_to(root)) for path in sorted(paths)[:2])
            if paths:
                notes.append(f"left out: {len(paths)} {kind} ({shown}{', …' if len(paths) > 2 else ''})")
        return tuple(notes)


def folders(folder: Path, out: LeftOut) -> list[Path]:
    """Return the folders in a folder, links to folders included, in alphabetical order; hidden ones go to `out`.

    Raises:
        UserError: The folder cannot be read.
    """
    return sorted(Path(entry.path) for entry in _entries(folder, out) if _is(entry.is_dir))


def images(folder: Path, out: LeftOut, is_nested: bool = True) -> list[Path]:
    """Return the image files in a folder, in alphabetical order of their whole paths.

    Args:
        folder: The folder; it may be a link.
        out: Gets what is left out.
        is_nested: Whether to go into the folders in it too.

    Raises:
        UserError: A file or folder cannot be read, a link leads nowhere or in a circle, or an image has a format that
            is not read.
    """
    return sorted(_walk(folder, out, is_nested, ()), key=str)


def _walk(folder: Path, out: LeftOut, is_nested: bool, above: tuple[str, ...]) -> Iterator[Path]:
    """The image files below a folder. `above` are the folders that it lies in, links resolved."""
    real = os.path.realpath(folder)
    if real in above:
        raise UserError(f"{folder} is a link to a folder that it lies in: remove it")
    for entry in _entries(folder, out):
        path = Path(entry.path)
        if _is(entry.is_dir):
            if is_nested:
                yield from _walk(path, out, is_nested, (*above, real))
        elif _is_image(entry):
            yield path
        else:
            out.add(LeftOut.OTHERS, [path])


def _entries(folder: Path, out: LeftOut) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, without what is hidden."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in _LITTER:
                    continue
                if entry.name.startswith("."):
                    out.add(LeftOut.HIDDEN, [Path(entry.path)])
                    continue
                yield entry
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror or error}; remove the cause") from error


def _is(question: Callable[[], bool]) -> bool:
    """The answer of `is_dir` or `is_file` of an entry: no, if it is a link that leads in a circle."""
    try:
        return question()
    except OSError:
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether a file is an image, by its ending, or if that does not tell, by its first bytes."""
    ending = Path(entry.name).suffix.lower()
    if not _is(entry.is_file):
        if entry.is_symlink() and not Path(entry.path).exists():
            raise UserError(f"{entry.path} is a link that leads nowhere: mend or remove it")
        return False  # a device, a socket or a pipe
    if ending in _ENDINGS:
        return True
    if ending in _OTHER_ENDINGS:
        raise UserError(f"{entry.path} has a format that is not read: convert such images to PNG or JPEG, or remove it")
    try:
        with Path(entry.path).open("rb") as file:
            return _START.match(file.read(32)) is not None
    except OSError as error:
        raise UserError(f"cannot read {entry.path}: {error.strerror or error}; remove the cause") from error
