"""Plans: what is counted beforehand is what the run then does, and what is done already is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lottery_pools.config.schema import Evaluation, Pooling
from lottery_pools.errors import UserError
from lottery_pools.experiment import estimate, stages, timing
from lottery_pools.experiment.conditions import CLEAN
from lottery_pools.experiment.estimate import Plan, Step
from lottery_pools.experiment.run import OtherRun
from lottery_pools.experiment.timing import Cost
from lottery_pools.runs import results
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import files
from tests.test_stages import ONE, few_steps, tiny

# Of a fixed effort: `trimmed-soup` stops by what it sees, which no plan knows.
FIXED = ("average", "interpolation", "greedy-soup", "learned-soup", "ties")
CONFIG = tiny(pooling=Pooling(methods=FIXED, coefficients=(0.3, 0.6), recalibration=100), seeds=(0, 1))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 0.01)


@pytest.fixture(autouse=True, scope="module")
def _short_learned_soups() -> Iterator[None]:
    with few_steps():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan") / "run"
    stages.run(CONFIG, folder, ONE)
    return folder


def steps(found: Plan) -> dict[str, Step]:
    return {step.stage: step for step in found.steps}


def events(folder: Path, stage: str) -> float:
    lines = (json.loads(line) for path in folder.rglob("log.jsonl") for line in path.read_text().splitlines())
    return sum(event.get("done") or 0 for event in lines if event["stage"] == stage)


def size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern))


def test_the_plan_is_what_the_run_then_does(finished: Path, tmp_path: Path) -> None:
    plan = stages.preview(CONFIG, tmp_path / "run", ONE)
    assert not (tmp_path / "run").exists()
    part = steps(plan)
    assert list(part) == ["training", "pooling", "evaluation"]
    runs = [RunFolder(finished / f"seed_{seed}") for seed in (0, 1)]
    trained = sum(files.read_metadata(run.ticket(2))["origin"]["train_images"] for run in runs)
    assert part["training"].cost.trained == trained
    assert 3 * part["training"].cost.trained == events(finished, "training")
    pooling = part["pooling"].cost
    assert pooling.recalibrated + pooling.forwarded + 3 * pooling.trained == events(finished, "pooling")
    assert part["evaluation"].cost.forwarded == events(finished, "evaluation")
    rows = [row for run in runs for row in results.read(run.results) if row.method != "admissible"]
    assert part["evaluation"].items == sum(len(CLEAN) for _ in {(r.seed, r.method, r.level) for r in rows}) - 8
    assert [part[stage].items for stage in ("training", "pooling")] == [6, 2 * 3 * len(FIXED)]
    assert part["training"].cost.written == pytest.approx(size(finished, "tickets/*.safetensors"), rel=0.15)
    assert part["pooling"].cost.written == pytest.approx(size(finished, "pools/*/*.safetensors"), rel=0.3)
    assert part["evaluation"].cost.written == pytest.approx(size(finished, "results.jsonl"), rel=0.3)
    assert all(step.done == 0 and step.seconds > 0 for step in plan.steps)
    assert plan.seconds == sum(step.seconds for step in plan.steps)
    assert plan.operations > 0


def test_what_is_there_is_left_out(finished: Path) -> None:
    plan = stages.preview(CONFIG, finished, ONE)
    assert all(step.done == step.items and step.seconds == 0 and step.cost == Cost() for step in plan.steps)
    run = RunFolder(finished / "seed_1")
    taken = {path: path.read_bytes() for path in (run.ticket(2), run.pool("ties", 0), run.results)}
    try:
        for path in taken:
            path.unlink()
        part = steps(stages.preview(CONFIG, finished, ONE))
        assert [part[stage].items - part[stage].done for stage in ("training", "pooling")] == [1, 1]
        assert part["training"].cost.trained == 300  # one epoch after the rewind point
        assert part["evaluation"].done == part["evaluation"].items / 2
        with pytest.raises(UserError, match="seed_1 has 2 of 3 tickets"):
            stages.preview(CONFIG, finished, ONE, ("pool",))
    finally:
        for path, content in taken.items():
            path.write_bytes(content)


def test_settings_and_folders_are_refused_as_by_the_run(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds a run with pruning\.rate"):
        stages.preview(replace(CONFIG, pruning=replace(CONFIG.pruning, rate=0.4)), finished, ONE)
    with pytest.raises(UserError, match="unknown trained baseline"):
        stages.preview(replace(CONFIG, evaluation=Evaluation(trained_baselines=("longr",))), tmp_path / "new", ONE)
    assert not (tmp_path / "new").exists()


def test_shifts_trained_baselines_and_controls_are_counted(finished: Path, tmp_path: Path) -> None:
    wanted = Evaluation(
        corruptions=("shear", "scale"), severities=(1, 3), corrupted=100, trained_baselines=("sparse-model-soups",)
    )
    config = replace(CONFIG, pooling=replace(CONFIG.pooling, methods=("other-seed",)), evaluation=wanted)
    part = steps(stages.preview(config, tmp_path / "new", ONE))
    assert part["training"].items == 2 * (3 + 3)
    assert part["pooling"].cost.forwarded == 2 * 3 * (2 * 2 + 1) * 200  # 2 candidates × 2 coefficients, and the target
    assert (part["corruption"].items, part["corruption"].done) == (4, 4)  # signals are generated on the spot
    networks = 2 * 3 + 1 + 3 + 3  # tickets, recalibrated, the ensemble, pools, trained baseline
    assert part["evaluation"].items == 2 * networks * 6
    assert part["evaluation"].cost.forwarded == 2 * (networks - 1 + 3) * (200 + 500 + 4 * 100)
    other = stages.preview(CONFIG, finished, ONE, ("pool",), OtherRun(finished / "seed_0", True))
    assert steps(other)["pooling"].items == 2 * 3
    with pytest.raises(UserError, match="has no ticket of level 0"):
        stages.preview(CONFIG, finished, ONE, ("pool",), OtherRun(tmp_path))


@pytest.mark.parametrize(
    ("seconds", "workers", "longest"), [((), 2, 0), ((3, 1, 1, 1), 1, 6), ((3, 1, 1, 1), 2, 3), ((1, 1, 3), 2, 4)]
)
def test_workers_take_tasks_in_turn(seconds: Sequence[float], workers: int, longest: float) -> None:
    assert estimate.makespan(seconds, workers) == longest
