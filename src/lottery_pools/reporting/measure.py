"""What the networks of a report are compared by, and how numbers of it are written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """Accuracy, or another metric, of which higher is better."""

    name: str = "accuracy"
    unit: str = "points"
    """What gains are counted in."""
    digits: int = 2
    """Decimals of the metric and of its gains."""

    @property
    def is_accuracy(self) -> bool:
        """Whether samples are right or wrong, and their share is meant."""
        return self.name == "accuracy"

    @property
    def gain_column(self) -> str:
        """What the column of gains is called in the numbers of a figure."""
        return "gain_points" if self.is_accuracy else "gain"

    @property
    def meaning(self) -> str:
        """A sentence on what the numbers of gains are."""
        if self.is_accuracy:
            return "Points are percentage points of test accuracy."
        return f"Gains are differences in {self.name} on test samples; higher is better."


ACCURACY = Measure()


def other(metric: str) -> Measure:
    """The measure of rows that call their metric so: `r2`, or the user's `package.module:function`."""
    name = {"r2": "R²"}.get(metric, metric)
    return Measure(name, name, digits=4)
