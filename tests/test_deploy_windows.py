"""Windows of pooling, beside PyTorch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lottery_pools.deploy.windows import windows


@pytest.mark.parametrize("size", [5, 6, 9])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(2, 2, 0, 1), (3, 2, 1, 1), (2, 1, 1, 3)])
@pytest.mark.parametrize("ceil", [False, True])
def test_windows_cover_what_pytorch_covers(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool
) -> None:
    x = torch.rand(1, 1, size)
    expected = F.max_pool1d(x, kernel, stride, padding, dilation, ceil).flatten()
    covered = windows(size, len(expected), kernel, stride, padding, dilation)
    values = x.flatten().tolist()
    assert [max(values[slice(*window)]) for window in covered] == expected.tolist()
