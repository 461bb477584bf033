"""Layers that are stored as something else than their weight become the weight that the network computes with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm
from torch.nn.utils import prune as untyped_prune

from lottery_pools.errors import UserError
from lottery_pools.exchange import reparametrised

prune: Any = untyped_prune


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4, 3))


def test_pruned_layers_are_their_original_and_their_mask_in_their_place() -> None:
    model = network()
    prune.l1_unstructured(model[0], "weight", 0.5)
    prune.random_unstructured(model[2], "bias", 1)
    plain = reparametrised.plain(model.state_dict())
    assert list(plain.weights) == ["0.bias", "0.weight", "2.weight", "2.bias"]
    assert torch.equal(plain.weights["0.weight"] * plain.masks["0.weight"], model[0].weight)
    assert plain.masks["0.weight"].sum() == 36
    assert plain.masks["2.bias"].tolist().count(False) == 1


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("shape", [(3, 4), (3, 1), (1, 4)])
def test_weight_norm_is_computed(dim: int | None, shape: tuple[int, int]) -> None:
    layer = nn.Linear(shape[1], shape[0])
    weight = layer.weight.detach().clone()
    parametrizations.weight_norm(layer, dim=dim)  # type: ignore[arg-type]
    plain = reparametrised.plain({f"body.{name}": tensor for name, tensor in layer.state_dict().items()})
    assert plain.weights.keys() == {"body.weight", "body.bias"}
    torch.testing.assert_close(plain.weights["body.weight"], weight)
    assert plain.notes == ["body.weight was computed from the two parts of its weight_norm: load it without one"]


def test_weight_norm_of_older_versions_is_computed() -> None:
    weight = network()[0].weight.detach()
    norm = weight.flatten(1).norm(dim=1).view(4, 1, 1, 1)
    plain = reparametrised.plain({"a.weight_g": 2 * norm, "a.weight_v": 3 * weight})
    torch.testing.assert_close(plain.weights, {"a.weight": 2 * weight})


def test_a_layer_with_a_magnitude_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"'weight' has a magnitude of \(3,\) .* which is no weight_norm: call torch"):
        reparametrised.plain(
            {"parametrizations.weight.original0": torch.ones(3), "parametrizations.weight.original1": torch.ones(2, 2)}
        )


class Masked(nn.Module):
    """A mask that is registered as a parametrisation."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        masked: Tensor = weight * self.get_buffer("mask")
        return masked


class Symmetric(nn.Module):
    """A parametrisation without a state."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).T


def test_masks_of_parametrised_layers_are_masks() -> None:
    model = network()
    mask = torch.rand(4, 2, 3, 3) < 0.5
    parametrize.register_parametrization(model[0], "weight", Masked(mask.float()))
    plain = reparametrised.plain(model.state_dict())
    assert torch.equal(plain.masks["0.weight"], mask)
    assert torch.equal(plain.weights["0.weight"] * mask, model[0].weight)
    assert not plain.notes


def test_a_parametrisation_without_a_state_is_noted() -> None:
    layer = nn.Linear(3, 3)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    plain = reparametrised.plain(layer.state_dict())
    assert plain.weights.keys() == {"weight", "bias"}
    (note,) = plain.notes
    assert note.startswith("weight is the original of a parametrisation, which the file does not have")


@pytest.mark.parametrize(
    ("wrap", "remedy"),
    [
        (parametrizations.spectral_norm, "parametrize.remove_parametrizations"),
        (parametrizations.orthogonal, "parametrize.remove_parametrizations"),
        (spectral_norm, "remove_spectral_norm"),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.spectral_norm` is deprecated")
def test_what_the_file_does_not_determine_is_refused(wrap: Callable[[nn.Module], nn.Module], remedy: str) -> None:
    state = wrap(nn.Linear(3, 3)).state_dict()
    with pytest.raises(UserError, match=rf"'1\.weight' is under .*{remedy} on its layer, then save"):
        reparametrised.plain({f"1.{name}": tensor for name, tensor in state.items()})


def test_masks_beside_the_weights_are_masks_where_they_are_zeros_and_ones() -> None:
    weight, mask = torch.randn(4, 4), (torch.rand(4, 4) < 0.5).float()
    for name in ("a.weight_mask", "a.mask"):
        plain = reparametrised.plain({"a.weight": weight, name: mask})
        assert plain.weights.keys() == {"a.weight"}
        assert torch.equal(plain.masks["a.weight"], mask.bool())
    for other in ({"a.mask": torch.ones(3)}, {"a.mask": 0.5 * mask}, {"a.causal": mask}):
        plain = reparametrised.plain({"a.weight": weight, **other})
        assert len(plain.weights) == 2
        assert not plain.masks


def test_a_damaged_mask_is_refused() -> None:
    with pytest.raises(UserError, match=r"the mask of 'weight' is \(2,\), the tensor \(3,\): the file is damaged"):
        reparametrised.plain({"weight_orig": torch.ones(3), "weight_mask": torch.ones(2)})


def test_names_that_only_look_alike_stay() -> None:
    tensors = {"w_orig": torch.ones(2), "scale_g": torch.ones(2), "mask": torch.ones(2)}
    assert reparametrised.plain(tensors).weights.keys() == tensors.keys()
