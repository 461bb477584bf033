"""Our own training loop in the form that `lp.imp` calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from lottery_pools.config.schema import Training
from lottery_pools.data.dataset import Dataset
from lottery_pools.tickets.training import TrainingRun, train


@dataclass(frozen=True)
class DefaultTraining:
    """The training that the command line does, as a function for `lp.imp`: `train(model, mask, level)`.

    Example:
        ```python
        ours = lp.DefaultTraining(dataset, Training(epochs=20, milestones=(10, 15)), rewind_step=100)
        tickets = lp.imp(ours, model, rewind=ours.to_rewind_point, levels=5)
        ```
    """

    dataset: Dataset
    """The samples, as `data.sources.load` returns them; on the device of the model."""
    settings: Training = field(default_factory=Training)
    """How each level is trained."""
    rewind_step: int = 0
    """The step of the schedule that survivors are rewound to; each level trains from there to the end."""
    seed: int = 0
    """Of batches and augmentation."""

    def __call__(self, model: nn.Module, mask: Mapping[str, Tensor], level: int) -> None:
        """Train `model` from the rewind point to the end of the schedule, under `mask`."""
        train(model, mask, TrainingRun(self.settings, self.dataset, self.seed, level, start=self.rewind_step))

    def to_rewind_point(self, model: nn.Module) -> None:
        """Train the dense `model` from the first step to the rewind point: for `lp.imp(…, rewind=…)`."""
        settings = replace(self.settings, keep="last")
        train(model, {}, TrainingRun(settings, self.dataset, self.seed, 0, stop=self.rewind_step))
