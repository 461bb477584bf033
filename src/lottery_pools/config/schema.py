"""The settings of an experiment: frozen dataclasses, validated where they are built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from lottery_pools.errors import UserError

PAPER_COEFFICIENTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _require_unique(name: str, values: Sequence[Any]) -> None:
    for value in values:
        _require(values.count(value) == 1, f"{name} has {value} twice: give each once")


def _require_finite(settings: Any, path: str = "") -> None:
    """An infinite number means nothing here, and would not survive the writing of `config.toml`."""
    for each in fields(settings):
        value, name = getattr(settings, each.name), f"{path}{each.name}"
        if is_dataclass(value):
            _require_finite(value, f"{name}.")
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
        for part in parts:
            _require(not isinstance(part, float) or math.isfinite(part), f"{name} is {part}: give a finite number")


@dataclass(frozen=True)
class Difficulty:
    """The parameters of the MNIST-1D generator, by default those of Greydanus (2020, arXiv 2011.14439)."""

    padding: tuple[int, int] = (36, 60)
    """Fewest and most zeros appended to the 12-point template before it is stretched to 12 + the most."""
    scale_coeff: float = 0.4
    """Range of the random amplitude: 1 ± half of this."""
    max_translation: int = 48
    """The signal is rolled by fewer points than this."""
    corr_noise_scale: float = 0.25
    """Standard deviation, before smoothing (Gaussian, σ = 2 points), of the noise where there is no signal."""
    iid_noise_scale: float = 0.02
    """Standard deviation of the noise added to every point."""
    shear_scale: float = 0.75
    """Range of the random slope: ± half of this from end to end, halved again at each end."""
    shuffle_seq: bool = False
    """Permute the points, the same way in every sample."""
    final_seq_length: int = 40
    """Points in a finished sample."""

    def __post_init__(self) -> None:
        low, high = self.padding
        _require(0 <= low <= high, f"data.difficulty.padding is {self.padding}: give two numbers, 0 ≤ fewest ≤ most")
        _require(
            self.max_translation >= 1, f"data.difficulty.max_translation is {self.max_translation}: give 1 or more"
        )
        _require(
            self.final_seq_length >= 2, f"data.difficulty.final_seq_length is {self.final_seq_length}: give 2 or more"
        )


@dataclass(frozen=True)
class Data:
    """Which samples, how many, and how they are split and augmented."""

    name: str = "mnist1d"
    """`mnist1d`, `cifar10`, `cifar100`, a Hugging Face hub id, a folder of parquet files, or an image folder."""
    size: int | None = None
    """Side in pixels to which images are brought, as networks take them; none: as they are."""
    train: int | None = None
    """Training samples; none: all that the validation split leaves (mnist1d: 4,000)."""
    validation: int = 5000
    """Samples carved from the training set to choose epochs and pools."""
    carve: Literal["stratified", "last"] = "stratified"
    """Validation samples are drawn in proportion to the classes, or are the last of a training set in random order."""
    epoch_share: float = 0.0
    """Share of the validation samples that only chooses epochs, the rest then only pools; 0: all choose both."""
    test: int | None = None
    """Test samples; none: all there are (mnist1d: 10,000)."""
    image_column: str | None = None
    """Column of the images; none: detected."""
    label_column: str | None = None
    """Column of the labels; none: detected."""
    crop: int = 0
    """Pixels (points, for signals) of zero padding before a random crop back to size; 0: no crop."""
    resized_crop: bool = False
    """Train on a random part of each image, scaled to `size` (Szegedy et al., 2015); test on the middle 7/8."""
    flip: bool = False
    """Mirror each training image left to right with probability one half."""
    seed: int = 0
    """Draws the split and generated samples: the same for every run, so that runs are compared on the same samples."""
    difficulty: Difficulty = field(default_factory=Difficulty)
    """The MNIST-1D generator's parameters."""

    def __post_init__(self) -> None:
        _require(
            self.validation > 0,
            f"data.validation is {self.validation}: pools are chosen on validation samples, give 1 or more",
        )
        _require(0 <= self.epoch_share < 1, f"data.epoch_share is {self.epoch_share}: give a share in [0, 1)")
        for name in ("train", "test", "size"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"data.{name} is {value}: give 1 or more, or leave it out")
        _require(self.crop >= 0, f"data.crop is {self.crop}: give 0 or more pixels")
        _require(
            not self.resized_crop or (self.size is not None and self.crop == 0 and self.name != "mnist1d"),
            "data.resized_crop is for images, needs data.size, and replaces data.crop: set these",
        )


