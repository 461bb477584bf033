"""The settings that folders hold in `config.toml`, and those of a call joined with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lottery_pools.config import toml
from lottery_pools.config.schema import Config, Evaluation
from lottery_pools.config.trust import NOT_RUN
from lottery_pools.errors import UserError
from lottery_pools.runs.disk import write


@dataclass(frozen=True)
class SettingsFile:
    """The `config.toml` of a folder: what it holds, and what it is to hold."""

    folder: Path
    before: Config | None
    """What it holds; None: there is no such file yet."""
    joined: Config
    """What a call asks for, joined with what was there before."""

    @property
    def after(self) -> Config:
        """What it is to hold: an old file keeps its targets and budget, which may differ from call to call."""
        if self.before is None:
            return self.joined
        kept = self.before.pooling
        return replace(self.joined, pooling=replace(self.joined.pooling, targets=kept.targets, budget=kept.budget))

    def write(self) -> None:
        """Write the settings, where they are not there already."""
        if self.after != self.before:
            write(self.folder / "config.toml", toml.to_toml(self.after))


def join(config: Config, folder: Path) -> SettingsFile:
    """The settings file of a folder that is given `config`; raises UserError where it holds a run with other settings.

    Methods, trained baselines and corruptions add up, and so do severities where anything was corrupted. Targets and
    budget may differ from call to call, and so may how many samples are corrupted as long as none were.
    """
    before = held_settings(folder)
    if before is None:
        return SettingsFile(folder, None, config)
    _check_comparable(config, before, folder)
    methods = tuple(dict.fromkeys((*before.pooling.methods, *config.pooling.methods)))
    pooling = replace(config.pooling, methods=methods)
    evaluation = _joined_evaluation(config.evaluation, before.evaluation)
    return SettingsFile(folder, before, replace(config, pooling=pooling, evaluation=evaluation))


def held_settings(folder: Path) -> Config | None:
    """The settings that a folder was given before, to be compared; none where it is new."""
    path = folder / "config.toml"
    return toml.read_toml(path, NOT_RUN) if path.exists() else None


def _check_comparable(config: Config, before: Config, folder: Path) -> None:
    """Raise UserError where settings differ from those of the folder that may not."""
    kept = before.pooling
    pooling = replace(config.pooling, methods=kept.methods, targets=kept.targets, budget=kept.budget)
    kept_evaluation = {name: getattr(before.evaluation, name) for name in free(before.evaluation)}
    comparable = replace(config, pooling=pooling, evaluation=replace(config.evaluation, **kept_evaluation))
    if comparable != before:
        raise UserError(
            f"{folder} holds a run with {toml.difference(before, comparable)}: "
            "choose another --out, or give the settings it was started with"
        )


def free(before: Evaluation) -> tuple[str, ...]:
    """The settings of the evaluation that may differ from those that the folder was given before."""
    adding_up = ("trained_baselines", "corruptions", "severities")
    return adding_up if before.corruptions else (*adding_up, "corrupted", "corrupted_from")


def _joined_evaluation(evaluation: Evaluation, before: Evaluation) -> Evaluation:
    severities = {*evaluation.severities, *before.severities} if before.corruptions else {*evaluation.severities}
    return replace(
        evaluation,
        trained_baselines=tuple(dict.fromkeys((*before.trained_baselines, *evaluation.trained_baselines))),
        corruptions=tuple(dict.fromkeys((*before.corruptions, *evaluation.corruptions))),
        severities=tuple(sorted(severities)),
    )
