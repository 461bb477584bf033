"""A ticket's file must be what its place says, rows must be of the files beside them, and replay believes no file."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lottery_pools.cli import commands
from lottery_pools.errors import UserError
from lottery_pools.experiment.placement import Place, check
from lottery_pools.experiment.replay import _difference
from lottery_pools.runs import results
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket
from tests.test_plain import outputs

SMALL = (
    *("--preset", "demo", "--seeds", "0", "1", "--limit", "20", "--pruning.levels", "1", "--workers", "1"),
    *("--pooling.methods", "average", "interpolation", "--model.arguments.width", "4", "--model.arguments.depth", "2"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds, with pools and rows."""
    out = tmp_path_factory.mktemp("placed") / "run"
    for arguments in (["tickets", *SMALL, "--out", str(out)], ["pool", str(out)], ["evaluate", str(out)]):
        commands.dispatch([*arguments, *(["--workers", "1"] if arguments[0] != "tickets" else [])])
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def refused(*arguments: str) -> str:
    with pytest.raises(UserError) as error:
        commands.dispatch(list(arguments))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_seeds_ticket_is_refused(run: Path) -> None:
    shutil.copy(run / "seed_1/tickets/level_01.safetensors", run / "seed_0/tickets/level_01.safetensors")
    for path in (run / "seed_0").rglob("pools/average/*"):
        path.unlink()
    said = refused("pool", str(run), "--methods", "average", "--workers", "1")
    assert "level_01.safetensors is not what its place says: its seed is 1, not 0" in said


def test_tickets_of_settings_that_were_changed_by_hand_are_not_trained_on_from(tmp_path: Path) -> None:
    """A run of one seed has one `config.toml`. Whoever edits it has tickets of other settings beside it."""
    out = tmp_path / "run"
    commands.dispatch(["tickets", "--preset", "demo", "--seeds", "0", *SMALL[5:], "--out", str(out)])
    (out / "tickets/level_01.safetensors").unlink()
    settings = out / "config.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("\nlr = ", "\nlr = 1"), encoding="utf-8")
    said = refused("tickets", "--preset", str(settings), "--out", str(out), "--workers", "1")
    assert "level_00.safetensors is not what its place says: its run is " in said
    assert not (out / "tickets/level_01.safetensors").exists()


def test_another_levels_ticket_is_refused(run: Path) -> None:
    shutil.copy(run / "seed_0/tickets/level_01.safetensors", run / "seed_0/tickets/level_00.safetensors")
    (run / "seed_0/results.jsonl").unlink()
    assert "its level is 1, not 0" in refused("evaluate", str(run), "--workers", "1")


def test_another_runs_ticket_is_refused(run: Path) -> None:
    path = run / "seed_0/tickets/level_01.safetensors"
    ticket = files.load(path)
    files.save(replace(ticket, weights=dict(ticket.weights), origin={**ticket.origin, "config": "0" * 16}), path)
    (run / "seed_0/results.jsonl").unlink()
    assert "its run is 0000000000000000, not " in refused("evaluate", str(run), "--workers", "1")


def test_a_pool_under_the_name_of_another_method_is_refused(run: Path) -> None:
    pools = run / "seed_0/pools"
    shutil.copy(pools / "average/level_01.safetensors", pools / "interpolation/level_01.safetensors")
    for arguments in (["report", str(run)], ["replay", str(pools / "interpolation/level_01.safetensors")]):
        assert "its method of pooling is average, not interpolation" in refused(*arguments)


def test_a_trained_ticket_among_the_pools_is_refused(run: Path) -> None:
    shutil.copy(run / "seed_0/tickets/level_01.safetensors", run / "seed_0/pools/average/level_01.safetensors")
    assert "is no pool of a run" in refused("report", str(run))


def test_rows_of_another_file_are_refused(run: Path) -> None:
    path = run / "seed_0/pools/average/level_01.safetensors"
    ticket = files.load(path)
    weights = {name: tensor * 2 if tensor.is_floating_point() else tensor for name, tensor in ticket.weights.items()}
    files.save(replace(ticket, weights=weights), path)
    assert "has a row of average at level 1 that was measured on another file than" in refused("report", str(run))


@pytest.mark.parametrize("command", ["report", "evaluate", "evaluate --dry-run"])
def test_another_seeds_rows_are_refused(run: Path, command: str) -> None:
    shutil.copy(run / "seed_0/results.jsonl", run / "seed_1/results.jsonl")
    words = command.split()
    said = refused(words[0], str(run), *words[1:], *(["--workers", "1"] if words[0] == "evaluate" else []))
    assert "seed_1/results.jsonl has rows of seed 0, its place is for 1: restore the file, or delete" in said


@pytest.mark.parametrize(
    ("key", "said"), [("run", "has rows of demo-limit-20 and of other"), ("data", "on two different sets")]
)
def test_rows_that_do_not_belong_together_are_refused(run: Path, key: str, said: str) -> None:
    path = run / "seed_1/results.jsonl"
    first, *others = results.read(path)
    path.unlink()
    results.append(path, [first, *(replace(row, **{key: "other"}) for row in others)])  # type: ignore[arg-type]
    assert said in refused("report", str(run))


