"""The whole story, on real tiny data: complete, resumable to the byte, honest about what it was given."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lottery_pools.config import toml
from lottery_pools.config.schema import Config, Data, Evaluation, Model, Pooling, Pruning, Training
from lottery_pools.data import sources
from lottery_pools.data.shifts import SIGNAL_SHIFTS
from lottery_pools.errors import UserError
from lottery_pools.experiment import diagnose, opening, replay, stages
from lottery_pools.experiment import report as reports
from lottery_pools.experiment.run import OtherRun
from lottery_pools.experiment.searches import OTHER_SEED
from lottery_pools.pooling import learning
from lottery_pools.pooling.methods import METHODS
from lottery_pools.runs.disk import digest
from lottery_pools.runs.engine import Machine, Workers
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import checks, files, retraining

ONE = Machine(device="cpu", workers=1, threads=1)


DEFAULTS = ("average", "interpolation", "trimmed-soup", "balanced-soup")


def tiny(**changes: object) -> Config:
    base = Config(
        name="tiny",
        data=Data(name="mnist1d", train=300, validation=200, test=500),
        model=Model("conv1d", {"width": 8, "depth": 2}),
        training=Training(epochs=2, batch=50, lr=0.05, schedule="cosine"),
        pruning=Pruning(rate=0.3, levels=2, rewind=1),
        pooling=Pooling(DEFAULTS, coefficients=(0.3, 0.6), recalibration=100),
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def hashes(folder: Path) -> dict[str, str]:
    """Every file that a run leaves, but the log, which tells when things happened."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("log.jsonl", ".lock"))
    return {str(path.relative_to(folder)): digest(path) for path in paths}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    stages.run(tiny(), folder, ONE)
    return folder


def test_a_run_leaves_what_the_contract_says(finished: Path) -> None:
    assert set(hashes(finished)) == {
        "config.toml", "data.json", "report.html", "report.md", "results.jsonl", "tickets/rewind.safetensors",
        *(f"tickets/level_0{level}.safetensors" for level in range(3)),
        *(f"pools/{m}/level_0{level}.safetensors" for m in DEFAULTS for level in range(3)),
    }  # fmt: skip
    _, rows, pools = reports.read(finished)
    methods = ("ticket", "recalibrated", *DEFAULTS, "ensemble", "admissible")
    assert {row.key for row in rows} == {
        (method, level, split, "none", 0)
        for method in methods
        for level in range(3)
        for split in ("validation", "test")
    }
    assert len(pools) == 12
    for row in rows:
        assert row.n == (500 if row.split == "test" else 200)
        assert row.correct == round(row.accuracy * row.n)
    for line in (finished / "log.jsonl").read_text().splitlines():
        assert json.loads(line)["time"] > 1.6e9


def test_pools_have_the_density_of_their_target_and_its_lineage(finished: Path) -> None:
    folder = RunFolder(finished)
    for level in range(3):
        target = files.load(folder.ticket(level))
        pooled = files.load(folder.pool("interpolation", level))
        assert (pooled.kept, pooled.prunable) == (target.kept, target.prunable)
        assert pooled.origin["parents"] == {str(k): digest(folder.ticket(k)) for k in range(3)}
        assert pooled.origin["search_images"] == (2 * 2 + 1) * (200 + 100)


def test_the_selected_score_is_what_evaluation_finds(finished: Path) -> None:
    _, rows, _ = reports.read(finished)
    for level in range(3):
        origin = files.load(RunFolder(finished).pool("interpolation", level)).origin
        accuracies = {row.method: row.accuracy for row in rows if row.level == level and row.split == "validation"}
        assert accuracies["interpolation"] == pytest.approx(origin["score"])
        assert accuracies["recalibrated"] == pytest.approx(origin["target_score"])
        assert accuracies["interpolation"] >= accuracies["recalibrated"]  # Algorithm 2 accepts nothing worse


def test_a_finished_run_returns_at_once_and_changes_nothing(finished: Path) -> None:
    before = hashes(finished)
    stamps = {path: path.stat().st_mtime_ns for path in finished.rglob("*.safetensors")}
    stages.run(tiny(), finished, ONE)
    assert hashes(finished) == before
    assert stamps == {path: path.stat().st_mtime_ns for path in finished.rglob("*.safetensors")}


