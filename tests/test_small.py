"""The small networks: sizes, shapes, and that they learn."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lottery_pools.models.small import conv1d, mlp


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_sizes_by_hand() -> None:
    assert parameters(conv1d(10, (2, 40), width=8, depth=2)) == 5 * 2 * 8 + 5 * 8 * 8 + 2 * 2 * 8 + 8 * 10 + 10
    assert parameters(mlp(10, (2, 4, 5), width=8, depth=2)) == 40 * 8 + 8 * 8 + 2 * 2 * 8 + 8 * 10 + 10


@given(length=st.integers(1, 50), depth=st.integers(1, 5))
def test_conv1d_takes_any_length_and_halves_it_after_the_first_layer(length: int, depth: int) -> None:
    network = conv1d(3, (1, length), width=2, depth=depth).eval()
    x = torch.zeros(2, 1, length)
    for name, layer in network.named_children():
        x = layer(x)
        if name == f"layer{depth}":
            assert x.shape == (2, 2, ceil(length / 2 ** (depth - 1)))
    assert x.shape == (2, 3)


@pytest.mark.parametrize(("factory", "shape"), [(conv1d, (1, 12)), (mlp, (3, 2, 2))])
def test_learns_random_labels_by_heart(factory: Callable[..., nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = factory(4, shape)
    samples, labels = torch.randn(16, *shape), torch.arange(16) % 4
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(samples), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert torch.equal(network(samples).argmax(1), labels)
