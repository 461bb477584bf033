"""One node of PyTorch's graph as an operation of ours, or None where it is of a kind or form that we do not know.

Every form that is taken over is checked against the shape that PyTorch computed for its result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from lottery_pools.deploy import windows
from lottery_pools.deploy.graph import Activate, Add, Convolution
from lottery_pools.deploy.nodes import Known, Lowered, Task, pair, physical, steps

aten = torch.ops.aten


def lower(node: Node, out: str, shape: tuple[int, ...], known: Known) -> Lowered | str | None:
    """The operation of a node, or the value that it is a view of, or None where PyTorch has to compute it.

    `out` and `shape` are the name and the sample shape of the result.
    """
    rule = RULES.get(node.target)
    if rule is None or not hasattr(node.target, "_schema"):
        return None
    names = [argument.name for argument in node.target._schema.arguments]
    defaults = {a.name: a.default_value for a in node.target._schema.arguments if a.has_default_value()}
    arguments = {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}
    lowered = rule(Task(arguments, out, shape, known))
    if isinstance(lowered, Lowered) and math.prod(lowered.shape) != math.prod(shape):
        return None
    return lowered


def _convolution(task: Task) -> Lowered | None:
    get = task.arguments
    source, weight = task.known.operand(get["input"], (2, 3)), task.known.array(get["weight"])
    bias = None if get["bias"] is None else task.known.array(get["bias"])
    if source is None or weight is None or (bias is None and get["bias"] is not None):
        return None
    dimensions = weight.ndim - 2
    if len(task.shape) != dimensions + 1:
        return None
    kernel = weight.reshape(*weight.shape[:2], 1, -1) if dimensions == 1 else weight
    dilation = steps(get["dilation"], dimensions)
    if get["padding"] == "same":
        padding = tuple(step * (size - 1) // 2 for step, size in zip(dilation, kernel.shape[2:], strict=True))
    elif get["padding"] == "valid":
        padding = (0, 0)
    else:
        padding = pair(get["padding"], dimensions)
    zeros = np.zeros(len(weight), np.float32)
    stride, groups = steps(get["stride"], dimensions), int(get["groups"])
    if kernel.shape[1] * groups != task.known.shapes[source][0]:
        return None
    operation = Convolution(task.out, source, kernel, zeros if bias is None else bias, stride,
                            (padding[0], padding[1]), dilation, groups)  # fmt: skip
    return Lowered(operation, physical(task.shape))


def _linear(task: Task) -> Lowered | None:
    """A linear layer, as a convolution whose kernel covers all of its input: flattening costs nothing."""
    get = task.arguments
    view = task.known.views.get(getattr(get["input"], "name", ""))
    weight = task.known.array(get["weight"])
    bias = None if get["bias"] is None else task.known.array(get["bias"])
    if view is None or len(view.shape) != 1 or weight is None or (bias is None and get["bias"] is not None):
        return None
    kernel = weight.reshape(len(weight), *task.known.shapes[view.value])
    zeros = np.zeros(len(weight), np.float32)
    return Lowered(Convolution(task.out, view.value, kernel, zeros if bias is None else bias), (len(weight), 1, 1))


def _batch_norm(task: Task) -> Lowered | None:
    """BatchNorm as a convolution of one weight a channel; the tracer folds it into the one before, where it can."""
    get = task.arguments
    source = task.known.operand(get["input"], (1, 2, 3))
    mean, variance = task.known.array(get["running_mean"]), task.known.array(get["running_var"])
    weight, bias = (None if get[name] is None else task.known.array(get[name]) for name in ("weight", "bias"))
    missing = (weight is None and get["weight"] is not None) or (bias is None and get["bias"] is not None)
    if source is None or mean is None or variance is None or missing:
        return None
    scale = 1 / np.sqrt(variance.astype(np.float64) + float(get["eps"]))
    scale = scale if weight is None else scale * weight
    shift = (0.0 if bias is None else bias) - mean.astype(np.float64) * scale
    one_each = scale.astype(np.float32).reshape(-1, 1, 1, 1)
    operation = Convolution(task.out, source, one_each, shift.astype(np.float32), groups=len(mean))
    return Lowered(operation, task.known.shapes[source])


def _activation(name: str) -> Callable[[Task], Lowered | None]:
    def rule(task: Task) -> Lowered | None:
        view = task.known.views.get(getattr(task.arguments["self"], "name", ""))
        kind = name + ("_tanh" if task.arguments.get("approximate") == "tanh" else "")
        shape = None if view is None else task.known.shapes[view.value]
        return None if view is None or shape is None else Lowered(Activate(task.out, view.value, kind), shape)

    return rule


def _by_channel(operation: Callable[[float], tuple[float, float]]) -> Callable[[Task], Lowered | None]:
    """An operation with one number a channel (or one for all) that is constant, such as a normalisation's.

    `operation(number)` is what the samples' values are multiplied by, and what is added to them. It becomes a
    convolution of one weight a channel, as BatchNorm does. Where that is not finite, PyTorch computes.
    """

    def rule(task: Task) -> Lowered | None:
        get = task.arguments
        source, numbers = task.known.operand(get["self"], (1, 2, 3)), _numbers(task, get["other"])
        if source is None or numbers is None or get.get("alpha", 1) != 1:
            return None
        scales, shifts = np.array([operation(float(number)) for number in numbers], np.float32).T
        if not np.isfinite([scales, shifts]).all():
            return None
        weight = np.ascontiguousarray(scales).reshape(-1, 1, 1, 1)
        made = Convolution(task.out, source, weight, np.ascontiguousarray(shifts), groups=len(weight))
        return Lowered(made, task.known.shapes[source])

    return rule


def _numbers(task: Task, operand: Any) -> NDArray[np.float32] | None:
    """The number of each channel that a constant operand holds; None if it is none, or has others than by channel."""
    dimensions, channels = len(task.shape), task.shape[0]
    if isinstance(operand, int | float):
        return np.full(channels, operand, np.float32)
    array = task.known.array(operand)
    if array is None or array.size not in (1, channels) or array.ndim > dimensions + 1:
        return None
    if array.size == channels > 1 and (array.ndim < dimensions or array.shape[-dimensions] != channels):
        return None
    return np.broadcast_to(array.reshape(-1), channels)


def _add(task: Task) -> Lowered | None:
    get = task.arguments
    views = [task.known.views.get(getattr(get[name], "name", "")) for name in ("self", "other")]
    left, right = views
    if right is None:
        return _by_channel(lambda number: (1.0, number))(task)
    if left is None or left.shape != right.shape or get["alpha"] != 1:
        return None
    shapes = {task.known.shapes[left.value], task.known.shapes[right.value]}
    return Lowered(Add(task.out, left.value, right.value), shapes.pop()) if len(shapes) == 1 else None


def _view(task: Task) -> str | None:
    """Reshaping a sample moves nothing: the result is another view of the same value."""
    argument = task.arguments.get("self", task.arguments.get("input"))
    view = task.known.views.get(getattr(argument, "name", ""))
    if view is None or math.prod(view.shape) != math.prod(task.shape):
        return None
    return view.value


RULES: Mapping[Any, Callable[[Task], Lowered | str | None]] = {
    **dict.fromkeys((aten.conv1d.default, aten.conv1d.padding), _convolution),
    **dict.fromkeys((aten.conv2d.default, aten.conv2d.padding), _convolution),
    aten.linear.default: _linear,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.relu.default: _activation("relu"),
    aten.gelu.default: _activation("gelu"),
    aten.add.Tensor: _add,
    aten.sub.Tensor: _by_channel(lambda number: (1.0, -number)),
    aten.mul.Tensor: _by_channel(lambda number: (number, 0.0)),
    aten.div.Tensor: _by_channel(lambda number: (1 / number if number else math.nan, 0.0)),
    aten.max_pool1d.default: windows.pool("max", 1),
    aten.max_pool2d.default: windows.pool("max", 2),
    aten.avg_pool1d.default: windows.pool("mean", 1),
    aten.avg_pool2d.default: windows.pool("mean", 2),
    aten.adaptive_avg_pool1d.default: windows.adaptive(1),
    aten.adaptive_avg_pool2d.default: windows.adaptive(2),
    aten.mean.dim: windows.mean_of_all,
    **dict.fromkeys(
        (
            aten.view.default,
            aten.reshape.default,
            aten.flatten.using_ints,
            aten.squeeze.dim,
            aten.squeeze.dims,
            aten.unsqueeze.default,
            aten.clone.default,
            aten.alias.default,
            aten.dropout.default,
            aten.contiguous.default,
        ),
        _view,
    ),
}
"""What each of PyTorch's operations becomes."""
