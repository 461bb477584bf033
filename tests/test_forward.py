from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lottery_pools.tickets.forward import accuracy_of, predict
from tests.test_training import DATA, PLAIN, network


def test_predictions_come_in_order_and_leave_no_context_open() -> None:
    model = network().train()
    batches = []
    for batch in predict(model, DATA, DATA.test, replace(PLAIN, precision="bfloat16"), batch=10):
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        batches.append(batch)
    assert [len(batch) for batch in batches] == [10, 10, 4]
    assert not model.training
    with torch.no_grad():
        alone = model((DATA.test.images[13:14] - 120.0) / 60.0)
    (logits,) = predict(model, DATA, DATA.test, PLAIN)
    torch.testing.assert_close(logits[13:14], alone)
    hits = int((logits.argmax(1) == DATA.test.labels).sum())
    assert accuracy_of(model, DATA, DATA.test, PLAIN) == pytest.approx(hits / 24)
