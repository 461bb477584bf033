"""Checkpoints of other software become the tickets that they stand for, or a line that says why not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as untyped_prune

import lottery_pools as lp
from lottery_pools.errors import UserError
from lottery_pools.exchange import read as reading
from lottery_pools.tickets import files, masks
from lottery_pools.tickets.ticket import Ticket, snapshot

prune: Any = untyped_prune
PRUNED = ("conv.weight", "head.weight")


class Small(nn.Module):
    """A network with what checkpoints differ in: a convolution, BatchNorm, a pruned and a dense linear layer."""

    def __init__(self, inside: bool = False) -> None:
        super().__init__()
        if inside:
            self.register_buffer("normalize_mean", torch.tensor([0.5]))
        self.conv = nn.Conv1d(1, 6, 3, bias=False)
        self.bn = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 5)
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.head(self.bn(self.conv(x)).relu().mean(2)).relu())
        return y


def drawn(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    return Small()


def ticket(density: float, level: int = 0, seed: int = 0) -> Ticket:
    """A ticket of `Small`; those of one seed have nested masks."""
    weights = snapshot(drawn(seed))
    mask = masks.dense(weights, PRUNED)
    mask = masks.prune(masks.magnitude(weights, mask), mask, round(density * masks.count(mask)[1]))
    weights["last.bias"] = weights["last.bias"] + density
    return Ticket(masks.apply(weights, mask), mask, level)


def same(found: Ticket, wanted: Ticket) -> bool:
    """Whether two tickets have the same tensors and masks."""
    pairs = [(found.weights, wanted.weights), (found.mask, wanted.mask)]
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


def pruned_module(wanted: Ticket) -> nn.Module:
    """The network under `torch.nn.utils.prune`, its pruned weights' originals not zero, as in training."""
    network = drawn()
    network.load_state_dict(dict(wanted.weights))
    for name in PRUNED:
        layer = network.get_submodule(name.removesuffix(".weight"))
        prune.custom_from_mask(layer, "weight", wanted.mask[name])
        with torch.no_grad():
            layer.get_parameter("weight_orig").add_(0.3 * ~wanted.mask[name])
    return network


def write_prune(wanted: Ticket, path: Path) -> None:
    torch.save(pruned_module(wanted).state_dict(), path)


def write_paper(wanted: Ticket, path: Path) -> None:
    """As the code of Yin et al. writes it: more state_dicts beside the one, and the settings."""
    module = pruned_module(wanted)
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    saved = {
        "state": 3, "result": {"train_ta": [1.0]}, "epoch": 5, "state_dict": module.state_dict(), "best_sa": 71.2,
        "optimizer": optimizer.state_dict(), "scheduler": {"last_epoch": 5}, "init_weight": drawn(9).state_dict(),
    }  # fmt: skip
    torch.save(saved, path)


def write_lightning(wanted: Ticket, path: Path) -> None:
    saved = {
        "epoch": 1, "global_step": 7, "pytorch-lightning_version": "2.5.0", "loops": {}, "hparams_name": "kwargs",
        "state_dict": {f"model.{name}": tensor for name, tensor in wanted.weights.items()},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5), "best_model_path": ""}},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(3)}}}], "lr_schedulers": [],
        "hyper_parameters": {"lr": 0.1},
    }  # fmt: skip
    torch.save(saved, path)


def write_open_lth(wanted: Ticket, path: Path) -> None:
    path.mkdir(parents=True)
    started, ended = drawn(5).state_dict(), dict(wanted.weights)
    for name in PRUNED:  # the last step moves pruned weights, which only the next forward pass sets to zero
        ended[name] = ended[name] + 1e-3 * ~wanted.mask[name]
    torch.save(started, path / "model_ep0_it0.pth")
    torch.save(ended, path / "model_ep10_it0.pth")
    torch.save(started, path / "model_ep9_it50.pth")
    torch.save({name: mask.int() for name, mask in wanted.mask.items()}, path / "mask.pth")
    (path / "sparsity_report.json").write_text("{}")


def write_safetensors(wanted: Ticket, path: Path) -> None:
    save_file(dict(wanted.weights), path)