def test_published_rows_of_a_seed_that_the_settings_lack_are_refused(tmp_path: Path) -> None:
    published = Path(__file__).parents[1] / "docs/results/cifar10-longer"
    run = shutil.copytree(published, tmp_path / "run")
    settings = (run / "config.toml").read_text()
    assert "seeds = [0, 1, 2]" in settings
    (run / "config.toml").write_text(settings.replace("seeds = [0, 1, 2]", "seeds = [0, 2]"))
    assert "results.jsonl.xz has rows of seed 1, its place is for 0, 2" in refused("report", str(run))


def test_rows_of_before_digests_are_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in run.rglob("results.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert {len(row["tensors"]) for row in rows if row["method"] != "ensemble"} == {16}
        path.write_text("".join(json.dumps({**row, "check": None, "tensors": ""}) + "\n" for row in rows))
        text = path.read_text().replace(', "check": null', "").replace(', "tensors": ""', "")
        path.write_text(text)
    assert "Report: " in outputs(["report", str(run)], capsys)


def test_a_score_that_the_file_only_claims_is_found_by_searching_again(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "seed_0/pools/average/level_01.safetensors"
    assert outputs(["replay", str(path)], capsys).endswith(": same bytes\n")
    ticket = files.load(path)
    files.save(replace(ticket, weights=dict(ticket.weights), origin={**ticket.origin, "score": 0.99}), path)
    said = outputs(["replay", str(path), "--no-search"], capsys)  # the weights are those of the recipe
    assert said.endswith(": same bytes (its recipe, scores and costs were believed)\n")
    assert "replayed to other bytes (its score is 0.99, made again " in refused("replay", str(path))


@pytest.mark.parametrize("key", ["search_images", "target_score", "trials", "recipe"])
def test_whatever_the_search_found_is_found_again(run: Path, key: str) -> None:
    path = run / "seed_0/pools/interpolation/level_01.safetensors"
    ticket = files.load(path)
    claimed = {"recipe": [[0, 0.25]], "trials": [], "search_images": 1, "target_score": 0.5}[key]
    files.save(replace(ticket, weights=dict(ticket.weights), origin={**ticket.origin, key: claimed}), path)
    assert f"(its {key} is {claimed}, made again " in refused("replay", str(path))


def test_a_recipe_that_no_search_found_is_refused_though_the_weights_are_its_own(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "seed_0/pools/interpolation/level_01.safetensors"
    origin = {**files.load(path).origin, "recipe": [[0, 0.25]]}
    files.save(replace(files.load(path), weights=dict(files.load(path).weights), origin=origin), path)
    with pytest.raises(UserError, match="replayed to other bytes"):
        commands.dispatch(["replay", str(path), "--no-search", "--out", str(run / "other.safetensors")])
    shutil.copy(run / "other.safetensors", path)
    assert "same bytes" in outputs(["replay", str(path), "--no-search"], capsys)
    assert "(its recipe is " in refused("replay", str(path))


def test_what_differs_is_told_by_its_name_and_a_gpu_is_a_reason() -> None:
    origin = {"recipe": [[0, 0.5]], "score": 0.5, "device": "cpu"}
    stored = Ticket({"a": torch.ones(2)}, {"a": torch.ones(2, dtype=torch.bool)}, 1, origin)
    assert (
        _difference(stored, replace(stored, weights={"a": torch.tensor([1.0, 2.0])})) == "the weights of 'a' are others"
    )
    on_gpu = replace(stored, origin={**origin, "device": "cuda:0"})
    other = replace(on_gpu, origin={**on_gpu.origin, "score": 0.25})
    said = "its score is 0.5, made again 0.25; a GPU may do so without --deterministic"
    assert _difference(on_gpu, other) == said
    same_kernels = replace(on_gpu, origin={**on_gpu.origin, "deterministic": True})
    assert _difference(same_kernels, replace(same_kernels, origin=other.origin)) == "its score is 0.5, made again 0.25"


def test_a_pool_searched_within_a_budget_is_searched_again_within_it(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "seed_0/pools/interpolation/level_01.safetensors"
    whole = int(files.load(path).origin["search_images"])
    path.unlink()
    budget = ["--methods", "interpolation", "--budget", str(whole // 2), "--workers", "1"]
    commands.dispatch(["pool", str(run), *budget])
    origin = files.load(path).origin
    assert origin["budget"] == whole // 2
    assert origin["search_images"] <= whole // 2
    capsys.readouterr()
    assert "same bytes" in outputs(["replay", str(path)], capsys)
    assert "budget" not in files.load(run / "seed_0/pools/average/level_01.safetensors").origin


def test_what_a_file_does_not_say_is_not_compared() -> None:
    place = Place(Path("level_02.safetensors"), 2, seed=3, config="abc")
    check(place, 2, {})
    check(replace(place, seed=None, config=None), 2, {"seed": 9, "config": "x"})
    check(Place(place.path, 2, "of a later version"), 2, {"method": "average"})
    check(Place(place.path, 2, "other-seed"), 2, {"method": "interpolation"})
    with pytest.raises(UserError, match="its method of pooling is average, not none"):
        check(place, 2, {"method": "average"})
