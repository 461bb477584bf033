"""Compiled networks compute what PyTorch computes: every kind of layer, many shapes, any batch."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import lottery_pools as lp
from lottery_pools.deploy import compiler
from lottery_pools.deploy.choice import Times
from lottery_pools.deploy.compiled import CompiledModule
from lottery_pools.models import registry
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket, snapshot

pytestmark = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing comes from an earlier run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def sparse(module: nn.Module, density: float, seed: int) -> nn.Module:
    """The module with random weights of that density and BatchNorm statistics that are not the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            values = torch.rand(tensor.shape, generator=generator)
            kept = torch.rand(tensor.shape, generator=generator) < density
            positive = name.endswith("running_var") or "norm" in name
            tensor.copy_(values + 0.5 if positive else (values - 0.5) * (kept if tensor.ndim > 1 else 1))
    return module.eval()


def assert_same(module: nn.Module, shape: tuple[int, ...], batches: tuple[int, ...], target: str | None = None) -> None:
    """The compiled module gives PyTorch's results within 1e-4 of their size, for every batch size."""
    compiled = lp.compile(module, target=target, engine="c", threads=1)
    for batch in batches:
        x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected = module(x)
        scale = max(1.0, float(expected.abs().max()) if expected.numel() else 1.0)
        torch.testing.assert_close(compiled(x), expected, rtol=0, atol=1e-4 * scale)