def test_a_finished_run_starts_no_work(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"there is nothing to do, but this is: {arguments}")

    monkeypatch.setattr(Workers, "do", refuse)
    stages.run(tiny(), finished, Machine(device="cpu", workers=2, threads=1))


def test_workers_do_not_change_the_bytes(finished: Path, tmp_path: Path) -> None:
    stages.run(tiny(), tmp_path / "two", Machine(device="cpu", workers=2, threads=1))
    assert hashes(tmp_path / "two") == hashes(finished)


def test_replay_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    pooled = RunFolder(finished).pool("interpolation", 1)
    assert replay.replay(pooled) is None
    assert replay.replay(pooled, tmp_path / "again.safetensors") is None
    assert (tmp_path / "again.safetensors").read_bytes() == pooled.read_bytes()
    with pytest.raises(UserError, match="has no recipe"):
        replay.replay(RunFolder(finished).ticket(1))


def test_replay_says_what_it_lacks(finished: Path, tmp_path: Path) -> None:
    pooled = RunFolder(finished).pool("interpolation", 1)
    shutil.copy(pooled, tmp_path / "alone.safetensors")
    with pytest.raises(UserError, match=r"alone\.safetensors lies beside no run .* lp\.replay"):
        replay.replay(tmp_path / "alone.safetensors")
    shutil.copytree(finished, tmp_path / "run")
    ticket, path = files.load(pooled), RunFolder(tmp_path / "run").pool("interpolation", 1)
    files.save(dataclasses.replace(ticket, origin={**ticket.origin, "device": "cuda:99"}), path)
    with pytest.raises(UserError, match="was pooled on cuda:99, which this machine lacks"):
        replay.replay(path)
    for threads in (0, 10**6):
        files.save(dataclasses.replace(ticket, origin={**ticket.origin, "threads": threads}), path)
        with pytest.raises(UserError, match=f"was pooled by {threads} threads: it is damaged"):
            replay.replay(path)
    kept = {key: value for key, value in ticket.origin.items() if key in ("method", "recipe", "target")}
    files.save(dataclasses.replace(ticket, origin=kept), path)  # as lp.save writes what lp.pool made
    with pytest.raises(UserError, match="lies beside no run that has its parents"):
        replay.replay(path)


def test_replay_refuses_other_parents(tmp_path: Path) -> None:
    stages.run(tiny(), tmp_path / "run", ONE)
    folder = RunFolder(tmp_path / "run")
    folder.ticket(2).write_bytes(folder.ticket(1).read_bytes())
    with pytest.raises(UserError, match=r"level_02\.safetensors is not the ticket"):
        replay.replay(folder.pool("average", 0))


def test_seeds_are_runs_of_their_own(finished: Path, tmp_path: Path) -> None:
    stages.run(tiny(seeds=(0, 1)), tmp_path / "both", ONE)
    assert digest(RunFolder(tmp_path / "both/seed_0").ticket(2)) == digest(RunFolder(finished).ticket(2))
    assert digest(RunFolder(tmp_path / "both/seed_1").ticket(0)) != digest(RunFolder(finished).ticket(0))
    _, rows, _ = reports.read(tmp_path / "both")
    assert {row.seed for row in rows} == {0, 1}


def test_a_method_can_be_added_later(tmp_path: Path) -> None:
    pooling = tiny().pooling
    stages.run(tiny(pooling=dataclasses.replace(pooling, methods=("average",))), tmp_path / "run", ONE)
    kept = digest(RunFolder(tmp_path / "run").pool("average", 1))
    stages.run(tiny(), tmp_path / "run", ONE)
    assert digest(RunFolder(tmp_path / "run").pool("average", 1)) == kept
    assert {row.method for row in reports.read(tmp_path / "run")[1]} >= {"average", "interpolation"}


def test_what_a_folder_was_given_before_is_done_too(tmp_path: Path) -> None:
    """Every network is measured on everything that the settings written down name."""

    def given(method: str, corruption: str, severity: int) -> Config:
        evaluation = Evaluation(corruptions=(corruption,), severities=(severity,), corrupted=50)
        return tiny(pooling=dataclasses.replace(tiny().pooling, methods=(method,)), evaluation=evaluation)

    stages.run(given("average", "shear", 1), tmp_path / "run", ONE)
    stages.run(given("swa", "scale", 2), tmp_path / "run", ONE)
    config, rows, _ = reports.read(tmp_path / "run")
    assert (config.pooling.methods, config.evaluation.severities) == (("average", "swa"), (1, 2))
    shifts = {(name, severity) for name in ("shear", "scale") for severity in (1, 2)}
    for method in ("ticket", "ensemble", "admissible", "average", "swa"):
        assert {(r.corruption, r.severity) for r in rows if r.method == method and r.severity} == shifts
    stages.pool(given("ties", "shear", 1), tmp_path / "run", ONE)  # here methods hold for the call
    assert opening.resolve(tiny(pooling=config.pooling, evaluation=config.evaluation), tmp_path / "run", ONE)
    assert not RunFolder(tmp_path / "run").pool("interpolation", 1).exists()


