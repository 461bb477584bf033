"""One optimizer step. How whole runs treat pruned weights is in test_training.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lottery_pools.tickets.optimisation import prepare, step
from lottery_pools.tickets.ticket import snapshot
from tests.test_training import DATA, PLAIN, half, network


def test_prepared_for_training_pruned_weights_are_zero_and_the_others_as_they_were() -> None:
    model = network()
    mask, before = half(model), snapshot(model)
    mask["conv1.weight"] = torch.ones_like(mask["conv1.weight"])  # nothing is pruned of it
    sparse = prepare(model, mask, PLAIN)
    assert sparse.model is model
    for name, parameter in model.named_parameters():
        survives = mask.get(name, torch.tensor(True))
        assert torch.equal(parameter, before[name] * survives)
        assert (parameter in sparse.pruned) == (not survives.all())
    assert all(is_pruned.stride() == parameter.stride() for parameter, is_pruned in sparse.pruned.items())


@pytest.mark.parametrize(("channels_last", "fast"), [(True, True), (False, False)])
def test_the_memory_format_is_as_the_settings_say(channels_last: bool, fast: bool) -> None:
    model = network()
    prepare(model, {}, replace(PLAIN, channels_last=channels_last))
    assert model.get_parameter("layer2.0.conv1.weight").is_contiguous(memory_format=torch.channels_last) == fast


def test_a_step_moves_survivors_against_the_gradient_and_returns_the_loss_before_it() -> None:
    model = network().train()
    mask, images, labels = half(model), torch.rand(6, 3, 8, 8), DATA.train.labels[:6]
    sparse = prepare(model, mask, replace(PLAIN, momentum=0.0, weight_decay=0.0, channels_last=False))
    before = snapshot(model)
    expected = F.cross_entropy(model(images), labels)
    gradients = dict(
        zip(
            (name for name, _ in model.named_parameters()),
            torch.autograd.grad(expected, list(model.parameters())),
            strict=True,
        )
    )
    loss = step(sparse, images, labels, 0.25)
    torch.testing.assert_close(loss, expected.detach())
    assert not loss.requires_grad
    for name, parameter in model.named_parameters():
        moved = before[name] - 0.25 * gradients[name] * mask.get(name, torch.tensor(True))
        torch.testing.assert_close(parameter.detach(), moved)
        if name in mask:
            assert not parameter[~mask[name]].any()


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the names of PyTorch's operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_all_masks_are_applied_by_one_fused_operation() -> None:
    model = network().train()
    sparse = prepare(model, half(model), PLAIN)
    images, labels = torch.rand(6, 3, 8, 8), DATA.train.labels[:6]
    with Operations() as operations:
        step(sparse, images, labels, 0.1)
    assert len(sparse.kept) > 1
    assert operations.names.count("aten._foreach_mul_.List") == 1
    assert not any("masked_fill" in name for name in operations.names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gradients_of_pruned_weights_become_plus_zero_and_others_keep_their_bits(dtype: torch.dtype) -> None:
    layer = nn.Linear(3, 2, bias=False).to(dtype)
    mask = torch.tensor([[True, False, False], [False, True, True]])
    sparse = prepare(layer, {"weight": mask}, replace(PLAIN, lr=1.0, momentum=0.0, weight_decay=0.0))
    before = snapshot(layer)["weight"]
    awkward = torch.tensor([[-0.5, float("nan"), float("-inf")], [-3.0, 0.25, -0.0]], dtype=dtype)
    layer.weight.register_hook(lambda gradient: awkward.clone())  # type: ignore[no-untyped-call]
    step(sparse, torch.zeros(1, 3, dtype=dtype), torch.tensor([0]), 1.0)
    gradient = layer.weight.grad
    assert gradient is not None
    expected = awkward.masked_fill(~mask, 0)
    assert gradient.view(torch.uint8).tolist() == expected.view(torch.uint8).tolist()
    assert torch.equal(layer.weight.detach(), before - expected)


def test_what_is_pruned_can_be_changed_in_place() -> None:
    model = network()
    sparse = prepare(model, half(model), PLAIN)
    kept, opposite = list(sparse.kept.values()), [~pruned for pruned in sparse.pruned.values()]
    sparse.prune(opposite)
    assert all(map(torch.equal, sparse.pruned.values(), opposite))
    assert all(now is before for now, before in zip(sparse.kept.values(), kept, strict=True))
