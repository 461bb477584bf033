"""Layers that are stored as something else than their weight, turned into the weight and its mask, if it has one.

| stored as | by | becomes |
|---|---|---|
| `X_orig`, `X_mask` | `torch.nn.utils.prune` | their product, and the mask |
| `X` beside `X_mask`, or `P.weight` beside `P.mask`, of zeros and ones | masked layers of many codes | the same |
| `parametrizations.X.original`, `parametrizations.X.0.mask` | a mask registered as a parametrisation | the same |
| `parametrizations.X.original` alone | a parametrisation without a state in the file | `original`, which is noted |
| `parametrizations.X.original0` and `original1`, or `X_g` and `X_v` | `weight_norm` | g · v / ‖v‖ |
| any other parametrisation, and `spectral_norm` | | refused: the file does not say how its weight is computed |

Sources: the documentation of `torch.nn.utils.prune`, `torch.nn.utils.parametrize` and
`torch.nn.utils.parametrizations.weight_norm`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lottery_pools.errors import UserError

_PARAMETRISED = re.compile(r"^(?P<module>(?:.*\.)?)parametrizations\.(?P<name>[^.]+)\.(?P<part>.+)$")
_REMEDY = "call torch.nn.utils.parametrize.remove_parametrizations on its layer, then save"
_ORIGINAL = (
    "{} is the original of a parametrisation, which the file does not have (torch.ao.pruning: give its masks as "
    "masks=, or call squash_mask before saving)"
)
_COMPUTED = "{} was computed from the two parts of its weight_norm: load it without one"


@dataclass
class Plain:
    """Tensors under the names that a network without reparametrised layers has."""

    weights: dict[str, Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)
    """Bool, True where the weight survives. Only of the tensors that had one."""
    notes: list[str] = field(default_factory=list)
    """What was computed or assumed, a sentence each."""

    def replace(self, sources: Sequence[str], name: str, weight: Tensor) -> None:
        """Put one weight in the place of the tensors that it is stored as."""
        items = []
        for old, tensor in self.weights.items():
            if old == sources[0]:
                items.append((name, weight))
            elif old not in sources:
                items.append((old, tensor))
        self.weights = dict(items)

    def mask(self, name: str, mask: Tensor) -> None:
        """Add a mask of a weight; of several, a weight survives those of all. Raises UserError if its shape differs."""
        if mask.shape != self.weights[name].shape:
            raise UserError(
                f"the mask of {name!r} is {tuple(mask.shape)}, the tensor {tuple(self.weights[name].shape)}: "
                "the file is damaged"
            )
        self.masks[name] = (mask != 0) & self.masks.get(name, torch.ones_like(mask, dtype=torch.bool))


def plain(tensors: Mapping[str, Tensor]) -> Plain:
    """Find the weights and masks that a checkpoint's tensors stand for, as the table above says.

    The weights are not multiplied by their masks.

    Raises:
        UserError: If a layer is under a parametrisation whose weight the file does not determine.

    Example:
        ```python
        network = torch.nn.Linear(4, 4)
        torch.nn.utils.prune.l1_unstructured(network, "weight", 0.5)
        plain(network.state_dict()).masks["weight"].sum()  # 8
        ```
    """
    layers = Plain(dict(tensors))
    _parametrised(layers)
    _old_weight_norm(layers)
    _pruned(layers)
    _masked(layers)
    return layers


def _parametrised(layers: Plain) -> None:
    """What `torch.nn.utils.parametrize` registered."""
    groups: dict[str, dict[str, str]] = {}
    for name in layers.weights:
        if match := _PARAMETRISED.match(name):
            groups.setdefault(match["module"] + match["name"], {})[match["part"]] = name
    for name, parts in groups.items():
        tensors = {part: layers.weights[full] for part, full in parts.items()}
        sources = list(parts.values())
        if tensors.keys() == {"original0", "original1"}:
            layers.replace(sources, name, _normalised(name, tensors["original0"], tensors["original1"]))
            layers.notes.append(_COMPUTED.format(name))
            continue
        original = tensors.pop("original", None)
        if original is None or any(not _is_mask(part, mask, original) for part, mask in tensors.items()):
            state = ", ".join(sorted(parts))
            raise UserError(
                f"{name!r} is under a parametrisation ({state}) whose weight the file does not determine: {_REMEDY}"
            )
        if not tensors:
            layers.notes.append(_ORIGINAL.format(name))
        layers.replace(sources, name, original)
        for mask in tensors.values():
            layers.mask(name, mask)


def _old_weight_norm(layers: Plain) -> None:
    """What `torch.nn.utils.weight_norm` registered: X_g and X_v, in place of X."""
    for magnitude in [name for name in layers.weights if name.endswith("_g")]:
        name = magnitude.removesuffix("_g")
        direction = f"{name}_v"
        if direction in layers.weights and name not in layers.weights:
            weight = _normalised(name, layers.weights[magnitude], layers.weights[direction])
            layers.replace([magnitude, direction], name, weight)
            layers.notes.append(_COMPUTED.format(name))


def _pruned(layers: Plain) -> None:
    """What `torch.nn.utils.prune` registered: X_orig and X_mask, in place of X."""
    for original in [name for name in layers.weights if name.endswith("_orig")]:
        name = original.removesuffix("_orig")
        if f"{name}_u" in layers.weights:
            raise UserError(
                f"{name!r} is under spectral_norm: call torch.nn.utils.remove_spectral_norm on its layer, then save"
            )
        if f"{name}_mask" in layers.weights and name not in layers.weights:
            mask = layers.weights[f"{name}_mask"]
            layers.replace([original, f"{name}_mask"], name, layers.weights[original])
            layers.mask(name, mask)


def _masked(layers: Plain) -> None:
    """Masks of zeros and ones that lie beside the tensors they are for."""
    for name in list(layers.weights):
        module, dot, attribute = name.rpartition(".")
        for mask_name in (f"{name}_mask", f"{module}{dot}mask" if attribute == "weight" else ""):
            mask = layers.weights.get(mask_name)
            if mask is not None and _is_mask("mask", mask, layers.weights[name]):
                layers.mask(name, layers.weights.pop(mask_name))


def _is_mask(name: str, mask: Tensor, weight: Tensor) -> bool:
    """Whether a tensor is called a mask, has the shape of the weight and holds zeros and ones only."""
    is_called_mask = name.rpartition(".")[2] == "mask"
    return is_called_mask and mask.shape == weight.shape and bool(((mask == 0) | (mask == 1)).all())


def _normalised(name: str, magnitude: Tensor, direction: Tensor) -> Tensor:
    """The weight of `weight_norm`: its magnitude times its direction over that one's norm (Salimans & Kingma, 2016)."""
    shape = magnitude.shape if magnitude.ndim else (1,) * direction.ndim
    if len(shape) != direction.ndim or any(n not in (1, size) for n, size in zip(shape, direction.shape, strict=True)):
        raise UserError(
            f"{name!r} has a magnitude of {tuple(magnitude.shape)} for a direction of {tuple(direction.shape)}, which "
            f"is no weight_norm: {_REMEDY}"
        )
    summed = [axis for axis, n in enumerate(shape) if n == 1]
    norm = torch.linalg.vector_norm(direction, dim=summed, keepdim=True) if summed else direction.abs()
    return direction * (magnitude.reshape(shape) / norm)
