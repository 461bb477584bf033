"""Test samples that differ from the training samples: corrupted images, published sets of them, shifted MNIST-1D."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lottery_pools.config.schema import Data, Difficulty, Evaluation
from lottery_pools.data import corruptions, mnist1d, npy
from lottery_pools.data.cache import DamagedCacheError
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.data.sources import stratified
from lottery_pools.errors import UserError, unknown
from lottery_pools.runs.folder import OTHER_CACHE, cache_root, writing
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
    if path is not None and dataset.test.stored.dtype != torch.uint8:
        raise UserError(
            f"corruptions are for images of 8 bits, {data.name} has {dataset.test.stored.dtype}: leave them out"
        )
    if path is not None:
        labels = dataset.test.labels.cpu()
        chosen = _chosen(labels, data, evaluation)
        with of_this_process().first_on_machine():
            try:
                images = _stored(path, len(chosen))
            except (FileNotFoundError, NotADirectoryError, DamagedCacheError):
                _store(
                    path, (len(chosen), *dataset.input_shape), _corrupted(dataset, chosen, name, severity, data.seed)
                )
                images = _stored(path, len(chosen))
        return Split(images, labels[chosen]).to(dataset.device)
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


def _stored(path: Path, n: int) -> Tensor:
    """The corrupted images in a file of the cache, (n, c, h, w) uint8.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such file.
        DamagedCacheError: It does not hold what was written, or does not say what that was.
        UserError: It cannot be read.
    """
    try:
        stat = path.stat()
        with safe_open(path, "pt") as file:
            images: Tensor = file.get_tensor("images")
            expected = (file.metadata() or {}).get("digest")
        if images.dtype != torch.uint8 or images.ndim != 4 or len(images) != n:
            raise DamagedCacheError(f"{path} holds {images.dtype} of shape {tuple(images.shape)}")
        if _stored_digest(path, stat.st_ino, stat.st_size, stat.st_mtime_ns) != expected:
            raise DamagedCacheError(f"{path} is not what was written")
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; remove it, or {OTHER_CACHE}") from error
    except SafetensorError as error:
        raise DamagedCacheError(f"{path} is damaged: {error}") from error
    return images


@cache
def _stored_digest(path: Path, *_: int) -> str:
    """The digest of the images in a file, computed once in a process for each state of the file."""
    with safe_open(path, "pt") as file:
        return npy.digest(file.get_tensor("images").numpy())


def _store(path: Path, shape: tuple[int, ...], batches: Iterable[Tensor]) -> None:
    """Write images of `shape` (n, c, h, w), which come in batches, into a file of the cache: one batch in memory.

    It is a safetensors file, whose metadata has the digest of the images (`npy.digest`).
    """
    with writing(path, OTHER_CACHE) as file:
        file.write(_header(shape, "0" * 64))
        start = file.tell()
        for batch in batches:
            file.write(batch.contiguous().numpy().data)
        file.flush()
        file.seek(start)
        size = npy.ROWS_OF_A_BLOCK * math.prod(shape[1:])
        blocks = [hashlib.sha256(file.read(size)).digest() for _ in range(0, shape[0], npy.ROWS_OF_A_BLOCK)]
        file.seek(0)
        file.write(_header(shape, npy.digest_of_blocks(blocks)))


def _header(shape: tuple[int, ...], digest: str) -> bytes:
    """What a safetensors file of one uint8 tensor `images` begins with; its length does not depend on the digest."""
    images = {"dtype": "U8", "shape": shape, "data_offsets": (0, math.prod(shape))}
    text = json.dumps({"__metadata__": {"digest": digest}, "images": images}, separators=(",", ":"))
    padded = text.encode().ljust(-(-len(text) // 8) * 8)
    return len(padded).to_bytes(8, "little") + padded


def _corrupted(dataset: Dataset, chosen: Tensor, name: str, severity: int, seed: int) -> Iterator[Tensor]:
    """The test images at the indices `chosen` (n,), as networks are tested on them, corrupted, in batches."""
    for number, batch in enumerate(torch.split(chosen, _IMAGES_AT_ONCE)):
        images = dataset.view(dataset.test.batch(batch)).cpu()
        yield corruptions.corrupt(images, name, severity, seed, first=number * _IMAGES_AT_ONCE, constants="auto")


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
        labels = _classes_of(labels, dataset.classes, folder)
    else:
        images, labels = corruptions.read_image_folder(folder, name, severity, size, classes=dataset.classes)
    return Split(images, labels)


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
