"""The paper's own presets: its settings to the letter, and each through the very same code at a size for a CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from lottery_pools.config import toml, variants
from lottery_pools.config.schema import Config, Data, Pruning, Training
from lottery_pools.data import shifts, sources
from lottery_pools.data.dataset import Dataset
from lottery_pools.evaluation import cost
from lottery_pools.experiment import report as reports
from lottery_pools.experiment import stages
from lottery_pools.models import registry
from lottery_pools.pooling import learning
from lottery_pools.pooling.methods import METHODS
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import checks, files, imp, training_costs

CIFAR = ("cifar10-vgg16", "cifar10-resnet18", "cifar100-vgg16", "cifar100-resnet18")
IMAGENET = ("imagenet-resnet18", "imagenet-resnet34")
TRAIN, TEST = {"cifar10": 45_000, "cifar100": 45_000, "imagenet": 1_231_167}, 10_000
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}


def input_shape(name: str) -> tuple[int, int, int]:
    return (3, 224, 224) if name in IMAGENET else (3, 32, 32)


# -- to the letter


@pytest.mark.parametrize("name", CIFAR + IMAGENET)
def test_the_papers_settings(name: str) -> None:
    preset = toml.preset(name)
    data, model = name.split("-")
    imagenet = data == "imagenet"
    assert preset.name == name
    assert preset.model.name == model
    assert preset.model.prunable == ("convolutions+linear" if imagenet else "convolutions")
    assert preset.model.arguments.get("stem") == {"vgg16": None}.get(model, "imagenet" if imagenet else "cifar")
    assert preset.training == Training(
        epochs=90 if imagenet else 182,
        batch=1024 if imagenet else 128,
        optimizer="sgd",
        lr=0.4 if imagenet else 0.1,
        momentum=0.9,
        nesterov=False,
        weight_decay=1e-4,
        schedule="step",
        milestones=(30.0, 60.0, 80.0) if imagenet else (91.0, 136.0),
        gamma=0.1,
        warmup=5.0 if imagenet else 0.0,
        keep="best",
    )
    assert preset.pruning == Pruning(rate=0.2, levels=8 if imagenet else 18, rewind=4 if imagenet else 9)
    assert preset.pooling.coefficients == (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    assert preset.pooling.recalibration == "all"
    assert preset.pooling.candidates is None
    assert preset.pooling.targets == ()
    assert set(preset.pooling.methods) <= set(METHODS)
    assert {"interpolation", "average", "swa-unguarded", "ema-unguarded"} <= set(preset.pooling.methods)
    assert len(shifts.names(preset.data, preset.evaluation.corruptions)) == 15
    assert (preset.evaluation.severities, preset.evaluation.corrupted) == ((1, 2, 3, 4, 5), None)
    if imagenet:
        assert preset.data == Data("ILSVRC/imagenet-1k", size=224, resized_crop=True, flip=True, validation=50_000)
    else:
        assert preset.data == Data(data, crop=4, flip=True, validation=5000, carve="last")


@pytest.mark.parametrize(
    ("name", "prunable"),
    [
        ("cifar10-vgg16", 14_710_464),
        ("cifar100-resnet18", 11_159_232),
        ("imagenet-resnet18", 11_678_912),
        ("imagenet-resnet34", 21_779_648),
    ],
)
def test_full_networks_have_the_paper_densities(name: str, prunable: int) -> None:
    preset = toml.preset(name)
    with torch.device("meta"):  # shapes only
        model = registry.build(
            preset.model.name, preset.model.arguments, CLASSES[name.split("-")[0]], input_shape(name), 0
        )
    names = registry.prunable(model, preset.model.prunable)
    assert sum(model.get_parameter(tensor).numel() for tensor in names) == prunable
    assert preset.pruning.schedule()[-1] == pytest.approx(0.168 if name in IMAGENET else 0.018, abs=5e-4)


# -- through the very same code


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder: three classes of noise, 40 to train on and 14 to test of each, of unequal sizes."""
    image = pytest.importorskip("PIL.Image", reason="the extra `data` is not installed")
    folder, draws = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for split, n in (("train", 40), ("val", 14)):
        for name in ("cat", "cow", "dog"):
            (folder / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = draws.integers(0, 256, (*draws.integers(20, 90, 2), 3), dtype=np.uint8)
                image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path_factory.getbasetemp() / "presets-cache"))


def small(name: str, folder: Path) -> Config:
    """A preset as `--limit 40` makes it, on `folder`, with narrow networks and small images."""
    limited = variants.limited(toml.preset(name), 40)
    # Folders are in order of class, of which the last samples are no fair draw, as CIFAR's are.
    data = dataclasses.replace(limited.data, name=str(folder), carve="stratified", size=64 if name in IMAGENET else 16)
    width = 0.1 if limited.model.name == "vgg16" else 4
    model = dataclasses.replace(limited.model, arguments={**limited.model.arguments, "width": width})
    return dataclasses.replace(limited, data=data, model=model)


def weights(dataset: Dataset, settings: Config, folder: Path) -> Mapping[str, torch.Tensor]:
    return list(imp.tickets(settings, dataset, RunFolder(folder), 0))[-1].weights