def test_severities_that_were_never_used_are_not_measured(tmp_path: Path) -> None:
    stages.run(tiny(), tmp_path / "run", ONE)
    stages.run(tiny(evaluation=Evaluation(corruptions=("shear",), severities=(2,))), tmp_path / "run", ONE)
    config, rows, _ = reports.read(tmp_path / "run")
    assert {row.severity for row in rows} == {0, 2}
    assert config.evaluation.severities == (2,)


def test_other_settings_are_refused_by_name(finished: Path) -> None:
    before = hashes(finished)
    with pytest.raises(UserError, match=r"holds a run with training\.epochs = 2, not 3"):
        stages.run(tiny(training=dataclasses.replace(tiny().training, epochs=3)), finished, ONE)
    assert hashes(finished) == before


def half(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.Flatten(), nn.Linear(152, classes // 2))


def lazy(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.Flatten(), nn.LazyLinear(classes))


def wrong(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.Flatten(), nn.Linear(150, classes))


def double(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.Flatten(), nn.Linear(152, classes)).double()


class Pair(nn.Conv1d):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return super().forward(x), None


def pair(classes: int) -> nn.Module:
    return Pair(1, classes, 40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": Model("mlp")}, "prunable"),
        (
            {"model": Model("tests.test_stages:half", {})},
            r"gives \(2, 5\) for samples \(2, 1, 40\), 'mnist1d' has 10 classes",
        ),
        ({"model": Model("tests.test_stages:lazy")}, "lazy' has lazy layers: give them their sizes"),
        (
            {"model": Model("tests.test_stages:wrong")},
            r"wrong' cannot take torch.float32 samples \(2, 1, 40\): mat1",
        ),
        ({"model": Model("tests.test_stages:double")}, "double' cannot take torch.float32 samples"),
        ({"model": Model("tests.test_stages:pair")}, "pair' gives a tuple for samples"),
        ({"model": Model("resnet99")}, "did you mean 'resnet"),
        ({"data": Data(name="nowhere/at/all", validation=10)}, "no such folder"),
        ({"data": Data(train=300, validation=200, epoch_share=0.001)}, "leaves 0 to choose epochs"),
        ({"pruning": Pruning(densities=(1e-9,), rewind=0)}, "keeps none"),
        ({"pooling": Pooling(methods=("averag",))}, "did you mean 'average'"),
    ],
)
def test_mistakes_show_before_anything_is_written(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        stages.run(tiny(**changes), tmp_path / "run", ONE)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_one_validation_sample_is_enough_to_check_a_network() -> None:
    config = tiny(data=Data(name="mnist1d", train=300, validation=1, test=500))
    checks.check_settings(config, sources.load(config.data))


def test_divergence_names_the_place_and_keeps_finished_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wild = tiny(training=Training(epochs=2, batch=50, lr=1e18, schedule="constant"))
    with pytest.raises(UserError, match=r"loss is (nan|inf) at level 0, epoch \d, step \d+: lower training\.lr"):
        stages.run(wild, tmp_path / "run", ONE)
    stages.tickets(tiny(), tmp_path / "good", ONE)
    kept = hashes(tmp_path / "good")
    RunFolder(tmp_path / "good").ticket(2).unlink()
    tame = retraining.training_run
    monkeypatch.setattr(retraining, "training_run", lambda *given: dataclasses.replace(tame(*given), fixed_rate=1e18))
    with pytest.raises(UserError, match="at level 2, epoch"):
        stages.tickets(tiny(), tmp_path / "good", ONE)
    assert (
        hashes(tmp_path / "good").items()
        >= {k: v for k, v in kept.items() if "level_00" in k or "level_01" in k}.items()
    )


def killed_when(command: list[str], folder: Path, stage: str, wanted: str) -> None:
    """Start `command` and SIGKILL it as soon as its log has an event of `stage` with the text `wanted`."""
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"COLUMNS": "80"}
    )
    deadline = time.monotonic() + 120
    log = folder / "log.jsonl"
    while process.poll() is None and time.monotonic() < deadline:
        lines = log.read_text().splitlines() if log.exists() else []
        if any(f'"stage": "{stage}"' in line and wanted in line for line in lines):
            break
        time.sleep(0.002)
    assert process.poll() is None, f"ended before {stage}: {process.communicate()}"
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("preset", [pytest.param("cifar100-smoke", marks=pytest.mark.slow), "mnist1d"])
def test_killed_anywhere_and_continued_gives_the_same_bytes(
    preset: str, finished: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if preset == "mnist1d":
        (tmp_path / "mine.toml").write_text(toml.to_toml(tiny()))
        options, whole = ["--preset", str(tmp_path / "mine.toml")], finished
    else:
        options = ["--preset", preset, "--data.name", str(request.getfixturevalue("real_data") / "cifar100")]
        whole = tmp_path / "whole"
    base = [sys.executable, "-m", "lottery_pools", "run", *options, "--workers", "1", "--threads", "1"]
    if not whole.exists():
        subprocess.run([*base, "--out", str(whole)], check=True, capture_output=True)
    broken = [*base, "--out", str(tmp_path / "broken")]
    killed_when(broken, tmp_path / "broken", "training", '"level": 1')
    killed_when(broken, tmp_path / "broken", "pooling", '"level": 1')
    killed_when(broken, tmp_path / "broken", "evaluation", '"recalibrated"')
    assert hashes(tmp_path / "broken") != hashes(whole)
    subprocess.run(broken, check=True, capture_output=True)
    assert hashes(tmp_path / "broken") == hashes(whole)


def test_rows_that_a_kill_tore_are_made_again_to_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    path = RunFolder(tmp_path / "run").results
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if b'"ensemble"' in line)
    for kept in (first + 1, first + 3, first + 5):  # of six: two conditions of three levels
        path.write_bytes(b"".join(lines[:kept]) + lines[kept][:50])
        stages.evaluate(tiny(), tmp_path / "run", ONE)
        assert path.read_bytes() == whole