def write_bare(wanted: Ticket, path: Path) -> None:
    torch.save(dict(wanted.weights), path)


LAYOUTS: dict[str, tuple[str, Callable[[Ticket, Path], None]]] = {
    "prune": ("a.pt", write_prune),
    "paper": ("3model_SA_best.pth.tar", write_paper),
    "lightning": ("epoch=1.ckpt", write_lightning),
    "open_lth": ("level_3/main", write_open_lth),
    "safetensors": ("model.safetensors", write_safetensors),
    "bare": ("a.pth", write_bare),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("with_model", [False, True])
def test_every_layout_is_read_as_the_ticket_that_it_stands_for(layout: str, with_model: bool, tmp_path: Path) -> None:
    name, write = LAYOUTS[layout]
    wanted = ticket(0.4)
    write(wanted, tmp_path / name)
    loaded = lp.read(tmp_path / name, model=drawn(3) if with_model else None)
    assert same(loaded, wanted)
    assert loaded.level == 0
    assert loaded.origin["read"]["notes"]


def test_a_pool_of_five_layouts_is_the_pool_of_the_plain_tickets(tmp_path: Path) -> None:
    densities = (1.0, 0.8, 0.6, 0.45, 0.3)
    plain = [ticket(density, level) for level, density in enumerate(densities)]
    names = []
    for wanted, layout in zip(plain, ("prune", "lightning", "open_lth", "safetensors", "bare"), strict=True):
        name, write = LAYOUTS[layout]
        write(wanted, tmp_path / layout / name if layout == "open_lth" else tmp_path / f"{layout}_{name}")
        names.append(tmp_path / layout / name if layout == "open_lth" else tmp_path / f"{layout}_{name}")
    read = lp.read([names[2], names[0], names[4], names[1], names[3]])
    assert [t.level for t in read] == [0, 1, 2, 3, 4]
    assert all(same(loaded, wanted) for loaded, wanted in zip(read, plain, strict=True))

    x, y = torch.randn(60, 1, 12), torch.randint(3, (60,))

    def score(model: nn.Module) -> Tensor:
        model.eval()
        return lp.log_likelihood(model(x).detach(), y)

    def recalibrate(model: nn.Module) -> None:
        lp.recalibrate(model, [x])

    for method in ("trimmed-soup", "interpolation"):
        first, second = (lp.pool(drawn(7), t, 2, score, recalibrate, method=method) for t in (plain, read))
        assert first.recipe == second.recipe
        assert first.recipe
        assert same(first.ticket, second.ticket)


def test_a_folder_of_several_becomes_levels_in_the_order_of_their_densities(tmp_path: Path) -> None:
    for n, density in ((10, 0.3), (9, 0.7), (2, 1.0)):
        write_prune(ticket(density), tmp_path / f"step_{n}.pt")
    tickets = lp.read(str(tmp_path))
    assert [(t.level, round(t.density, 1)) for t in tickets] == [(0, 1.0), (1, 0.7), (2, 0.3)]
    write_bare(ticket(0.7), tmp_path / "again.pt")
    with pytest.raises(UserError, match=r"again\.pt and .*step_9\.pt both have density 0\.7"):
        lp.read(tmp_path)


def test_open_lths_levels_are_found_below_one_folder(tmp_path: Path) -> None:
    for level, density in enumerate((1.0, 0.5)):
        write_open_lth(ticket(density), tmp_path / f"level_{level}" / "main")
    tickets = lp.read(tmp_path)
    assert [round(t.density, 1) for t in tickets] == [1.0, 0.5]
    notes = tickets[1].origin["read"]["notes"]
    assert any("those of model_ep10_it0.pth, the mask is that of mask.pth" in note for note in notes)
    assert any(note.endswith("pruned weights, which masks hide, were set to zero") for note in notes)


def test_of_the_papers_folder_only_the_best_epochs_are_taken(tmp_path: Path) -> None:
    for level, density in enumerate((1.0, 0.5)):
        write_paper(ticket(density), tmp_path / f"{level}checkpoint.pth.tar")
        write_paper(ticket(density), tmp_path / f"{level}model_SA_best.pth.tar")
    torch.save(drawn().state_dict(), tmp_path / "epoch_3_rewind_weight.pt")
    assert [t.origin["read"]["file"].split("/")[1] for t in lp.read(tmp_path)] == [
        "0model_SA_best.pth.tar",
        "1model_SA_best.pth.tar",
    ]
    (note, *_) = lp.read(tmp_path)[0].origin["read"]["notes"]
    assert note == "the weights are those under 'state_dict', not 'init_weight'"


def test_what_a_lightning_module_has_beside_the_network_is_told(tmp_path: Path) -> None:
    write_lightning(ticket(0.4), tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    saved["state_dict"]["loss.weight"] = torch.ones(3)
    torch.save(saved, tmp_path / "b.ckpt")
    loaded = lp.read(tmp_path / "b.ckpt")
    assert "model.conv.weight" in loaded.weights
    told = "most names begin with 'model.', not all: to take only these, give prefix='model.' or model="
    assert told in loaded.origin["read"]["notes"]
    for options in ({"prefix": "model."}, {"model": drawn(3)}):
        loaded = lp.read(tmp_path / "b.ckpt", **options)
        assert same(loaded, ticket(0.4))
        assert "beside the network and left out: loss.weight" in loaded.origin["read"]["notes"]


def test_a_dense_checkpoint_is_masked_where_the_others_are_pruned(tmp_path: Path) -> None:
    torch.save(drawn().state_dict(), tmp_path / "dense.pt")
    write_prune(ticket(0.5), tmp_path / "half.pt")
    dense, half = lp.read([tmp_path / "half.pt", tmp_path / "dense.pt"])
    assert dense.density == 1
    assert half.density == pytest.approx(0.5, abs=0.02)
    assert tuple(dense.mask) == PRUNED
    with pytest.raises(
        UserError, match=r"dense\.pt has no mask, and no tensor of it has zeros: .* prunable=\[\.\.\.\]"
    ):
        lp.read(tmp_path / "dense.pt")
    assert lp.read(tmp_path / "dense.pt", prunable=["*.weight"]).density == 1.0


def test_masks_may_lie_elsewhere(tmp_path: Path) -> None:
    wanted, other = ticket(0.4), ticket(0.7)
    for t, name in ((wanted, "a"), (other, "b")):
        torch.save(drawn().state_dict() | {"last.bias": t.weights["last.bias"]}, tmp_path / f"{name}.pt")
        save_file(
            {f"module.{key}_mask": mask.float() for key, mask in t.mask.items()}, tmp_path / f"{name}.safetensors"
        )
    assert same(lp.read(tmp_path / "a.pt", masks=tmp_path / "a.safetensors"), wanted)
    assert same(lp.read(tmp_path / "a.pt", masks=dict(wanted.mask)), wanted)
    paths = [tmp_path / "a.pt", tmp_path / "b.pt"]
    assert same(lp.read(paths, masks=[wanted.mask, tmp_path / "b.safetensors"])[0], other)
    with pytest.raises(UserError, match="2 checkpoints and one mask"):
        lp.read(paths, masks=wanted.mask)
    with pytest.raises(UserError, match="2 checkpoints and 1 masks"):
        lp.read(paths, masks=[wanted.mask])
    with pytest.raises(UserError, match=r"the mask 'nothing' has no tensor in .*a\.pt"):
        lp.read(tmp_path / "a.pt", masks={"nothing": torch.ones(2)})
    with pytest.raises(UserError, match=r"the mask 'conv\.weight' is torch\.float32 \(6, 1, 3\): .* zeros and ones"):
        lp.read(tmp_path / "a.pt", masks={"conv.weight": torch.full((6, 1, 3), 0.5)})


def test_a_tensor_that_is_sparse_and_not_prunable_is_noticed(tmp_path: Path) -> None:
    """Else pooling would fill its zeros, and nobody would know."""
    write_bare(ticket(0.3), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"'head\.weight' of .*a\.pt has \d\d% zeros and is not .* prunable=\[\.\.\.\]"):
        lp.read(tmp_path / "a.pt", prunable=["conv.weight"])
    loaded = lp.read(tmp_path / "a.pt", prunable=["conv.weight"], dense=["head.*"])
    assert tuple(loaded.mask) == ("conv.weight",)
    with pytest.raises(UserError, match=r"'head\.weight' of .* not among the prunable"):
        lp.read(tmp_path / "a.pt", masks={"conv.weight": ticket(0.3).mask["conv.weight"]})
    network = drawn()
    prune.l1_unstructured(network.last, "bias", 1)
    torch.save(network.state_dict(), tmp_path / "bias.pt")
    with pytest.raises(UserError, match=r"'last\.bias'"):
        lp.read(tmp_path / "bias.pt", prunable=["conv.weight"])


def test_what_is_not_pruned_is_named(tmp_path: Path) -> None:
    network = nn.ModuleDict(
        {"attention": nn.MultiheadAttention(8, 2), "words": nn.Embedding(20, 8), "out": nn.Linear(8, 8)}
    )
    prune.l1_unstructured(network["out"], "weight", 0.5)
    torch.save(network.state_dict(), tmp_path / "a.pt")
    notes = lp.read(tmp_path / "a.pt").origin["read"]["notes"]
    assert "not pruned: attention.in_proj_weight, attention.out_proj.weight, words.weight" in notes
    state = dict(network.state_dict())
    state["attention.in_proj_weight"] = state["attention.in_proj_weight"] * (torch.rand(24, 8) < 0.5)
    torch.save(state, tmp_path / "b.pt")
    with pytest.raises(UserError, match=r"'attention\.in_proj_weight'"):
        lp.read(tmp_path / "b.pt")
    loaded = lp.read(tmp_path / "b.pt", prunable="out.weight, *.in_proj_weight")
    assert 0.3 < loaded.mask["attention.in_proj_weight"].float().mean() < 0.7


def test_the_rules_of_prunable_need_the_network(tmp_path: Path) -> None:
    write_bare(ticket(0.3), tmp_path / "a.pt")
    with pytest.raises(UserError, match="prunable 'convolutions' needs the network: give model="):
        lp.read(tmp_path / "a.pt", prunable="convolutions")
    loaded = lp.read(tmp_path / "a.pt", prunable="convolutions+linear", model=drawn())
    assert tuple(loaded.mask) == ("conv.weight", "head.weight", "last.weight")
    with pytest.raises(UserError, match=r"prunable 'fc\.\*' matches no tensor"):
        lp.read(tmp_path / "a.pt", prunable="fc.*")


def test_tied_tensors_are_one(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(12, 6)
            self.out = nn.Linear(6, 12, bias=False)
            self.out.weight = self.words.weight

    torch.manual_seed(0)
    network = Tied()
    with torch.no_grad():
        network.words.weight.mul_(torch.rand(12, 6) < 0.5)
    torch.save(network.state_dict(), tmp_path / "a.pt")
    loaded = lp.read(tmp_path / "a.pt")
    assert tuple(loaded.mask) == ("words.weight", "out.weight")
    save_file({"words.weight": network.words.weight.detach()}, tmp_path / "a.safetensors")  # as Hugging Face saves it
    from_safetensors = lp.read(tmp_path / "a.safetensors", model=Tied())
    assert same(from_safetensors, loaded)
    prune.l1_unstructured(network.out, "weight", 0.4)
    network.words.weight = network.out.get_parameter("weight_orig")
    torch.save(network.state_dict(), tmp_path / "b.pt")
    pruned = lp.read(tmp_path / "b.pt")
    assert torch.equal(pruned.mask["words.weight"], pruned.mask["out.weight"])
    assert torch.equal(pruned.weights["words.weight"], pruned.weights["out.weight"])
    save_file({"words.weight": torch.zeros(12, 6), "out.weight": torch.ones(12, 6)}, tmp_path / "c.safetensors")
    with pytest.raises(UserError, match="are one tied tensor in the model and differ in the checkpoint"):
        lp.read(tmp_path / "c.safetensors", model=Tied())


def test_normalisation_inside_the_network_stays_or_is_left_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Small(inside=True)
    prune.l1_unstructured(network.conv, "weight", 0.5)
    torch.save(network.state_dict(), tmp_path / "a.pt")
    assert "normalize_mean" in lp.read(tmp_path / "a.pt").weights
    assert "normalize_mean" in lp.read(tmp_path / "a.pt", model=Small(inside=True)).weights
    with pytest.raises(UserError, match=r"has 'normalize_mean', the model does not: .*leave_out=\['normalize_mean'\]"):
        lp.read(tmp_path / "a.pt", model=Small())
    loaded = lp.read(tmp_path / "a.pt", model=Small(), leave_out=["normalize*"])
    assert loaded.weights.keys() == Small().state_dict().keys()
    assert "left out: normalize_mean" in loaded.origin["read"]["notes"]


def test_another_network_is_named_by_its_first_tensor(tmp_path: Path) -> None:
    write_bare(ticket(0.5), tmp_path / "a.pt")
    other = {**ticket(0.4).weights, "last.weight": torch.ones(4, 5)}
    torch.save(other, tmp_path / "b.pt")
    with pytest.raises(UserError, match=r"'last\.weight' is \(3, 5\) in .*a\.pt and \(4, 5\) in .*b\.pt"):
        lp.read([tmp_path / "a.pt", tmp_path / "b.pt"])
    with pytest.raises(UserError, match=r"'last\.weight' is \(4, 5\) in the tensors of .*b\.pt"):
        lp.read(tmp_path / "b.pt", model=drawn())
    torch.save({name: tensor for name, tensor in other.items() if name != "bn.bias"}, tmp_path / "c.pt")
    with pytest.raises(UserError, match=r"a\.pt has 'bn\.bias' and .*c\.pt has not"):
        lp.read([tmp_path / "a.pt", tmp_path / "c.pt"])


def test_a_model_under_parametrisations_is_told_apart(tmp_path: Path) -> None:
    write_bare(ticket(0.5), tmp_path / "a.pt")
    network = drawn()
    parametrizations.weight_norm(network.head)
    with pytest.raises(UserError, match=r"model computes 'head\.weight' from other tensors"):
        lp.read(tmp_path / "a.pt", model=network)
    with pytest.raises(UserError, match=r"model computes 'conv\.weight' from other tensors"):
        lp.read(tmp_path / "a.pt", model=pruned_module(ticket(0.5)))


def test_our_own_tickets_are_read_too(tmp_path: Path) -> None:
    wanted = ticket(0.4, level=3)
    files.save(Ticket(wanted.weights, wanted.mask, 3, {"seed": 4}), tmp_path / "level_03.safetensors")
    loaded = lp.read(tmp_path / "level_03.safetensors")
    assert same(loaded, wanted)
    assert loaded.origin["seed"] == 4
    lp.save(loaded, tmp_path / "kept.safetensors")
    assert lp.load(tmp_path / "kept.safetensors").origin == loaded.origin


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no checkpoint .*none\.pt"):
        lp.read(tmp_path / "none.pt")
    with pytest.raises(UserError, match="has no checkpoint: give files that end in"):
        lp.read(tmp_path)
    with pytest.raises(UserError, match="no checkpoints to read"):
        lp.read([])
    write_bare(ticket(0.5), tmp_path / "a.pt")
    with pytest.raises(UserError, match="leave_out takes them all"):
        lp.read(tmp_path / "a.pt", leave_out="*")
    with pytest.raises(UserError, match="is one checkpoint and masks are a list"):
        lp.read(tmp_path / "a.pt", masks=[{}])


def test_reading_does_not_change_what_was_given(tmp_path: Path) -> None:
    write_prune(ticket(0.4), tmp_path / "a.pt")
    before, network = (tmp_path / "a.pt").read_bytes(), drawn(2)
    state = copy.deepcopy(network.state_dict())
    lp.read(tmp_path / "a.pt", model=network)
    assert (tmp_path / "a.pt").read_bytes() == before
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_the_two_halves_of_the_door_agree(tmp_path: Path) -> None:
    for n, density in enumerate((0.7, 0.4)):
        write_bare(ticket(density), tmp_path / f"{n}.pt")
    paths = reading.checkpoints_in(tmp_path)
    first, second = reading.read_several(paths)
    assert same(reading.read_one(paths[0]), first)
    assert same(reading.read_one(paths[1]), second)
