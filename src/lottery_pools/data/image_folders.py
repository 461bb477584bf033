"""Image folders: which files are training and test samples, and of which classes.

Two layouts are read. In the first the images lie in folders of their classes, train/CLASS/… and test/CLASS/…, or
CLASS/… without a split; what lies deeper belongs to the class above it. In the second they lie anywhere, and a file
names their classes (`label_files`). A class is never guessed from the name of a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lottery_pools.config.data import Task
from lottery_pools.data import image_files, label_files
from lottery_pools.data.encoded import EncodedSet, EncodedSplit, ImageFiles
from lottery_pools.data.image_files import LeftOut
from lottery_pools.data.labels import Labels
from lottery_pools.data.splits import LAYOUTS, TEST, TRAIN, held_out, split_of, training, unlabelled, unused
from lottery_pools.errors import UserError

FOLDER_COLUMN = "label"
"""What `data.label_column` may call the classes that folders say."""
_NUMBER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class LabelRule:
    """Which labels are read."""

    column: str | None
    """`data.label_column`."""
    task: Task
    """`data.task`."""


@dataclass(frozen=True)
class _Part:
    """The images below the folder of a split, or below that of a whole set without splits."""

    name: str
    """What the split is called: one of `splits.TRAIN` or `splits.TEST`."""
    folder: Path
    classes: Mapping[str, list[Path]]
    """The images below each folder in it, by the name of that folder."""
    loose: list[Path]
    """The images that are directly in it."""
    out: LeftOut
    """What else is in the folders of `classes`."""

    @property
    def images(self) -> list[Path]:
        """All images."""
        return sorted([*self.loose, *(image for images in self.classes.values() for image in images)], key=str)


@dataclass(frozen=True)
class _Samples:
    """The images of one split whose classes are known."""

    name: str
    files: list[Path]
    labels: list[str]
    splits: list[str | None]
    """The split of each image, where a label file says it."""
    are_numbers: bool
    """Whether the labels come from a label file and are numbers: they are then ordered as numbers."""
    columns: tuple[str, ...] = ()
    """As `Labels.columns`."""

    def encoded(self, are_numbers: bool) -> EncodedSplit:
        """Return the split as it is decoded."""
        if self.columns:
            return EncodedSplit(self.name, ImageFiles(self.files), Labels(self.labels, columns=self.columns))
        values = [int(label) if are_numbers and _NUMBER.fullmatch(label) else label for label in self.labels]
        return EncodedSplit(self.name, ImageFiles(self.files), Labels(values))


def read(root: Path, label_column: str | None, task: Task = "single-label") -> EncodedSet:
    """Find the samples of an image folder.

    Args:
        root: The folder.
        label_column: The column of a label file that holds the classes; none: the folders say them, and where they do
            not, the column that is called so.
        task: Where it is another, label files hold several labels or numbers of each image (`label_files.read`).

    Raises:
        UserError: There are no training samples, their classes are not known, or a file cannot be read.
    """
    out = LeftOut()
    parts = _parts(root, out)
    name, part = training(parts, str(root))
    notes: list[str] = []
    rule = LabelRule(label_column, task)
    train = _labelled(part, root, rule, None, notes)
    if train is None:
        raise UserError(
            f"{part.folder} has {len(part.images)} images in no class folders: put them into {name}/CLASS/…, or write "
            f"their classes into {part.folder / 'labels.csv'} (columns file_name and label)"
        )
    test: _Samples | None
    if part.folder == root and any(train.splits):
        train, test = _by_column(train, root, notes)
    else:
        test = _test(parts, root, rule, set(train.labels), notes)
    encoded_test = test.encoded(train.are_numbers) if test is not None else None
    return EncodedSet(train.encoded(train.are_numbers), encoded_test, (*out.notes(root), *notes))


def _parts(root: Path, out: LeftOut) -> dict[str, _Part]:
    """The images below each split's folder in a folder; if it has none, all images, as the split `train`."""
    folders = image_files.folders(root, out)
    named = [(folder.name.lower(), folder) for folder in folders if folder.name.lower() in TRAIN + TEST]
    if not any(split in TRAIN for split, _ in named):  # train_images, test-2017, …
        named = [(split, folder) for folder in folders if (split := split_of(folder.name)) is not None]
    parts: dict[str, _Part] = {}
    for split, folder in named:
        part = _part(split, folder)
        if part.images and split in parts:
            raise UserError(f"{root} has two {split} splits, {parts[split].folder.name} and {folder.name}: keep one")
        if part.images:
            parts[split] = part
    if any(part.classes or label_files.find(part.folder, root) for part in parts.values()):
        others = [folder for folder in folders if folder not in [part.folder for part in parts.values()]]
        out.add("folders with images of no split", [folder for folder in others if _part("", folder).images])
        return parts
    # A class may be called `train`: then it is one of many folders, and holds images but no class folders.
    whole = _part("train", root)
    return {"train": whole} if whole.images and 2 * len(parts) < max(1, len(whole.classes)) else parts


def _part(split: str, folder: Path) -> _Part:
    """The images below a folder."""
    out = LeftOut()
    below = {path.name: image_files.images(path, out) for path in image_files.folders(folder, out)}
    classes = {name: images for name, images in below.items() if images}
    out.add("folders without images", [folder / name for name, images in below.items() if not images])
    for name in classes:
        if any(letter < " " or "\ud800" <= letter <= "\udfff" for letter in name):  # control, or not UTF-8
            raise UserError(f"{folder} has a class folder {name!r}, whose name cannot be printed: rename it")
    return _Part(split, folder, classes, image_files.images(folder, LeftOut(), is_nested=False), out)


