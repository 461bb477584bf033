"""Modules that wrap a network put a part into the names of its tensors; here such parts are recognised and named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WRAPPERS = {
    "module": "DataParallel",
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FullyShardedDataParallel",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "model": "LightningModule",
}
"""The parts of names, and one that puts each there. They may stand anywhere in a name, and several of them."""


def misfit(name: str, whose: str, names: Iterable[str]) -> str | None:
    """How a name of the model differs from those of the weights, if it differs by parts that wrappers put there.

    Args:
        name: A name of the model's `state_dict` that is not among the weights.
        whose: What the message calls the weights.
        names: The names of the weights.

    Returns:
        One line that says which parts to remove, and where; None if no name differs by such parts alone.

    Example:
        ```python
        misfit("0.weight", "the weights", ["module.0.weight"])
        # the weights have 'module.0.weight' where the model has '0.weight': strip 'module.', which ...
        ```
    """
    bare = _without_wrappers(name)
    model_name = next((model_name for model_name in names if _without_wrappers(model_name) == bare), None)
    if model_name is None:
        return None
    advice = []
    if prefixes := _added(model_name.split("."), name.split(".")):
        advice.append(
            f"strip {_listed(prefixes)}, which a wrapper such as {_example(prefixes)} put there, from all names"
        )
    if prefixes := _added(name.split("."), model_name.split(".")):
        advice.append(
            f"give the module inside the wrapper, such as {_example(prefixes)}, that puts {_listed(prefixes)} into the "
            "model's names"
        )
    return f"{whose} have {model_name!r} where the model has {name!r}: {'; and '.join(advice)}"


def inner(model_names: Sequence[str], whose: str, names: Sequence[str]) -> str | None:
    """How all names differ, if a module of the user's own holds the network of the other side.

    Args:
        model_names: The names of the model's `state_dict`.
        whose: What the message calls the weights.
        names: The names of the weights.

    Returns:
        One line that says which part to remove, and where; None if names differ otherwise.

    Example:
        ```python
        inner(["net.0.weight", "net.0.bias"], "the weights", ["0.weight", "0.bias"])
        # the weights have '0.weight' where the model has 'net.0.weight': give the module inside, model.net
        ```
    """
    for longer, shorter in ((model_names, names), (names, model_names)):
        for name in longer:
            prefix = name.removesuffix(shorter[0]) if shorter and name.endswith(f".{shorter[0]}") else ""
            if prefix and {prefix + rest for rest in shorter} == set(longer):
                if longer is model_names:
                    return (
                        f"{whose} have {shorter[0]!r} where the model has {name!r}: give the module inside, "
                        f"model.{prefix[:-1]}"
                    )
                return (
                    f"{whose} have {name!r} where the model has {shorter[0]!r}: strip {prefix!r} from all names, as "
                    f"lp.read(…, prefix={prefix!r}) does"
                )
    return None


def _without_wrappers(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.split(".") if part not in WRAPPERS)


def _added(longer: Sequence[str], shorter: Sequence[str]) -> list[str]:
    """The parts of wrappers that `longer` has and `shorter` has not, each with a dot; neighbours are in one text."""
    added: list[str] = []
    place, beside_last = 0, False
    for part in longer:
        while part not in WRAPPERS and shorter[place] != part:  # there `shorter` has a part of a wrapper
            place += 1
        if place < len(shorter) and shorter[place] == part:
            place, beside_last = place + 1, False
        else:
            added[-1 if beside_last else len(added) :] = [f"{added[-1] if beside_last else ''}{part}."]
            beside_last = True
    return added


def _listed(prefixes: Sequence[str]) -> str:
    return " and ".join(map(repr, dict.fromkeys(prefixes)))


def _example(prefixes: Sequence[str]) -> str:
    """One that puts the first of these parts into names."""
    return WRAPPERS[prefixes[0].partition(".")[0]]
