"""A stand-in for a GPU on machines without one: tensors that are elsewhere, and refuse to meet those of the CPU.

Within `other_device("cuda")` PyTorch's functions take the device `cuda`, and tensors say that they are there. They are
computed on the CPU, but as on a card: an operation of a tensor there and one on the CPU raises an error, as do a
generator of the CPU that is to draw numbers there, and `.numpy()` of a tensor there. `mps` refuses float64 too.

What it does not show: kernels, streams and CUDA graphs. `tests/gpu` has those on a real card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from lottery_pools.experiment import ticket_cache
from lottery_pools.tickets import recording, training

THERE = torch.device("meta")
"""What PyTorch itself takes the tensors to be on: a device that every build of it has."""
aten = torch.ops.aten
BETWEEN = {aten.copy_.default, aten._to_copy.default, aten._has_compatible_shallow_copy_type.default}
"""Operations of tensors that are on two devices."""
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
"""Operations of a tensor there that take the indices of rows from the CPU."""


class MixedDevicesError(RuntimeError):
    """Tensors of two devices met in one operation."""


class TensorThere(Tensor):
    """A tensor of the other device; `held` has its values, on the CPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> TensorThere:
        wrapper = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=THERE
        )
        wrapper.held = held.detach()
        result: TensorThere = wrapper
        return result

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return computed(function, args, kwargs or {})


def computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do one operation of PyTorch: on the CPU, and as the device of its tensors would."""
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    any_there = any(isinstance(tensor, TensorThere) for tensor in tensors)
    device = kwargs.get("device")
    to_there = any_there if device is None else torch.device(device).type == THERE.type
    if any_there:
        check_together(function, args, tensors)
    if to_there and kwargs.get("generator") is not None:
        raise MixedDevicesError(f"{function}: a generator of the CPU cannot draw numbers there")
    if device is not None and to_there:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    held_args, held_kwargs = tree_map(
        lambda value: value.held if isinstance(value, TensorThere) else value, (args, kwargs)
    )
    if function is aten._has_compatible_shallow_copy_type.default and len({type(tensor) for tensor in tensors}) > 1:
        return False
    result = function(*held_args, **held_kwargs)
    written = function._schema.arguments[0].alias_info if function._schema.arguments else None
    if written is not None and written.is_write and isinstance(result, Tensor):  # done in place
        return args[0]
    if isinstance(kwargs.get("out"), Tensor):
        return kwargs["out"]
    return (
        tree_map(lambda value: TensorThere(value) if isinstance(value, Tensor) else value, result)
        if to_there
        else result
    )


def check_together(function: Any, args: Any, tensors: list[Tensor]) -> None:
    """Raise MixedDevicesError where a tensor of the CPU meets one there, and a card would not take it."""
    if function in BETWEEN or (function in INDEXED and isinstance(args[0], TensorThere)):
        return
    for tensor in tensors:
        is_number = tensor.ndim == 0 and torch.Tag.pointwise in function.tags
        if not isinstance(tensor, TensorThere) and not is_number:
            raise MixedDevicesError(
                f"{function}: expected all tensors to be on the same device, one of shape {tuple(tensor.shape)} is on "
                "the CPU"
            )


class _Computing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every operation, also of tensors of the CPU, goes through `computed`."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})


class _Naming(TorchFunctionMode):
    """The device is called by the name that it stands for."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        getters: dict[Any, Callable[[Any], Any]] = {
            Tensor.device.__get__: lambda device: torch.device(self.name, 0),
            Tensor.is_cuda.__get__: lambda _: self.name == "cuda",  # type: ignore[attr-defined]
            Tensor.is_mps.__get__: lambda _: self.name == "mps",  # type: ignore[attr-defined]
            Tensor.is_meta.__get__: lambda _: False,  # type: ignore[attr-defined]
        }
        if function in getters and Tensor.device.__get__(args[0]).type == THERE.type:
            return getters[function](args[0])
        if function is torch.device:
            return function(*args, **(kwargs or {}))
        args, kwargs = tree_map(self._known, (args, kwargs or {}))
        if function is Tensor.pin_memory:
            return args[0]
        kwargs.pop("pin_memory", None)
        if function is Tensor.cuda:
            return args[0].to(THERE)
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") == THERE:
            return function(*args, **{**kwargs, "device": None}).to(THERE)  # else it would have no values
        if isinstance(args[0] if args else None, TensorThere):
            if function is Tensor.data_ptr:
                return args[0].held.data_ptr()
            if function is Tensor.untyped_storage:
                return args[0].held.untyped_storage()
            if function is Tensor.tolist:
                return args[0].held.tolist()
            if function is Tensor.data.__set__:  # type: ignore[attr-defined]
                args[0].held = args[1].held
        result = function(*args, **kwargs)
        if self.name == "mps" and isinstance(result, TensorThere) and result.dtype == torch.float64:
            raise TypeError("the MPS framework doesn't support float64")
        return result

    def _known(self, value: Any) -> Any:
        """A device that PyTorch knows in place of that which it stands for."""
        if isinstance(value, torch.device) and value.type == self.name:
            return THERE
        return THERE if isinstance(value, str) and value.partition(":")[0] == self.name else value


class _Stream:
    """A stream of work, which is done at once."""

    def wait_stream(self, other: _Stream) -> None:
        """All is done already."""


@contextmanager
def _cuda() -> Iterator[None]:
    """What the training asks of CUDA, beside tensors: streams, a name, and recordings, whose work is done anew."""
    stream, fork = _Stream(), torch.random.fork_rng
    with (
        patch.multiple(
            torch.cuda,
            current_stream=lambda device=None: stream,
            stream=lambda stream: nullcontext(),
            synchronize=lambda device=None: None,
            get_device_name=lambda device=None: "a stand-in",
            get_sync_debug_mode=lambda: 0,
            set_sync_debug_mode=lambda mode: None,
        ),
        patch.object(torch.random, "fork_rng", lambda devices: fork([])),
        patch.object(recording, "_stream", lambda device: stream),
        patch.object(training, "cuda_graph", lambda work: work),
    ):
        yield


@contextmanager
def other_device(name: str) -> Iterator[None]:
    """A context in which the device of a name, `cuda` or `mps`, is there, as far as this module can make it so."""
    # Views of such a tensor cannot be made in inference mode.
    with (
        _cuda() if name == "cuda" else nullcontext(),
        patch.object(torch, "inference_mode", torch.no_grad),
        patch.object(ticket_cache, "of_this_process", cache(ticket_cache.TicketCache)),  # else its tickets would stay
        _Computing(),  # type: ignore[no-untyped-call]
        _Naming(name),
    ):
        yield