def _labelled(part: _Part, root: Path, rule: LabelRule, known: set[str] | None, notes: list[str]) -> _Samples | None:
    """The samples of a split, or None if nothing says their classes.

    Args:
        part: The images of the split.
        root: The folder of the whole set.
        rule: Which labels to read.
        known: The classes of the training samples; None: these are the training samples.
        notes: Gets what is left out.
    """
    # A single folder, such as `images`, is no class, unless it has the name of one.
    are_folders = len(part.classes) > 1 or any(name in (known or ()) for name in part.classes)
    label_file = label_files.find(part.folder, root)
    if rule.task != "single-label" and label_file is None:
        if known is not None:
            return None
        raise UserError(
            f"{part.folder} has no label file, and folders say one label an image, where data.task is {rule.task}: "
            f"write {part.folder / 'labels.csv'} (columns file_name, and one for each label)"
        )
    if are_folders and rule.task == "single-label" and rule.column in (None, FOLDER_COLUMN):
        if label_file is not None:
            notes.append(f"{label_file.relative_to(root)} is not read: the class of an image is its folder")
        return _by_folder(part, root, notes)
    if label_file is not None:
        return _by_file(part, root, label_file, rule, notes)
    if rule.column not in (None, FOLDER_COLUMN):
        raise UserError(
            f"data.label_column is {rule.column!r}, and {part.folder} has no labels.csv or metadata.csv with that "
            "column: leave it out, or add the file"
        )
    if known is None and len(part.classes) == 1 and not part.loose:
        (name,) = part.classes
        raise UserError(
            f"{part.folder} has one class folder only, {name}: give two or more; if the class folders are below "
            f"{part.folder / name}, they lie one level too deep"
        )
    return None


def _by_folder(part: _Part, root: Path, notes: list[str]) -> _Samples:
    """The samples of a split whose classes are its folders."""
    inner = {name: _inner_folders(part.folder / name, images) for name, images in part.classes.items()}
    shared = set.intersection(*inner.values())
    if len(shared) > 1:
        first, second = sorted(inner)[:2]
        raise UserError(
            f"{part.folder} has the folders {first} and {second}, which both hold {' and '.join(sorted(shared)[:2])}: "
            f"it is not clear which are the classes; give {LAYOUTS}"
        )
    if any(inner.values()):
        examples = [f"{name}/{sorted(names)[0]}" for name, names in inner.items() if names]
        notes.append(f"images in folders below a class are of that class ({', '.join(examples[:2])})")
    part.out.add("images outside class folders", part.loose)
    notes += part.out.notes(root)
    samples = [(str(file), file, name) for name, images in part.classes.items() for file in images]
    samples.sort(key=lambda sample: sample[0])
    files, labels = [file for _, file, _ in samples], [label for _, _, label in samples]
    return _Samples(part.name, files, labels, [], are_numbers=False)


def _inner_folders(folder: Path, images: Sequence[Path]) -> set[str]:
    """The names of the folders in a class folder that hold images."""
    depth = len(folder.parts)
    return {image.parts[depth] for image in images if len(image.parts) > depth + 1}


def _by_file(part: _Part, root: Path, label_file: Path, rule: LabelRule, notes: list[str]) -> _Samples | None:
    """The samples of a split whose classes a label file says."""
    entries = label_files.read(label_file, rule.column, rule.task)
    if label_file.parent != part.folder:  # it names the images of other splits too
        of_split = [
            (root / entry.file).is_relative_to(part.folder) or not (root / entry.file).exists() for entry in entries
        ]
        entries = [entry for entry, included in zip(entries, of_split, strict=True) if included]
    named = label_files.assign(entries, part.images, (part.folder, root), label_file)
    if not named:
        return None
    files = sorted(named, key=str)
    labels = [named[file].label for file in files]
    what = "classes" if rule.task == "single-label" else "labels"
    notes.append(f"the {what} of {part.name} are read from {label_file.relative_to(root)}")
    unnamed = LeftOut()
    unnamed.add(f"images that {label_file.name} does not name", [file for file in part.images if file not in named])
    notes += unnamed.notes(root)
    are_numbers = all(map(_NUMBER.fullmatch, labels))
    columns = named[files[0]].columns
    return _Samples(part.name, files, labels, [named[file].split for file in files], are_numbers, columns)


def _by_column(samples: _Samples, root: Path, notes: list[str]) -> tuple[_Samples, _Samples | None]:
    """The training and the test samples of a set whose label file has a column of splits."""
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(samples.splits):
        split = split_of(value or "")
        if split is None:
            raise UserError(f"{samples.files[row]} is in the split {value!r}: call it train or test in the label file")
        rows.setdefault(split, []).append(row)

    def chosen(split: str) -> _Samples:
        return replace(
            samples,
            name=split,
            files=[samples.files[row] for row in rows[split]],
            labels=[samples.labels[row] for row in rows[split]],
        )

    train, _ = training(rows, str(root))
    tests = held_out(rows)
    notes += [unused(name, len(rows[name])) for name in tests[1:]]
    return chosen(train), chosen(tests[0]) if tests else None


def _test(
    parts: Mapping[str, _Part], root: Path, rule: LabelRule, known: set[str], notes: list[str]
) -> _Samples | None:
    """The test samples: the first split besides `train` whose classes are known."""
    test: _Samples | None = None
    for name in held_out(parts):
        if test is not None:
            notes.append(unused(name, len(parts[name].images)))
            continue
        test = _labelled(parts[name], root, rule, known, notes)
        if test is None:
            notes.append(unlabelled(name))
    return test
