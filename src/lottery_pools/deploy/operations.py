"""C functions of everything but convolutions: pooling, additions, activations and copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lottery_pools.deploy.convolution import Function
from lottery_pools.deploy.graph import Activate, Add, Operation, Pool, Window
from lottery_pools.deploy.layout import Layout, Unfolded
from lottery_pools.deploy.plan import Plan, Unfold

HEAD = """static void NAME(const float *restrict in, const float *restrict residual, float *restrict out,
                 const float *restrict floats, const int32_t *restrict integers, int part, int parts)
{"""


def function(op: Operation | Unfold, planned: Plan) -> Function:
    """The C function of an operation that is no convolution."""
    layouts = planned.layouts
    if isinstance(op, Pool):
        return _pool(op, layouts[op.source], layouts[op.out])
    if isinstance(op, Unfold):
        return _unfold(layouts[op.source], planned.unfolded[op.out])
    if isinstance(op, Add):
        return _pointwise(layouts[op.left], layouts[op.right], layouts[op.out], op.activation)
    assert isinstance(op, Activate)
    return _pointwise(layouts[op.source], None, layouts[op.out], op.activation)


def _function(title: str, body: Iterator[str], integers: list[int], floats: list[float]) -> Function:
    lines = [f"/* {title} */", HEAD, *(f"    {line}" for line in body), "}"]
    return Function("\n".join(lines), np.array(floats, np.float32), np.array(integers, np.int32))


def each_channel(layout: Layout) -> str:
    """A loop over the channels of this part of the work."""
    count = layout.shape[0]
    return f"for (int c = {count} * part / parts; c < {count} * (part + 1) / parts; c++)"


def address(layout: Layout, name: str, row: str, column: str) -> str:
    """A pointer to the position of channel c, `row` and `column` (a layout without parts)."""
    place = layout.position(0, 0, 0)
    return f"{name} + (c * {layout.plane} + {place} + ({row}) * {layout.pitch} + ({column})) * (ptrdiff_t){layout.unit}"


def _pool(op: Pool, source: Layout, out: Layout) -> Function:
    """First the rows of a window become one row, whole registers at a time, then its columns one position."""
    integers = [number for window in (*op.rows, *op.columns) for number in window]
    unit, run = out.unit, source.shape[2] * out.unit
    join = "largest" if op.kind == "max" else "plus"
    start = "-INFINITY" if op.kind == "max" else "0.0f"
    divide = "" if op.kind == "max" else f" / floats[y * {len(op.columns)} + x]"
    rows = _window("i", "y", op.rows, "integers + 3 * y")
    columns = _window("j", "x", op.columns, f"integers + 3 * ({len(op.rows)} + x)")

    def body() -> Iterator[str]:
        yield "(void)residual; (void)floats; (void)integers;"
        yield f"float row[{run}];"
        yield each_channel(out)
        yield f"for (int y = 0; y < {len(op.rows)}; y++) {{"
        yield f"    for (int k = 0; k < {run}; k++)"
        yield f"        row[k] = {start};"
        yield f"    {rows} {{"
        yield f"        const float *at = {address(source, 'in', 'i', '0')};"
        yield "        int k = 0;"
        yield f"        for (; k + LANES <= {run}; k += LANES)"
        yield f"            store(row + k, {join}(load(row + k), load(at + k)));"
        yield f"        for (; k < {run}; k++)"
        yield f"            row[k] = {join}_one(row[k], at[k]);"
        yield "    }"
        yield f"    float *to = {address(out, 'out', 'y', '0')};"
        yield f"    for (int x = 0; x < {len(op.columns)}; x++)"
        if unit == 1:
            yield "    {"
            yield f"        float result = {start};"
            yield f"        {columns}"
            yield f"            result = {join}_one(result, row[j]);"
            yield f"        to[x] = result{divide};"
            yield "    }"
        else:
            yield f"    for (int lane = 0; lane < {unit}; lane += LANES) {{"
            yield f"        vec result = splat({start});"
            yield f"        {columns}"
            yield f"            result = {join}(result, load(row + j * {unit} + lane));"
            yield f"        store(to + x * {unit} + lane, result{divide});"
            yield "    }"
        yield "}"

    kind = "Maximum" if op.kind == "max" else "Mean"
    title = f"{kind} of windows of {describe(source)} to {describe(out)}"
    return _function(title, body(), integers, list(op.divisors))


def _window(index: str, output: str, windows: Sequence[Window], table: str) -> str:
    """The loop over one window: of constant length where all are alike, else with bounds from the table."""
    alike = _alike(windows)
    if alike is None:
        w = f"({table})"
        return f"for (int {index} = {w}[0]; {index} < {w}[1]; {index} += {w}[2])"
    first, move, size, step = alike
    begin = f"{output} * {move} + {first}"
    return f"for (int {index} = {begin}; {index} < {begin} + {size}; {index} += {step})"


def _alike(windows: Sequence[Window]) -> tuple[int, int, int, int] | None:
    """(first, how far the next lies, size, step) of windows that differ in their place only; None for others."""
    (first, stop, step), move = windows[0], windows[-1][0] - windows[0][0]
    move = move // (len(windows) - 1) if len(windows) > 1 else 0
    same = all(w == (first + i * move, stop + i * move, step) for i, w in enumerate(windows))
    return (first, move, stop - first, step) if same else None


def describe(layout: Layout) -> str:
    return " × ".join(map(str, layout.shape))


def _pointwise(source: Layout, other: Layout | None, out: Layout, activation: str) -> Function:
    _, height, width = out.shape
    run = width * out.unit

    def body() -> Iterator[str]:
        yield "(void)floats; (void)integers;" + (" (void)residual;" if other is None else "")
        yield each_channel(out)
        yield f"for (int y = 0; y < {height}; y++) {{"
        yield f"    const float *a = {address(source, 'in', 'y', '0')};"
        if other is not None:
            yield f"    const float *b = {address(other, 'residual', 'y', '0')};"
        yield f"    float *to = {address(out, 'out', 'y', '0')};"
        total = "load(a + i)" if other is None else "load(a + i) + load(b + i)"
        single = "a[i]" if other is None else "a[i] + b[i]"
        call = "" if activation == "none" else activation
        yield "    int i = 0;"
        yield f"    for (; i + LANES <= {run}; i += LANES)"
        yield f"        store(to + i, {call}({total}));"
        yield f"    for (; i < {run}; i++)"
        yield f"        to[i] = {call + '_one' if call else ''}({single});"
        yield "}"

    what = "Addition" if other is not None else "Activation"
    return _function(f"{what} of {describe(out)}, then activation {activation}", body(), [], [])


def _unfold(source: Layout, out: Unfolded) -> Function:
    """Copies of the source, one for each column of a kernel (and each row, where the result fits a register)."""
    channels, height, width = source.shape

    def inside(size: int, count: int, shift: int, step: int) -> tuple[int, int]:
        """The outputs of `count` whose input, output · step + shift, lies within 0 … size."""
        return max(0, -(shift // step)), max(0, min(count, -((shift - size) // step)))

    def rows(column: int, row: int) -> Iterator[str]:
        """The rows of one copy."""
        if out.each:
            shift = row * out.dilation[0] - out.padding[0]
            first, last = inside(height, out.out[1], shift, out.stride[0])
            step = out.stride[0]
        else:  # every `stride`th row from `row` on, counted from the padding
            shift, step = row - out.padding[0], out.stride[0]
            first, last = inside(height, out.rows, shift, step)
        left = column * out.dilation[1] - out.padding[1]
        begin, end = inside(width, out.out[2], left, out.stride[1])
        if first >= last or begin >= end:
            return
        place = (column * out.parts + row) * out.copy
        yield f"for (int y = {first}; y < {last}; y++) {{"
        yield f"    const float *from = plane + (y * {step} + ({shift})) * {source.pitch};"
        yield f"    float *to = copies + {place} + y * {out.out[2]};"
        yield f"    for (int x = {begin}; x < {end}; x++)"
        yield f"        to[x] = from[x * {out.stride[1]} + ({left})];"
        yield "}"

    def body() -> Iterator[str]:
        yield "(void)residual; (void)floats; (void)integers;"
        yield f"for (int c = {channels} * part / parts; c < {channels} * (part + 1) / parts; c++) {{"
        yield f"    const float *plane = in + c * (ptrdiff_t){source.plane};"
        yield f"    float *copies = out + c * (ptrdiff_t){out.plane};"
        for column in range(out.kernel[1]):
            for row in range(out.parts):
                yield from (f"    {line}" for line in rows(column, row))
        yield "}"

    kernel = f"{out.kernel[0]} × {out.kernel[1]}"
    return _function(f"{describe(source)} unfolded for a kernel of {kernel}", body(), [], [])
