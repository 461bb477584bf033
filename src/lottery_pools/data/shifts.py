"""Test samples that differ from the training samples: corrupted images, published sets of them, shifted MNIST-1D."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from lottery_pools.config.schema import Data, Difficulty, Evaluation
from lottery_pools.data import corruptions, mnist1d, stored_images
from lottery_pools.data.cache import DamagedCacheError
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.data.sources import stratified
from lottery_pools.errors import UserError, unknown
from lottery_pools.runs.disk import cache_root
from lottery_pools.runs.ranks import of_this_process
from lottery_pools.runs.seeds import generator

_VERSION = 2
"""Part of the names of cached images. Increase it with every change of the corruptions that changes pixels."""
_IMAGES_AT_ONCE = 512
"""Images that are corrupted, and held in memory, in one step."""

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
    `corruptions.corrupt`. Images that are corrupted, or decoded from a set's image files, are kept in the cache; only
    some are in memory at a time.

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
    if data.name == "mnist1d":
        split = Split(*_signals(data, name, severity, len(dataset.test)))
        return split.take(_chosen(split.labels, data, evaluation)).to(dataset.device)
    images = _images(dataset, data, evaluation, name, severity)
    if images is None:
        split = _in_arrays(Path(str(evaluation.corrupted_from)).expanduser(), dataset, name, severity)
        return split.take(_chosen(split.labels, data, evaluation)).to(dataset.device)
    with of_this_process().first_on_machine():
        try:
            stored = stored_images.read(images.path, len(images.labels))
        except (FileNotFoundError, NotADirectoryError, DamagedCacheError):
            stored_images.write(images.path, images.shape, images.batches())
            stored = stored_images.read(images.path, len(images.labels))
    return Split(stored, images.labels).to(dataset.device)


def cached(dataset: Dataset, data: Data, evaluation: Evaluation, name: str, severity: int) -> Path | None:
    """Return the file in the cache for the images that `shifted` corrupts or decodes; it may not exist yet.

    The arguments are those of `shifted`. None for samples that are not cached: signals, and sets in .npy files.
    """
    if data.name == "mnist1d":
        return None
    images = _images(dataset, data, evaluation, name, severity)
    return None if images is None else images.path


@dataclass(frozen=True)
class _Images:
    """Test images under a corruption, before they are made or decoded."""

    path: Path
    """Their file in the cache."""
    labels: Tensor
    """Of those that are used, (n,) int64."""
    shape: tuple[int, ...]
    """(n, c, h, w)."""
    batches: Callable[[], Iterator[Tensor]]
    """Makes them, some at a time."""


def _images(dataset: Dataset, data: Data, evaluation: Evaluation, name: str, severity: int) -> _Images | None:
    """The test images under a corruption: our own, or those of a published set; None if that is in .npy files."""
    if evaluation.corrupted_from is None:
        return _own(dataset, data, evaluation, name, severity)
    folder = Path(evaluation.corrupted_from).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"evaluation.corrupted_from is {folder}: there is no such folder; give CIFAR-C's or ImageNet-C's"
        )
    if (folder / "labels.npy").exists() or list(folder.glob("*.npy")):
        return None
    published = _Published(folder, name, severity, dataset.classes, dataset.input_shape[-1], data, evaluation)
    path, labels = _place_of(published)
    return _Images(path, labels, (len(labels), 3, published.size, published.size), published.batches)


@dataclass(frozen=True)
class _Published:
    """One corruption of a published set of image files."""

    folder: Path
    name: str
    severity: int
    classes: tuple[str, ...]
    size: int
    """Side in pixels to which images are brought."""
    data: Data
    evaluation: Evaluation

    def chosen(self) -> tuple[list[Path], Tensor]:
        """The files that are used, and their labels (n,) int64."""
        files, labels = corruptions.find_images(self.folder, self.name, self.severity, self.classes)
        rows = _chosen(labels, self.data, self.evaluation)
        return [files[row] for row in rows.tolist()], labels[rows]

    def batches(self) -> Iterator[Tensor]:
        """Decode the images, some at a time: (at most `_IMAGES_AT_ONCE`, 3, size, size) uint8."""
        files, _ = self.chosen()
        for start in range(0, len(files), _IMAGES_AT_ONCE):
            part = files[start : start + _IMAGES_AT_ONCE]
            yield torch.stack([corruptions.read_image(file, self.size) for file in part])


@cache
def _place_of(published: _Published) -> tuple[Path, Tensor]:
    """The file in the cache for the images of a published set, and their labels; found once in a process.

    Image files are told apart by their place, size and time: reading them all would take as long as decoding them.
    """
    files, labels = published.chosen()
    stats = [file.stat() for file in files]
    marks = [f"{file.resolve()} {s.st_size} {s.st_mtime_ns}" for file, s in zip(files, stats, strict=True)]
    return _place("\n".join([f"{published.size} {_VERSION}", *marks])), labels


def _own(dataset: Dataset, data: Data, evaluation: Evaluation, name: str, severity: int) -> _Images:
    """The test images that we corrupt."""
    if dataset.test.stored.dtype != torch.uint8:
        raise UserError(
            f"corruptions are for images of 8 bits, {data.name} has {dataset.test.stored.dtype}: leave them out"
        )
    labels = dataset.test.labels.cpu()
    chosen = _chosen(labels, data, evaluation)
    rows = hashlib.sha256(chosen.numpy().tobytes()).hexdigest()
    content = f"{_digest(dataset.test)} {rows} {dataset.input_shape} {name} {severity} {data.seed} {_VERSION}"
    batches = partial(_corrupted, dataset, chosen, name, severity, data.seed)
    return _Images(_place(content), labels[chosen], (len(chosen), *dataset.input_shape), batches)


def _place(content: str) -> Path:
    """The file in the cache for images that are told apart from all others by these words."""
    return cache_root() / "corrupted" / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.safetensors"


def _corrupted(dataset: Dataset, chosen: Tensor, name: str, severity: int, seed: int) -> Iterator[Tensor]:
    """The test images at the indices `chosen` (n,), as networks are tested on them, corrupted, in batches."""
    for number, batch in enumerate(torch.split(chosen, _IMAGES_AT_ONCE)):
        images = dataset.view(dataset.test.batch(batch)).cpu()
        yield corruptions.corrupt(images, name, severity, seed, first=number * _IMAGES_AT_ONCE, constants="auto")


def _chosen(labels: Tensor, data: Data, evaluation: Evaluation) -> Tensor:
    """The indices of the test samples that are corrupted: all, or a stratified draw."""
    n = min(evaluation.corrupted or len(labels), len(labels))
    return stratified(labels, n, generator(data.seed, "split", "corrupted"))


def _in_arrays(folder: Path, dataset: Dataset, name: str, severity: int) -> Split:
    """All images of one corruption of a published set in .npy files."""
    images, numbers = corruptions.read_npy(folder, name, severity, size=dataset.input_shape[-1])
    return Split(images, _classes_of(numbers, dataset.classes, folder))


@cache
def _signals(data: Data, name: str, severity: int, n: int) -> tuple[Tensor, Tensor]:
    """Shifted samples of MNIST-1D: (n, 1, length) float32, and their labels (n,) int64."""
    return mnist1d.generate(n, data.seed, SIGNAL_SHIFTS[name](data.difficulty, severity), "test")


def _classes_of(numbers: Tensor, classes: Sequence[str], folder: Path) -> Tensor:
    """The classes of the numbers in the label file of a published set, (n,) int64.

    A number is the name of a class, if all classes have numbers for names; otherwise it is the place of the class in
    their order.
    """
    are_numbers = all(name.isdecimal() for name in classes)
    table = {int(name) if are_numbers else place: place for place, name in enumerate(classes)}
    if unknown_numbers := sorted(set(numbers.tolist()) - table.keys()):
        raise UserError(
            f"{folder} has label {unknown_numbers[-1]}, the data have {len(classes)} classes: give the set that "
            "belongs to them"
        )
    return torch.tensor([table[number] for number in numbers.tolist()])


@cache
def _digest(test: Split) -> str:
    """The SHA-256 of the test images, computed once: the cache tells splits apart by the identity of their tensors."""
    content = hashlib.sha256()
    for batch in test.batches(_IMAGES_AT_ONCE):
        content.update(batch.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()
