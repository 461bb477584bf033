"""Two processes that share a run: each sample counted once, and what one process gets but for rounding."""

from __future__ import annotations

import pytest
import torch

from lottery_pools.config import toml
from lottery_pools.config.schema import Config, Pooling, Training
from lottery_pools.errors import UserError
from lottery_pools.experiment.report import read
from lottery_pools.pooling.recipe import Recipe
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.ranks import Ranks
from lottery_pools.runs.rows import Row
from lottery_pools.tickets import distributed, files
from lottery_pools.tickets.ticket import Ticket
from tests import two_processes
from tests.test_stages import tiny

ROUNDING = 1e-5
"""How far a weight may be from that of one process, after two epochs a level: numbers are added in another order."""
LEVELS = range(3)


def settings() -> Config:
    """Batches of 47 samples, which two processes cannot share equally, and a last one of 18."""
    training = Training(epochs=2, batch=47, lr=0.05, schedule="cosine", label_smoothing=0.1, clip_norm=5.0)
    return tiny(training=training, pooling=Pooling(methods=("average", "trimmed-soup"), recalibration=99))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunFolder]:
    """The same run by one process and by two."""
    root = tmp_path_factory.mktemp("ranks")
    (root / "settings.toml").write_text(toml.to_toml(settings()))
    two_processes.main(root / "settings.toml", root / "one")
    two_processes.start(str(root / "settings.toml"), str(root / "two"))
    return RunFolder(root / "one"), RunFolder(root / "two")


def check_same(one: Ticket, two: Ticket) -> None:
    assert (one.kept, one.prunable) == (two.kept, two.prunable)
    for name, tensor in one.weights.items():
        torch.testing.assert_close(two.weights[name], tensor, rtol=ROUNDING, atol=ROUNDING, msg=f"{name} differs")


def test_tickets_are_those_of_one_process(folders: tuple[RunFolder, RunFolder]) -> None:
    for level in LEVELS:
        of_one, of_two = (files.load(folder.ticket(level)) for folder in folders)
        check_same(of_one, of_two)
        assert all(torch.equal(of_one.mask[name], of_two.mask[name]) for name in of_one.mask)
        assert of_one.origin["train_images"] == of_two.origin["train_images"]
        assert of_one.origin["accuracy"] == pytest.approx(of_two.origin["accuracy"], abs=0.011)


def test_pools_have_the_same_recipe_and_cost(folders: tuple[RunFolder, RunFolder]) -> None:
    for method in ("average", "trimmed-soup"):
        for level in LEVELS:
            of_one, of_two = (files.load(folder.pool(method, level)) for folder in folders)
            check_same(of_one, of_two)
            assert Recipe.of(of_one) == Recipe.of(of_two)
            assert of_one.origin["search_images"] == of_two.origin["search_images"]


def test_every_sample_is_measured_once(folders: tuple[RunFolder, RunFolder]) -> None:
    of_one, of_two = ({row.key: row for row in read(folder.path)[1]} for folder in folders)
    assert of_one.keys() == of_two.keys()
    for key, row in of_one.items():
        other: Row = of_two[key]
        assert (row.n, row.train_images, row.search_images) == (other.n, other.train_images, other.search_images)
        assert row.loss == pytest.approx(other.loss, abs=1e-3)
        assert abs(row.correct - other.correct) <= 2


def test_only_the_first_process_writes(folders: tuple[RunFolder, RunFolder]) -> None:
    of_one, of_two = folders
    lines = [folder.log.read_text().splitlines() for folder in folders]
    assert len(lines[0]) == len(lines[1])
    names = [sorted(path.relative_to(f.path).as_posix() for path in f.path.rglob("*")) for f in (of_one, of_two)]
    assert names[0] == names[1]


def test_parts_of_a_batch_are_all_of_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 2, 3, 7):
        for n in (0, 1, 5, 128):
            rows = torch.arange(n)
            parts = []
            for rank in range(size):
                shared = Ranks(rank, size)
                monkeypatch.setattr(distributed, "of_this_process", lambda shared=shared: shared)
                parts.append(rows[distributed.part(rows)])
                monkeypatch.undo()
            assert torch.equal(torch.cat(parts), rows)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_torchrun_goes_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    for machine in ({"workers": 2}, {"cluster": "tcp://here:1"}):
        with pytest.raises(UserError, match="torchrun shares the work of each task: leave --workers and --cluster"):
            Machine(**machine)
    assert Machine(workers=1).workers == 1
