"""What wrappers put into names is taken out, in any order and depth, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import lottery_pools as lp
from lottery_pools.errors import UserError
from lottery_pools.exchange import names


def network() -> nn.Sequential:
    return nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 2))


PLAIN = list(network().state_dict())


@pytest.mark.parametrize(
    "prefix",
    [
        "module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "model.", "module._orig_mod.",
        "_orig_mod.module.", "model.module.", "_fsdp_wrapped_module._orig_mod.module.model.", "module.module.",
    ],
)  # fmt: skip
def test_prefixes_are_taken_out_in_any_order_and_depth(prefix: str) -> None:
    wrapped = [prefix + name for name in PLAIN]
    stripped = names.stripped(wrapped)
    assert list(stripped.new.values()) == PLAIN
    assert {part for part in prefix.split(".") if part} == {part.removesuffix(".") for part in stripped.removed}
    assert list(names.matched(wrapped, network()).new.values()) == PLAIN


def test_what_wraps_a_part_of_the_network_is_taken_out_too() -> None:
    wrapped = ["0._orig_mod.0.weight", "0._orig_mod.0.bias", "_fsdp_wrapped_module.1.weight", "1.bias"]
    assert list(names.stripped(wrapped).new.values()) == PLAIN
    parallel = ["0.module.0.weight", "0.module.0.bias", "1.weight", "1.bias"]  # features = DataParallel(features)
    assert list(names.stripped(parallel).new.values()) == parallel
    assert list(names.matched(parallel, network()).new.values()) == PLAIN


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_the_prefixes_are_those_that_pytorch_writes(wrap: Callable[[nn.Module], nn.Module]) -> None:
    wrapped = wrap(network())
    assert list(names.stripped(wrapped.state_dict()).new.values()) == PLAIN
    # names are made those of the model that is given, also where it is the one that is wrapped
    assert list(names.matched(PLAIN, wrapped).new.values()) == list(wrapped.state_dict())


def test_a_part_that_not_all_names_share_stays() -> None:
    mixed = ["model.layer.weight", "head.weight"]
    assert list(names.stripped(mixed).new.values()) == mixed
    assert names.stripped(mixed).removed == ()


def test_a_lightning_modules_own_name_for_the_network_is_taken_out() -> None:
    wrapped = [f"net.{name}" for name in PLAIN]
    assert list(names.stripped(wrapped).new.values()) == wrapped
    assert list(names.stripped(wrapped, own_attribute=True).new.values()) == PLAIN
    assert list(names.stripped(["net._orig_mod.a.b", "net._orig_mod.a.c"], own_attribute=True).new.values()) == [
        "a.b",
        "a.c",
    ]
    assert list(names.stripped(["0.a", "0.b"], own_attribute=True).new.values()) == ["0.a", "0.b"]


def test_a_network_that_has_a_part_called_model_keeps_its_name_where_it_is_given() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = network()

    own_names = list(Holder().state_dict())
    assert list(names.matched(own_names, Holder()).new.values()) == own_names
    assert list(names.matched([f"module.{name}" for name in own_names], Holder()).new.values()) == own_names
    assert list(names.matched(PLAIN, Holder()).new.values()) == own_names


def test_what_lies_beside_the_network_is_left_out() -> None:
    wrapped = [*(f"student.{name}" for name in PLAIN), "teacher.weight", "criterion.weight"]
    matched = names.matched(wrapped, network())
    assert list(matched.new.values()) == PLAIN
    assert matched.removed == ("student.",)
    assert matched.beside == ("teacher.weight", "criterion.weight")
    assert names.below(wrapped, "student.") == matched


def test_a_prefix_that_is_given_is_the_only_one() -> None:
    wrapped = [f"module.{name}" for name in PLAIN]
    assert list(names.below(wrapped, "").new.values()) == wrapped
    assert names.below(wrapped, "module.").removed == ("module.",)
    with pytest.raises(UserError, match=r"begins with prefix 'net\.': the first is 'module\.0\.0\.weight'"):
        names.below(wrapped, "net.")


def test_two_tensors_never_get_one_name() -> None:
    with pytest.raises(UserError, match=r"'a\._orig_mod\.b' and 'a\.b' are both 'a\.b'|'a\.b' and"):
        names.stripped(["a._orig_mod.b", "a.b"])


def test_names_that_belong_to_no_network_stay_for_the_check_that_follows() -> None:
    assert list(names.matched(["x", "y"], network()).new.values()) == ["x", "y"]


def test_read_says_what_it_took_out(tmp_path: object) -> None:
    path = f"{tmp_path}/a.pt"
    state = {f"module.{name}": tensor * (tensor > 0) for name, tensor in network().state_dict().items()}
    torch.save(state, path)
    assert "taken out of the names: module." in lp.read(path).origin["read"]["notes"]
    assert list(lp.read(path, prefix="").weights) == list(state)
