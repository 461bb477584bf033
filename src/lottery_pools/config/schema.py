"""The settings of an experiment: `Config` and its parts, all of them frozen dataclasses.

Every part checks its values when it is built, and raises `UserError` with one line that names the setting. The text
under a setting is the help of its option on the command line. The parts `Data`, `Training` and `Pruning` are written in
modules of their own; other code takes all of them from here:

    >>> from lottery_pools.config.schema import Config, Training
    >>> Config(training=Training(epochs=30)).training.epochs
    30
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from lottery_pools.config.data import Data, Difficulty, Task
from lottery_pools.config.fields import NETWORK_PACKAGES, NamesCode, Rare, require, require_finite, require_unique
from lottery_pools.config.training import Pruning, Training

__all__ = [
    "PAPER_COEFFICIENTS",
    "Config",
    "Data",
    "Difficulty",
    "Evaluation",
    "Model",
    "Pooling",
    "Pruning",
    "Task",
    "Training",
]

PAPER_COEFFICIENTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""The coefficients α that Yin et al. (AAAI 2023) try for every candidate."""


@dataclass(frozen=True)
class Model:
    """Which network is trained, and which of its tensors are pruned."""

    name: Annotated[str, NamesCode(NETWORK_PACKAGES)] = "conv1d"
    """The network: a name from `lottery-pools presets --models`, `timm:NAME`, `torchvision:NAME`, or your own
    `package.module:factory`."""
    arguments: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Keyword arguments of the network."""
    prunable: str = "convolutions"
    """Which tensors are pruned: `convolutions`, `convolutions+linear`, or a glob pattern over parameter names such as
    `blocks.*.weight`."""


@dataclass(frozen=True)
class Pooling:
    """How tickets are pooled (Yin et al., AAAI 2023, Algorithm 2)."""

    methods: tuple[str, ...] = ()
    """Names of the methods that pool the tickets, each by itself; none: those that the folder has, or in a new one
    `average`, `interpolation`, `trimmed-soup` and, for classes, `balanced-soup`; `sparser-soup` alone where
    nothing is held out (`data.train_on_validation`)."""
    coefficients: Rare[tuple[float, ...]] = PAPER_COEFFICIENTS
    """Coefficients α that `interpolation` tries: the weight of the best network so far, where the candidate has
    1 - α."""
    candidates: Rare[int | None] = None
    """Number of tickets that are offered to each target, the nearest levels first; none: all others."""
    targets: tuple[int, ...] = ()
    """Levels whose tickets are strengthened; none: all levels."""
    mask: Rare[Literal["magnitude", "target", "union", "intersection"]] = "magnitude"
    """Which weights a mixture keeps: `magnitude`, its largest (as in the paper); `target`, those of the target's mask;
    `union`, the largest of those in either mask; `intersection`, those in both masks and then the largest."""
    recalibration: int | Literal["all"] = 2000
    """Number of augmented training images that re-estimate the BatchNorm statistics; 0: none do; `all`: the whole
    training set, as in the paper."""
    selection: Rare[int | None] = 1000
    """Number of validation samples by which `trimmed-soup` compares networks, while a quarter as many training images
    re-estimate the BatchNorm statistics; the consensus and the fading soup use half as many samples; none: all
    samples, and all images of `recalibration`. The other methods use all."""
    budget: int | None = None
    """Largest number of images that the search for one pooled ticket forwards; none: no limit."""

    def __post_init__(self) -> None:
        for name in ("selection", "budget"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"pooling.{name} is {value}: give 1 or more, or leave it out")
        for name in ("methods", "coefficients", "targets"):
            require_unique(f"pooling.{name}", getattr(self, name))
        require(len(self.coefficients) > 0, "pooling.coefficients is empty: give at least one α in (0, 1)")
        for alpha in self.coefficients:
            require(0 < alpha < 1, f"pooling.coefficients has α = {alpha}: give numbers strictly between 0 and 1")
        require(
            self.candidates is None or self.candidates >= 1,
            f"pooling.candidates is {self.candidates}: give 1 or more, or leave it out",
        )
        require(
            self.recalibration == "all" or self.recalibration >= 0,
            f"pooling.recalibration is {self.recalibration}: give 0 or more images, or `all`",
        )


@dataclass(frozen=True)
class Evaluation:
    """On what every network is measured, and what is trained to be compared with."""

    trained_baselines: tuple[str, ...] = ()
    """Baselines that are trained beside the tickets, at equal cost but for `swamp-full`: `sparse-model-soups`,
    `swamp-equal-cost`, `swamp-full`, `learning-rate-rewinding` (pooled too), `longer` and `rigl` (a run for each
    target of pooling), `lawa`, `tail-ema`, `swa-training`, `ema-training`; and controls that train on the held-out
    samples: `held-out-training` (pooled too), `tuned-ticket`, `tuned-pool`; none: no baselines."""
    corruptions: tuple[str, ...] = ()
    """Corruptions of the test samples: names, `common` (the 15 of CIFAR-C), or `all` (with the 4 extra; for mnist1d,
    the shifts of its generator); none: clean samples only."""
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Severities from 1 to 5 at which every corruption is measured."""
    corrupted: int | None = None
    """Number of test samples that are corrupted, drawn in proportion to the classes; none: all."""
    corrupted_from: Rare[str | None] = None
    """Folder of a published set (CIFAR-10-C, CIFAR-100-C, ImageNet-C) that is read instead of corrupting test samples;
    none: test samples are corrupted."""
    metric: Rare[Annotated[str | None, NamesCode()]] = None
    """Your own metric, `package.module:function`, which is called with the outputs and labels of a split and returns
    one value a sample, higher is better; none: whether the prediction is right, or for a regression R²."""
    batch: Rare[int] = 500
    """Number of samples that are forwarded at once."""

    def __post_init__(self) -> None:
        require(self.batch >= 1, f"evaluation.batch is {self.batch}: give 1 or more")
        for name in ("trained_baselines", "corruptions", "severities"):
            require_unique(f"evaluation.{name}", getattr(self, name))
        for severity in self.severities:
            require(1 <= severity <= 5, f"evaluation.severities has {severity}: give numbers from 1 to 5")
        require(
            self.corrupted is None or self.corrupted >= 1,
            f"evaluation.corrupted is {self.corrupted}: give 1 or more, or leave it out",
        )


