"""Data have an identity: a run notices that they changed, finds them where they moved to, and says what differs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest

from lottery_pools.cli import commands
from lottery_pools.config import toml
from lottery_pools.config.schema import Config, Data, Model, Pooling, Pruning, Training
from lottery_pools.data import record, sources
from lottery_pools.data.record import DataRecord
from lottery_pools.errors import UserError
from lottery_pools.experiment import replay, stages
from lottery_pools.experiment import report as reports
from lottery_pools.experiment import run as run_module
from lottery_pools.runs import engine
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.rows import Row
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket
from tests.test_stages import ONE, tiny

images = pytest.importorskip("tests.image_sets")

CONFIG = Config(
    name="photos",
    data=Data(name="photos", size=8, validation=0.25),
    model=Model("resnet20", {"width": 4, "blocks": 1}),
    training=Training(epochs=1, batch=8, lr=0.05),
    pruning=Pruning(rate=0.3, levels=1, rewind=0),
    pooling=Pooling(methods=("average",), coefficients=(0.5,), recalibration=16),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the images `photos`, and the run `runs/photos` that has trained its tickets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(engine, "cores", lambda: 1)
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path / "cache"))
    images.image_folder(tmp_path / "photos", "ant", "bee", "cow", n=8)
    as_in_a_new_process()
    stages.tickets(CONFIG, Path("runs/photos"), ONE)
    return tmp_path


def as_in_a_new_process() -> None:
    """Forget the data that this process has loaded."""
    run_module._dataset.cache_clear()


def everything(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_folder_ticket_pool_and_rows_say_what_the_data_are(place: Path) -> None:
    run = RunFolder(Path("runs/photos"))
    stages.pool(CONFIG, run.path, ONE)
    stages.evaluate(CONFIG, run.path, ONE)
    digest = sources.load(CONFIG.data).digest
    assert len(digest) == 16
    known = record.read(run.data)
    assert known == DataRecord(str(place / "photos"), digest, 18, 6, 24, ("ant", "bee", "cow"))
    for path in (run.ticket(0), run.ticket(1), run.rewind, run.pool("average", 1)):
        origin = files.read_metadata(path)["origin"]
        assert origin["data_digest"] == digest
        assert origin["preprocessing"]["classes"] == ["ant", "bee", "cow"]
    assert {row.data for row in reports.read(run.path)[1]} == {digest}


@pytest.mark.parametrize(
    ("change", "difference", "command"),
    [
        ("an image is added", "20 training samples, not 18", "pool"),
        ("a test image is removed", "23 test samples, not 24", "tickets"),
        ("an image is another", "as many samples, with other pixels or classes", "evaluate"),
        ("a class is added", "the class 'dog' is new", "pool"),
        ("a class is gone", "the class 'bee' is missing", "pool"),
    ],
)
def test_changed_data_are_refused_in_one_line(change: str, difference: str, command: str, place: Path) -> None:
    before = everything(place / "runs")
    train, test = place / "photos/train", place / "photos/test"
    match change:
        case "an image is added":
            for n in (1, 2, 3):
                shutil.copy(test / "ant/0.png", train / f"bee/new{n}.png")
        case "a test image is removed":
            (test / "ant/3.png").unlink()
        case "an image is another":
            shutil.copy(test / "ant/0.png", train / "ant/5.png")
        case "a class is added":
            for split in (train, test):
                shutil.copytree(split / "ant", split / "dog")
        case _:
            for split in (train, test):
                shutil.rmtree(split / "bee")
    as_in_a_new_process()
    resume = partial(stages.tickets, CONFIG, Path("runs/photos"), ONE)
    dispatch = partial(commands.dispatch, [command, "runs/photos", "--workers", "1"])
    with pytest.raises(UserError, match=r"are not those that runs/photos was started with \(") as error:
        (resume if command == "tickets" else dispatch)()
    assert f"({difference}): restore them, " in str(error.value)
    assert "\n" not in str(error.value)
    assert everything(place / "runs") == before


@pytest.mark.parametrize("with_record", [True, False])
def test_renamed_classes_are_refused_although_the_digest_is_the_same(with_record: bool, place: Path) -> None:
    """Names are beside the digest: pixels, and the numbers of the classes, are as they were."""
    if not with_record:  # as a run of an earlier version: its tickets are asked
        Path("runs/photos/data.json").unlink()
    digest = sources.load(CONFIG.data).digest
    for split in ("train", "test"):
        (place / "photos" / split / "bee").rename(place / "photos" / split / "bug")
    as_in_a_new_process()
    assert sources.load(CONFIG.data).digest == digest
    message = r"are not those that runs/photos was started with \(class 1 is called 'bug', not 'bee'\): restore them, "
    with pytest.raises(UserError, match=message):
        commands.dispatch(["pool", "runs/photos", "--workers", "1"])
    assert not (place / "runs/photos/pools").exists()


def test_a_moved_folder_is_found_by_its_new_name_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages.pool(CONFIG, Path("runs/photos"), ONE)
    settings = (place / "runs/photos/config.toml").read_bytes()
    (place / "photos").rename(place / "elsewhere")
    with pytest.raises(UserError, match=r"are no longer in .*photos: say where they are with --data.name"):
        commands.dispatch(["evaluate", "runs/photos", "--workers", "1"])
    pool = Path("runs/photos/pools/average/level_01.safetensors")
    with pytest.raises(UserError, match="are no longer in"):
        replay.replay(pool)
    assert replay.replay(pool, data="elsewhere") is None
    commands.dispatch(["evaluate", "runs/photos", "--data.name", "elsewhere", "--workers", "1"])
    assert (place / "runs/photos/config.toml").read_bytes() == settings
    (place / "other").mkdir()
    monkeypatch.chdir(place / "other")  # the place is kept as a whole path
    commands.dispatch(["diagnose", "../runs/photos", "--points", "2", "--workers", "1"])
    assert replay.replay(Path("..") / pool) is None
    elsewhere = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, name="../elsewhere"))
    stages.tickets(elsewhere, Path("../runs/photos"), ONE)


def test_another_folder_with_other_images_is_refused(place: Path) -> None:
    images.image_folder(place / "others", "ant", "bee", "cow", n=9)
    with pytest.raises(UserError, match=r"the data in .*others are not those that runs/photos was started with"):
        commands.dispatch(["pool", "runs/photos", "--data.name", "others", "--workers", "1"])
    assert not (place / "runs/photos/pools").exists()


def test_runs_of_earlier_versions_are_read_and_remember_from_then_on(place: Path) -> None:
    run = RunFolder(Path("runs/photos"))
    run.data.unlink()
    for path in (run.ticket(0), run.ticket(1), run.rewind):
        old = files.load(path)
        origin = {name: value for name, value in old.origin.items() if name not in ("data_digest", "preprocessing")}
        files.save(Ticket(dict(old.weights), dict(old.mask), old.level, origin), path)
    stages.pool(CONFIG, run.path, ONE)
    assert record.read(run.data) is not None
    assert "preprocessing" in files.read_metadata(run.pool("average", 1))["origin"]


def test_without_its_record_a_run_asks_its_tickets(place: Path) -> None:
    Path("runs/photos/data.json").unlink()
    shutil.copy("photos/test/ant/0.png", "photos/train/ant/5.png")
    as_in_a_new_process()
    with pytest.raises(UserError, match="as many samples, with other pixels or classes"):
        stages.pool(CONFIG, Path("runs/photos"), ONE)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"place": 3, "digest": "a", "classes": []}', '{"a": 1}', "{"])
def test_a_damaged_record_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(UserError, match=r"data\.json is damaged \(") as error:
        record.read(tmp_path / "data.json")
    assert "\n" not in str(error.value)


def test_every_seeds_folder_remembers(tmp_path: Path) -> None:
    stages.tickets(tiny(seeds=(0, 1)), tmp_path / "two", ONE)
    records = [record.read(tmp_path / "two" / name / "data.json") for name in ("", "seed_0", "seed_1")]
    assert records[0] == records[1] == records[2]
    assert records[0] is not None
    assert records[0].place == "mnist1d"
    config = toml.of_folder(tmp_path / "two/seed_1")
    elsewhere = dataclasses.replace(config, data=dataclasses.replace(config.data, name="mnist2d"))
    with pytest.raises(UserError, match=r"no such folder|unknown data set"):
        stages.tickets(elsewhere, tmp_path / "two/seed_1", ONE)


def test_seeds_that_draw_their_own_data_go_on(tmp_path: Path) -> None:
    """Each has its own generated samples, whose digests differ."""
    config = tiny(seeds=(0, 1))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, draw="per-seed"))
    for _ in range(2):
        stages.tickets(config, tmp_path / "own", ONE)
    alone = tmp_path / "own/seed_1"
    stages.pool(toml.of_folder(alone), alone, ONE)
    assert replay.replay(RunFolder(alone).pool("interpolation", 1)) is None


def test_rows_of_earlier_versions_have_no_digest() -> None:
    assert {field.name: field.default for field in dataclasses.fields(Row)}["data"] == ""


def test_a_record_is_written_only_if_it_changes(tmp_path: Path) -> None:
    known = DataRecord("mnist1d", "0123", 1, 2, 3, ("a",))
    record.save(known, tmp_path / "data.json")
    before = (tmp_path / "data.json").stat()
    record.save(known, tmp_path / "data.json")
    assert (tmp_path / "data.json").stat().st_ino == before.st_ino
    assert json.loads((tmp_path / "data.json").read_text())["classes"] == ["a"]
