"""Names that would act on a terminal, a browser or a reader of Markdown do nothing in any output."""

from __future__ import annotations

import ast
import dataclasses
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

import lottery_pools as lp
from lottery_pools.cli import commands
from lottery_pools.config import toml
from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError, plain
from lottery_pools.experiment import reading, report
from lottery_pools.reporting.table import Table, markdown
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket

EVIL = (
    "\x1b[2J\x1b]0;title\x07<img src=x onerror=alert(1)>\u202egnp.exe\u2066 [a](javascript:b) `c` | d "
    "\x9b31m\u2028e\r\nf"
)
PUBLISHED = Path(__file__).parents[1] / "docs/results/cifar10-longer"


def outputs(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints."""
    capsys.readouterr()
    commands.dispatch(arguments)
    return capsys.readouterr().out


def acts(text: str) -> list[str]:
    """The characters of a text, line ends aside, that do something instead of being shown."""
    return [character for character in text if plain(character) != character and character != "\n"]


@pytest.mark.parametrize("text", ["größe", "日本語", "μ±σ − 3\u00a0%", "👍", ""])
def test_what_can_be_read_stays(text: str) -> None:
    assert plain(text) == text


def test_what_acts_becomes_visible() -> None:
    assert acts(plain(EVIL)) == []
    assert "\n" not in plain(EVIL)
    assert plain("a\x1b[0m\u202eb\ud800") == "a\\x1b[0m\\u202eb\\ud800"


def test_a_report_of_names_that_act_shows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(PUBLISHED, tmp_path / "run"))
    config = toml.of_folder(run)
    data = dataclasses.replace(config.data, name=EVIL)
    (run / "config.toml").write_text(toml.to_toml(dataclasses.replace(config, name=EVIL, data=data)))
    printed = outputs(["report", str(run)], capsys)
    page, text = (run / "report.html").read_text(), (run / "report.md").read_text()
    joined = "\u2060"  # by which the page keeps its own headings on one line
    for shown in (printed, page.replace(joined, ""), text):
        assert acts(shown) == []
    assert "<img" not in page
    assert "\\x1b[2J" in page
    assert re.search(r"(?<!\\)<img|(?<!\\)`c|\]\(javascript", text) is None
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)


def test_figures_show_names_of_methods_that_act(tmp_path: Path) -> None:
    content = report.report_of(PUBLISHED)
    evil = [dataclasses.replace(row, method="x\x1b<b>") if row.method == "average" else row for row in content.rows]
    rows = list(map(reading.inert_row, evil))
    assert {row.method for row in rows} >= {"x\\x1b<b>"}
    assert markdown(Table("a <b>", ("x\x1b<b>",), (("[a](b)",),))).splitlines()[0] == "### a \\<b>"


def test_a_ticket_of_names_that_act_is_inspected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = {EVIL: torch.ones(3)}
    origin = {"method": EVIL, "data": EVIL, "device": EVIL, "model": {"name": EVIL, "arguments": {EVIL: 1}}}
    files.save(Ticket(weights, {EVIL: torch.ones(3, dtype=torch.bool)}, 0, origin), tmp_path / "a.safetensors")
    printed = outputs(["inspect", str(tmp_path / "a.safetensors")], capsys)
    assert acts(printed) == []
    assert "\\x1b[2J" in printed


def test_a_model_card_of_names_that_act_shows_them(tmp_path: Path) -> None:
    weights, mask = {"a.weight": torch.ones(3)}, {"a.weight": torch.ones(3, dtype=torch.bool)}
    model: dict[str, Any] = {
        "name": f"timm:{EVIL}",
        "arguments": {EVIL: EVIL},
        "classes": f"{EVIL}) or f(",
        "input_shape": [3, 8, 8],
    }
    origin: dict[str, Any] = {"method": EVIL, "data": EVIL, "recipe": [[1, 0.5]], "read": {"file": EVIL}, "seed": EVIL}
    for name in (f"timm:{EVIL}", f"torchvision:{EVIL}", "conv1d", "theirs:build"):
        named = {**origin, "model": {**model, "name": name}}
        lp.export(Ticket(weights, mask, 0, named), "hub", tmp_path / "card")
        text = (tmp_path / "card/README.md").read_text(encoding="utf-8")
        told, _, rest = text.partition("```python\n")
        assert acts(text) == []
        assert re.search(r"(?<!\\)<img|(?<!\\)`c|\]\(javascript", told + rest.partition("```")[2]) is None
        ast.parse(rest.partition("```")[0])
        assert "f(" not in re.sub(r"'[^']*'", "", rest.partition("```")[0]), "text of the file is no code"


def test_settings_with_names_that_act_are_toml_without_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(name=EVIL + "\x7f")
    path = tmp_path / "evil.toml"
    path.write_text(toml.to_toml(config))
    assert acts(path.read_text()) == []
    assert toml.from_dict(Config, tomllib.loads(path.read_text())) == config
    assert acts(outputs(["presets", str(path)], capsys)) == []


@pytest.mark.parametrize("name", ["../../escaped", "/abs", "a/b", "..", ".", "", "a\\b", "c:d", "a\x1bb", "a\u202eb"])
def test_a_name_stays_the_name_of_one_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below/here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "below/here")
    preset = tmp_path / "stranger.toml"
    preset.write_text(toml.to_toml(dataclasses.replace(toml.preset("demo"), name=name)))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="no name of a folder: give another --name, or --out"):
        commands.dispatch(["run", "--preset", str(preset)])
    assert sorted(tmp_path.rglob("*")) == before
