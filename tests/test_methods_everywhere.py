"""A method of pooling that is added in one place is known everywhere: command line, rows, tables, figures, replay."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lottery_pools.cli import commands, completion
from lottery_pools.cli.options import OPTIONS
from lottery_pools.errors import UserError
from lottery_pools.experiment import report as reports
from lottery_pools.experiment import stages
from lottery_pools.pooling.method import Method
from lottery_pools.pooling.methods import METHODS
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import files
from tests.test_stages import ONE, tiny

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Pooled
    from lottery_pools.pooling.task import PoolingTask

HERE = ["--workers", "1", "--threads", "1", "--device", "cpu"]
MODULE = """
from lottery_pools.pooling.method import Method


def search(task):
    target_score, _ = task.evaluate(task.target_network)
    ingredients = [(task.target, 0.5), (task.candidates[0], 0.5)]
    score, network = task.evaluate(task.mixture(ingredients))
    return task.result(network, ingredients, score, target_score)


METHOD = Method("mine", search, label="My own half")
"""


def half(task: PoolingTask) -> Pooled:
    """The mean of the target and its nearest neighbour, whatever it scores."""
    target_score, _ = task.evaluate(task.target_network)
    ingredients = [(task.target, 0.5), (task.candidates[0], 0.5)]
    score, network = task.evaluate(task.mixture(ingredients))
    return task.result(network, ingredients, score, target_score)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods") / "run"
    stages.tickets(tiny(), folder, ONE)
    return folder


def test_a_method_added_in_one_place_is_known_everywhere(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(METHODS, "mine", Method("mine", half, label="My own half", rank=15))
    assert "mine" in completion.known(OPTIONS)["pool"]["--methods"]
    with pytest.raises(UserError, match="unknown method 'mien': did you mean 'mine'"):
        commands.dispatch(["pool", str(trained), "--methods", "mien", *HERE])
    with pytest.raises(UserError, match=r"choose one of: .*, mine, "):
        commands.dispatch(["pool", str(trained), "--methods", "???", *HERE])
    commands.dispatch(["pool", str(trained), "--methods", "mine", *HERE])
    commands.dispatch(["evaluate", str(trained), *HERE])
    assert {(row.method, row.level) for row in reports.read(trained)[1]} >= {("mine", level) for level in range(3)}
    commands.dispatch(["report", str(trained)])
    assert "My own half" in capsys.readouterr().out  # the table in the terminal
    page = (trained / "report.html").read_text(encoding="utf-8")
    figures = page[page.index("<svg") : page.rindex("</svg>")]
    assert "My own half" in figures
    assert "My own half" in page[page.index("<table") : page.rindex("</table>")]
    pooled = RunFolder(trained).pool("mine", 1)
    assert files.read_metadata(pooled)["origin"]["recipe"] == [[1, 0.5], [0, 0.5]]
    commands.dispatch(["replay", str(pooled)])
    assert "same bytes" in capsys.readouterr().out


def test_a_method_of_a_users_module_reaches_several_workers(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_users_methods.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(METHODS, "mine", importlib.import_module("a_users_methods").METHOD)
    try:
        folder, config = tmp_path / "run", tiny()
        stages.tickets(config, folder, ONE)
        pooling = replace(config.pooling, methods=("mine",))
        stages.pool(tiny(pooling=pooling), folder, Machine(device="cpu", workers=2, threads=1))
    finally:
        del sys.modules["a_users_methods"]
    for level in range(3):
        assert files.read_metadata(RunFolder(folder).pool("mine", level))["origin"]["method"] == "mine"


def test_a_method_that_no_worker_could_import_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "mine", Method("mine", lambda task: half(task), label="My own half"))
    config = tiny()
    pooling = replace(config.pooling, methods=("mine",))
    with pytest.raises(UserError, match=r"cannot be sent to worker processes .* top level of a module, .*--workers 1"):
        stages.run(tiny(pooling=pooling), tmp_path / "run", Machine(device="cpu", workers=2, threads=1))
    assert not (tmp_path / "run").exists()
