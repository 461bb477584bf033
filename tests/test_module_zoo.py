"""Modules of many kinds and every method: densities, masks, whole numbers, inputs and replays; or a clear refusal."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling import learning
from lottery_pools.pooling.activations import layers
from lottery_pools.pooling.fisher import diagonal_fisher
from lottery_pools.pooling.methods import METHODS
from lottery_pools.pooling.pool import pool
from lottery_pools.pooling.recipe import Recipe, replay
from lottery_pools.tickets.ticket import Ticket, load_into, snapshot
from tests.zoo import CLASSES, SAMPLES, ZOO, Specimen, perceptron

# Without `recalibrate` a network with BatchNorm is warned of; tests/test_guard.py holds that.
pytestmark = [
    pytest.mark.filterwarnings("ignore:the model has BatchNorm"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # PyTorch's, of attention and LSTM
]
TARGET = 1
LABELS = torch.arange(SAMPLES) % CLASSES


@pytest.fixture(scope="module", autouse=True)
def short_learning() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "LEARNED_SOUP_STEPS", 2)
        yield


@functools.cache
def tickets_of(kind: str) -> tuple[Ticket, ...]:
    return tuple(ZOO[kind].tickets())


def given(specimen: Specimen) -> dict[str, Any]:
    """What methods need to build a network: the weights at the rewind point, and inputs without labels."""
    inputs = specimen.inputs(2)
    return {"base": snapshot(specimen.model()), "samples": lambda: [inputs[:16], inputs[16:]]}


def score(specimen: Specimen, model: nn.Module) -> Tensor:
    hits: Tensor = model.eval()(specimen.inputs(1)).argmax(1) == LABELS
    return hits


def loss(specimen: Specimen, model: nn.Module) -> Tensor:
    return nn.functional.cross_entropy(model(specimen.inputs(3)).float(), LABELS)


def bits(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, list[Any]]]:
    return {name: (tensor.dtype, tensor.tolist()) for name, tensor in tensors.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ZOO)
def test_every_kind_of_module_is_pooled_by_every_method(kind: str, method: str) -> None:
    specimen, tickets = ZOO[kind], tickets_of(kind)
    before = [(bits(ticket.weights), bits(ticket.mask)) for ticket in tickets]
    model, options = specimen.model(), given(specimen)
    pooled = pool(
        model,
        tickets,
        TARGET,
        functools.partial(score, specimen),
        method=method,
        coefficients=(0.3, 0.7),
        loss=functools.partial(loss, specimen),
        labels=LABELS,
        **options,
    )
    target, ticket = tickets[TARGET], pooled.ticket
    assert (ticket.level, ticket.kept, ticket.prunable) == (TARGET, target.kept, target.prunable)
    for name, mask in ticket.mask.items():
        assert not (ticket.weights[name] != 0)[~mask].any()
    for name, tensor in ticket.weights.items():
        assert (tensor.dtype, tensor.shape) == (target.weights[name].dtype, target.weights[name].shape)
        assert not tensor.isnan().any()
        if not tensor.is_floating_point():
            assert torch.equal(tensor, target.weights[name])
    assert before == [(bits(ticket.weights), bits(ticket.mask)) for ticket in tickets]
    assert bits(model.state_dict()) == bits(ticket.weights)
    assert all(parameter.grad is None for parameter in model.parameters())
    replayed = replay(specimen.model(), tickets[::-1], Recipe.of(ticket), **options)
    assert (bits(replayed.weights), bits(replayed.mask)) == (bits(ticket.weights), bits(ticket.mask))


@pytest.mark.parametrize("kind", ["tied"])
def test_tied_tensors_stay_one(kind: str) -> None:
    specimen = ZOO[kind]
    for method in METHODS:
        options: dict[str, Any] = {"loss": functools.partial(loss, specimen), "labels": LABELS, **given(specimen)}
        ticket = pool(
            specimen.model(), tickets_of(kind), TARGET, functools.partial(score, specimen), method=method, **options
        ).ticket
        for tensors in (ticket.weights, ticket.mask):
            assert torch.equal(tensors["embedding.weight"], tensors["head.weight"])


def fisher_one_by_one(model: nn.Module, inputs: Tensor, labels: Sequence[int]) -> dict[str, Tensor]:
    """The same by one ordinary backward pass a sample."""
    sums = {name: torch.zeros(p.shape, dtype=torch.float64) for name, p in model.named_parameters()}
    for sample, label in zip(inputs, labels, strict=True):
        value = nn.functional.cross_entropy(model(sample[None]), torch.tensor([label]))
        for name, slope in zip(sums, torch.autograd.grad(value, list(model.parameters())), strict=True):
            sums[name] += slope.double().square() / len(inputs)
    return sums


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU, both ways", "attention", "weight norm", "spectral norm"])
def test_the_fisher_information_is_that_of_one_sample_at_a_time(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = ZOO[kind].model(), ZOO[kind].inputs(1)
    monkeypatch.setattr("lottery_pools.pooling.fisher._own_labels", lambda *_: LABELS)
    for name, expected in fisher_one_by_one(model, inputs, LABELS.tolist()).items():
        torch.testing.assert_close(diagonal_fisher(model, [inputs], 0)[name], expected, rtol=1e-4, atol=1e-9)


def test_a_mistake_within_the_network_is_not_hidden_by_going_one_by_one() -> None:
    model = perceptron(nn.Linear(5, 4))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        diagonal_fisher(model, [torch.zeros(2, 4)], 0)


@pytest.mark.parametrize("kind", ["weight norm", "weight norm, as before", "spectral norm", "spectral norm, as before"])
def test_layers_whose_weight_is_computed_are_left_to_the_mean(kind: str) -> None:
    assert layers(ZOO[kind].model()) == {}


def test_memory_that_is_used_again_is_not_taken_for_the_output_of_another_layer() -> None:
    """REPAIR left the last layer alone where its output lay where an input of BatchNorm came to lie later."""
    specimen, tickets = ZOO["3-D convolution"], tickets_of("3-D convolution")
    inputs = specimen.inputs(2)
    results = []
    for blocks in range(8):
        held = [torch.zeros(blocks + 1) for _ in range(blocks)]  # so that objects lie elsewhere each time
        batches = [inputs[:16], inputs[16:]]
        ticket = pool(specimen.model(), tickets, TARGET, lambda _: 1.0, method="repair", samples=lambda: batches).ticket  # noqa: B023
        results.append(bits(ticket.weights))
        assert len(held) == blocks
    assert all(result == results[0] for result in results)
    assert results[0] != bits(
        pool(specimen.model(), tickets, TARGET, lambda _: 1.0, method="uniform-soup").ticket.weights
    )


# What cannot be pooled is refused in one line that says what to do.


def refused(act: Any) -> str:
    with pytest.raises(UserError) as error:
        act()
    return str(error.value)


def test_a_module_without_values_is_refused() -> None:
    specimen, tickets = ZOO["LayerNorm"], tickets_of("LayerNorm")
    model = specimen.model().to("meta")
    weights = dict(tickets[0].weights)
    for act in (
        lambda: pool(model, tickets, TARGET, functools.partial(score, specimen)),
        lambda: replay(model, tickets, Recipe(TARGET, ((0, 0.5), (1, 0.5)), "uniform-soup")),
        lambda: snapshot(model),
        lambda: load_into(model, weights),
    ):
        assert "is on the device meta, where tensors have no values: give a model on a device" in refused(act)
    on_meta = {name: tensor.to("meta") for name, tensor in weights.items()}
    message = refused(lambda: Ticket(on_meta, tickets[0].mask, 0))
    assert message.startswith("'0.weight' has no values (it is on the device meta): give the state_dict of")


def test_a_lazy_module_that_was_never_called_is_refused() -> None:
    model, tickets = nn.Sequential(nn.LazyLinear(4), nn.LazyLinear(CLASSES)), tickets_of("LayerNorm")
    for act in (lambda: pool(model, tickets, TARGET, lambda _: 0.0), lambda: snapshot(model)):
        assert refused(act).startswith("'0.weight' of the model has no shape yet: call the model once on a batch")
    message = refused(lambda: Ticket(model.state_dict(), {"0.weight": torch.ones(1, dtype=torch.bool)}, 0))
    assert "'0.weight' has no values (it is lazy)" in message


@pytest.mark.parametrize("kind", ["DataParallel", "compiled"])
def test_weights_of_the_bare_module_do_not_fit_its_wrapper_and_the_message_says_why(kind: str) -> None:
    message = refused(
        lambda: pool(ZOO[kind].model(), tickets_of("BatchNorm"), TARGET, functools.partial(score, ZOO[kind]))
    )
    assert "give the module inside the wrapper, such as" in message
