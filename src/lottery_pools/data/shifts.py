"""Test samples that differ from the training samples: corrupted images, published sets of them, shifted MNIST-1D."""

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
from lottery_pools.runs.folder import OTHER_CACHE, cache_root, write
from lottery_pools.runs.seeds import generator

_VERSION = 2
"""Part of the names of cached images. Increase it with every change of the corruptions that changes pixels."""
_IMAGES_AT_ONCE = 1000

SIGNAL_SHIFTS: dict[str, Callable[[Difficulty, int], Difficulty]] = {
    "iid_noise": lambda d, s: replace(d, iid_noise_scale=d.iid_noise_scale + 0.02 * s),
    "corr_noise": lambda d, s: replace(d, corr_noise_scale=d.corr_noise_scale + 0.1 * s),
    "scale": lambda d, s: replace(d, scale_coeff=d.scale_coeff + 0.2 * s),
    "shear": lambda d, s: replace(d, shear_scale=d.shear_scale + 0.4 * s),
    "stretch": lambda d, s: replace(d, padding=(max(0, d.padding[0] - 6 * s), max(0, d.padding[1] - 6 * s))),
}
"""The shifts of MNIST-1D: from the difficulty of the data and a severity, 1 to 5, to the difficulty of shifted data."""


def names(data: Data, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the corruptions that `wanted` stands for, each once, in order.

    Args:
        data: The settings `[data]`: images have corruptions, MNIST-1D has shifts.
        wanted: Names, `common` (the 15 of the published sets; for MNIST-1D its shifts), or `all`.

    Raises:
        UserError: One of the names is unknown for these data.
    """
    is_signals = data.name == "mnist1d"
    available = tuple(SIGNAL_SHIFTS) if is_signals else corruptions.names(extra=True)
    groups = {"common": available if is_signals else corruptions.names(), "all": available}
    expanded: list[str] = []
    for name in wanted:
        if name not in groups and name not in available:
            raise unknown(f"corruption of {data.name}", name, (*available, *groups))
        expanded += groups.get(name, (name,))
    return tuple(dict.fromkeys(expanded))


def shifted(dataset: Dataset, data: Data, evaluation: Evaluation, name: str, severity: int) -> Split:
    """Return the test samples under a corruption: the same for every network that is evaluated.

    MNIST-1D is generated with shifted parameters, from the random streams of its test samples. Images come from the
    published set in `evaluation.corrupted_from`. If that is not set, they are the test images, corrupted by
    `corruptions.corrupt` and kept in the cache.

    Args:
        dataset: The data without corruption.
        data: Its settings `[data]`.
        evaluation: The settings `[evaluation]`.
        name: The corruption or shift, one of `names(data, ["all"])`.
        severity: 1 to 5.

    Returns:
        The samples, or a stratified draw of `evaluation.corrupted` of them, on the device of `dataset`.

    Raises:
        UserError: The published set is missing, damaged, or not of these classes; or the cache cannot be written.
    """
    path = cached(dataset, data, evaluation, name, severity)
    if path is not None:
        labels = dataset.test.labels.cpu()
        chosen = _chosen(labels, data, evaluation)
        if not path.exists():
            images = _corrupted_images(dataset, chosen, name, severity, data.seed)
            write(path, serialize({"images": images}), OTHER_CACHE)
        with safe_open(path, "pt") as file:
            return Split(file.get_tensor("images"), labels[chosen]).to(dataset.device)
    if data.name == "mnist1d":
        split = Split(*_signals(data, name, severity, len(dataset.test)))
    else:
        split = _published(Path(str(evaluation.corrupted_from)).expanduser(), dataset, name, severity)
    return split.take(_chosen(split.labels, data, evaluation)).to(dataset.device)


def cached(dataset: Dataset, data: Data, evaluation: Evaluation, name: str, severity: int) -> Path | None:
    """Return the file in the cache for the images that `shifted` corrupts; it may not exist yet.

    The arguments are those of `shifted`. None for samples that are not cached: signals, and published sets.
    """
    if data.name == "mnist1d" or evaluation.corrupted_from is not None:
        return None
    chosen = hashlib.sha256(_chosen(dataset.test.labels.cpu(), data, evaluation).numpy().tobytes()).hexdigest()
    content = f"{_digest(dataset.test)} {chosen} {dataset.input_shape} {name} {severity} {data.seed} {_VERSION}"
    return cache_root() / "corrupted" / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.safetensors"


def _corrupted_images(dataset: Dataset, chosen: Tensor, name: str, severity: int, seed: int) -> Tensor:
    """The test images at the indices `chosen` (n,), as networks are tested on them, corrupted: on the CPU."""
    batches = torch.split(chosen, _IMAGES_AT_ONCE)
    images = torch.cat([dataset.view(dataset.test.batch(batch)).cpu() for batch in batches])
    return corruptions.corrupt(images, name, severity, seed, constants="auto")


def _chosen(labels: Tensor, data: Data, evaluation: Evaluation) -> Tensor:
    """The indices of the test samples that are corrupted: all, or a stratified draw."""
    n = min(evaluation.corrupted or len(labels), len(labels))
    return stratified(labels, n, generator(data.seed, "split", "corrupted"))


@cache
def _signals(data: Data, name: str, severity: int, n: int) -> tuple[Tensor, Tensor]:
    """Shifted samples of MNIST-1D: (n, 1, length) float32, and their labels (n,) int64."""
    return mnist1d.generate(n, data.seed, SIGNAL_SHIFTS[name](data.difficulty, severity), "test")


def _published(folder: Path, dataset: Dataset, name: str, severity: int) -> Split:
    """The samples of a published set, CIFAR-C or ImageNet-C."""
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
    """The SHA-256 of the test images, computed once: the cache tells splits apart by the identity of their tensors."""
    content = hashlib.sha256()
    for batch in test.batches(_IMAGES_AT_ONCE):
        content.update(batch.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()
