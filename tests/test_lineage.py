"""Where a ticket came from, told from the metadata of its file."""

from __future__ import annotations

import pytest

from lottery_pools.reporting.lineage import lineage


def test_recipes_are_told_in_words() -> None:
    origin = {"target": 1, "recipe": [[2, 0.6], [0, 0.9]], "mask": "magnitude", "scope": "global"}
    lines = lineage({**origin, "method": "average"})
    assert lines[:2] == [("recipe", "0.60 · level 1 + 0.40 · level 2"), ("", "0.90 · so far + 0.10 · level 0")]
    lines = lineage({**origin, "method": "best"})
    assert lines[:2] == [("recipe", "0.60 · level 2"), ("", "+ 0.90 · level 0")]
    assert lineage({"target": 1, "recipe": []})[0][1].startswith("nothing mixed in")
    assert lineage({}) == []


def test_a_ticket_of_a_gpu_says_whether_another_run_gives_its_bytes() -> None:
    origin = {"gpu": "NVIDIA H100", "deterministic": False}
    assert lineage(origin) == [
        ("trained on", "NVIDIA H100; another run may give other bytes: train with --deterministic")
    ]
    origin["deterministic"] = True
    assert lineage(origin) == [("trained on", "NVIDIA H100; another run gives the same bytes")]


def test_a_pool_tells_its_score_cost_parents_and_run() -> None:
    origin = {
        "target": 1,
        "recipe": [[2, 0.6]],
        "mask": "magnitude",
        "scope": "global",
        "method": "average",
        "score": -1.5,
        "target_score": -1.25,
        "scored_by": "log-likelihood",
        "epoch": 3,
        "train_images": 1200,
        "search_images": 500,
        "candidates": "runs/other",
        "seed": 7,
        "parents": {"10": "bb", "2": "aa", "1": "cc"},
        "device": "cpu",
        "model": {"name": "mlp", "arguments": {"width": 8}, "classes": 10, "input_shape": [1, 40]},
    }
    assert lineage(origin)[1:] == [
        ("pruned back to", "the target's density (largest weights, global)"),
        ("score", "log-likelihood −1.5000 on validation; the target, recalibrated: −1.2500 (−0.2500)"),
        ("epoch", "3 of its training"),
        ("cost", "1,200 images trained on, 500 forwarded in search"),
        ("parents", "level  1 cc the target"),
        ("", "level  2 aa in the recipe"),
        ("", "level 10 bb"),
        ("candidates of", "runs/other"),
        ("model", "mlp, width 8; 10 classes of 1×40 inputs"),
        ("run", "seed 7, device cpu"),
    ]


def test_a_trained_ticket_tells_its_accuracy() -> None:
    assert lineage({"accuracy": 0.5, "candidates": "."}) == [("accuracy", "50.00 % on validation")]


@pytest.mark.parametrize("model", [{"arguments": 3}, {"input_shape": 5}, {"arguments": None, "input_shape": None}, {}])
def test_a_model_that_is_described_oddly_stops_nothing(model: dict[str, object]) -> None:
    ((name, words),) = lineage({"model": {"name": "net", **model}})
    assert name == "model"
    assert words.startswith("net; ")
