"""Test samples beyond the training distribution: corrupted images, published sets, shifted MNIST-1D; one door."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from lottery_pools.config.schema import Data, Difficulty, Evaluation
from lottery_pools.data import corruptions, mnist1d
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.data.sources import stratified
from lottery_pools.errors import UserError, unknown
from lottery_pools.runs.folder import cache_root, write
from lottery_pools.runs.seeds import generator

_VERSION = 2  # of the corruptions: a change of their pixels needs a new one

SIGNAL_SHIFTS: dict[str, Callable[[Difficulty, int], Difficulty]] = {
    "iid_noise": lambda d, s: replace(d, iid_noise_scale=d.iid_noise_scale + 0.02 * s),
    "corr_noise": lambda d, s: replace(d, corr_noise_scale=d.corr_noise_scale + 0.1 * s),
    "scale": lambda d, s: replace(d, scale_coeff=d.scale_coeff + 0.2 * s),
    "shear": lambda d, s: replace(d, shear_scale=d.shear_scale + 0.4 * s),
    "stretch": lambda d, s: replace(d, padding=(max(0, d.padding[0] - 6 * s), max(0, d.padding[1] - 6 * s))),
}
"""Shifts of MNIST-1D by its generator's own parameters: (difficulty of the data, severity) → difficulty."""


def names(data: Data, wanted: Sequence[str]) -> tuple[str, ...]:
    """The corruptions that `wanted` names for these data, in order, `common` and `all` spelled out."""
    signals = data.name == "mnist1d"
    known = tuple(SIGNAL_SHIFTS) if signals else corruptions.names(extra=True)
    groups = {"common": known if signals else corruptions.names(), "all": known}
    found: list[str] = []
    for name in wanted:
        if name not in groups and name not in known:
            raise unknown(f"corruption of {data.name}", name, (*known, *groups))
        found += groups.get(name, (name,))
    return tuple(dict.fromkeys(found))


def shifted(dataset: Dataset, data: Data, evaluation: Evaluation, name: str, severity: int) -> Split:
    """The test samples under a corruption of some severity, on the device of `dataset`; the same for every network.

    MNIST-1D is generated anew with shifted parameters, from the streams of its test samples. Images come from the
    published set that `evaluation.corrupted_from` names, its labels checked against the test set's class count, or
    are corrupted from the test set, each from a seed of its own, and cached on disk.
    """
    if data.name == "mnist1d":
        signals, labels = _signals(data, name, severity, len(dataset.test))
        split = Split(signals, labels)
        return split.take(_chosen(labels, data, evaluation)).to(dataset.device)
    path = cached(dataset, data, evaluation, name, severity)
    if path is None:
        split = _published(Path(str(evaluation.corrupted_from)).expanduser(), dataset, name, severity)
        return split.take(_chosen(split.labels, data, evaluation)).to(dataset.device)
    chosen = _chosen(dataset.test.labels.cpu(), data, evaluation)
    if not path.exists():
        parts = torch.split(chosen, 1000)
        images = torch.cat([dataset.view(dataset.test.batch(part)).cpu() for part in parts])
        write(path, serialize({"images": corruptions.corrupt(images, name, severity, data.seed, constants="auto")}))
    with safe_open(path, "pt") as file:
        return Split(file.get_tensor("images"), dataset.test.labels.cpu()[chosen]).to(dataset.device)


def cached(dataset: Dataset, data: Data, evaluation: Evaluation, name: str, severity: int) -> Path | None:
    """Where corrupted test images are kept, whether made yet or not; none for signals and published sets."""
    if data.name == "mnist1d" or evaluation.corrupted_from is not None:
        return None
    chosen = hashlib.sha256(_chosen(dataset.test.labels.cpu(), data, evaluation).numpy().tobytes()).hexdigest()
    content = f"{_digest(dataset.test)} {chosen} {dataset.input_shape} {name} {severity} {data.seed} {_VERSION}"
    root = cache_root()
    return root / "corrupted" / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.safetensors"


def _chosen(labels: Tensor, data: Data, evaluation: Evaluation) -> Tensor:
    """Which test samples are corrupted: all, or a stratified draw."""
    n = min(evaluation.corrupted or len(labels), len(labels))
    return stratified(labels, n, generator(data.seed, "split", "corrupted"))


@cache
def _signals(data: Data, name: str, severity: int, n: int) -> tuple[Tensor, Tensor]:
    return mnist1d.generate(n, data.seed, SIGNAL_SHIFTS[name](data.difficulty, severity), "test")


def _published(folder: Path, dataset: Dataset, name: str, severity: int) -> Split:
    """The samples of a published set."""
    size = dataset.input_shape[-1]
    if not folder.is_dir():
        raise UserError(
            f"evaluation.corrupted_from is {folder}: there is no such folder; give CIFAR-C's or ImageNet-C's"
        )
    if (folder / "labels.npy").exists() or list(folder.glob("*.npy")):
        images, labels = corruptions.read_npy(folder, name, severity, size=size)
    else:
        images, labels = corruptions.read_image_folder(folder, name, severity, size, classes=dataset.classes)
    if int(labels.max()) >= len(dataset.classes):
        raise UserError(
            f"{folder} has label {int(labels.max())}, the data have {len(dataset.classes)} classes: give the set that "
            "belongs to them"
        )
    return Split(images, labels)


@cache
def _digest(test: Split) -> str:
    """The content of the test images; a split is hashed by the identity of its tensors, so once a process."""
    content = hashlib.sha256()
    for batch in test.batches(1000):
        content.update(batch.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()
