"""The batches of an epoch: every sample once, in the order of the named streams, each with its own draws."""

from __future__ import annotations

import torch

from lottery_pools.runs.seeds import generator
from lottery_pools.tickets.batches import Batches
from tests.test_training import DATA, LEVEL, PER_EPOCH, PLAIN, SEED, run


def same(first: Batches, second: Batches) -> bool:
    pairs = zip(first.draws.tensors(), second.draws.tensors(), strict=True)
    return torch.equal(first.samples, second.samples) and all(torch.equal(a, b) for a, b in pairs)


def test_an_epoch_has_every_sample_once_with_the_draws_of_its_step() -> None:
    batches = run(PLAIN).batches(PER_EPOCH)  # the second epoch
    order = torch.randperm(40, generator=generator(SEED, "order", LEVEL, 1))
    assert len(batches) == PER_EPOCH
    assert [batches.size_of(place) for place in range(3)] == [16, 16, 8]
    for place in range(3):
        batch = batches.at(place)
        assert torch.equal(batch.samples, order[16 * place : 16 * place + 16])
        draws = DATA.draws(len(batch.samples), generator(SEED, "augment", LEVEL, PER_EPOCH + place))
        for tensor, expected in zip(batch.draws.tensors(), draws.tensors(), strict=True):
            assert torch.equal(tensor, expected)
        assert batch.learning_rate == run(PLAIN).learning_rate(PER_EPOCH + place)


def test_from_within_an_epoch_and_to_a_step_within_it() -> None:
    whole, part = run(PLAIN).batches(0), run(PLAIN, stop=2).batches(1)
    assert len(part) == 1
    assert torch.equal(part.samples, whole.at(1).samples)
    assert part.at(0).learning_rate == whole.at(1).learning_rate


def test_batches_on_the_device_they_are_on_are_the_same() -> None:
    batches = run(PLAIN).batches(0)
    assert same(batches.to(torch.device("cpu")), batches)
