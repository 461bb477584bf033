"""What wrappers put into the names of tensors, and how it is taken out again.

DataParallel and DistributedDataParallel put `module.` before every name, `torch.compile` puts `_orig_mod.` there, FSDP
`_fsdp_wrapped_module.`, activation checkpointing `_checkpoint_wrapped_module.`, and a Lightning module the attribute
that holds the network, mostly `model.`. They nest in any order. Where only a part of the network is wrapped, they stand
within a name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from lottery_pools.errors import UserError

WITHIN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_fpw_module")
"""Parts of names that only wrappers use. They are taken out wherever they stand."""
LEADING = ("module", "model")
"""Parts of names that networks use too. They are taken out only where every name begins with them."""


@dataclass(frozen=True)
class Renaming:
    """New names of tensors, and what was taken out of the old ones."""

    new: Mapping[str, str]
    """Old name → new name of the tensors that are kept, in their order."""
    removed: tuple[str, ...] = ()
    """Parts that were taken out of names, such as `module.`."""
    beside: tuple[str, ...] = ()
    """Old names of the tensors that are not kept, because they lie beside the network."""


def stripped(names: Iterable[str], own_attribute: bool = False) -> Renaming:
    """Take out of names what wrappers put there.

    Args:
        names: The names of all tensors of a checkpoint.
        own_attribute: Take out a first part that all names share even if it is none of `LEADING`: the attribute of a
            Lightning module.

    Raises:
        UserError: If two tensors would have one name.

    Example:
        ```python
        stripped(["module.fc.weight", "module.fc.bias"]).new  # {"module.fc.weight": "fc.weight", ...}
        ```
    """
    names = list(names)
    new = {name: _without(name, WITHIN) for name in names}
    removed = [f"{part}." for part in WITHIN if any(part in name.split(".") for name in names)]
    while (part := _shared_first_part(new.values())) is not None:
        if part not in LEADING:
            if not own_attribute or part.isdigit():
                break
            own_attribute = False
        new = {old: name.partition(".")[2] for old, name in new.items()}
        removed.append(f"{part}.")
    _check_unique(new)
    return Renaming(new, tuple(dict.fromkeys(removed)))


def below(names: Iterable[str], prefix: str) -> Renaming:
    """Keep the tensors whose names begin with a prefix, and take it out. An empty prefix keeps all names as they are.

    Raises:
        UserError: If no name begins with it.
    """
    names = list(names)
    new = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    if not new:
        raise UserError(f"no tensor's name begins with prefix {prefix!r}: the first is {names[0]!r}")
    return Renaming(new, (prefix,) if prefix else (), tuple(name for name in names if name not in new))


def matched(names: Iterable[str], model: nn.Module) -> Renaming:
    """Bring names to those of `model.state_dict()`, whichever of the two is wrapped.

    Tensors under other prefixes than the network's, such as a loss's own weights in a Lightning module, are not kept.
    Names below the network's prefix that the model does not have stay, for the check of shapes that follows.
    """
    names, template = list(names), list(model.state_dict())
    simplifications: list[Callable[[str], str]] = [
        lambda name: name,
        lambda name: _without(name, WITHIN),
        lambda name: _without(name, (*WITHIN, *LEADING)),
    ]
    renamings = [_matched_after(simplified, names, template) for simplified in simplifications]
    known = set(template)
    return max(renamings, key=lambda renaming: len(known.intersection(renaming.new.values())))


def most_common_first_part(names: Iterable[str]) -> str | None:
    """The first part that more than half of the names share, as `model.`; None if there is none."""
    firsts = [name.partition(".")[0] for name in names if "." in name]
    part, count = max(Counter(firsts).items(), key=lambda item: item[1], default=("", 0))
    return f"{part}." if 2 * count > len(firsts) else None


def _matched_after(simplified: Callable[[str], str], names: list[str], template: list[str]) -> Renaming:
    """The names below the best prefix as the template has them, both sides being compared in simplified form."""
    wanted = {simplified(name): name for name in template}
    plain = {name: simplified(name) for name in names}
    if len(wanted) < len(template) or len(set(plain.values())) < len(names):
        return Renaming({})  # two tensors would have one name
    prefix = _best_prefix(plain.values(), wanted)
    new = {
        old: wanted.get(name.removeprefix(prefix), name.removeprefix(prefix))
        for old, name in plain.items()
        if name.startswith(prefix)
    }
    return Renaming(new, _taken_out(new), tuple(name for name in names if name not in new))


def _best_prefix(names: Iterable[str], wanted: Iterable[str]) -> str:
    """The prefix below which most of the names `wanted` are; the shortest of equals."""
    known, wanted = set(names), list(wanted)
    prefixes = {""}
    for target in wanted[:1] + wanted[-1:]:
        prefixes |= {name.removesuffix(target) for name in known if name.endswith(f".{target}")}
    return max(sorted(prefixes, key=len), key=lambda prefix: sum(prefix + name in known for name in wanted))


def _taken_out(new: Mapping[str, str]) -> tuple[str, ...]:
    """The parts by which the old names are longer than the new ones."""
    parts: list[str] = []
    for old, name in new.items():
        rest = name.split(".")
        for part in old.split("."):
            if rest and part == rest[0]:
                rest.pop(0)
            else:
                parts.append(f"{part}.")
    return tuple(dict.fromkeys(parts))


def _without(name: str, parts: Iterable[str]) -> str:
    """`name` without these parts. Its last part, the tensor's own name, stays."""
    *path, last = name.split(".")
    return ".".join([*(part for part in path if part not in parts), last])


def _shared_first_part(names: Iterable[str]) -> str | None:
    """The first part of all names, if they share it and more follows it."""
    firsts = {name.partition(".")[0] if "." in name else None for name in names}
    return firsts.pop() if len(firsts) == 1 else None


def _check_unique(new: Mapping[str, str]) -> None:
    for (name, old), (next_name, next_old) in pairwise(sorted((name, old) for old, name in new.items())):
        if name == next_name:
            raise UserError(f"{old!r} and {next_old!r} are both {name!r} without their wrappers: give prefix=")
