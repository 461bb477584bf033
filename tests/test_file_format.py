"""docs/file-format.md: a ticket file is read as the page says, without a line of this package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket

PAGE = Path(__file__).parents[1] / "docs/file-format.md"


@pytest.mark.parametrize("share", [0.0, 0.002, 0.05, 0.3, 0.5, 0.8, 0.98, 1.0])
def test_the_pages_own_reader_finds_the_dense_weights(share: float, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    reader: dict[str, Any] = {}
    exec(code, reader)
    weights = torch.randn(7, 5, 11, generator=generator(1, "format")) + 3
    mask = torch.rand(7, 5, 11, generator=generator(2, "format")) < share
    mask[0, 0, :3] = True
    ticket = Ticket({"a.weight": weights * mask, "a.bias": torch.arange(4.0)}, {"a.weight": mask}, 2)
    files.save(ticket, tmp_path / "level_02.safetensors")
    tensors = reader["dense"](str(tmp_path / "level_02.safetensors"))
    assert list(tensors) == ["a.weight", "a.bias"]
    for name, tensor in ticket.weights.items():
        assert np.array_equal(tensors[name], tensor.numpy()), name
    assert np.array_equal(tensors["a.weight"] != 0, mask.numpy())
