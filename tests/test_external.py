"""Networks of timm, of torchvision and of users' modules: what their factories are given, and what users mistake."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from lottery_pools.errors import UserError
from lottery_pools.models.registry import build
from tests.test_registry import SMALL

USERS_MODULE = """
from torch import nn
import own_neighbour

def plain(width=3):
    return nn.Linear(width, 2)

def renamed(num_classes, depth=1):
    return nn.Sequential(*[nn.Linear(4, 4) for _ in range(depth)], nn.Linear(4, num_classes))

class Full(nn.Module):
    def __init__(self, classes, input_shape, *, scale):
        super().__init__()
        self.given = (classes, input_shape, scale)

def loose(**options):
    return plain(**options)

def nothing():
    return "no network"
"""


@pytest.fixture
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module in the current directory, forgotten afterwards."""
    (tmp_path / "own_networks.py").write_text(USERS_MODULE)
    (tmp_path / "own_neighbour.py").write_text("")
    (tmp_path / "own_broken.py").write_text("import own_absent")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for module in ("own_networks", "own_neighbour"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return "own_networks"


def test_users_factory_gets_what_its_signature_accepts(users_module: str) -> None:
    plain = build(f"{users_module}:plain", {"width": 5}, 10, SMALL, 0)
    assert plain.get_parameter("weight").shape == (2, 5)
    renamed = build(f"{users_module}:renamed", {"depth": 2}, 10, SMALL, 0)
    assert renamed.get_parameter("2.weight").shape == (10, 4)
    assert build(f"{users_module}:Full", {"scale": 0.5}, 10, SMALL, 0).given == (10, SMALL, 0.5)
    assert build(f"{users_module}:loose", {"width": 6}, 10, SMALL, 0).get_parameter("weight").shape == (2, 6)
    twin = build(f"{users_module}:plain", {"width": 5}, 10, SMALL, 0)
    assert torch.equal(twin.get_parameter("weight"), plain.get_parameter("weight"))


@pytest.mark.parametrize(
    ("factory", "arguments", "message"),
    [
        ("own_networks:plan", {}, "unknown factory of module own_networks 'plan': did you mean 'plain'?"),
        ("own_networks:plain", {"width": 2, "dept": 1}, "has no argument 'dept'"),
        ("own_networks:Full", {}, "missing a required argument: 'scale'; set it in model.arguments"),
        ("own_networks:loose", {"dept": 1}, "refused one of model.arguments (dept)"),
        ("own_networks:nothing", {}, "returned a str: it must return a torch.nn.Module"),
        ("own_broken:net", {}, "No module named 'own_absent'"),
    ],
)
def test_users_mistakes_are_named(users_module: str, factory: str, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(factory, arguments, 10, SMALL, 0)
    assert message in str(caught.value)


def test_timm_and_torchvision_are_asked_for_their_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(model_name: str, pretrained: bool = False, **options: int) -> nn.Module:
        return nn.Linear(options["in_chans"], options["num_classes"])

    def get_model(name: str, **options: int) -> nn.Module:
        return nn.Linear(options.get("width", 1), options["num_classes"])

    timm, torchvision, models = ModuleType("timm"), ModuleType("torchvision"), ModuleType("torchvision.models")
    vars(timm).update(create_model=create_model, is_model=lambda name: name == "tiny", list_models=lambda: ["tiny"])
    vars(models).update(get_model=get_model, list_models=lambda module: ["tiny"])
    vars(torchvision).update(models=models)
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)

    assert build("timm:tiny", {}, 10, (5, 8, 8), 0).get_parameter("weight").shape == (10, 5)
    assert build("torchvision:tiny", {"width": 4}, 10, SMALL, 0).get_parameter("weight").shape == (10, 4)
    with pytest.raises(UserError, match="unknown timm model 'tinny': did you mean 'tiny'"):
        build("timm:tinny", {}, 10, SMALL, 0)
    with pytest.raises(UserError, match="unknown torchvision model 'tinny': did you mean 'tiny'"):
        build("torchvision:tinny", {}, 10, SMALL, 0)
    with pytest.raises(UserError, match="takes images of 3 channels, these have 1"):
        build("torchvision:tiny", {}, 10, (1, 8, 8), 0)


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_missing_package_says_how_to_install_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"needs {package}: pip install 'lottery-pools\[{package}\]'"):
        build(f"{package}:resnet18", {}, 10, SMALL, 0)


def test_a_module_that_is_no_python_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "brokennet.py").write_text("def build(:\n")
    with pytest.raises(UserError, match=r"model 'brokennet:build' cannot be imported .*brokennet\.py, line 1"):
        build("brokennet:build", {}, 10, (1, 40), 0)
