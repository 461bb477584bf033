"""A file becomes a ready network, and runs nothing of its own choice on the way."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import lottery_pools as lp
from lottery_pools.errors import UserError
from lottery_pools.tickets.ticket import Ticket
from tests.test_exchange_export import MODEL, PREPROCESSING, made, network_of, samples


def test_a_ticket_file_and_exported_folders_become_their_network(tmp_path: Path) -> None:
    ticket = made()
    lp.save(ticket, tmp_path / "a.safetensors")
    folders = [lp.export(ticket, to, tmp_path / to) for to in ("hub", "compressed-tensors")]
    wanted = network_of(ticket)(samples())
    for path in (tmp_path / "a.safetensors", str(folders[0]), folders[1]):
        network = lp.load_model(path)
        assert not network.training
        assert torch.equal(network(samples()), wanted)


def test_a_network_that_is_given_is_used(tmp_path: Path) -> None:
    ticket = made()
    lp.save(Ticket(ticket.weights, ticket.mask, 1), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors does not say which network it is of: give it as model="):
        lp.load_model(tmp_path / "a.safetensors")
    model = network_of(made(density=0.9))
    assert lp.load_model(tmp_path / "a.safetensors", model=model) is model
    assert torch.equal(model(samples()), network_of(ticket)(samples()))


def test_a_factory_that_a_file_names_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "ran"
    code = (
        f"open({str(mark)!r}, 'w').close()\nfrom lottery_pools.models.small import conv1d\n"
        "def build(classes, input_shape, **arguments):\n    return conv1d(classes, input_shape, **arguments)\n"
    )
    (tmp_path / "evilnet.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    ticket = made()
    lp.save(Ticket(ticket.weights, ticket.mask, 1, {"model": {**MODEL, "name": "evilnet:build"}}), "a.safetensors")
    for refused in (
        lambda: lp.load_model("a.safetensors"),
        lambda: lp.export("a.safetensors", "torch-export", "a.pt2"),
    ):
        with pytest.raises(UserError, match=r"names the network 'evilnet:build', whose code would run: .* trust=True"):
            refused()
    assert not mark.exists()
    assert torch.equal(lp.load_model("a.safetensors", trust=True)(samples()), network_of(ticket)(samples()))
    assert mark.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"checkpoint_path": "evil.pth"}, {"pretrained": True}, {"weights": "IMAGENET1K_V1"}, {"cache_dir": "x"},
        {"pretrained_cfg_overlay": {"file": "evil.pth"}}, {"norm_layer": {"a": 1}}, {"layers": [1, 2]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18", "conv1d"])
def test_arguments_that_read_other_files_are_refused(name: str, arguments: dict[str, object], tmp_path: Path) -> None:
    ticket = made()
    model = {**MODEL, "name": name, "arguments": arguments}
    lp.save(Ticket(ticket.weights, ticket.mask, 1, {"model": model}), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"gives the network the argument '\w+', which may read other files"):
        lp.load_model(tmp_path / "a.safetensors")


@pytest.mark.parametrize("config", [None, "", "[]", "{}", '{"lottery_pools": 3}', '{"lottery_pools": {}}'])
def test_a_folder_without_our_settings_is_told(config: str | None, tmp_path: Path) -> None:
    folder = lp.export(made(), "hub", tmp_path / "hub")
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    with pytest.raises(UserError, match=r"hub(/config\.json)? (is no exported network|is damaged|does not say which)"):
        lp.load_model(folder)


def test_preprocessing_that_is_damaged_is_told(tmp_path: Path) -> None:
    folder = lp.export(made(), "hub", tmp_path / "hub", preprocessing=PREPROCESSING)
    config = json.loads((folder / "config.json").read_text())
    config["lottery_pools"]["preprocessing"]["mean"] = "no"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"preprocessing in a config\.json cannot be used"):
        lp.predict(folder, samples())
