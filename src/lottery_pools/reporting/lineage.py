"""Where a ticket came from, in words, as its file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lottery_pools.reporting.names import mixes_in_turn
from lottery_pools.reporting.words import fixed, signed

Lines = list[tuple[str, str]]
"""A name and what there is to say, a line each; a line without a name goes on with the one before."""


def lineage(origin: Mapping[str, Any]) -> Lines:
    """What the metadata `origin` of a ticket file say: recipe, score, cost, parents, model, run.

    Whatever the metadata lack has no line.
    """
    parts = (_recipe, _pruning, _score, _epoch, _gpu, _cost, _parents, _candidates, _model, _inputs, _run)
    return [line for part in parts for line in part(origin)]


def _steps(origin: Mapping[str, Any]) -> list[tuple[int, float]]:
    """The recipe's steps: level and coefficient."""
    return [(int(level), float(coefficient)) for level, coefficient in origin.get("recipe", ())]


def _recipe(origin: Mapping[str, Any]) -> Lines:
    """One line a step of the recipe."""
    if "recipe" not in origin:
        return []
    lines = []
    for number, (level, coefficient) in enumerate(_steps(origin)):
        if mixes_in_turn(origin.get("method", "")):
            before = "so far" if number else f"level {origin.get('target')}"
            words = f"{coefficient:.2f} · {before} + {1 - coefficient:.2f} · level {level}"
        else:
            words = f"{'+ ' if number else ''}{coefficient:.2f} · level {level}"
        lines.append(("" if number else "recipe", words))
    return lines or [("recipe", "nothing mixed in: the target, recalibrated")]


def _pruning(origin: Mapping[str, Any]) -> Lines:
    if "recipe" not in origin:
        return []
    rule = f"largest weights, {origin.get('scope')}" if origin.get("mask") == "magnitude" else origin.get("mask")
    return [("pruned back to", f"the target's density ({rule})")]


def _score(origin: Mapping[str, Any]) -> Lines:
    """The score that chose a pool, beside that of its target; of a trained ticket its accuracy."""
    if origin.get("score") is None or origin.get("target_score") is None:
        accuracy = origin.get("accuracy")
        return [] if accuracy is None else [("accuracy", f"{100 * accuracy:.2f} % on validation")]
    score, before, scored_by = origin["score"], origin["target_score"], origin.get("scored_by", "accuracy")
    words = f"{scored_by} {fixed(score, 4)} on validation; the target, recalibrated: {fixed(before, 4)}"
    words += f" ({signed(score - before, 4)})"
    return [("score", words)]


def _epoch(origin: Mapping[str, Any]) -> Lines:
    return [("epoch", f"{origin['epoch']} of its training")] if "epoch" in origin else []


def _gpu(origin: Mapping[str, Any]) -> Lines:
    """The GPU that a ticket was trained on, and whether another run there gives the same bytes."""
    if "gpu" not in origin:
        return []
    same = "gives the same bytes" if origin.get("deterministic") else "may give other bytes: train with --deterministic"
    return [("trained on", f"{origin['gpu']}; another run {same}")]


def _cost(origin: Mapping[str, Any]) -> Lines:
    if "train_images" not in origin:
        return []
    searched = f", {origin['search_images']:,} forwarded in search" if "search_images" in origin else ""
    return [("cost", f"{origin['train_images']:,} images trained on{searched}")]


def _parents(origin: Mapping[str, Any]) -> Lines:
    """One line a ticket that was offered: its level, the hash of its content, and what part it plays."""
    target = origin.get("target")
    mixed = {level for level, _ in _steps(origin)}
    lines: Lines = []
    for level, digest in sorted((int(level), digest) for level, digest in origin.get("parents", {}).items()):
        role = " the target" if level == target else " in the recipe" if level in mixed else ""
        lines.append(("" if lines else "parents", f"level {level:>2} {digest}{role}"))
    return lines


def _candidates(origin: Mapping[str, Any]) -> Lines:
    """The run that the candidates came from, where it is another than the target's."""
    source = origin.get("candidates", ".")
    return [] if source == "." else [("candidates of", str(source))]


def _model(origin: Mapping[str, Any]) -> Lines:
    model = origin.get("model")
    if not isinstance(model, Mapping):
        return []
    given, sizes = model.get("arguments"), model.get("input_shape")  # a file of the first format may hold anything
    arguments = "".join(f", {key} {value}" for key, value in given.items()) if isinstance(given, Mapping) else ""
    shape = "×".join(map(str, sizes)) if isinstance(sizes, list | tuple) else "unknown"
    return [("model", f"{model.get('name')}{arguments}; {model.get('classes')} classes of {shape} inputs")]


def _inputs(origin: Mapping[str, Any]) -> Lines:
    """How samples become inputs of the network, and what its classes are called."""
    known = origin.get("preprocessing")
    if not isinstance(known, Mapping) or not {"mean", "std", "stored_shape", "classes"} <= known.keys():
        return []
    shape = "×".join(map(str, known["stored_shape"]))
    mean, std = (" ".join(f"{value:.4g}" for value in known[key]) for key in ("mean", "std"))
    classes = ", ".join(map(str, known["classes"][:5])) + (", …" if len(known["classes"]) > 5 else "")
    return [("inputs", f"samples of {shape}, less mean {mean}, over deviation {std}; classes {classes}")]


def _run(origin: Mapping[str, Any]) -> Lines:
    keys = {"data": "data", "data_digest": "digest", **{key: key for key in ("seed", "config", "device", "threads")}}
    words = [f"{name} {origin[key]}" for key, name in keys.items() if key in origin]
    return [("run", ", ".join(words))] if words else []
