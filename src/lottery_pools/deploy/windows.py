"""Pooling as windows: which rows and columns each output covers, padding left out."""

from __future__ import annotations

from collections.abc import Callable

from lottery_pools.deploy.graph import Pool, Window
from lottery_pools.deploy.nodes import Lowered, Task, pair, physical, steps


def windows(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> list[Window]:
    """The positions within 0 … `size` that each output's window covers."""
    windows = []
    for index in range(outputs):
        first = index * stride - padding
        last = first + (kernel - 1) * dilation
        first += max(0, -(first // dilation)) * dilation if first < 0 else 0
        windows.append((first, min(size, last + 1), dilation))
    return windows


def pool(kind: str, dimensions: int) -> Callable[[Task], Lowered | None]:
    def rule(task: Task) -> Lowered | None:
        get = task.arguments
        source = task.known.operand(get["self"], (dimensions + 1,))
        if source is None:
            return None
        shape, out = task.known.shapes[source], physical(task.shape)
        kernel = steps(get["kernel_size"], dimensions)
        stride = steps(get["stride"], dimensions) if get["stride"] else kernel
        padding = pair(get["padding"], dimensions)
        dilation = steps(get.get("dilation", 1), dimensions)
        axes = [
            windows(shape[axis + 1], out[axis + 1], kernel[axis], stride[axis], padding[axis], dilation[axis])
            for axis in (0, 1)
        ]
        if any(first >= stop for axis in axes for first, stop, _ in axis):
            return None
        divisors: list[float] = []
        if kind == "mean":
            padded = get["count_include_pad"]
            counts = [
                [
                    min(i * stride[axis] - padding[axis] + kernel[axis], shape[axis + 1] + padding[axis])
                    - (i * stride[axis] - padding[axis])
                    if padded
                    else stop - first
                    for i, (first, stop, _) in enumerate(axes[axis])
                ]
                for axis in (0, 1)
            ]
            divisors = [float(get.get("divisor_override") or rows * columns) for rows in counts[0]
                        for columns in counts[1]]  # fmt: skip
        operation = Pool(task.out, source, kind, tuple(axes[0]), tuple(axes[1]), tuple(divisors))
        return Lowered(operation, out)

    return rule


def _mean(task: Task, source: str, rows: int, columns: int) -> Lowered:
    """The mean over windows that share the value's height and width among `rows` and `columns` outputs."""
    channels, *sizes = task.known.shapes[source]
    axes = [
        tuple((i * size // count, -(-(i + 1) * size // count), 1) for i in range(count))
        for size, count in zip(sizes, (rows, columns), strict=True)
    ]
    divisors = tuple(float((b - a) * (d - c)) for a, b, _ in axes[0] for c, d, _ in axes[1])
    return Lowered(Pool(task.out, source, "mean", axes[0], axes[1], divisors), (channels, rows, columns))


def adaptive(dimensions: int) -> Callable[[Task], Lowered | None]:
    def rule(task: Task) -> Lowered | None:
        source = task.known.operand(task.arguments["self"], (dimensions + 1,))
        return None if source is None else _mean(task, source, *physical(task.shape)[1:])

    return rule


def mean_of_all(task: Task) -> Lowered | None:
    """`mean` over all dimensions but the batch and the channels."""
    view = task.known.views.get(getattr(task.arguments["self"], "name", ""))
    source = task.known.operand(task.arguments["self"], (2, 3))
    if view is None or source is None or task.arguments.get("dtype") is not None or task.arguments["dim"] is None:
        return None
    total = len(view.shape) + 1
    if sorted(dim % total for dim in task.arguments["dim"]) != list(range(2, total)):
        return None
    return _mean(task, source, 1, 1)
