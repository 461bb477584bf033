"""The diagonal of a classifier's Fisher information: how much its predictions depend on each weight."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lottery_pools.errors import UserError
from lottery_pools.pooling.activations import NO_BATCHES
from lottery_pools.pooling.arithmetic import wide
from lottery_pools.pooling.guard import in_evaluation_mode
from lottery_pools.runs.seeds import generator

GRADIENTS = 2**26
"""Numbers that the gradients of the samples differentiated at once have together: 256 MiB in float32."""


def diagonal_fisher(model: nn.Module, batches: Iterable[Tensor], seed: int) -> dict[str, Tensor]:
    """E[(∂ log p(y | x) / ∂θ)²] for every parameter, with x from the batches and y drawn from the model's own p(y | x).

    The model is in evaluation mode meanwhile, and as it was afterwards. Source: Matena & Raffel, "Merging Models with
    Fisher-Weighted Averaging", NeurIPS 2022, equation 3.

    Args:
        model: a classifier; the first dimension of its output are samples, the second the logits of classes.
        batches: inputs, (b, …), without labels.
        seed: decides the y.

    Returns:
        Name → tensor in float64, of the parameter's shape.

    Raises UserError where there are no batches, or the output is not (n, classes).
    """
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    sums = {name: torch.zeros_like(wide(parameter)) for name, parameter in parameters.items()}
    draws, samples = generator(seed, "fisher"), 0
    with in_evaluation_mode(model):
        for batch in batches:
            labels = _own_labels(model, batch, draws)
            _add_squared_gradients(sums, model, parameters, batch, labels)
            samples += len(batch)
    if not samples:
        raise UserError(NO_BATCHES)
    first_names = {parameter: name for name, parameter in model.named_parameters()}
    by_name = dict(model.named_parameters(remove_duplicate=False))
    return {name: sums[first_names[by_name[name]]] / samples for name in names}


def _own_labels(model: nn.Module, batch: Tensor, draws: torch.Generator) -> Tensor:
    """One class a sample, drawn from what the model predicts for it."""
    with torch.no_grad():
        output = model(batch)
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise UserError("the Fisher information needs a classifier: its output must be logits, (n, classes)")
    return torch.multinomial(output.cpu().double().softmax(1), 1, generator=draws)[:, 0].to(batch.device)


def _add_squared_gradients(
    sums: dict[str, Tensor], model: nn.Module, parameters: dict[str, Tensor], batch: Tensor, labels: Tensor
) -> None:
    """Add to `sums` the squares of each sample's own gradient of its log-probability."""

    inner, prefix = model, ""
    while isinstance(inner, nn.DataParallel):  # `functional_call` does not take it
        inner, prefix = inner.module, f"{prefix}module."

    def loss(parameters: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
        of_inner = {name.removeprefix(prefix): parameter for name, parameter in parameters.items()}
        logits = functional_call(inner, of_inner, (sample[None],))
        return nn.functional.cross_entropy(logits, label[None])

    at_once = max(1, GRADIENTS // sum(parameter.numel() for parameter in parameters.values()))
    of_each = vmap(grad(loss), in_dims=(None, 0, 0), randomness="different")
    for some_samples, their_labels in zip(torch.split(batch, at_once), torch.split(labels, at_once), strict=True):
        try:
            of_samples = of_each(parameters, some_samples, their_labels)
        except RuntimeError:  # not every module can be differentiated for several samples at once: nn.RNN and nn.GRU
            in_turn = [grad(loss)(parameters, *pair) for pair in zip(some_samples, their_labels, strict=True)]
            of_samples = {name: torch.stack([gradients[name] for gradients in in_turn]) for name in parameters}
        for name, gradients in of_samples.items():
            sums[name] += wide(gradients.square().sum(0))
