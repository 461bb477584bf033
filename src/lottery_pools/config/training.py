"""The settings under `training` and `pruning`: how one network is trained, and how tickets follow from one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from lottery_pools.config.fields import NamesCode, Rare, require


@dataclass(frozen=True)
class Training:
    """One training run, from the first step to the last."""

    epochs: int = 182
    """Number of epochs that the dense network is trained for; a rewound level trains from the rewind point to the same
    last epoch."""
    batch: int = 128
    """Number of images in a training step."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """The optimizer: `sgd` or `adamw`."""
    lr: float = 0.1
    """Peak learning rate."""
    momentum: Rare[float] = 0.9
    """SGD momentum."""
    nesterov: Rare[bool] = False
    """Use Nesterov momentum (SGD only)."""
    weight_decay: float = 1e-4
    """Weight decay: coupled to the gradient for SGD, decoupled from it for AdamW."""
    schedule: Literal["step", "cosine", "one-cycle", "constant"] = "step"
    """How the learning rate changes: `step`, `cosine`, `one-cycle` or `constant`."""
    milestones: tuple[float, ...] = (91.0, 136.0)
    """Epochs at which the `step` schedule multiplies the learning rate by `gamma`."""
    gamma: Rare[float] = 0.1
    """Factor by which the `step` schedule multiplies the learning rate at each of the `milestones`."""
    warmup: Rare[float] = 0.0
    """Number of epochs in which the learning rate rises linearly to its peak; in `one-cycle`, those of the rising
    part."""
    label_smoothing: Rare[float] = 0.0
    """Share of each label's probability that is spread over all classes."""
    loss: Rare[Annotated[str | None, NamesCode()]] = None
    """Your own loss, `package.module:function`, which is called with the outputs and labels of a batch and returns a
    tensor of one number; none: the cross-entropy, or for another `data.task` the binary cross-entropy or squared
    error."""
    class_weights: Rare[tuple[float, ...]] = ()
    """Weight of each class in the loss; with `data.task` `multi-label`, that of each label where it is there; with
    `regression`, that of each number; none: all have weight 1."""
    clip_norm: Rare[float | None] = None
    """Largest gradient norm, to which longer gradients are scaled; none: gradients stay as they are."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of training, recalibration and evaluation: `float32`, or `bfloat16` by autocast."""
    channels_last: Rare[bool] = True
    """Use the channels-last memory format, in which convolutions are fast."""
    compile: Rare[bool] = False
    """Compile the training step by torch.compile: about a quarter faster, after half a minute; needs a C++ compiler on
    CPUs."""
    keep: Literal["best", "last", "swa", "ema"] = "best"
    """Which weights become the ticket: `best`, of the epoch best on validation (the first of equals); `last`, of the
    last epoch; `swa`, the mean of the last epochs (Izmailov et al., 2018); `ema`, an exponential moving average of the
    steps."""
    average_from: Rare[float] = 0.75
    """Share of the epochs after which `keep = "swa"` begins to average."""
    ema_decay: Rare[float] = 0.999
    """Weight of the past in the average of `keep = "ema"`, at each step."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            require(getattr(self, name) >= 1, f"training.{name} is {getattr(self, name)}: give 1 or more")
        require(self.lr > 0, f"training.lr is {self.lr}: give a positive learning rate")
        require(0 <= self.momentum < 1, f"training.momentum is {self.momentum}: give a number in [0, 1)")
        for name in ("weight_decay", "gamma"):
            require(getattr(self, name) >= 0, f"training.{name} is {getattr(self, name)}: give 0 or more")
        require(
            0 <= self.warmup < self.epochs,
            f"training.warmup is {self.warmup}: give 0 or more epochs, fewer than training.epochs ({self.epochs})",
        )
        require(
            0 <= self.label_smoothing < 1,
            f"training.label_smoothing is {self.label_smoothing}: give a number in [0, 1)",
        )
        require(
            self.loss is None or not (self.class_weights or self.label_smoothing),
            "training.loss is your own, which training.class_weights and training.label_smoothing do not change: "
            "leave them out",
        )
        for weight in self.class_weights:
            require(weight > 0, f"training.class_weights has {weight}: give a positive weight for each class")
        require(
            self.clip_norm is None or self.clip_norm > 0,
            f"training.clip_norm is {self.clip_norm}: give a positive norm",
        )
        require(0 <= self.average_from < 1, f"training.average_from is {self.average_from}: give a share in [0, 1)")
        require(0 < self.ema_decay < 1, f"training.ema_decay is {self.ema_decay}: give a number in (0, 1)")
        require(
            not self.nesterov or (self.optimizer == "sgd" and self.momentum > 0),
            "training.nesterov needs optimizer sgd and a momentum above 0",
        )


MOST_LEVELS = 1000
"""More rounds of pruning than any run has."""


@dataclass(frozen=True)
class Pruning:
    """Iterative pruning: what each level prunes, and how training goes on (Frankle et al. and Renda et al., 2020)."""

    rate: float = 0.2
    """Share of the surviving weights that is pruned at each level."""
    levels: int = 18
    """Number of prunings after the dense level 0."""
    densities: Rare[tuple[float, ...]] = ()
    """Density of each level after level 0, in falling order, in place of `rate` and `levels`; none: these hold."""
    scope: Rare[Literal["global", "layer"]] = "global"
    """Where weights are compared to find the smallest: `global`, over the whole network; `layer`, within each
    tensor."""
    criterion: Rare[Literal["magnitude", "random", "rigl"]] = "magnitude"
    """Which weights are pruned: `magnitude`, the smallest; `random`, weights drawn at random (a control); `rigl`, those
    of a mask that moves in training (Evci et al., ICML 2020), where the last level alone is trained, from scratch."""
    after: Literal["rewind", "learning-rate", "fine-tune", "reinitialise"] = "rewind"
    """How training goes on after pruning: `rewind`, with the weights and learning rate of the rewind point;
    `learning-rate`, with the trained weights and the learning rate of the rewind point; `fine-tune`, with the trained
    weights and the last learning rate; `reinitialise`, with newly drawn weights from the first step (a control)."""
    rewind: int = 9
    """The rewind point, counted in `rewind_unit`; 0: the initialisation."""
    rewind_unit: Rare[Literal["epochs", "steps"]] = "epochs"
    """Unit in which the rewind point is counted: `epochs` or `steps`."""
    fine_tune_epochs: Rare[int] = 40
    """Number of epochs that each level is trained for with `after = "fine-tune"`."""
    fine_tune_rate: Rare[Literal["last", "adaptive"]] = "last"
    """Learning rate with `after = "fine-tune"`: `last`, the last one of the dense network; `adaptive`, a linear fall to
    zero from a peak that is higher the more pruning has changed the weights (Zimmer et al., ICLR 2023)."""
    level_epochs: Rare[int | None] = None
    """Number of epochs of the schedule that levels after the dense one are trained by, the rewind point in proportion;
    none: `training.epochs`."""
    copies: Rare[int] = 1
    """Number of networks that are trained at each level, on different batches, and averaged into its ticket: more than
    one is Sparse Model Soups with `after = "fine-tune"` (Zimmer et al., ICLR 2024), and SWAMP with `after = "rewind"`
    and `training.keep = "swa"` (Choi et al., ICLR 2024)."""

    def __post_init__(self) -> None:
        require(0 < self.rate < 1, f"pruning.rate is {self.rate}: give a share in (0, 1)")
        require(self.levels >= 0, f"pruning.levels is {self.levels}: give 0, for the dense network alone, or more")
        require(self.levels <= MOST_LEVELS, f"pruning.levels is {self.levels:,}: give {MOST_LEVELS} or fewer")
        require(self.rewind >= 0, f"pruning.rewind is {self.rewind}: give 0 or more {self.rewind_unit}")
        require(self.fine_tune_epochs >= 1, f"pruning.fine_tune_epochs is {self.fine_tune_epochs}: give 1 or more")
        require(
            self.level_epochs is None or self.level_epochs >= 1,
            f"pruning.level_epochs is {self.level_epochs}: give 1 or more, or leave it out",
        )
        require(self.copies >= 1, f"pruning.copies is {self.copies}: give 1 or more")
        previous = 1.0
        for density in self.densities:
            require(
                0 < density < previous,
                f"pruning.densities has {density} after {previous:g}: give falling densities between 1 and 0",
            )
            previous = density

    def schedule(self) -> tuple[float, ...]:
        """The density of every level, the dense level 0 first: with rate 0.2 and 2 levels, 1, 0.8 and 0.64."""
        return (1.0, *(self.densities or ((1 - self.rate) ** k for k in range(1, self.levels + 1))))
