"""A sweep: its variants are ordinary runs, done together or one by one, and go on where they stopped."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lottery_pools.cli import commands
from lottery_pools.config.schema import Config, Pooling, Pruning
from lottery_pools.errors import UserError
from lottery_pools.experiment import stages, sweep
from lottery_pools.experiment.execution import Watching
from lottery_pools.runs.engine import Workers
from tests.test_stages import ONE, hashes, tiny

ROOT = Path(__file__).parents[1]


def variants(seeds: tuple[int, ...] = (0, 1)) -> dict[str, Config]:
    small = tiny(
        seeds=seeds,
        pruning=Pruning(rate=0.3, levels=1, rewind=1),
        pooling=Pooling(methods=("average",), recalibration=50),
    )
    return {f"lr-{lr}": replace(small, training=replace(small.training, lr=lr)) for lr in (0.02, 0.05)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweeps") / "rates"
    sweep.sweep(variants(), out, ONE)
    return out


def test_one_table_and_report_over_ordinary_runs(finished: Path, tmp_path: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        ".lock", "comparison.html", "lr-0.02", "lr-0.05", "results.csv",
    }  # fmt: skip
    with (finished / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {(line["variant"], line["training.lr"]) for line in lines} == {("lr-0.02", "0.02"), ("lr-0.05", "0.05")}
    assert {(line["method"], line["level"], line["seeds"]) for line in lines if line["variant"] == "lr-0.02"} == {
        (method, level, "2")
        for method in ("ticket", "recalibrated", "average", "ensemble", "admissible")
        for level in "01"
    }
    alone = replace(variants()["lr-0.05"], name="lr-0.05")
    stages.run(alone, tmp_path / "lr-0.05", ONE)
    assert hashes(finished / "lr-0.05") == hashes(tmp_path / "lr-0.05")


def test_runs_done_one_by_one_are_the_same_and_are_not_done_again(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "rates"
    for number, done in ((3, "lr-0.05/seed_1"), (0, "lr-0.02/seed_0")):
        assert sweep.only(variants(), out, number, ONE) == out / done
    assert [(run.number, run.variant, run.seed, run.tickets) for run in sweep.runs(variants(), out)] == [
        (0, "lr-0.02", 0, 2),
        (1, "lr-0.02", 1, 0),
        (2, "lr-0.05", 0, 0),
        (3, "lr-0.05", 1, 2),
    ]
    begun: list[Path] = []
    watching = Watching(observers=(lambda event: begun.append(event.run) if event.kind == "level" else None,))
    sweep.sweep(variants(), out, ONE, watching)
    assert {path.relative_to(out).as_posix() for path in begun} == {"lr-0.02/seed_1", "lr-0.05/seed_0"}
    assert hashes(out) == hashes(finished)


def test_the_tasks_of_all_variants_are_given_out_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, int]] = []
    usual = Workers.do

    def do(
        workers: Workers, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], *shape: int
    ) -> Iterator[Any]:
        given.append((function.__name__, len(tasks)))
        return usual(workers, function, tasks, *shape)

    monkeypatch.setattr(Workers, "do", do)
    sweep.sweep(variants((0,)), tmp_path / "rates", ONE)
    # 2 variants, each of 2 tickets, as many recalibrated and pooled ones, and the ensemble
    assert given == [("train", 2), ("pool", 4), ("measure", 14)]


def test_mistakes_are_told_before_anything_is_written(tmp_path: Path) -> None:
    wrong = {**variants((0,)), "wrong": tiny(pooling=Pooling(methods=("avrage",)))}
    with pytest.raises(UserError, match="unknown method 'avrage'"):
        sweep.sweep(wrong, tmp_path / "out", ONE)
    with pytest.raises(UserError, match="--only is 2: the sweep has runs 0 to 1"):
        sweep.only(variants((0,)), tmp_path / "out", 2, ONE)
    with pytest.raises(UserError, match="a sweep of nothing"):
        sweep.sweep({}, tmp_path / "out", ONE)
    assert not (tmp_path / "out").exists()


def test_the_slurm_script_of_the_docs_does_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/howto/cluster.md").read_text()
    script = page.split('```bash title="sweep.sh"\n')[1].split("```")[0].replace("\\\n", " ")
    (line,) = (line for line in script.splitlines() if line.startswith("srun "))
    _, program, *words = shlex.split(line.replace("$SLURM_ARRAY_TASK_ID", "3"))
    assert program == "lottery-pools"
    assert "#SBATCH --array=0-3\n" in script
    monkeypatch.chdir(tmp_path)
    commands.dispatch([*words, "--threads", "1", "--quiet"])
    assert Path("runs/array/demo,training.lr=0.1/seed_1/results.jsonl").exists()
