"""What a network costs: multiply-adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lottery_pools.pooling.guard import in_evaluation_mode


def flops(model: nn.Module, input_shape: tuple[int, ...], mask: Mapping[str, Tensor] | None = None) -> int:
    """Multiply-adds of one forward pass of one sample, pruned weights left out. Works on the meta device too.

    Counted are convolutions, transposed ones too, and products of matrices, in linear layers as in attention: what
    PyTorch's own `FlopCounterMode` counts, half of it. Each surviving weight of a convolution counts once for every
    position of the output, zero padding included. Biases, normalisation, activations, pooling and recurrent layers are
    not counted; a weight that is computed from parameters, as by weight_norm, counts in full.

    Args:
        model: is left as it was.
        input_shape: of one sample, without the batch.
        mask: name → bool tensor, True where the weight survives; none: the dense network.

    Example:
        ```python
        flops(model, (3, 32, 32), ticket.mask)
        ```
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    kept = {_memory(named[name]): (int(part.count_nonzero()), part.numel()) for name, part in (mask or {}).items()}
    counter = _Counter(kept)
    with torch.no_grad(), _evaluated_in_small_operations(model), counter:
        model(torch.zeros(1, *input_shape, device=next(model.parameters()).device))
    return counter.operations // 2


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the floating-point operations of everything that is computed inside it."""

    def __init__(self, kept: Mapping[int, tuple[int, int]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept = kept
        """(surviving, all) weights of a tensor, by its memory."""
        self.operations = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: PyTorch would import its whole compiler, which takes seconds, to tell it to leave this mode alone.

        Its own `FlopCounterMode` does that, which is why it is not used here.
        """
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:  # its parts were counted
            return result
        result = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            masked = (self.kept[_memory(arg)] for arg in args if isinstance(arg, Tensor) and _memory(arg) in self.kept)
            survivors, weights = next(masked, (1, 1))
            self.operations += formula(*args, **kwargs, out_val=result) * survivors // weights
        return result


@contextmanager
def _evaluated_in_small_operations(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, attention in operations that can be counted; all is as it was on exit."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation, of which no count is known
    try:
        with in_evaluation_mode(model), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _memory(tensor: Tensor) -> int:
    """What a tensor and its views have in common, on the meta device too."""
    return int(tensor.untyped_storage()._cdata)