def test_an_interrupt_exits_130_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(toml.to_toml(tiny(training=Training(epochs=500, batch=50))))
    command = [sys.executable, "-m", "lottery_pools", "run", "--preset", str(tmp_path / "mine.toml")]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "run")],
        stderr=subprocess.PIPE,
        text=True,
        # a shell that starts the tests in the background has them ignore interrupts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            while not (tmp_path / "run/log.jsonl").exists():
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors.strip() == "lottery-pools: interrupted; run the same command again to go on"


def test_the_cpu_is_refused_nothing_and_a_missing_gpu_is_named() -> None:
    assert Machine(device="cpu").torch_device() == torch.device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="--device cuda cannot be used here"):
            Machine(device="cuda").torch_device()


@contextlib.contextmanager
def few_steps() -> Iterator[None]:
    """Learned soups take few steps, and say so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "LEARNED_SOUP_STEPS", 20)
        for name, method in METHODS.items():
            patch.setitem(METHODS, name, dataclasses.replace(method, gradient_steps=min(20, method.gradient_steps)))
        yield


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All methods and all shifts, two seeds."""
    folder = tmp_path_factory.mktemp("runs") / "all"
    pooling = dataclasses.replace(tiny().pooling, methods=(*METHODS, OTHER_SEED))
    evaluation = Evaluation(corruptions=("all",), severities=(1, 5), corrupted=100)
    with few_steps():
        stages.run(tiny(seeds=(0, 1), pooling=pooling, evaluation=evaluation), folder, ONE)
    return folder