@dataclass(frozen=True)
class Config:
    """One experiment: its name, its seeds, and the settings that all of its runs share."""

    name: str = "experiment"
    """Name of the experiment."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the experiment: each is a run of its own, on the same data."""
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    pruning: Pruning = field(default_factory=Pruning)
    pooling: Pooling = field(default_factory=Pooling)
    evaluation: Evaluation = field(default_factory=Evaluation)

    def __post_init__(self) -> None:
        require(len(self.seeds) > 0, "seeds is empty: give at least one")
        require_unique("seeds", self.seeds)
        require_finite(self)
        require(
            self.data.task != "regression" or not self.training.label_smoothing,
            "training.label_smoothing is for labels, data.task is regression: leave it out",
        )
        require(
            self.evaluation.corrupted_from is None or self.data.name != "mnist1d",
            "evaluation.corrupted_from is for images, the shifts of mnist1d are generated: leave it out",
        )
        require(
            self.evaluation.corrupted_from is None or self.data.test_part == "all",
            "evaluation.corrupted_from corrupts all test images: leave it out, or give data.test_part all",
        )
        if self.pruning.rewind_unit == "epochs":
            require(
                self.pruning.rewind < self.training.epochs,
                f"pruning.rewind is epoch {self.pruning.rewind}: give one before training.epochs "
                f"({self.training.epochs})",
            )
        levels = len(self.pruning.schedule())
        require(
            self.measures_accuracy or not self.evaluation.corruptions,
            "evaluation.corruptions are reported as accuracies: leave them out with evaluation.metric and regression",
        )
        for target in self.pooling.targets:
            require(0 <= target < levels, f"pooling.targets has level {target}: this run has levels 0 to {levels - 1}")

    @property
    def measures_accuracy(self) -> bool:
        """Whether networks are measured by the share of right predictions; if not, by R² or the user's metric."""
        return self.evaluation.metric is None and self.data.task != "regression"

    def of_seed(self, seed: int) -> Config:
        """The settings of the run with this seed alone, which draws its data as `data.draw` says.

        >>> Config(seeds=(3, 4), data=Data(draw="per-seed")).of_seed(4).data.seed
        4
        """
        return replace(self, seeds=(seed,), data=self.data.of_seed(seed))
