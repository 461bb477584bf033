"""Numbers as people read them: gains with their sign, counts, times and sizes."""

from __future__ import annotations

import re

from lottery_pools.config.schema import Task
from lottery_pools.runs.rows import Gain

MINUS = "−"
"""The sign of negative numbers wherever people read them; files for machines keep the hyphen."""

DASH = "–"
"""Stands in a table where nothing was measured."""

JOINED = "\u00a0"
"""A space at which no line breaks."""


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign, such as `+0.73` or `−0.20`."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def fixed(value: float, digits: int = 2) -> str:
    """A number with so many decimals, and a sign only where it is negative."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def interval(gain: Gain, digits: int = 2) -> str:
    """A gain, of accuracy in percentage points, with its 95 % interval: `+0.73 [+0.48, +0.99]`."""
    return f"{signed(gain.gain, digits)} [{signed(gain.low, digits)}, {signed(gain.high, digits)}]"


def meaning_of_accuracy(task: Task) -> str:
    """A sentence that says what a right prediction is, where that is not the class of a sample; else empty."""
    if task != "multi-label":
        return ""
    return "Accuracy is the share of samples of which every label is predicted correctly."


def big(number: float) -> str:
    """A count: exact below a million (`623,000`), with three significant digits above (`5.43 M`, `1.20 G`)."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        scaled = number / size
        if scaled >= 0.9995:
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f} {unit}"
    return f"{number:,.0f}"


def plural(number: int, noun: str) -> str:
    """A number and its noun: `1 seed`, `3 seeds`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def unbroken(text: str) -> str:
    """The text with a space that does not break between a number and its unit, and within an interval."""
    text = re.sub(r"(\d) (?=%|[kMGT]\b|(?:points?|nats|seeds?|levels?|min|h|s)\b)", rf"\1{JOINED}", text)
    return re.sub(r"\[[^\[\]]*\]", lambda match: match[0].replace(" ", JOINED), text)


def duration(seconds: float) -> str:
    """A time in its two largest units: `3 h 20 min`."""
    for size, large, smaller, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            whole, rest = divmod(round(seconds / smaller), size // smaller)
            return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """A number of bytes with its unit: `3.14 MB`."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = next((i for i in range(len(units)) if count < 999.5 * 1000**i), len(units) - 1)
    return f"{count / 1000**power:.3g} {units[power]}"


def bar(share: float, width: int = 20) -> str:
    """A share from 0 to 1 as a bar of up to `width` characters, in steps of an eighth; any share above 0 is visible."""
    whole, eighths = divmod(max(round(8 * width * share), share > 0), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[eighths] * (eighths > 0)
