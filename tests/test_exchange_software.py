"""Checkpoints that the other software itself wrote, where it is installed, become the tickets that they stand for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lottery_pools as lp
from lottery_pools.tickets.ticket import Ticket, snapshot
from tests.test_exchange_read import PRUNED, drawn, pruned_module, same, ticket


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings of other software, about loaders without workers and about itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_lightning(tmp_path: Path) -> None:
    """A module that is pruned, trained for a step and saved by its Trainer, with optimizer and loops beside it."""
    lightning: Any = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 0.1})
            self.network = pruned_module(ticket(0.5))

        def training_step(self, batch: list[Tensor], number: int) -> Tensor:
            loss: Tensor = nn.functional.cross_entropy(self.network(batch[0]), batch[1])
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), 0.01)

    samples = torch.utils.data.TensorDataset(torch.randn(8, 1, 12), torch.randint(3, (8,)))
    with quietly():
        module = Module()
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        trainer = lightning.Trainer(max_steps=1, accelerator="cpu", default_root_dir=tmp_path, **quiet)
        trainer.fit(module, torch.utils.data.DataLoader(samples, batch_size=8))
        trainer.save_checkpoint(tmp_path / "a.ckpt")
    state = module.network.state_dict()
    weights = {name.removesuffix("_orig"): tensor for name, tensor in state.items() if not name.endswith("_mask")}
    mask = {name: state[f"{name}_mask"].bool() for name in PRUNED}
    weights |= {name: weights[name] * mask[name] for name in PRUNED}
    for loaded in (lp.read(tmp_path / "a.ckpt"), lp.read(tmp_path / "a.ckpt", model=drawn())):
        assert same(loaded, Ticket({name: weights[name] for name in loaded.weights}, mask, 0))
        assert loaded.weights.keys() == weights.keys()
        assert "taken out of the names: network." in loaded.origin["read"]["notes"]


@pytest.mark.parametrize("shards", ["4KB", "5GB"])
def test_hugging_face(shards: str, tmp_path: Path) -> None:
    """A tiny language model whose output layer is its embedding, in one file and in several."""
    transformers: Any = pytest.importorskip("transformers")
    settings = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    with quietly():
        network = transformers.LlamaForCausalLM(settings)
        pruned = [name for name, _ in network.named_parameters() if ".mlp." in name]
        with torch.no_grad():
            for name in pruned:
                weight = network.get_parameter(name)
                weight.mul_(weight.abs() > weight.abs().median())
        network.save_pretrained(tmp_path, max_shard_size=shards)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shards == "4KB")
    loaded = lp.read(tmp_path, model=network)
    weights = snapshot(network)
    assert list(loaded.mask) == pruned
    assert loaded.density == pytest.approx(0.5)
    assert loaded.weights.keys() == weights.keys() >= {"lm_head.weight", "model.embed_tokens.weight"}
    assert all(torch.equal(loaded.weights[name], weights[name]) for name in weights)
    assert same(lp.read(tmp_path, model=network, prunable="*.mlp.*"), loaded)


def test_timm(tmp_path: Path) -> None:
    """A network of timm, saved as its training script does."""
    timm: Any = pytest.importorskip("timm")
    network = timm.create_model("resnet10t", num_classes=3)
    with torch.no_grad():
        network.layer1[0].conv1.weight.mul_(torch.rand_like(network.layer1[0].conv1.weight) < 0.4)
    saver = timm.utils.CheckpointSaver(
        network, torch.optim.SGD(network.parameters(), 0.1), checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path)
    )
    saver.save_checkpoint(epoch=3, metric=0.5)
    loaded = lp.read(tmp_path / "checkpoint-3.pth.tar", model=timm.create_model("resnet10t", num_classes=3))
    assert list(loaded.mask) == ["layer1.0.conv1.weight"]
    weights = snapshot(network)
    assert all(torch.equal(loaded.weights[name], weights[name]) for name in weights)
