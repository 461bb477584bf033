"""Where values lie in the workspace: those that are not needed at the same time share memory, so that it stays near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lottery_pools.deploy.graph import Convolution, Network
from lottery_pools.deploy.layout import Layout, Unfolded, rounded

Layouts = Mapping[str, Layout | Unfolded]


class Step(Protocol):
    """An operation or an unfolding, as far as it is of interest here."""

    @property
    def out(self) -> str: ...

    @property
    def reads(self) -> tuple[str, ...]: ...


def place(network: Network, steps: Sequence[Step], layouts: Layouts) -> dict[str, int]:
    """Value → where it begins, in floats: each as near to the beginning as those that are needed beside it allow.

    A convolution may write over the residual that it adds (`over`). Unfolded sources, whose zeros lie everywhere, come
    after all others and share memory only with their like.
    """
    last = _last(network, steps)
    places: dict[str, int] = {}
    alive: list[str] = []
    for index, names in enumerate([network.inputs, *((step.out,) for step in steps)]):
        for name in names:
            if isinstance(layouts[name], Unfolded):
                continue
            residual = over(steps[index - 1], layouts) if index else None
            if residual is not None and last[residual] == index - 1:
                places[name] = places[residual]
            else:
                places[name] = _gap([(places[other], layouts[other].floats) for other in alive], layouts[name].floats)
            alive.append(name)
        alive = [name for name in alive if last.get(name, -1) >= index]
    end = max((places[name] + rounded(layouts[name].floats) for name in places), default=0)
    unfolded: dict[Layout | Unfolded, int] = {}
    for step in steps:  # the only reader of one is the step after it
        layout = layouts[step.out]
        if isinstance(layout, Unfolded):
            if layout not in unfolded:
                unfolded[layout] = end
                end += rounded(layout.floats)
            places[step.out] = unfolded[layout]
    return places


def _last(network: Network, steps: Sequence[Step]) -> dict[str, int]:
    """Value → the last step that reads it."""
    last = {name: index for index, step in enumerate(steps) for name in step.reads}
    return last | dict.fromkeys(network.outputs, len(steps))


def _gap(taken: list[tuple[int, int]], floats: int) -> int:
    """The first place for so many floats between what is taken: (place, floats)."""
    at = 0
    for begin, size in sorted(taken):
        if at + rounded(floats) <= begin:
            break
        at = max(at, begin + rounded(size))
    return at


def over(step: Step, layouts: Layouts) -> str | None:
    """The residual over which a convolution may write: where tiles of 4 × 4 positions meet no position twice."""
    if not isinstance(step, Convolution) or step.residual in (None, step.source):
        return None
    layout = layouts[step.out]
    even = isinstance(layout, Layout) and layout.unit > 1 and layout.shape[1] % 4 == 0 and layout.shape[2] % 4 == 0
    return step.residual if even and layouts[step.residual] == layout else None


def spoiled(network: Network, steps: Sequence[Step], layouts: Layouts, places: Mapping[str, int]) -> frozenset[str]:
    """The values that lie where another layout was before, whose zeros are not zero any more.

    The same workspace is used again and again, so what lies last in it counts as before what comes first.
    """
    order = [*network.inputs, *(step.out for step in steps)]
    overwritten: set[str] = set()
    held: list[tuple[int, int, Layout | None]] = []  # (begin, end, the layout that is whole there)
    for name in order * 2:
        layout = layouts[name]
        if isinstance(layout, Unfolded):
            continue
        begin, end = places[name], places[name] + layout.floats
        beside = [stretch for stretch in held if stretch[0] < end and begin < stretch[1]]
        if layout.has_zeros and any(stretch != (begin, end, layout) for stretch in beside):
            overwritten.add(name)
        held = [stretch for stretch in held if stretch not in beside]
        held += [(first, min(last, begin), None) for first, last, _ in beside if first < begin]
        held += [(max(first, end), last, None) for first, last, _ in beside if end < last]
        held.append((begin, end, layout))
    return frozenset(overwritten)
