"""Traced modules: what is taken over, what is left to PyTorch, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.deploy.graph import Convolution, Network
from lottery_pools.deploy.trace import trace
from lottery_pools.errors import UserError
from lottery_pools.models import registry


@pytest.mark.parametrize(("name", "shape"), [("resnet20", (3, 8, 8)), ("conv1d", (1, 16)), ("mlp", (2, 3, 3))])
def test_our_networks_become_one_network_without_batch_norms(name: str, shape: tuple[int, ...]) -> None:
    arguments = {"blocks": 1, "width": 4} if name == "resnet20" else {}
    traced = trace(registry.build(name, arguments, 5, shape, 0), torch.zeros(1, *shape))
    (network,) = traced.steps
    assert isinstance(network, Network)
    assert traced.fallbacks == ()
    convolutions = [op for op in network.operations if isinstance(op, Convolution)]
    assert len(network.operations) == len(convolutions) + (name != "mlp")  # and one pooling
    assert sum(op.activation == "relu" for op in convolutions) == {"resnet20": 7, "conv1d": 3, "mlp": 2}[name]


class Odd(nn.Module):
    """Operations that are not among ours between some that are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 3)
        self.factor = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sigmoid(self.first(x))
        return torch.softmax(self.second(y).flatten(1) * self.factor.sum(), 1)


def test_unknown_operations_are_left_to_pytorch_and_named() -> None:
    traced = trace(Odd(), torch.zeros(1, 1, 4, 4))
    assert len(traced.networks) == 2
    assert [line.split(" ")[0] for line in traced.fallbacks] == [
        "aten.sigmoid.default",
        "aten.mul.Tensor",
        "aten.softmax.int",
    ]


def test_the_module_is_left_in_its_mode() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    assert module.training
    assert trace(module, torch.zeros(1, 3)).fallbacks == ()
    assert module.training


class TwoInputs(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen: Tensor
        self.seen += 1
        return x * 2


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        (TwoInputs(), "several inputs or outputs"),
        (Branching(), "torch.export cannot trace Branching for samples of shape \\(3,\\)"),
        (Counting(), "changes its buffer 'seen'"),
    ],
)
def test_what_cannot_be_compiled_is_refused_in_a_line(module: nn.Module, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as error:
        trace(module, torch.zeros(1, 3))
    assert "\n" not in str(error.value)