class Layers(nn.Module):
    """Layers in a row; from time to time, where shapes allow, what came before is added."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            y = layer(x)
            x = x + y if x.shape == y.shape and isinstance(layer, nn.Conv1d | nn.Conv2d) else y
        return x


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    """(a network of random layers, the shape of its samples)"""
    flat = draw(st.booleans())
    size = [draw(st.integers(5, 19)) for _ in range(1 if flat else 2)]
    channels = first = draw(st.integers(1, 3)) * 2
    convolution: Callable[..., nn.Module] = nn.Conv1d if flat else nn.Conv2d
    norm: Callable[..., nn.Module] = nn.BatchNorm1d if flat else nn.BatchNorm2d
    layers: list[nn.Module] = []
    x = torch.zeros(2, channels, *size)
    for _ in range(draw(st.integers(1, 3))):
        kernel = [draw(st.integers(1, min(3, side))) for side in x.shape[2:]]
        dilation = [draw(st.integers(1, 2)) if 2 * (k - 1) < side else 1
                    for k, side in zip(kernel, x.shape[2:], strict=True)]  # fmt: skip
        outputs = draw(st.sampled_from([2, 4, channels, 16]))
        groups = draw(st.sampled_from([1, 1, 2, channels if outputs == channels else 1]))
        padding = [draw(st.integers(0, k)) for k in kernel]
        stride = [draw(st.integers(1, 3)) for _ in kernel]
        layers.append(convolution(channels, outputs, tuple(kernel), tuple(stride), tuple(padding), tuple(dilation),
                                  groups, bias=draw(st.booleans())))  # fmt: skip
        layers += draw(st.sampled_from([[], [nn.ReLU()], [norm(outputs), nn.ReLU()], [nn.GELU()], [norm(outputs)]]))
        x = Layers(layers).eval()(torch.zeros(2, first, *size))
        channels = outputs
    if min(x.shape[2:]) >= 2 and draw(st.booleans()):
        pools = (nn.MaxPool1d, nn.AvgPool1d) if flat else (nn.MaxPool2d, nn.AvgPool2d)
        layers.append(draw(st.sampled_from(pools))(2, draw(st.integers(1, 2)), ceil_mode=draw(st.booleans())))
    if draw(st.booleans()):
        layers.append(nn.Flatten())
        features = Layers(layers).eval()(torch.zeros(2, first, *size)).shape[1]
        layers.append(nn.Linear(features, 5))
    return Layers(layers), (first, *size)


def check_random(network: tuple[nn.Module, tuple[int, ...]], density: float, batch: int, seed: int) -> None:
    module, shape = network
    assert_same(sparse(module, density, seed), shape, (batch, 1))


RANDOM = {
    "network": networks(),
    "density": st.sampled_from([0.0, 0.02, 0.2, 0.5, 1.0]) | st.floats(0, 1),
    "batch": st.integers(1, 200),
    "seed": st.integers(0, 99),
}


@settings(max_examples=6, derandomize=True)
@given(**RANDOM)
def test_random_networks_are_computed_as_by_pytorch(
    network: tuple[nn.Module, tuple[int, ...]], density: float, batch: int, seed: int
) -> None:
    check_random(network, density, batch, seed)


@pytest.mark.slow
@settings(max_examples=150)
@given(**RANDOM)
def test_many_random_networks_are_computed_as_by_pytorch(
    network: tuple[nn.Module, tuple[int, ...]], density: float, batch: int, seed: int
) -> None:
    check_random(network, density, batch, seed)


@pytest.mark.parametrize("target", ["plain", "avx2"])
def test_other_targets_compute_the_same(target: str) -> None:
    if target != "plain" and compiler.find().target not in (target, "avx512"):
        pytest.skip(f"this processor has no {target}")
    network = registry.build("resnet20", {"blocks": 1, "width": 4}, 10, (3, 9, 7), 0)
    assert_same(sparse(network, 0.3, 0), (3, 9, 7), (1, 21), target)


class Everything(nn.Module):
    """Each operation of the list once: also those that random networks leave out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding="same")
        self.norm = nn.BatchNorm2d(8)
        self.valid = nn.Conv2d(8, 8, 3, padding="valid")
        self.drop = nn.Dropout()
        self.vector = nn.BatchNorm1d(8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(F.gelu(self.norm(F.relu(self.first(x))), approximate="tanh"))
        y = self.valid(x)
        pooled = F.adaptive_avg_pool2d(y, (3, 2)).mean((2, 3), keepdim=True)
        mean = y.mean((-1, -2)).view(x.size(0), -1)
        padded = F.avg_pool2d(y, 3, 2, 1, ceil_mode=True, count_include_pad=True)
        best = F.max_pool2d(padded, 2, dilation=2, padding=1).amax((2, 3))  # amax stays with PyTorch
        result: Tensor = self.last(self.vector(mean) + pooled.squeeze(-1).squeeze(-1) + F.relu(best))
        return result


def test_every_operation_of_the_list_is_compiled() -> None:
    module = sparse(Everything(), 0.7, 0)
    with pytest.warns(UserWarning, match=r"PyTorch computes aten.amax.default \(amax\): not among"):
        assert_same(module, (2, 11, 9), (3, 17))
    compiled = lp.compile(module, engine="c")
    with pytest.warns(UserWarning, match="amax"):
        assert len(compiled.program((2, 11, 9)).traced.fallbacks) == 1


def test_a_ticket_knows_its_network(tmp_path: Path) -> None:
    model = registry.build("conv1d", {"width": 4}, 3, (1, 12), 0)
    about = {"name": "conv1d", "arguments": {"width": 4}, "classes": 3, "input_shape": [1, 12]}
    weights = snapshot(model)
    mask = masks.prune(masks.magnitude(weights, dense := masks.dense(weights, ["layer2.conv.weight"])), dense, 20)
    ticket = Ticket(masks.apply(weights, mask), mask, 3, {"model": about})
    lp.save(ticket, tmp_path / "ticket.safetensors")
    x = torch.randn(20, 1, 12)
    from_file = lp.compile(lp.load(tmp_path / "ticket.safetensors"), engine="c")
    assert list(from_file.programs) == [(1, 12)], "compiled at once"
    assert repr(from_file).endswith("engine='c', shapes: (1, 12))"), "not all of its C"
    model.load_state_dict(dict(ticket.weights))
    with torch.no_grad():
        torch.testing.assert_close(from_file(x), model.eval()(x), rtol=0, atol=1e-5)
    foreign = Ticket(ticket.weights, mask, 3, {"model": {**about, "name": "mine:net"}})
    with pytest.raises(lp.UserError, match="give its module as model="):
        lp.compile(foreign)
    given = lp.compile(foreign, model=model, engine="c")
    torch.testing.assert_close(given(x), from_file(x))


class Normalised(nn.Module):
    """A convolution of samples that are normalised by the network itself."""

    def __init__(self, number: Tensor | float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5]))
        self.register_buffer("number", torch.as_tensor(number).clone())
        self.convolution = nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = (2 * x - self.get_buffer("mean").view(-1, 1, 1)) / self.get_buffer("number") + 0.25
        result: Tensor = self.convolution(x)
        return result


