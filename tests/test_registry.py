"""Networks by name: initial weights from the seed alone, what users mistake, and what rules prune."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lottery_pools.errors import UserError
from lottery_pools.models.registry import MODELS, build, left_out, names, prunable

SIGNAL, TINY, SMALL, LARGE = (1, 40), (3, 16, 16), (3, 32, 32), (3, 64, 64)
CASES: list[tuple[str, dict[str, int | float | bool | str], tuple[int, ...]]] = [
    ("conv1d", {}, SIGNAL),
    ("mlp", {}, SIGNAL),
    ("mlp", {"width": 16}, TINY),
    ("resnet20", {"width": 4}, TINY),
    ("resnet20", {"width": 4, "blocks": 1}, SMALL),
    ("resnet18", {"width": 4}, SMALL),
    ("resnet18", {"width": 4}, LARGE),
    ("resnet34", {"width": 4}, LARGE),
    ("resnet50", {"width": 2, "stem": "cifar"}, TINY),
    ("vgg11", {"width": 0.0625}, TINY),
    ("vgg16", {"width": 0.0625}, TINY),
    ("vgg16", {"width": 0.0625}, LARGE),
]


def test_cases_cover_the_table() -> None:
    assert {name for name, _, _ in CASES} == set(MODELS) == set(names())


@pytest.mark.parametrize(("name", "arguments", "shape"), CASES)
def test_every_network_runs_and_has_prunable_tensors(
    name: str, arguments: dict[str, int | float | bool | str], shape: tuple[int, ...]
) -> None:
    network = build(name, arguments, 7, shape, 0)
    samples = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    for mode in (True, False):
        output = network.train(mode)(samples)
        assert output.shape == (4, 7)
        assert output.isfinite().all()
    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear)
    expected = [f"{key}.weight" for key, module in network.named_modules() if isinstance(module, kinds)]
    assert sorted(prunable(network, "convolutions+linear")) == sorted(expected)
    assert set(expected) <= network.state_dict().keys()
    if name != "mlp":
        assert set(prunable(network, "convolutions")) == set(expected) - {"fc.weight"}


@given(seed=st.integers(0, 2**32), other_seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_seed_alone_sets_the_weights(seed: int, other_seed: int) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build("conv1d", {}, 10, SIGNAL, seed).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    repeated = build("conv1d", {}, 10, SIGNAL, seed).state_dict()
    assert all(torch.equal(first[name], repeated[name]) for name in first)
    different = build("conv1d", {}, 10, SIGNAL, other_seed).state_dict()
    assert torch.equal(first["fc.weight"], different["fc.weight"]) == (seed == other_seed)


def test_convolutions_are_kaiming_normal_and_norms_the_identity() -> None:
    state = build("resnet18", {}, 10, SMALL, 0).state_dict()
    weight = state["layer3.0.conv1.weight"]
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.01)
    assert abs(weight.mean().item()) < 1e-3
    assert (weight.abs() > 3 * weight.std()).float().mean().item() == pytest.approx(0.0027, rel=0.2)  # Gaussian tails
    assert (state["layer3.1.bn1.weight"] == 1).all()
    assert (state["layer3.1.bn1.bias"] == 0).all()


@pytest.mark.parametrize(
    ("name", "arguments", "shape", "message"),
    [
        ("resnet81", {}, SMALL, "unknown model 'resnet81': did you mean 'resnet18'?"),
        (
            "resnet20",
            {"widht": 8},
            SMALL,
            "'resnet20' has no argument 'widht': did you mean 'width'? it has: blocks, wid",
        ),
        ("resnet20", {"classes": 8}, SMALL, "no argument 'classes'"),
        ("resnet20", {"width": "wide"}, SMALL, "model.arguments.width is 'wide': give int"),
        ("resnet20", {"width": True}, SMALL, "model.arguments.width is True: give int"),
        ("resnet20", {"blocks": 0}, SMALL, "model.arguments.blocks is 0: give a positive number"),
        ("vgg16", {"width": -0.5}, SMALL, "model.arguments.width is -0.5: give a positive number"),
        ("resnet18", {"stem": "image"}, SMALL, "unknown stem 'image': did you mean 'imagenet'?"),
        ("resnet18", {}, SIGNAL, "takes samples of 3 dimensions, these are (1, 40): choose conv1d"),
        ("conv1d", {}, SMALL, "takes samples of 2 dimensions, these are (3, 32, 32): choose"),
        ("nets/own.py:net", {}, SMALL, "'nets/own.py:net' is not an importable name: write package.module:factory"),
        ("no_such_module:net", {}, SMALL, "No module named 'no_such_module'"),
        ("numpy:sinh0", {}, SMALL, "unknown factory of module numpy 'sinh0': did you mean 'sinh'?"),
        ("numpy:pi", {}, SMALL, "unknown factory of module numpy 'pi'"),
    ],
)
def test_mistakes_are_named(
    name: str,
    arguments: dict[str, int | float | bool | str],
    shape: tuple[int, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    with pytest.raises(UserError) as caught:
        build(name, arguments, 10, shape, 0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


class Tied(nn.Module):
    """Two layers that share a weight, a transposed convolution, and a matrix that no layer owns."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4)
        self.decoder = nn.Linear(4, 4)
        self.decoder.weight = self.encoder.weight
        self.up = nn.ConvTranspose2d(2, 3, 2)
        self.table = nn.Parameter(torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("convolutions", ("up.weight",)),
        ("convolutions+linear", ("encoder.weight", "up.weight")),
        ("decoder.weight", ("encoder.weight",)),
        ("up.*, table", ("table", "up.weight", "up.bias")),
        ("convolutions,table", ("table", "up.weight")),
        ("[a-e]*.weight", ("encoder.weight",)),
    ],
)
def test_rules_name_tensors_once_and_in_order(rule: str, expected: tuple[str, ...]) -> None:
    assert prunable(Tied(), rule) == expected


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            "convolutions",
            "'convolutions', which matches no tensor of this Sequential: try 'convolutions+linear', or a pattern",
        ),
        ("convolutions", "such as 'layer1.linear.weight'"),
        ("fc.weight,bloks.*", "'bloks.*', which matches no tensor"),
        ("", "'', which matches no tensor"),
    ],
)
def test_rule_that_matches_nothing_says_what_to_try(rule: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        prunable(build("mlp", {}, 10, SIGNAL, 0), rule)
    assert message in str(caught.value)


def test_network_without_parameters_has_nothing_to_prune() -> None:
    with pytest.raises(UserError, match="matches no tensor of this ReLU"):
        prunable(nn.ReLU(), "convolutions+linear")


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.attention = nn.Embedding(5, 4), nn.MultiheadAttention(4, 1)


def test_weights_that_a_rule_leaves_alone_are_named() -> None:
    normed = nn.Sequential(nn.Conv1d(1, 2, 3), weight_norm(nn.Conv1d(2, 2, 3)), nn.Linear(2, 2))
    reason = "(parametrised: computed from other parameters)"
    assert left_out(normed, "convolutions") == (f"1.weight {reason}",)
    assert left_out(normed, "convolutions+linear") == (f"1.weight {reason}",)
    assert left_out(normed, "0.weight") == ()  # a pattern says what it means
    names = [name.split(" ")[0] for name in left_out(Attention(), "convolutions+linear")]
    assert names == ["embedding.weight", "attention.in_proj_weight"]
    plain = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Linear(2, 2))
    assert left_out(plain, "convolutions") == left_out(plain, "convolutions+linear") == ()
