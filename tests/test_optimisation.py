"""One optimizer step. How whole runs treat pruned weights is in test_training.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

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