@dataclass(frozen=True)
class Model:
    """Which network, and which of its tensors are pruned."""

    name: str = "conv1d"
    """A name from `lottery-pools presets --models`, `timm:NAME`, `torchvision:NAME`, or `package.module:factory`."""
    arguments: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Keyword arguments of the network."""
    prunable: str = "convolutions"
    """`convolutions`, `convolutions+linear`, or a glob pattern over parameter names such as `blocks.*.weight`."""


@dataclass(frozen=True)
class Training:
    """One training run, from the first step to the last."""

    epochs: int = 182
    """Epochs of the dense network; where levels are rewound, the end of the schedule."""
    batch: int = 128
    """Images a step."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """`sgd` or `adamw`."""
    lr: float = 0.1
    """Peak learning rate."""
    momentum: float = 0.9
    """Of SGD."""
    nesterov: bool = False
    """Nesterov momentum."""
    weight_decay: float = 1e-4
    """Coupled for SGD, decoupled for AdamW."""
    schedule: Literal["step", "cosine", "one-cycle", "constant"] = "step"
    """`step`, `cosine`, `one-cycle` or `constant`."""
    milestones: tuple[float, ...] = (91.0, 136.0)
    """Epochs at which a step schedule multiplies the rate by `gamma`."""
    gamma: float = 0.1
    """See `milestones`."""
    warmup: float = 0.0
    """Epochs of linear warm-up (one-cycle: of the rising part)."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    clip_norm: float | None = None
    """Largest gradient norm; none: no clipping."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast in training, recalibration and evaluation."""
    channels_last: bool = True
    """Memory format in which convolutions are fast."""
    compile: bool = False
    """torch.compile the training step: about a quarter faster after half a minute; needs a C++ compiler on CPUs."""
    keep: Literal["best", "last", "swa", "ema"] = "best"
    """A ticket is the epoch best on validation (the first of equals), the last, the mean of the last epochs (SWA,
    Izmailov et al., 2018), or an exponential moving average of the steps (EMA)."""
    average_from: float = 0.75
    """Share of the epochs after which `swa` begins to average."""
    ema_decay: float = 0.999
    """Weight of the past at each step of `ema`."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            _require(getattr(self, name) >= 1, f"training.{name} is {getattr(self, name)}: give 1 or more")
        _require(self.lr > 0, f"training.lr is {self.lr}: give a positive learning rate")
        _require(0 <= self.momentum < 1, f"training.momentum is {self.momentum}: give a number in [0, 1)")
        for name in ("weight_decay", "gamma"):
            _require(getattr(self, name) >= 0, f"training.{name} is {getattr(self, name)}: give 0 or more")
        _require(
            0 <= self.warmup < self.epochs,
            f"training.warmup is {self.warmup}: give 0 or more epochs, fewer than training.epochs ({self.epochs})",
        )
        _require(
            0 <= self.label_smoothing < 1,
            f"training.label_smoothing is {self.label_smoothing}: give a number in [0, 1)",
        )
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            f"training.clip_norm is {self.clip_norm}: give a positive norm",
        )
        _require(0 <= self.average_from < 1, f"training.average_from is {self.average_from}: give a share in [0, 1)")
        _require(0 < self.ema_decay < 1, f"training.ema_decay is {self.ema_decay}: give a number in (0, 1)")
        _require(
            not self.nesterov or (self.optimizer == "sgd" and self.momentum > 0),
            "training.nesterov needs optimizer sgd and a momentum above 0",
        )


@dataclass(frozen=True)
class Pruning:
    """Iterative pruning: what goes at each level, and how training goes on (Frankle et al., Renda et al., 2020)."""

    rate: float = 0.2
    """Share of the surviving weights pruned at each level."""
    levels: int = 18
    """Prunings after the dense level 0."""
    densities: tuple[float, ...] = ()
    """Density of each level after level 0, falling; replaces `rate` and `levels`."""
    scope: Literal["global", "layer"] = "global"
    """Rank weights over the whole network, or within each tensor."""
    criterion: Literal["magnitude", "random"] = "magnitude"
    """What is pruned: the smallest weights, or (a control) weights drawn at random."""
    after: Literal["rewind", "learning-rate", "fine-tune", "reinitialise"] = "rewind"
    """How training goes on: survivors rewound to the rewind point; survivors kept, learning rate rewound to it;
    survivors kept, last learning rate; (a control) survivors drawn anew, trained from the first step."""
    rewind: int = 9
    """The rewind point; 0 is the initialisation."""
    rewind_unit: Literal["epochs", "steps"] = "epochs"
    """`epochs` or `steps`."""
    fine_tune_epochs: int = 40
    """Epochs a level with `after = "fine-tune"`."""
    copies: int = 1
    """Networks trained at each level on different batches and averaged into its ticket: more than one is Sparse Model
    Soups (Zimmer et al., ICLR 2024), and with `training.keep = "swa"` SWAMP (Choi et al., ICLR 2024)."""

    def __post_init__(self) -> None:
        _require(0 < self.rate < 1, f"pruning.rate is {self.rate}: give a share in (0, 1)")
        _require(self.levels >= 0, f"pruning.levels is {self.levels}: give 0, for the dense network alone, or more")
        _require(self.rewind >= 0, f"pruning.rewind is {self.rewind}: give 0 or more {self.rewind_unit}")
        _require(self.fine_tune_epochs >= 1, f"pruning.fine_tune_epochs is {self.fine_tune_epochs}: give 1 or more")
        _require(self.copies >= 1, f"pruning.copies is {self.copies}: give 1 or more")
        previous = 1.0
        for density in self.densities:
            _require(
                0 < density < previous,
                f"pruning.densities has {density} after {previous:g}: give falling densities between 1 and 0",
            )
            previous = density

    def schedule(self) -> tuple[float, ...]:
        """The density of every level, the dense level 0 first."""
        return (1.0, *(self.densities or ((1 - self.rate) ** k for k in range(1, self.levels + 1))))


@dataclass(frozen=True)
class Pooling:
    """How tickets are pooled (Yin et al., AAAI 2023, Algorithm 2)."""

    methods: tuple[str, ...] = ("average", "interpolation", "trimmed-soup")
    """Names of methods of pooling."""
    coefficients: tuple[float, ...] = PAPER_COEFFICIENTS
    """The α tried by `interpolation`: the weight of the best network so far, against the candidate's 1 - α."""
    candidates: int | None = None
    """How many of the nearest tickets are offered; none: all others."""
    targets: tuple[int, ...] = ()
    """Levels to strengthen; none named: all."""
    mask: Literal["magnitude", "target", "union", "intersection"] = "magnitude"
    """Which weights a mixture keeps: its largest (the paper), the target's, the largest of those that are in either
    mask, or those in both and then the largest."""
    recalibration: int | Literal["all"] = 2000
    """Augmented training images that re-estimate BatchNorm; 0: none; `all`: the whole training set, as in the paper."""
    selection: int | None = 1000
    """Validation samples by which `trimmed-soup` compares networks, a quarter as many training images re-estimating
    BatchNorm meanwhile; none: all of both. The other methods use all."""
    budget: int | None = None
    """Images that the search for one pooled ticket forwards at most; none: no limit."""

    def __post_init__(self) -> None:
        for name in ("selection", "budget"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"pooling.{name} is {value}: give 1 or more, or leave it out")
        for name in ("methods", "coefficients", "targets"):
            _require_unique(f"pooling.{name}", getattr(self, name))
        _require(len(self.coefficients) > 0, "pooling.coefficients is empty: give at least one α in (0, 1)")
        for alpha in self.coefficients:
            _require(0 < alpha < 1, f"pooling.coefficients has α = {alpha}: give numbers strictly between 0 and 1")
        _require(
            self.candidates is None or self.candidates >= 1,
            f"pooling.candidates is {self.candidates}: give 1 or more, or leave it out",
        )
        _require(
            self.recalibration == "all" or self.recalibration >= 0,
            f"pooling.recalibration is {self.recalibration}: give 0 or more images, or `all`",
        )


