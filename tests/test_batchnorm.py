"""Recalibration: the cumulative average, worked out by hand; everything else as it was, whatever happens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling.batchnorm import recalibrate, tracked
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets.ticket import snapshot


def batches(sizes: tuple[int, ...] = (6, 6, 3), width: int = 4) -> list[Tensor]:
    draws = generator(0, "batches")
    return [torch.randn(size, width, generator=draws) * 2 + 3 for size in sizes]


def mean_of(batch: Tensor) -> Tensor:
    return batch.mean(0)


def variance_of(batch: Tensor) -> Tensor:
    return batch.var(0)


def state(model: nn.Module) -> list[tuple[bool, Any]]:
    return [(module.training, getattr(module, "momentum", "none")) for module in model.modules()]


def same(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in snapshot(model).items())


class Frozen(nn.Module):
    """BatchNorm whose statistics are constants, as detection networks have it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.full((4,), 0.5))
        self.register_buffer("running_var", torch.full((4,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.running_mean, Tensor)
        assert isinstance(self.running_var, Tensor)
        return (x - self.running_mean) / self.running_var.sqrt()


def test_is_the_mean_over_batches_of_their_mean_and_unbiased_variance_by_their_size() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    given = batches()
    assert recalibrate(model, given) == 15
    hidden = []
    for batch in given:  # the second layer sees what the first makes of the batch's own statistics
        normal = (batch - batch.mean(0)) / (batch.var(0, correction=0) + 1e-5).sqrt()
        hidden.append(model[1](normal))
    for layer, seen in ((model[0], given), (model[2], hidden)):
        mean, variance = (sum(len(b) * part(b) for b in seen) / 15 for part in (mean_of, variance_of))
        torch.testing.assert_close(layer.get_buffer("running_mean"), mean)
        torch.testing.assert_close(layer.get_buffer("running_var"), variance)
        assert layer.num_batches_tracked == 3


def test_forgets_the_old_statistics_and_is_repeatable() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4))
    recalibrate(model, batches())
    first = snapshot(model)
    model[0].get_buffer("running_mean").fill_(100.0)
    recalibrate(model, batches())
    assert same(model, first)


def test_modes_and_momenta_are_as_before_and_weights_untouched() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4, momentum=0.3), nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    model[1].eval()
    before, weights = state(model), {name: p.detach().clone() for name, p in model.named_parameters()}
    recalibrate(model, batches())
    assert state(model) == before
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


def test_modes_and_momenta_are_as_before_where_the_forward_raises() -> None:
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(4, momentum=0.3))
    before = state(model)
    with pytest.raises(UserError, match="more than 1 value per channel: give batches of two samples or more"):
        recalibrate(model, batches((6, 1)))
    assert state(model) == before
    assert not model[1]._forward_pre_hooks


def test_equal_batches_give_the_bits_of_torchs_own_cumulative_average() -> None:
    model, reference = nn.Sequential(nn.BatchNorm1d(4)), nn.BatchNorm1d(4, momentum=None)
    given = batches((7,) * 23)
    recalibrate(model, given)
    for batch in given:
        reference(batch)
    assert same(model, {f"0.{name}": tensor for name, tensor in reference.state_dict().items()})


def test_a_small_last_batch_moves_little() -> None:
    model, whole = nn.Sequential(nn.BatchNorm1d(4)), torch.cat(batches((1500, 2)))
    recalibrate(model, torch.split(whole, 500))
    torch.testing.assert_close(model[0].running_var, whole.var(0), rtol=0.01, atol=0)


class Forked(nn.Module):
    """One layer that is used twice, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.left = nn.BatchNorm1d(4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.used(input=self.used(x))
        return result


def test_a_layer_that_no_batch_reaches_stays_as_it_was_and_one_used_twice_counts_both() -> None:
    model = Forked()
    for layer in (model.used, model.left):
        layer(batches()[0])
    before = snapshot(model.left)
    given = batches((6, 6))
    recalibrate(model, given)
    assert same(model.left, before)
    normal = [(batch - batch.mean(0)) / (batch.var(0, correction=0) + 1e-5).sqrt() for batch in given]
    expected = torch.stack([part.var(0) for part in (*given, *normal)]).mean(0)
    torch.testing.assert_close(model.used.running_var, expected)
    assert model.used.num_batches_tracked == 4


def test_dropout_is_off() -> None:
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(4)).train()
    recalibrate(model, batches((6,)))
    torch.testing.assert_close(model[1].running_mean, batches((6,))[0].mean(0))


def test_frozen_and_statistics_free_layers_are_left_alone() -> None:
    model = nn.Sequential(Frozen(), nn.BatchNorm1d(4, track_running_stats=False), nn.BatchNorm1d(4))
    assert tracked(model) == [model[2]]
    recalibrate(model, batches())
    assert model[0].get_buffer("running_mean").tolist() == [0.5] * 4
    assert model[0].get_buffer("running_var").tolist() == [2.0] * 4
    assert model[1].running_mean is None
    assert model[2].num_batches_tracked == 3


def test_a_model_without_batchnorm_is_not_even_run() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).train()
    before, left = snapshot(model), iter(batches())
    assert recalibrate(model, left) == 0
    assert len(list(left)) == 3
    assert same(model, before)
    assert model.training


def test_a_batch_may_be_anything_the_model_takes() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            result: Tensor = self.norm(batch["x"])
            return result

    model, plain = Named(), nn.Sequential(nn.BatchNorm1d(4))
    assert recalibrate(model, [{"x": batch} for batch in batches()]) == 3
    recalibrate(plain, batches())
    assert torch.equal(model.norm.running_mean, plain[0].running_mean)  # type: ignore[arg-type]


def test_a_generator_that_ran_out_is_refused() -> None:
    model, once = nn.Sequential(nn.BatchNorm1d(4)), iter(batches())
    recalibrate(model, once)
    with pytest.raises(UserError, match="no batches"):
        recalibrate(model, once)


@pytest.mark.parametrize("pack", [tuple, list])
def test_a_loader_of_pairs_gives_its_first_part(pack: type) -> None:
    plain, paired = (nn.Sequential(nn.BatchNorm1d(4)) for _ in range(2))
    images = batches()
    assert recalibrate(plain, images) == recalibrate(
        paired, [pack((batch, torch.zeros(len(batch)))) for batch in images]
    )
    for name, tensor in plain.state_dict().items():
        assert torch.equal(paired.state_dict()[name], tensor)


def test_one_tensor_is_no_list_of_batches() -> None:
    with pytest.raises(UserError, match=r"^batches is one tensor \(6, 3\), of which each row would be a batch"):
        recalibrate(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), torch.ones(6, 3))
