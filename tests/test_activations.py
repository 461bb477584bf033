"""What flows through layers: products of inputs, moments of outputs, and outputs repaired to a goal."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling.activations import affine, input_products, layers, output_moments, repair
from lottery_pools.runs.seeds import generator


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(0, "activations", *shape), dtype=torch.float64)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(3, 2, bias=False), (5, 3)),
        (nn.Linear(3, 2, bias=False), (5, 4, 3)),
        (nn.Conv1d(2, 3, 5, stride=2, padding=2, bias=False), (4, 2, 9)),
        (nn.Conv1d(2, 3, 3, dilation=2, bias=False), (4, 2, 9)),
        (nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False), (4, 2, 7, 8)),
    ],
)
def test_products_of_inputs_give_those_of_outputs(layer: Any, shape: tuple[int, ...]) -> None:
    inputs = random(*shape)
    product = input_products(layer.double(), [inputs[:3], inputs[3:]])["weight"]
    weight, output = layer.weight.detach().flatten(1), layer(inputs).detach()
    values = output.movedim(-1 if isinstance(layer, nn.Linear) else 1, -1).reshape(-1, len(weight))
    assert torch.allclose(weight @ product @ weight.T, values.T @ values, rtol=1e-10)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(2, 2, 3, groups=2),
        nn.Conv1d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_convolutions_that_are_no_plain_product_are_left_out(layer: nn.Module) -> None:
    shape = (2, 2, 6, 6) if isinstance(layer, nn.Conv2d) else (2, 2, 6)
    assert input_products(layer.double(), [random(*shape)]) == {}


def test_moments_are_those_of_all_outputs_but_of_layers_before_batchnorm() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double().train()
    inputs = random(8, 3)
    moments = output_moments(model, [inputs[:5], inputs[5:]])
    assert model.training
    assert model[1].training
    output = model.eval()(inputs).detach()
    assert set(moments) == {"3.weight"}
    assert torch.allclose(moments["3.weight"][0], output.mean(0))
    assert torch.allclose(moments["3.weight"][1], output.std(0, correction=0))


def test_repair_gives_each_layer_the_moments_of_the_goal() -> None:
    first, last = nn.Linear(3, 4, bias=False), nn.Linear(4, 2)
    model = nn.Sequential(first, nn.ReLU(), last).double()
    inputs = random(8, 3)
    goal = {
        "0.weight": (random(4), random(4).abs() + 0.1),
        "2.weight": (random(2), random(2).abs() + 0.1),
    }
    seen = repair(model, [inputs], goal)
    with torch.no_grad():
        factor, shift = affine(seen["0.weight"], goal["0.weight"], has_bias=False)
        assert not shift.any()
        first.weight *= factor[:, None]
        factor, shift = affine(seen["2.weight"], goal["2.weight"], has_bias=True)
        last.weight *= factor[:, None]
        last.bias.mul_(factor).add_(shift)
    repaired = output_moments(model, [inputs])
    assert torch.allclose(repaired["0.weight"][1], goal["0.weight"][1])
    for moment, expected in zip(repaired["2.weight"], goal["2.weight"], strict=True):
        assert torch.allclose(moment, expected)


def test_a_channel_that_does_not_vary_keeps_its_factor() -> None:
    still = torch.tensor([2.0, 2.0]).double(), torch.tensor([0.0, 4.0]).double()
    factor, shift = affine(still, (torch.ones(2).double(), torch.ones(2).double()), has_bias=True)
    assert factor.tolist() == [1.0, 0.25]
    assert shift.tolist() == [-1.0, 0.5]


def test_layers_that_share_a_weight_are_one() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert list(layers(model)) == ["0.weight"]


def test_no_batches_are_refused() -> None:
    with pytest.raises(UserError, match="samples has no batches"):
        input_products(nn.Linear(2, 2), [])
