"""What a ticket file says of its ticket is checked against its tensors: anything odd is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lottery_pools.errors import UserError
from lottery_pools.tickets import files
from lottery_pools.tickets.container import write
from lottery_pools.tickets.ticket import Ticket

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    weights = {"w": torch.tensor([[1.0, 0.0, 2.0]]), "größe": torch.ones(2), "n": torch.tensor(3)}
    mask = {"w": torch.tensor([[True, False, True]]), "größe": torch.ones(2, dtype=torch.bool)}
    files.save(Ticket(weights, mask, 1, {"accuracy": 0.5}), tmp_path / "t.safetensors")
    return tmp_path / "t.safetensors"


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda metadata, tensors: metadata.pop("level"), "its JSON lacks 'level'"),
        (lambda metadata, tensors: metadata.update(more=1), "its JSON has 'more'"),
        (lambda metadata, tensors: metadata.update(format=True), "its format is True"),
        (lambda metadata, tensors: metadata.update(format=0), "its format is 0"),
        (lambda metadata, tensors: metadata.update(format="2"), "its format is '2'"),
        (lambda metadata, tensors: metadata.update(format=None), "its format is None"),
        (lambda metadata, tensors: metadata.update(format=1), "its JSON has 'check_header'"),
        (lambda metadata, tensors: metadata.update(level="1"), "its level is '1'"),
        (lambda metadata, tensors: metadata.update(level=True), "its level is True"),
        (lambda metadata, tensors: metadata.update(kept=4.0), r"its kept is 4\.0"),
        (lambda metadata, tensors: metadata.update(kept=3), "it keeps 4 of 5 weights where its header says 3 of 5"),
        (lambda metadata, tensors: metadata.update(prunable=-1), "where its header says 4 of -1"),
        (lambda metadata, tensors: metadata.update(version=1), "its version is no text"),
        (lambda metadata, tensors: metadata.update(origin=[]), "its origin no JSON object"),
        (
            lambda metadata, tensors: metadata.update(origin={"a": nested(99)}),
            "its origin has lists .* nested too deep",
        ),
        (
            lambda metadata, tensors: metadata.update(origin={"recipe": 3}),
            "its origin has 3 as 'recipe', which must be",
        ),
        (lambda metadata, tensors: metadata.update(origin={"a": "\ud800"}), "half of a surrogate pair"),
        (lambda metadata, tensors: metadata.update(mask="w"), "its list of masks is 'w'"),
        (lambda metadata, tensors: metadata.update(mask=[["w"]]), r"its list of masks is \[\['w'\]\]"),
        (lambda metadata, tensors: metadata.update(mask=["w", "w", "größe"]), "it names a mask twice"),
        (lambda metadata, tensors: metadata.update(mask=["v"]), "the mask 'v' has no weight of that name"),
        (lambda metadata, tensors: metadata.update(mask=["w"]), "it has the tensor 'mask/größe'"),
        (lambda metadata, tensors: metadata.update(weights={}), "its list of tensors is none"),
        (lambda metadata, tensors: metadata["weights"].append("w"), "its list of tensors has 'w'"),
        (lambda metadata, tensors: metadata["weights"].append(["v"]), r"its list of tensors has \['v'\]"),
        (lambda metadata, tensors: metadata["weights"].append([3, []]), r"its list of tensors has \[3, \[\]\]"),
        (lambda metadata, tensors: metadata["weights"].append(["w", [1, 3]]), "it names 'w' twice"),
        (lambda metadata, tensors: metadata["weights"].append(["v", [2]]), "it lacks the tensor 'weight/v'"),
        (lambda metadata, tensors: metadata["weights"].append(["v", [-2]]), "has something that is no size"),
        (lambda metadata, tensors: metadata["weights"].append(["v", None]), "None is no list of sizes"),
        (lambda metadata, tensors: metadata["weights"].append(["v", [2.0]]), "has something that is no size"),
        (lambda metadata, tensors: tensors.update(more=torch.ones(1)), "it has the tensor 'more'"),
        (lambda metadata, tensors: tensors.pop("mask/w"), "it lacks the tensor 'mask/w'"),
        (lambda metadata, tensors: tensors.update({"weight/n": torch.ones(1)}), r"'n' of shape \[\] does not fit"),
        (
            lambda metadata, tensors: tensors.update({"weight/w": torch.ones(1, 2)}),
            r"'w' of shape \[1, 3\] does not fit",
        ),
        (lambda metadata, tensors: tensors.update({"mask/w": torch.ones(20)}), r"'w' of shape \[1, 3\] does not fit"),
        (lambda metadata, tensors: tensors.update({"mask/w": torch.ones(10).byte()}), r"'w' of shape .* does not fit"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_a_file_says_must_be_whole(path: Path, change: Change, reason: str) -> None:
    metadata, tensors = files.read_metadata(path), load_file(path)
    change(metadata, tensors)
    write(path, files.KIND, tensors, metadata)
    for read in (files.load, files.read_metadata):
        with pytest.raises(UserError, match=f"is damaged: .*{reason}.*; restore or delete the file$") as error:
            read(path)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)


def test_whole_files_are_read(path: Path) -> None:
    assert files.load(path).kept == 4
    assert files.read_metadata(path)["weights"] == [["w", [1, 3]], ["größe", [2]], ["n", []]]
