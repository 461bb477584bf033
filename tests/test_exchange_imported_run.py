"""Checkpoints of other software become a run that the experiments treat as one of ours."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import lottery_pools as lp
from lottery_pools.config import toml
from lottery_pools.config.schema import Config, Evaluation, Model
from lottery_pools.data import sources
from lottery_pools.data.dataset import Dataset
from lottery_pools.errors import UserError
from lottery_pools.experiment import diagnose, replay, stages
from lottery_pools.experiment import report as reports
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import files, imp
from lottery_pools.tickets.ticket import Ticket
from tests.test_exchange_read import same
from tests.test_stages import ONE, tiny


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return sources.load(tiny().data)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained and pooled here."""
    folder = tmp_path_factory.mktemp("runs") / "ours"
    stages.run(tiny(), folder, ONE)
    return folder


@pytest.fixture(scope="module")
def checkpoints(ours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tickets of that run, as other software would have left them: three layouts."""
    folder = tmp_path_factory.mktemp("checkpoints")
    tickets = [files.load(RunFolder(ours).ticket(level)) for level in range(3)]
    torch.save(lp.to_prune(lp.load_model(RunFolder(ours).ticket(2)), tickets[2]).state_dict(), folder / "a.pt")
    state = {f"model.{name}": tensor for name, tensor in tickets[1].weights.items()}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.5.0"}, folder / "b.ckpt")
    lp.export(tickets[0], "safetensors", folder / "c.safetensors")
    return folder


def test_an_imported_run_is_pooled_measured_diagnosed_and_replayed_as_ours(
    ours: Path, checkpoints: Path, dataset: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "theirs"
    rewind = files.load(RunFolder(ours).rewind)
    config = lp.import_run(checkpoints, out, tiny(), dataset, rewind=rewind, train_images=[600, 900, 1200])
    assert config.pruning.schedule() == tuple(files.load(RunFolder(ours).ticket(level)).density for level in range(3))
    assert toml.of_folder(out) == config
    stages.pool(config, out, ONE)
    stages.evaluate(config, out, ONE)
    for level in range(3):
        for path in (RunFolder.ticket, lambda run, level: run.pool("interpolation", level)):
            mine, theirs = files.load(path(RunFolder(ours), level)), files.load(path(RunFolder(out), level))
            assert same(theirs, mine)
            assert theirs.origin.get("recipe") == mine.origin.get("recipe")
    _, rows, pools = reports.read(out)
    reference = {row.key: row for row in reports.read(ours)[1]}
    assert len(rows) == len(reference)
    assert all((row.correct, row.hits) == (reference[row.key].correct, reference[row.key].hits) for row in rows)
    assert {row.train_images for row in rows if row.method == "ticket"} == {600, 900, 1200}
    assert len(pools) == 12
    assert diagnose.diagnose(config, out, ONE, points=3)[0]["pairs"]
    assert replay.replay(RunFolder(out).pool("interpolation", 1)) is None
    page, _ = reports.make(out)
    assert page.exists()


def test_without_a_rewind_point_only_what_needs_it_is_refused(
    checkpoints: Path, dataset: Dataset, tmp_path: Path
) -> None:
    pooling = dataclasses.replace(tiny().pooling, methods=("uniform-soup",))
    tickets = lp.read(checkpoints)
    config = lp.import_run(tickets, tmp_path / "run", tiny(pooling=pooling), dataset)
    assert not RunFolder(tmp_path / "run").rewind.exists()
    stages.pool(config, tmp_path / "run", ONE)
    assert replay.replay(RunFolder(tmp_path / "run").pool("uniform-soup", 0)) is None
    stages.evaluate(config, tmp_path / "run", ONE)
    assert {row.train_images for row in reports.read(tmp_path / "run")[1]} == {0}
    needs = dataclasses.replace(config, pooling=dataclasses.replace(pooling, methods=("ties",)))
    with pytest.raises(UserError, match="give `base`, the weights at that point"):
        stages.pool(needs, tmp_path / "run", ONE)


def test_a_ticket_of_the_run_says_where_it_came_from(checkpoints: Path, dataset: Dataset, tmp_path: Path) -> None:
    config = lp.import_run(str(checkpoints), tmp_path / "run", tiny(), dataset)
    origin = files.read_metadata(RunFolder(tmp_path / "run").ticket(1))["origin"]
    assert origin["read"]["file"].endswith("/b.ckpt")
    assert origin["config"] == toml.identity(imp.tickets_config(config))
    assert (origin["seed"], origin["data"], origin["train_images"]) == (0, "mnist1d", 0)
    assert origin["density"] == config.pruning.densities[0]
    model = json.loads(json.dumps(origin["model"]))
    assert model == {"name": "conv1d", "arguments": {"width": 8, "depth": 2}, "classes": 10, "input_shape": [1, 40]}
    assert lp.load_model(RunFolder(tmp_path / "run").ticket(1))(torch.ones(1, 1, 40)).shape == (1, 10)


def test_the_rewind_point_may_be_a_file(ours: Path, checkpoints: Path, dataset: Dataset, tmp_path: Path) -> None:
    start = files.load(RunFolder(ours).rewind)
    torch.save({f"module.{name}": tensor for name, tensor in start.weights.items()}, tmp_path / "rewind.pt")
    lp.import_run(checkpoints, tmp_path / "run", tiny(), dataset, rewind=tmp_path / "rewind.pt")
    imported = files.load(RunFolder(tmp_path / "run").rewind)
    assert same(imported, start)
    assert imported.origin["step"] == start.origin["step"]


def test_what_does_not_go_together_is_told_and_nothing_written(
    checkpoints: Path, dataset: Dataset, tmp_path: Path
) -> None:
    def refused(message: str, config: Config | None = None, **given: object) -> None:
        arguments: dict[str, object] = {"tickets": checkpoints, "out": tmp_path / "run", "dataset": dataset, **given}
        with pytest.raises(UserError, match=message):
            lp.import_run(config=config or tiny(), **arguments)  # type: ignore[arg-type]
        assert not (tmp_path / "run").exists()

    tickets: list[Ticket] = lp.read(checkpoints)
    refused("an imported run has one seed, these settings have 2", tiny(seeds=(0, 1)))
    refused(
        "trained baselines need the training", tiny(evaluation=Evaluation(trained_baselines=("sparse-model-soups",)))
    )
    refused("'layer1.conv.weight' is .* in the tensors of", tiny(model=Model("conv1d", {"width": 9, "depth": 2})))
    refused("are prunable|is prunable in the settings, not in the checkpoints: set model.prunable = \"layer1",
            tiny(model=Model("conv1d", {"width": 8, "depth": 2}, "convolutions+linear")), tickets=tickets)  # fmt: skip
    refused("is not among the prunable", tiny(model=Model("conv1d", {"width": 8, "depth": 2}, "layer1.*")))
    refused("3 tickets and 1 counts of training images", train_images=[3])
    refused("two tickets have density", tickets=[*tickets, tickets[0]])
    refused("tickets and checkpoints together", tickets=[tickets[0], checkpoints / "a.pt"])
    refused("the weights of the rewind point lack", rewind={"a": torch.ones(2)})
    missing = Ticket(tickets[2].weights, {"layer1.conv.weight": tickets[2].mask["layer1.conv.weight"]}, 5)
    refused("the tickets have masks of different tensors", tickets=[tickets[0], missing])


def test_a_folder_that_holds_a_run_is_refused(ours: Path, checkpoints: Path, dataset: Dataset) -> None:
    with pytest.raises(UserError, match="holds a run already: choose another folder"):
        lp.import_run(checkpoints, ours, tiny(), dataset)


def test_one_checkpoint_is_a_run_too(checkpoints: Path, dataset: Dataset, tmp_path: Path) -> None:
    config = lp.import_run(checkpoints / "a.pt", tmp_path / "run", tiny(), dataset)
    assert config.pruning.schedule() == (1.0,)
    assert not RunFolder(tmp_path / "run").ticket(1).exists()
