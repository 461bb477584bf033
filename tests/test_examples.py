"""The examples run, and do what they say."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import lottery_pools as lp
from examples import forecast, own_loop


def test_the_forecaster_keeps_its_density_and_is_pooled(capsys: pytest.CaptureFixture[str]) -> None:
    forecast.main()
    density, recipe, error = capsys.readouterr().out.splitlines()
    before, after = re.findall(r"0\.\d{3}", density)
    assert before == after
    assert re.fullmatch(r"recipe \[\(\d, 0\.\d+\).*\]", recipe)
    ticket, pooled = map(float, re.findall(r"0\.\d{4}", error))
    assert pooled < ticket


def test_a_loop_of_ones_own_keeps_its_tickets_and_pools_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_loop.main(tmp_path)
    printed = capsys.readouterr().out
    density, recipe, overlap = printed.splitlines()
    assert density == "density 0.600, as the ticket's 0.600"
    assert recipe.count("(") > 1, "nothing is mixed"
    ticket, pooled = map(float, re.findall(r"0\.\d{3}", overlap))
    assert pooled > ticket
    kept = {path.name: path.read_bytes() for path in (tmp_path / "tickets").iterdir()}
    assert len(kept) == 6
    own_loop.main(tmp_path)  # nothing is trained again
    assert capsys.readouterr().out == printed
    assert kept == {path.name: path.read_bytes() for path in (tmp_path / "tickets").iterdir()}


def held_to_the_mask(folder: Path, levels: int) -> None:
    """The tickets of all levels are there, and no pruned weight is anything but zero."""
    tickets = [lp.load(path) for path in sorted((folder / "tickets").glob("level_*.safetensors"))]
    assert [ticket.level for ticket in tickets] == list(range(levels + 1))
    for ticket in tickets:
        for name, survives in ticket.mask.items():
            assert not ticket.weights[name][~survives].any()
    assert sum(ticket.kept for ticket in tickets) < len(tickets) * tickets[0].prunable


def test_lightning_trains_the_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightning")
    from examples import lightning_loop

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of loaders without workers, of logging intervals, and its own deprecations
        lightning_loop.main(tmp_path)
    held_to_the_mask(tmp_path, levels=4)
    density, recipe = capsys.readouterr().out.splitlines()[-2:]
    assert density == "density 0.640, as the ticket's 0.640"
    before, after = map(float, re.findall(r"-\d\.\d{3}", recipe))
    assert after >= before


def test_a_pretrained_network_of_timm_is_fine_tuned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    timm = pytest.importorskip("timm")
    from examples import timm_finetuning

    torch.manual_seed(5)
    weights = timm.create_model("resnet10t").state_dict()
    save_file(weights, tmp_path / "pretrained.safetensors")
    timm_finetuning.main(tmp_path / "pretrained.safetensors", tmp_path)
    held_to_the_mask(tmp_path, levels=2)
    start = lp.load(tmp_path / "tickets/rewind.safetensors").weights
    backbone = {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
    assert all(torch.equal(start[name], tensor) for name, tensor in backbone.items())
    assert capsys.readouterr().out.startswith("density 0.500, as the ticket's 0.500\n")


@pytest.mark.slow
def test_the_trainer_of_hugging_face_trains_the_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from examples import hugging_face_trainer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hugging_face_trainer.main(tmp_path)
    held_to_the_mask(tmp_path, levels=3)
    perplexity = capsys.readouterr().out.splitlines()[-1]
    before, after = map(float, re.findall(r"\d+\.\d{3}", perplexity))
    assert after <= before
