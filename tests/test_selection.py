"""By what a search judges: which samples, how many images, and what a budget allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lottery_pools.config.schema import Config, Data, Model, Pooling
from lottery_pools.data import sources
from lottery_pools.errors import UserError
from lottery_pools.experiment.selection import Selection, logits, recalibrate
from lottery_pools.models import registry
from lottery_pools.pooling.likelihood import log_likelihood
from lottery_pools.pooling.methods import find
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket

CONFIG = Config(
    data=Data(train=90, validation=60, test=20),
    model=Model(arguments={"width": 4}),
    pooling=Pooling(selection=40, recalibration=50),
)
DATA = sources.load(CONFIG.data)


def selection_of(method: str, **pooling: Any) -> Selection:
    return Selection(replace(CONFIG, pooling=replace(CONFIG.pooling, **pooling)), DATA, 0, find(method), 1)


def network() -> torch.nn.Module:
    return registry.build("conv1d", {"width": 4}, 10, DATA.input_shape, 0)


def test_each_method_has_its_samples_and_its_score() -> None:
    default, learned, paper = map(selection_of, ("trimmed-soup", "learned-soup", "interpolation"))
    assert [(selection.images, len(selection.split)) for selection in (default, learned, paper)] == [
        (10, 40),
        (50, 60),
        (50, 60),
    ]
    assert selection_of("trimmed-soup", selection=None).images == 50
    assert len(selection_of("trimmed-soup", selection=500).split) == 60
    model = network()
    recalibrate(model, CONFIG, DATA, 0, 50)
    assert paper.score(model).dtype == torch.bool
    expected = log_likelihood(logits(model, CONFIG, DATA, default.split), default.split.labels)
    assert torch.equal(default.score(model), expected)


def test_learning_goes_over_all_validation_samples_in_turn() -> None:
    learned, seen = selection_of("learned-soup"), list[torch.Tensor]()
    model = network()
    model.register_forward_pre_hook(lambda model, args: seen.append(args[0]))
    for _ in range(3):
        learned.loss(model)
    assert learned.forwarded == 3 * 3 * 60
    validation = DATA.validation.batch(torch.arange(60))
    for batch in seen:
        assert len(batch) == 60
        assert all(any(torch.equal(sample, other) for other in DATA.normalise(validation)) for sample in batch)


def test_what_is_forwarded_is_counted() -> None:
    default, model = selection_of("trimmed-soup"), network()
    default.recalibrate(model)
    default.score(model)
    assert default.forwarded == 10 + 40
    default.final_recalibrate(model)
    assert default.forwarded == 10 + 40 + 50


def test_a_budget_becomes_evaluations() -> None:
    def evaluations(method: str, has_batchnorm: bool = True, **pooling: Any) -> int | None:
        return selection_of(method, **pooling).max_evaluations(has_batchnorm)

    assert evaluations("trimmed-soup") is None
    assert evaluations("trimmed-soup", budget=50 + 3 * 50 + 49) == 3  # the last recalibration is kept back
    assert evaluations("interpolation", budget=3 * 110) == 3
    assert evaluations("learned-soup", budget=3 * 500 * 60 + 2 * 110 + 109) == 2  # and what learning forwards
    assert evaluations("trimmed-soup", False, budget=3 * 40 + 39) == 3  # without BatchNorm nothing is recalibrated
    with pytest.raises(UserError, match="budget is 99 images, trimmed-soup needs 100 for its first evaluation"):
        selection_of("trimmed-soup", budget=99).max_evaluations(True)
    with pytest.raises(UserError, match="budget is 39 images, trimmed-soup needs 40 for its first evaluation"):
        selection_of("trimmed-soup", budget=39).max_evaluations(False)


@pytest.mark.parametrize(
    ("images", "batch", "sizes"),
    [(50, 25, [25, 25]), (51, 25, [17] * 3), (50, 100, [50]), (7, 3, [3, 2, 2]), (3, 2, [3]), (5, 1, [3, 2])],
)
def test_batches_that_recalibrate_are_of_nearly_equal_size(images: int, batch: int, sizes: list[int]) -> None:
    model, seen = network(), list[int]()
    model.register_forward_pre_hook(lambda model, args: seen.append(len(args[0])))
    evaluation = replace(CONFIG.evaluation, batch=batch)
    assert recalibrate(model, replace(CONFIG, evaluation=evaluation), DATA, 0, images) == images
    assert seen == sizes


@pytest.mark.parametrize("selection", [40, None])
def test_a_search_keeps_within_its_budget(selection: int | None) -> None:
    budget = 3 * 110
    model = network()
    tickets = [
        Ticket(registry.build("conv1d", {"width": 4}, 10, DATA.input_shape, seed).state_dict(), whole(model), seed)
        for seed in range(4)
    ]
    _, images = selection_of("trimmed-soup", selection=selection, budget=budget).pool(model, tickets)
    assert budget / 2 < images <= budget


def whole(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return masks.dense(model.state_dict(), registry.prunable(model, "convolutions"))


def test_agreement_is_scored_on_inputs_without_labels() -> None:
    held_out = selection_of("consensus-soup")
    assert (held_out.images, len(held_out.split)) == (10, 20)
    scarce = selection_of("consensus-soup", selection=400)
    assert (scarce.images, len(scarce.split)) == (50, 60)
    model = network()
    tickets = [
        Ticket(registry.build("conv1d", {"width": 4}, 10, DATA.input_shape, seed).state_dict(), whole(model), seed)
        for seed in range(4)
    ]
    inputs = torch.cat(list(held_out.samples()))
    assert len(inputs) == held_out.forwarded == 20
    validation = DATA.normalise(DATA.validation.images)
    assert all(any(torch.equal(sample, other) for other in validation) for sample in inputs)
    pooled, images = selection_of("consensus-soup").pool(model, tickets)
    assert images == 4 * 20 + pooled.evaluations * (10 + 20) + 50  # every ticket once, the looks, the last one


def test_methods_that_look_at_samples_are_counted() -> None:
    model = network()
    tickets = [
        Ticket(registry.build("conv1d", {"width": 4}, 10, DATA.input_shape, seed).state_dict(), whole(model), seed)
        for seed in range(3)
    ]
    levels = replace(CONFIG.pruning, levels=2)
    for method, passes in (("fisher", 3 * 3), ("regmean", 3), ("repair", 4)):
        selection = Selection(replace(CONFIG, pruning=levels), DATA, 0, find(method), 0)
        assert selection.sample_images == passes * 50
        _, images = selection.pool(model, tickets)
        assert images == passes * 50 + 2 * (50 + 60)
