"""C functions of the way in and out: samples brought into a layout and back, and the zeros around them."""

from __future__ import annotations

from collections.abc import Iterator

from lottery_pools.deploy.layout import REGISTER, Layout
from lottery_pools.deploy.operations import address, describe, each_channel

HEAD = """static void NAME(const float *restrict from, int count, float *restrict to, int part, int parts)
{"""


def clear(layout: Layout) -> str:
    """The C function that sets the border of a layout to zero, where something else was before."""
    return "\n".join(_clear(layout))


def _clear(layout: Layout) -> Iterator[str]:
    channels, height, width = layout.shape
    unit, plane, pitch = layout.unit, layout.plane * layout.unit, layout.pitch * layout.unit
    below, between = (layout.top + height) * pitch, layout.left * unit
    yield f"/* Zeros around {describe(layout)}. */"
    yield "static void NAME(float *out, int part, int parts)"
    yield "{"
    yield f"    {each_channel(layout)} {{"
    yield f"        float *plane = out + c * (ptrdiff_t){plane};"
    yield f"        memset(plane, 0, sizeof(float) * {layout.first});"
    yield f"        for (int y = 0; y < {height}; y++)"
    yield f"            memset(plane + {layout.first + width * unit} + y * {pitch}, 0, sizeof(float) * {between});"
    yield f"        memset(plane + {below}, 0, sizeof(float) * {plane - below});"
    yield "    }"
    yield "    if (part + 1 == parts)"
    yield f"        memset(out + {channels * plane}, 0, sizeof(float) * {layout.after * unit});"
    yield "}"


def pack(layout: Layout) -> str:
    """The C function that brings `count` samples from PyTorch's order into a layout; further lanes become zero."""
    return "\n".join(_exchange(layout, inward=True))


def unpack(layout: Layout) -> str:
    """The C function that brings `count` samples from a layout into PyTorch's order."""
    return "\n".join(_exchange(layout, inward=False))


def _exchange(layout: Layout, inward: bool) -> Iterator[str]:
    channels, height, width = layout.shape
    size = channels * height * width
    yield f"/* {describe(layout)} {'from' if inward else 'to'} PyTorch's order, {layout.unit} samples side by side. */"
    yield HEAD
    yield f"    {each_channel(layout)}"
    yield f"    for (int y = 0; y < {height}; y++) {{"
    ours = address(layout, "to" if inward else "from", "y", "0")
    theirs = f"{'from' if inward else 'to'} + (c * {height} + y) * (ptrdiff_t){width}"
    yield f"        {'' if inward else 'const '}float *ours = {ours};"
    yield f"        {'const ' if inward else ''}float *theirs = {theirs};"
    unit = layout.unit
    if inward and unit > 1:
        yield f"        if (count < {unit})"
        yield f"            memset(ours, 0, sizeof(float) * {width * unit});"
    if inward and unit == REGISTER:
        yield "#ifdef GATHER"
        yield f"        for (int x = 0; x < {width}; x++)"
        yield f"            store(ours + x * {unit}, gather(theirs + x, {size}, count));"
        yield "        continue;"
        yield "#endif"
    if unit == 1:
        yield "        (void)count;"
        yield f"        memcpy({'ours, theirs' if inward else 'theirs, ours'}, sizeof(float) * {width});"
    else:
        in_ours, in_theirs = f"ours[x * {unit} + lane]", f"theirs[lane * (ptrdiff_t){size} + x]"
        yield "        for (int lane = 0; lane < count; lane++)"
        yield f"            for (int x = 0; x < {width}; x++)"
        yield f"                {in_ours if inward else in_theirs} = {in_theirs if inward else in_ours};"
    yield "    }"
    yield "}"
