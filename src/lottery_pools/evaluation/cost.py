"""What a network costs: multiply-adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, flop_registry


def flops(model: nn.Module, input_shape: tuple[int, ...], mask: Mapping[str, Tensor] | None = None) -> int:
    """Multiply-adds of one forward pass of one sample of `input_shape`, pruned weights left out; no mask: dense.

    Counted are convolutions, transposed ones too, and products of matrices, in linear layers as in attention: what
    PyTorch's own counter counts, half of it. Each surviving weight of a convolution counts once for every position of
    the output, zero padding included; biases, normalisation, activations, pooling and recurrent layers are not counted,
    and a weight that is computed from parameters, as by weight_norm, counts in full. Works on the meta device too.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    kept = {_memory(named[name]): (int(part.count_nonzero()), part.numel()) for name, part in (mask or {}).items()}

    def pruned(formula: Callable[..., int]) -> Callable[..., int]:
        def count(*args: Any, **kwargs: Any) -> int:
            masked = (kept[_memory(arg)] for arg in args if isinstance(arg, Tensor) and _memory(arg) in kept)
            survivors, weights = next(masked, (1, 1))
            return formula(*args, **kwargs) * survivors // weights

        count._get_raw = True  # type: ignore[attr-defined]  # tensors, not shapes
        return count

    modes = {module: module.training for module in model.modules()}
    counter = FlopCounterMode(display=False, custom_mapping={op: pruned(each) for op, each in flop_registry.items()})
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation that the counter does not know
    try:
        model.eval()
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            model(torch.zeros(1, *input_shape, device=next(model.parameters()).device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in modes.items():
            module.training = mode
    return counter.get_total_flops() // 2


def _memory(tensor: Tensor) -> int:
    """What a tensor and its views have in common, on the meta device too."""
    return int(tensor.untyped_storage()._cdata)
