"""Names that differ by what wrappers put there: the message says which parts, and on which side."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lottery_pools.errors import UserError
from lottery_pools.tickets.ticket import check_fit, shapes
from lottery_pools.tickets.wrappers import misfit


class Holder(nn.Module):
    """A module of a user's own that holds the network under a name which is no wrapper's."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()


def test_weights_of_the_network_inside_or_around() -> None:
    bare, held = (shapes(model.state_dict()) for model in (network(), Holder()))
    with pytest.raises(
        UserError, match=r"'0\.0\.weight' where the model has 'net\.0\.0\.weight': give the module inside, model\.net$"
    ):
        check_fit(Holder(), bare, "the weights")
    with pytest.raises(
        UserError, match=r"'net\.0\.0\.weight' where the model has '0\.0\.weight': strip 'net\.' from all"
    ):
        check_fit(network(), held, "the weights")
    with pytest.raises(UserError, match="they belong to another model"):  # not all names are those of the network
        check_fit(network(), {**held, "head.bias": (2,)}, "the weights")


def network() -> nn.Sequential:
    return nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 2))


def compiled(model: nn.Module) -> nn.Module:
    """The model as torch.compile wraps it; nothing is compiled before it is called."""
    wrapped = torch.compile(model, backend="eager")
    assert isinstance(wrapped, nn.Module)
    return wrapped


@pytest.mark.parametrize(
    ("rename", "advice"),
    [
        (lambda name: f"module.{name}", "strip 'module.', which a wrapper such as DataParallel put there"),
        (lambda name: f"model.{name}", "strip 'model.', which a wrapper such as LightningModule put there"),
        (lambda name: f"module._orig_mod.{name}", "strip 'module._orig_mod.', which a wrapper such as DataParallel"),
        (
            lambda name: f"_fsdp_wrapped_module._orig_mod.module.{name}",
            "strip '_fsdp_wrapped_module._orig_mod.module.'",
        ),
        (lambda name: name.replace("0.0.", "0._orig_mod.0."), "strip '_orig_mod.', which a wrapper such as torch.com"),
        (
            lambda name: f"model.{name.replace('0.0.', '0._checkpoint_wrapped_module.0.')}",
            "strip 'model.' and '_checkpoint_wrapped_module.', which",
        ),
    ],
)
def test_wrapped_weights(rename: Callable[[str], str], advice: str) -> None:
    wrapped = {rename(name): shape for name, shape in shapes(network().state_dict()).items()}
    with pytest.raises(UserError) as error:
        check_fit(network(), wrapped, "the weights")
    assert str(error.value).startswith(f"the weights have {rename('0.0.weight')!r} where the model has '0.0.weight': ")
    assert advice in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (nn.DataParallel, "module."),
        (lambda model: compiled(model), "_orig_mod."),
        (lambda model: nn.DataParallel(compiled(model)), "module._orig_mod."),
    ],
)
def test_a_wrapped_model(wrap: Callable[[nn.Module], nn.Module], prefix: str) -> None:
    with pytest.raises(UserError, match=rf"give the module inside the wrapper, such as .*, that puts '{prefix}' into"):
        check_fit(wrap(network()), shapes(network().state_dict()), "the weights")


def test_both_are_wrapped_in_different_ways() -> None:
    weights = {f"module.{name}": shape for name, shape in shapes(network().state_dict()).items()}
    with pytest.raises(
        UserError, match=r"strip 'module\.'.* from all names; and give the module .* '_orig_mod\.' into"
    ):
        check_fit(compiled(network()), weights, "the weights")


def test_names_that_differ_by_more_are_of_another_model() -> None:
    assert misfit("0.weight", "the weights", ["module.1.weight", "fc.weight"]) is None
    assert misfit("model.0.weight", "the weights", []) is None
    with pytest.raises(UserError, match=r"^the weights lack '0\.0\.weight' \(4, 4\): they belong to another model$"):
        check_fit(network(), {"fc.weight": (4, 4)}, "the weights")


def test_a_part_that_both_have_is_no_wrapper() -> None:
    text = misfit("model.module.0.weight", "the weights", ["module.model.module.0.weight"])
    assert text is not None
    assert "strip 'module.', which" in text
