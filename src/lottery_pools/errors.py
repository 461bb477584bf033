"""The error for mistakes that a user can put right, and the search for the name that was probably meant."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake that the user can put right: in a setting, an argument, a file or a folder.

    The message is one line that says what is wrong, where, and what to do. The command line prints it without a
    traceback and ends with exit code 2. Names from files that would act on a terminal are shown as escapes (`plain`).
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(plain(str(message)))


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the entry of `names` that `name` is probably a misspelling of, or None if none is similar.

    Examples:
        >>> nearest("resnet81", ["mlp", "resnet18", "vgg16"])
        'resnet18'
    """
    matches = get_close_matches(name, list(names), n=1, cutoff=0.4)
    return matches[0] if matches else None


def shown(value: object, most: int = 80) -> str:
    """Return what a message shows of a value from a file: its beginning, on one line.

    Examples:
        >>> shown("a" * 1000, most=10)
        "'aaaaaa..."
    """
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deep"
    return text if len(text) <= most else text[: most - 3] + "..."


def plain(text: str) -> str:
    r"""Return text in which nothing acts on what shows it: control characters and changes of direction become escapes.

    Names in files may hold sequences that clear a terminal, or characters that turn the text after them around.

    Examples:
        >>> plain("größe\x1b[2J")
        'größe\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(character if _is_plain(character) else ascii(character)[1:-1] for character in text)


def installing(extra: str) -> str:
    """Return how the packages of an extra are installed, from an index or in a clone of the sources.

    Examples:
        >>> installing("onnx")
        "pip install 'lottery-pools[onnx]', or in a clone pip install --editable '.[onnx]'"
    """
    return f"pip install 'lottery-pools[{extra}]', or in a clone pip install --editable '.[{extra}]'"


def inert(text: str) -> str:
    r"""Return text in which Markdown makes no HTML, link, picture or code of what a name holds.

    Examples:
        >>> inert("<b> [a](b)")
        '\\<b> [a]\\(b)'
    """
    return re.sub(r"[<`]|(?<=\])\(", r"\\\g<0>", text)


def _is_plain(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


@contextmanager
def naming(where: object) -> Iterator[None]:
    """Put a file before the message of every `UserError` in the body that does not name it.

    Args:
        where: The file, as messages call it.

    Examples:
        >>> with naming("a.safetensors"):
        ...     raise UserError("a mask is missing: restore it")
        Traceback (most recent call last):
        lottery_pools.errors.UserError: a.safetensors: a mask is missing: restore it
    """
    try:
        yield
    except UserError as error:
        if str(where) in str(error):
            raise
        raise UserError(f"{where}: {error}") from error


class Notice(UserWarning):
    """Something that a user should know and that stops nothing; the command line prints it as one line."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """Return the error for a name that is not among `choices`: it suggests the nearest one, or lists them all.

    Args:
        kind: What the name stands for, as the message calls it, such as "model".
        name: The name that was given.
        choices: The names that exist.

    Examples:
        >>> raise unknown("model", "resnet81", ["mlp", "resnet18"])
        Traceback (most recent call last):
        lottery_pools.errors.UserError: unknown model 'resnet81': did you mean 'resnet18'?
    """
    choices = sorted(choices)
    suggestion = nearest(name, choices)
    hint = f"did you mean {suggestion!r}?" if suggestion else f"choose one of: {', '.join(choices)}"
    return UserError(f"unknown {kind} {shown(name)}: {hint}")