@pytest.mark.parametrize("name", CIFAR + IMAGENET)
def test_every_level_is_trained_and_has_its_density(name: str, noise: Path, tmp_path: Path) -> None:
    settings = small(name, noise)
    dataset = sources.load(settings.data)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [40, 40, 40]
    assert dataset.input_shape == ((3, 64, 64) if name in IMAGENET else (3, 16, 16))
    assert dataset.train.stored.shape[-1] == (73 if name in IMAGENET else 16)
    checks.check_settings(settings, dataset)
    tickets = list(imp.tickets(settings, dataset, RunFolder(tmp_path), 0))
    assert len(tickets) == (9 if name in IMAGENET else 19)
    for ticket in tickets:
        assert ticket.kept == round(0.8**ticket.level * ticket.prunable)
    assert [ticket.origin["train_images"] for ticket in tickets] == training_images(settings, 40)
    assert ("fc.weight" in tickets[0].mask) == (name in IMAGENET)
    dense, sparse = (
        cost.flops(imp.network(settings, dataset, 0), dataset.input_shape, ticket.mask)
        for ticket in (tickets[0], tickets[-1])
    )
    assert sparse < 0.5 * dense
    assert files.load(RunFolder(tmp_path).ticket(0)).level == 0


def test_a_set_larger_than_memory_trains_to_the_same_bits(noise: Path, tmp_path: Path) -> None:
    settings = small("imagenet-resnet18", noise)
    settings = dataclasses.replace(settings, pruning=dataclasses.replace(settings.pruning, levels=1))
    held, mapped = sources.load(settings.data), sources.load(settings.data, large=100_000)
    assert mapped.train.rows is not None
    mapped = dataclasses.replace(mapped, mean=held.mean, std=held.std)  # over fewer samples, and so others
    in_memory, on_disk = weights(held, settings, tmp_path / "held"), weights(mapped, settings, tmp_path / "mapped")
    assert all(torch.equal(in_memory[name], on_disk[name]) for name in in_memory)


# -- what is promised


def training_images(config: Config, samples: int) -> list[int]:
    """Images trained on, repeats, copies and all earlier levels counted, when the ticket of each level is there."""
    return [training_costs.train_images(config, samples, level) for level in range(len(config.pruning.schedule()))]


def search_images(config: Config, samples: int, validation: int, coefficients: int | None = None) -> int:
    """Images that Algorithm 2 forwards for one target: every network it looks at is recalibrated and scored."""
    others = len(config.pruning.schedule()) - 1
    looks = others * (coefficients or len(config.pooling.coefficients)) + 1
    assert (config.pooling.recalibration, config.pooling.candidates) == ("all", None)
    return looks * (samples + validation)


def gpu_hours(flops: int, trained: int = 0, forwarded: int = 0, tflops: float = 20.0) -> float:
    """Hours that images take at `tflops` · 10^12 operations a second, of which a multiply-add is two."""
    return 2 * flops * (3 * trained + forwarded) / (tflops * 1e12 * 3600)


@pytest.mark.parametrize("name", CIFAR + IMAGENET)
def test_the_documented_costs_are_those_of_the_formulas(name: str) -> None:
    preset, data = toml.preset(name), name.split("-")[0]
    with torch.device("meta"):
        model = registry.MODELS[preset.model.name](CLASSES[data], input_shape(name))
    flops, train = cost.flops(model, input_shape(name)), TRAIN[data]
    levels, validation = len(preset.pruning.schedule()), int(preset.data.validation)
    trained = training_images(preset, train)[-1]
    searched = levels * search_images(preset, train, validation)
    others = levels * (len(preset.pooling.methods) - 1) * search_images(preset, train, validation, 1)
    networks = levels * (3 + len(preset.pooling.methods))  # tickets, recalibrated, in the ensemble, pools
    measured = networks * (validation + 76 * (50_000 if data == "imagenet" else TEST))
    images = (trained, searched, others, measured)
    hours = (
        gpu_hours(flops, trained=trained),
        *(gpu_hours(flops, forwarded=forwarded) for forwarded in (searched, others, measured)),
    )
    row = [
        f"`{name}`",
        f"{flops / 1e9:.3f}",
        *(f"{count / 1e6:,.0f}" for count in images),
        *(f"{part:,.1f}" for part in hours),
        f"{sum(hours):,.0f}",
    ]
    text = (Path(__file__).parents[1] / "docs" / "reproduce.md").read_text(encoding="utf-8")
    assert f"| {' | '.join(row)} |" in text


# -- end to end


@pytest.mark.parametrize(
    ("name", "methods", "severities"),
    [
        (IMAGENET[0], ("average", "interpolation", "trimmed-soup"), (5,)),
        *(pytest.param(name, tuple(METHODS), (1, 2, 3, 4, 5), marks=pytest.mark.slow) for name in CIFAR + IMAGENET),
    ],
)
def test_the_whole_story_at_a_limit(
    name: str,
    methods: tuple[str, ...],
    severities: tuple[int, ...],
    noise: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All levels and corruptions through `run`; one target, since the others only repeat it."""
    monkeypatch.setattr(learning, "LEARNED_SOUP_STEPS", 3)
    settings = small(name, noise)
    last = len(settings.pruning.schedule()) - 1
    pooling = dataclasses.replace(settings.pooling, methods=methods, targets=(last,))
    evaluation = dataclasses.replace(settings.evaluation, severities=severities)
    settings = dataclasses.replace(settings, pooling=pooling, evaluation=evaluation)
    stages.run(settings, tmp_path / "run", Machine(device="cpu", workers=1, threads=1))
    _, rows, _ = reports.read(tmp_path / "run")
    corrupted = {(row.corruption, row.severity) for row in rows if row.severity}
    assert len(corrupted) == 15 * len(severities)
    for method in methods:
        measured = {(row.level, row.corruption, row.severity) for row in rows if row.method == method}
        assert measured == {(last, *condition) for condition in {*corrupted, ("none", 0)}}
    assert {row.level for row in rows if row.method == "ticket"} == set(range(last + 1))
    assert (tmp_path / "run" / "report.html").exists()
