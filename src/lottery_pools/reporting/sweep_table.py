"""Several experiments as one table for machines: a line for every variant, method and level."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping
from typing import Any

from lottery_pools.reporting.content import ReportContent
from lottery_pools.runs.rows import Gain

_NOT_SETTINGS = ("name", "seeds")
"""What differs between variants or within one, and is told otherwise."""


def csv_of(reports: Mapping[str, ReportContent]) -> str:
    """The table as CSV.

    Its columns are the variant, every setting in which variants differ, the method, level and density, and, of clean
    test samples and of the mean over all corruptions where there are any: accuracy and gain over the recalibrated
    ticket of the level, in percent and percentage points, with 95 % intervals over seeds or samples.
    """
    settings = {name: _flat(report.config) for name, report in reports.items()}
    varied = [key for key in _keys(settings) if len({repr(flat.get(key)) for flat in settings.values()}) > 1]
    lines = [
        {"variant": name, **{key: settings[name].get(key, "") for key in varied}, **line}
        for name, report in reports.items()
        for line in _lines(report)
    ]
    columns = list(dict.fromkeys(["variant", *varied, *(key for line in lines for key in line)]))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def _lines(report: ReportContent) -> list[dict[str, Any]]:
    """The lines of one experiment, in the order of its accuracies."""
    gains: dict[tuple[str, int | None, str], Gain] = {
        (gain.method, gain.level, gain.corruption): gain for gain in report.gains if gain.against == "recalibrated"
    }
    lines: dict[tuple[str, int], dict[str, Any]] = {}
    for accuracy in report.accuracies:
        line = lines.setdefault(
            (accuracy.method, accuracy.level),
            {"method": accuracy.method, "level": accuracy.level, "density": round(accuracy.density, 6),
             "seeds": accuracy.seeds},
        )  # fmt: skip
        prefix = "" if accuracy.corruption == "none" else "corrupted_"
        line |= {
            f"{prefix}accuracy": round(accuracy.mean, 4),
            f"{prefix}accuracy_low": round(accuracy.low, 4),
            f"{prefix}accuracy_high": round(accuracy.high, 4),
        }
        if gain := gains.get((accuracy.method, accuracy.level, accuracy.corruption)):
            line |= {
                f"{prefix}gain": round(gain.gain, 4),
                f"{prefix}gain_low": round(gain.low, 4),
                f"{prefix}gain_high": round(gain.high, 4),
            }
    return list(lines.values())


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by their full names, `training.lr`; lists as words, as the command line takes them."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value, name = getattr(settings, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            flat |= _flat(value, f"{name}.")
        elif isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        elif name not in _NOT_SETTINGS:
            flat[name] = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return flat


def _keys(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of all settings, in their order."""
    return list(dict.fromkeys(key for flat in settings.values() for key in flat))
