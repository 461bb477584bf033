"""The settings under `data`: which samples there are, how they are split, and how training images are varied."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from lottery_pools.config.fields import Rare, require

Task = Literal["single-label", "multi-label", "regression"]
"""What is predicted of a sample: its class, which of several labels it has, or numbers."""
MOST_POINTS = 10_000
"""The longest signal, and the widest image."""
MOST_GENERATED = 10_000_000
"""Samples that are generated at most: with the usual 40 points, 1.6 GB."""


@dataclass(frozen=True)
class Difficulty:
    """Parameters of the MNIST-1D generator; the defaults are those of Greydanus (2020, arXiv 2011.14439)."""

    padding: tuple[int, int] = (36, 60)
    """Fewest and most zeros appended to the 12-point template, before it is stretched to 12 points plus the most
    zeros."""
    scale_coeff: float = 0.4
    """Width of the range of the random amplitude, which lies around 1: 0.4 draws it from 0.8 to 1.2."""
    max_translation: int = 48
    """Each signal is rolled by a random number of points that is smaller than this."""
    corr_noise_scale: float = 0.25
    """Standard deviation of the noise in places without signal, before it is smoothed (Gaussian, σ = 2 points)."""
    iid_noise_scale: float = 0.02
    """Standard deviation of the independent noise added to every point."""
    shear_scale: float = 0.75
    """Width of the range of the random slope, which lies around 0: 0.75 draws it from -0.375 to 0.375; half of the
    slope is added at one end of the signal and subtracted at the other."""
    shuffle_seq: bool = False
    """Permute the points, in the same way in every sample."""
    final_seq_length: int = 40
    """Number of points in a finished sample."""

    def __post_init__(self) -> None:
        low, high = self.padding
        require(0 <= low <= high, f"data.difficulty.padding is {self.padding}: give two numbers, 0 ≤ fewest ≤ most")
        require(self.max_translation >= 1, f"data.difficulty.max_translation is {self.max_translation}: give 1 or more")
        require(
            self.final_seq_length >= 2, f"data.difficulty.final_seq_length is {self.final_seq_length}: give 2 or more"
        )
        for name, value in (("padding", high), ("final_seq_length", self.final_seq_length)):
            require(value <= MOST_POINTS, f"data.difficulty.{name} is {value:,}: give {MOST_POINTS:,} or less")


@dataclass(frozen=True)
class Data:
    """Which samples there are, how they are split, and how training images are varied."""

    name: str = "mnist1d"
    """The data set: `mnist1d`, `cifar10`, `cifar100`, a Hugging Face hub id, a folder of parquet files, or an image
    folder."""
    task: Rare[Task] = "single-label"
    """What is predicted of a sample: `single-label`, its class; `multi-label`, which of several labels it has;
    `regression`, numbers. Loss, selection and metric follow from it."""
    size: int | None = None
    """Side in pixels to which images are resized; none: they keep their size."""
    train: int | None = None
    """Number of training samples; none: all that the validation split leaves (mnist1d: 4,000)."""
    validation: int | float = 5000
    """Number of samples taken from the training set to choose epochs and pools; below 1, their share of it."""
    carve: Rare[Literal["stratified", "last"]] = "stratified"
    """How validation samples are taken from the training set: `stratified`, drawn in proportion to the classes; `last`,
    its last samples (for a training set in random order)."""
    epoch_share: Rare[float] = 0.0
    """Share of the validation samples that only chooses epochs, while the rest only chooses pools; 0: all choose
    both."""
    train_on_validation: Rare[bool] = False
    """Train on the validation samples too, in as many steps as without them: nothing is held out. Then pool by
    `sparser-soup`: other methods, and the best admissible ticket, are chosen on what was trained on."""
    test: int | None = None
    """Number of test samples; none: all there are (mnist1d: 10,000)."""
    test_part: Rare[Literal["all", "look", "final"]] = "all"
    """Which test samples are used: `all`; or one of two halves, divided once and for all in proportion to the classes:
    `look`, to be looked at while something is designed, `final`, for the numbers that are published."""
    image_column: Rare[str | None] = None
    """Column of the data set that holds the images; none: it is detected."""
    label_column: Rare[str | None] = None
    """Column of the data set that holds the labels; none: it is detected. With another `task` than `single-label`, the
    columns of a label file, separated by commas; none: all whose cells are numbers."""
    broken: Rare[Literal["leave-out", "leave-out-rows", "refuse"]] = "leave-out"
    """What is done about images that cannot be read: `leave-out`, files are left out, counted and named in a note,
    unless they are more than a tenth of a split, but a row of a table ends the command; `leave-out-rows`, rows are left
    out too; `refuse`, the first of any kind ends the command."""
    decode: Rare[Literal["all", "used"]] = "all"
    """Which images of an image set are decoded: `all`, once for whatever is drawn of them; `used`, only those that
    are drawn, which pays where these are few. `--limit` sets it to `used`."""
    mean: Rare[tuple[float, ...]] = ()
    """Mean of each channel, or one for all, that is subtracted from samples, images counted from 0 to 1; none: that of
    the training samples. A network that normalises images itself takes `mean` 0 and `std` 1."""
    std: Rare[tuple[float, ...]] = ()
    """Standard deviation of each channel, or one for all, by which samples are divided, images counted from 0 to 1;
    none: that of the training samples."""
    crop: int = 0
    """Pixels (points, for signals) of zero padding around each training image before a random crop back to its size;
    0: no crop."""
    resized_crop: Rare[bool] = False
    """Train on a random part of each image, scaled to `size` (Szegedy et al., 2015), and test on the middle 7/8."""
    flip: bool = False
    """Mirror each training image left to right with probability one half."""
    seed: Rare[int] = 0
    """Seed that draws the validation split and generated samples. It is the same for every run, so that runs are
    compared on the same samples."""
    draw: Rare[Literal["once", "per-seed"]] = "once"
    """How often the validation split and generated samples are drawn: `once`, with `data.seed`; `per-seed`, anew for
    each run, with `data.seed` plus its seed, so that intervals over seeds also cover which samples were drawn."""
    difficulty: Rare[Difficulty] = field(default_factory=Difficulty)
    """Parameters of the MNIST-1D generator."""

    def __post_init__(self) -> None:
        require(
            self.validation > 0,
            f"data.validation is {self.validation}: pools are chosen on validation samples, give 1 or more",
        )
        require(
            self.validation < 1 or self.validation % 1 == 0,  # not so for infinity, whose remainder is not a number
            f"data.validation is {self.validation}: give a whole number of samples, or a share below 1",
        )
        require(
            bool(self.mean) == bool(self.std),
            "data.mean and data.std go together: give both, or none for those of the training samples",
        )
        require(all(value > 0 for value in self.std), f"data.std is {self.std}: give positive numbers")
        require(0 <= self.epoch_share < 1, f"data.epoch_share is {self.epoch_share}: give a share in [0, 1)")
        for name in ("train", "test", "size"):
            value = getattr(self, name)
            require(value is None or value > 0, f"data.{name} is {value}: give 1 or more, or leave it out")
        require(self.crop >= 0, f"data.crop is {self.crop}: give 0 or more pixels")
        for name, value in (("size", self.size or 0), ("crop", self.crop)):
            require(value <= MOST_POINTS, f"data.{name} is {value:,}: give {MOST_POINTS:,} pixels or fewer")
        generated = (self.train or 0) + self.validation + (self.test or 0) if self.name == "mnist1d" else 0
        require(
            generated <= MOST_GENERATED, f"data has {generated:,} generated samples: give {MOST_GENERATED:,} or fewer"
        )
        require(
            not self.resized_crop or (self.size is not None and self.crop == 0 and self.name != "mnist1d"),
            "data.resized_crop is for images, needs data.size, and replaces data.crop: set these",
        )
        require(
            self.task == "single-label" or self.name != "mnist1d",
            f"data.task is {self.task}, mnist1d has one label a sample: give other data in data.name",
        )
        require(
            self.test_part == "all" or self.name != "mnist1d",
            f"data.test_part is {self.test_part}, and mnist1d has no fixed test samples: give another data.seed",
        )
        require(
            self.draw == "once" or self.carve == "stratified",
            "data.draw is per-seed, and data.carve = last draws nothing: give data.carve stratified",
        )

    def of_seed(self, seed: int) -> Data:
        """These settings as the run with this seed has them: with the `seed` that it draws its samples with."""
        return replace(self, seed=self.seed + seed, draw="once") if self.draw == "per-seed" else self

    @property
    def decodes_by_seed(self) -> bool:
        """Whether each seed decodes other images: those alone that it draws."""
        return self.draw == "per-seed" and self.decode == "used"