def test_every_method_and_every_shift_makes_its_rows(everything: Path) -> None:
    _, rows, pools = reports.read(everything)
    keys = {(row.seed, *row.key) for row in rows}
    assert len(keys) == len(rows)
    methods = ("ticket", "recalibrated", "admissible", "ensemble", *METHODS, "other-seed")
    conditions = [("validation", "none", 0), ("test", "none", 0)]
    conditions += [("test", name, severity) for name in SIGNAL_SHIFTS for severity in (1, 5)]
    assert keys == {
        (seed, m, level, *condition)
        for seed in (0, 1)
        for m in methods
        for level in range(3)
        for condition in conditions
    }
    assert {pool.method for pool in pools} == {*METHODS, "other-seed"}
    for row in rows:
        assert row.n == (100 if row.severity else 500 if row.split == "test" else 200)
    flops = {row.level: row.flops for row in rows if row.method == "interpolation"}
    tickets = {row.level: row.flops for row in rows if row.method == "ticket"}
    assert flops[0] == tickets[0] > flops[2]
    for seed in (0, 1):
        seed_flops = {row.level: row.flops for row in rows if row.method == "ticket" and row.seed == seed}
        assert {r.flops for r in rows if r.method == "ensemble" and r.seed == seed} == {sum(seed_flops.values())}


@pytest.mark.parametrize("method", [*METHODS, OTHER_SEED])
def test_every_pool_is_exact_in_density_and_replays_to_the_byte(everything: Path, method: str) -> None:
    folder = RunFolder(everything / "seed_1")
    pooled, target = files.load(folder.pool(method, 1)), files.load(folder.ticket(1))
    assert (pooled.kept, pooled.prunable) == (target.kept, target.prunable)
    with few_steps():
        assert replay.replay(folder.pool(method, 1)) is None


def test_the_report_of_everything_names_every_method(everything: Path) -> None:
    page = (everything / "report.html").read_text()
    for label in ("SWA (neighbours)", "TIES", "Learned soup, by layer", "another seed", "Ensemble"):
        assert label in page
    assert "iid_noise" in page or "Iid noise" in page


def test_the_diagnosis_is_kept_and_its_parts_add_up(everything: Path) -> None:
    config, rows, _ = reports.read(everything)
    diagnoses = diagnose.diagnose(config, everything, ONE, points=3)
    assert [diagnosis["seed"] for diagnosis in diagnoses] == [0, 1]
    for diagnosis in diagnoses:
        assert {(pair["first"], pair["second"]) for pair in diagnosis["pairs"]} == {(0, 1), (0, 2), (1, 2)}
        assert diagnosis["ensemble"]["passes"] == 3
        for part in diagnosis["attribution"]:
            parts = sum(part[name] for name in ("batchnorm", "takeover", "averaging", "repruning"))
            assert parts == pytest.approx(part["pooled"] - part["ticket"])
    clean = {row.seed: row for row in rows if row.method == "ensemble" and row.split == "test" and not row.severity}
    for measure in ("correct", "loss", "ece", "accuracy"):  # to the last digit, for both are computed in one place
        assert [diagnosis["ensemble"][measure] for diagnosis in diagnoses] == [
            getattr(clean[seed], measure) for seed in (0, 1)
        ]
    for diagnosis in diagnoses:  # by class and over all classes, the same change
        changes = {(c["method"], c["corrupted"]): c["gains"] for c in diagnosis["classes"]}
        seed_rows = [row for row in rows if row.seed == diagnosis["seed"] and row.split == "test" and not row.severity]
        right = {(row.method, row.level): row.correct for row in seed_rows}
        total = sum(right["swa", level] - right["ticket", level] for level in range(3))
        per_class = dict(zip(*np.unique(sources.load(config.data).test.labels, return_counts=True), strict=True))
        by_class = [3 * per_class[int(name)] * gain for name, gain in changes["swa", False].items()]
        assert sum(by_class) == pytest.approx(total, abs=0.01)
    before = hashes(everything)
    assert diagnose.diagnose(config, everything, ONE, points=3) == diagnoses
    assert hashes(everything) == before


def test_a_diagnosis_is_made_anew_where_there_are_more_rows(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("pools", "results.jsonl"))

    def explained() -> set[str]:
        (diagnosis,) = diagnose.diagnose(tiny(), tmp_path / "run", ONE, points=2)
        return {part["method"] for part in diagnosis["attribution"]}

    for methods in (DEFAULTS[:2], DEFAULTS[2:]):
        config = tiny(pooling=dataclasses.replace(tiny().pooling, methods=methods))
        stages.pool(config, tmp_path / "run", ONE)
        stages.evaluate(config, tmp_path / "run", ONE)
        assert explained() == {*DEFAULTS[:2], *methods}
    rows = RunFolder(tmp_path / "run").results
    rows.write_text("".join(line for line in rows.read_text().splitlines(True) if '"admissible"' not in line))
    with pytest.raises(UserError, match=r"has no results of all tickets yet: run `lottery-pools evaluate"):
        explained()


