"""What each command takes: its options as they are written, which of them are rare, and what they say of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lottery_pools.cli.marks import Option, walk
from lottery_pools.cli.options import OPTIONS, EvaluateOptions, PoolOptions, RunOptions
from lottery_pools.config.schema import Config, Data, Evaluation, Pooling
from lottery_pools.errors import UserError

FOLDER = Path("runs/demo")


@dataclasses.dataclass(frozen=True)
class Example:
    data: Data
    large_size: int | None = None


def test_options_are_written_with_hyphens_and_the_names_of_their_parts() -> None:
    options = {option.name: option for option in walk(Example)}
    assert options["--large-size"] == Option("--large-size", int | None, rare=False)
    assert options["--data.crop"] == Option("--data.crop", int, rare=False)
    assert {"--data.flip", "--data.no-flip"} <= set(options)
    assert options["--data.label-column"].rare
    assert options["--data.difficulty.shear-scale"].rare


RARE = [
    *("--data.carve", "--data.epoch-share", "--data.image-column", "--data.label-column", "--data.seed"),
    *("--data.test-part", "--data.draw"),
    *("--training.gamma", "--training.nesterov", "--training.no-nesterov", "--training.clip-norm"),
    *("--training.label-smoothing", "--training.average-from", "--training.ema-decay", "--training.channels-last"),
    *("--training.compile", "--pruning.densities", "--pruning.scope", "--pruning.criterion", "--pruning.copies"),
    *("--pruning.fine-tune-epochs", "--pruning.rewind-unit", "--pooling.mask", "--pooling.coefficients"),
    *("--pooling.candidates", "--evaluation.batch", "--cluster", "--data.difficulty.padding"),
]
COMMON = [
    *("--preset", "--out", "--limit", "--dry-run", "--json", "--device", "--workers", "--name", "--seeds"),
    *("--data.name", "--data.train", "--model.name", "--training.epochs", "--training.batch", "--training.lr"),
    *("--training.schedule", "--training.keep", "--pruning.rate", "--pruning.levels", "--pruning.rewind"),
    *("--pooling.methods", "--pooling.targets", "--evaluation.corruptions", "--evaluation.trained-baselines"),
]


def test_what_few_people_use_is_rare_and_what_most_use_is_not() -> None:
    rare = {option.name: option.rare for option in walk(RunOptions)}
    assert [name for name in RARE if not rare[name]] == []
    assert [name for name in COMMON if rare[name]] == []


@pytest.mark.parametrize("command", OPTIONS)
def test_options_are_named_after_their_command(command: str) -> None:
    named = {"tickets": "RunOptions", "inspect": "TicketFileOptions"}
    assert OPTIONS[command].__name__ == named.get(command, f"{command.title()}Options")


def test_a_runs_folder_is_named_after_its_settings() -> None:
    assert RunOptions(config=Config(name="mine")).folder == Path("runs/mine")
    assert RunOptions(out=Path("here"), config=Config(name="mine")).folder == Path("here")


def test_options_of_pool_go_before_the_settings_of_the_run() -> None:
    config = Config(pooling=Pooling(methods=("swa",), targets=(1,), budget=9))
    assert PoolOptions(FOLDER).applied(config) == config
    options = PoolOptions(FOLDER, methods=("ties",), targets=(2,), budget=4)
    assert options.applied(config).pooling == Pooling(methods=("ties",), targets=(2,), budget=4)
    with pytest.raises(UserError, match="pools by interpolation alone: leave --methods away"):
        PoolOptions(FOLDER, methods=("ties",), candidates_from=FOLDER).applied(config)


def test_options_of_evaluate_add_to_the_settings_of_the_run() -> None:
    config = Config(evaluation=Evaluation(corruptions=("shear",), severities=(2,)))
    assert EvaluateOptions(FOLDER).applied(config) == config
    options = EvaluateOptions(FOLDER, corruptions=("shift", "shear"), severities=(3,), corrupted=7)
    expected = Evaluation(corruptions=("shear", "shift"), severities=(3,), corrupted=7)
    assert options.applied(config).evaluation == expected
    with pytest.raises(UserError, match="evaluate --corrupted is of corruptions, none are named"):
        EvaluateOptions(FOLDER, corrupted=7).applied(Config())