@dataclass(frozen=True)
class Evaluation:
    """What is measured of every network."""

    trained_baselines: tuple[str, ...] = ()
    """What is trained beside the tickets, at equal cost: `sms`, `swamp`, `swa-training`, `ema-training`, and `longer`,
    a run for each target of pooling."""
    corruptions: tuple[str, ...] = ()
    """Corruptions of the test samples: names, `common` (the 15), `all` (with the 4 extra; for mnist1d its shifts)."""
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Of every corruption."""
    corrupted: int | None = None
    """Test samples that are corrupted, drawn stratified; none: all."""
    corrupted_from: str | None = None
    """Folder of a published set (CIFAR-10-C, CIFAR-100-C, ImageNet-C) to read instead of corrupting test samples."""

    batch: int = 500
    """Samples forwarded at once."""

    def __post_init__(self) -> None:
        _require(self.batch >= 1, f"evaluation.batch is {self.batch}: give 1 or more")
        for name in ("trained_baselines", "corruptions", "severities"):
            _require_unique(f"evaluation.{name}", getattr(self, name))
        for severity in self.severities:
            _require(1 <= severity <= 5, f"evaluation.severities has {severity}: give numbers from 1 to 5")
        _require(
            self.corrupted is None or self.corrupted >= 1,
            f"evaluation.corrupted is {self.corrupted}: give 1 or more, or leave it out",
        )


@dataclass(frozen=True)
class Config:
    """One experiment: every seed a run of its own."""

    name: str = "experiment"
    """What the experiment is called."""
    seeds: tuple[int, ...] = (0,)
    """Each a run of its own on the same data."""
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    pruning: Pruning = field(default_factory=Pruning)
    pooling: Pooling = field(default_factory=Pooling)
    evaluation: Evaluation = field(default_factory=Evaluation)

    def __post_init__(self) -> None:
        _require(len(self.seeds) > 0, "seeds is empty: give at least one")
        _require_unique("seeds", self.seeds)
        _require_finite(self)
        _require(
            self.evaluation.corrupted_from is None or self.data.name != "mnist1d",
            "evaluation.corrupted_from is for images, the shifts of mnist1d are generated: leave it out",
        )
        if self.pruning.rewind_unit == "epochs":
            _require(
                self.pruning.rewind < self.training.epochs,
                f"pruning.rewind is epoch {self.pruning.rewind}: give one before training.epochs "
                f"({self.training.epochs})",
            )
        levels = len(self.pruning.schedule())
        for target in self.pooling.targets:
            _require(0 <= target < levels, f"pooling.targets has level {target}: this run has levels 0 to {levels - 1}")