def test_corruptions_can_be_added_but_not_changed_in_number(tmp_path: Path) -> None:
    stages.run(tiny(), tmp_path / "run", ONE)
    shear = Evaluation(corruptions=("shear",), severities=(2,), corrupted=50)
    stages.evaluate(tiny(evaluation=shear), tmp_path / "run", ONE)
    more = dataclasses.replace(shear, corruptions=("scale",))
    stages.evaluate(tiny(evaluation=more), tmp_path / "run", ONE)
    corruptions = {row.corruption for row in reports.read(tmp_path / "run")[1]}
    assert corruptions == {"none", "shear", "scale"}
    with pytest.raises(UserError, match=r"evaluation\.corrupted = 50, not 60"):
        stages.evaluate(tiny(evaluation=dataclasses.replace(shear, corrupted=60)), tmp_path / "run", ONE)


def test_the_control_needs_a_second_seed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="other-seed needs a second seed"):
        stages.pool(tiny(pooling=Pooling(methods=("other-seed",))), tmp_path / "run", ONE)


def test_the_dense_network_alone_is_trained_but_not_pooled(tmp_path: Path) -> None:
    config = tiny(pruning=Pruning(levels=0, rewind=0))
    with pytest.raises(UserError, match="a pool of one ticket: train at least two"):
        stages.run(config, tmp_path / "run", ONE)
    assert not (tmp_path / "run/tickets").exists()
    stages.tickets(config, tmp_path / "run", ONE)
    assert [path.name for path in (tmp_path / "run/tickets").glob("level_*")] == ["level_00.safetensors"]


def test_another_runs_tickets_are_refused_by_name_and_allowed_as_a_control(finished: Path, tmp_path: Path) -> None:
    wider = dataclasses.replace(tiny().model, arguments={"width": 12, "depth": 2})
    for name, changes in (("seed", {"seeds": (5,)}), ("model", {"model": wider})):
        stages.tickets(tiny(**changes), tmp_path / name, ONE)
    own_run = tmp_path / "own"
    shutil.copytree(finished, own_run)
    with pytest.raises(UserError, match=r"of different runs: seed is 0 and 5; .*--allow-other-run"):
        stages.pool(tiny(), own_run, ONE, OtherRun(tmp_path / "seed"))
    with pytest.raises(UserError, match=r"\(12, 1, 5\) in .* and \(8, 1, 5\) in the model"):
        stages.pool(tiny(), own_run, ONE, OtherRun(tmp_path / "model", True))
    with pytest.raises(UserError, match="has no ticket of level 0"):
        stages.pool(tiny(), own_run, ONE, OtherRun(tmp_path, True))
    stages.pool(tiny(), own_run, ONE, OtherRun(tmp_path / "seed", True))
    stages.evaluate(tiny(), own_run, ONE)
    assert "other-run" in {row.method for row in reports.read(own_run)[1]}
    assert replay.replay(RunFolder(own_run).pool("other-run", 1)) is None
    stages.pool(tiny(), own_run, ONE, OtherRun(tmp_path / "seed", True))
    shutil.copytree(tmp_path / "seed", tmp_path / "third")
    stages.pool(tiny(), own_run, ONE, OtherRun(tmp_path / "third", True))  # the same tickets, elsewhere
    RunFolder(tmp_path / "third").ticket(1).write_bytes(RunFolder(finished).ticket(1).read_bytes())
    with pytest.raises(UserError, match=r"other-run/.* was pooled with the tickets of .*/seed, not of .*/third"):
        stages.pool(tiny(), own_run, ONE, OtherRun(tmp_path / "third", True))
    with pytest.raises(UserError, match="--allow-other-run is for another run's tickets"):
        stages.pool(tiny(), own_run, ONE, OtherRun(allow_other_run=True))


def test_clean_test_rows_have_bins_that_agree_with_their_counts(everything: Path) -> None:
    _, rows, _ = reports.read(everything)
    for row in rows:
        assert bool(row.bins) == (row.split == "test" and row.corruption == "none")
        if row.bins:
            assert sum(count for count, _, _ in row.bins) == row.n
            assert sum(correct for _, correct, _ in row.bins) == row.correct
            gap = sum(abs(correct - count * mean) for count, correct, mean in row.bins)
            assert gap / row.n == pytest.approx(row.ece, abs=1e-4)