@pytest.mark.parametrize("number", [torch.tensor(0.5), torch.tensor([0.2, 3.0]).view(1, 2, 1, 1)])
def test_normalisation_within_the_network_is_compiled(number: Tensor) -> None:
    module = sparse(Normalised(number), 0.5, 0)
    module.register_buffer("number", number)
    compiled = lp.compile(module, torch.zeros(1, 2, 6, 5), engine="c")
    assert compiled.fallbacks == ()
    assert_same(module, (2, 6, 5), (1, 20))


@pytest.mark.parametrize(
    "number", [torch.rand(6, 5) + 1, torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.zeros(2, 1, 1)]
)
def test_numbers_that_are_not_by_channel_or_not_finite_are_left_to_pytorch(number: Tensor) -> None:
    module = Normalised(number).eval()
    x = torch.randn(3, 2, 6, 5)
    with pytest.warns(UserWarning, match="PyTorch computes aten.div.Tensor"):
        predicted = lp.compile(module, x, engine="c")(x)
    torch.testing.assert_close(predicted, module(x).detach(), atol=1e-4, rtol=0, equal_nan=True)


def test_the_first_call_may_be_within_inference_mode() -> None:
    module = sparse(nn.Conv2d(2, 3, 3), 0.5, 0)
    network = CompiledModule(lp.compile(module, engine="c"))
    assert list(network.parameters()) == []
    x = torch.randn(2, 2, 5, 5)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), module(x))


@pytest.mark.parametrize("engine", ["c", "torch", "auto"])
def test_predictions_have_no_history(engine: Literal["c", "torch", "auto"]) -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(27, 2)).eval()  # PyTorch's too
    x = torch.randn(2, 2, 5, 5, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = lp.compile(module, engine=engine)(x)
    assert not predicted.requires_grad
    torch.testing.assert_close(predicted, module(x).detach(), atol=1e-5, rtol=0)


def test_weights_are_those_at_the_time_of_compiling() -> None:
    module = nn.Linear(4, 2)
    x = torch.ones(1, 4)
    compiled = lp.compile(module, x, engine="c")
    before = module(x).detach()
    with torch.no_grad():
        module.weight.zero_()
    torch.testing.assert_close(compiled(x), before)


def test_the_dense_engine_and_empty_batches_need_no_compiled_network() -> None:
    module = nn.Sequential(nn.Linear(4, 2)).eval()
    x = torch.randn(3, 4)
    assert torch.equal(lp.compile(module, engine="torch")(x), module(x))
    assert lp.compile(module, engine="c")(x[:0]).shape == (0, 2)


@pytest.mark.parametrize("bad", [torch.zeros(2, 4, dtype=torch.float64), torch.zeros(4), [1.0]])
def test_what_is_no_float_batch_is_refused(bad: object) -> None:
    with pytest.raises(lp.UserError, match="takes a float32 batch"):
        lp.compile(nn.Linear(4, 2), engine="torch")(bad)  # type: ignore[arg-type]


def test_what_cannot_be_compiled_is_refused() -> None:
    with pytest.raises(lp.UserError, match="cannot compile a str"):
        lp.compile("ticket")  # type: ignore[arg-type]
    with pytest.raises(lp.UserError, match="did you mean 'torch'"):
        lp.compile(nn.Linear(2, 2), engine="torhc")  # type: ignore[arg-type]


class Clock:
    """A choice that has its answer already."""

    def __init__(self, dense: float) -> None:
        self.dense = dense

    def times(self, *_: object) -> Times:
        return Times(1, compiled=1.0, contiguous=self.dense)


def test_the_faster_engine_computes() -> None:
    module = nn.Linear(4, 2)
    compiled = lp.compile(module, torch.ones(1, 4))
    computed: list[str] = []
    compiled.module.register_forward_hook(lambda *_: computed.append("dense"))
    for dense in (0.5, 2.0):
        compiled.choice = Clock(dense)  # type: ignore[assignment]
        torch.testing.assert_close(compiled(torch.ones(1, 4)), module(torch.ones(1, 4)).detach())
    assert computed == ["dense"]
    assert compiled.weights == 8
    assert compiled.fallbacks == ()
