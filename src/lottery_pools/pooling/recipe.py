"""How a pooled ticket was made, and how it is made again from that without a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling.algorithm2 import mix_in_turn
from lottery_pools.pooling.checks import check_rules, checked_base, checked_samples, checked_tickets
from lottery_pools.pooling.evaluator import Evaluator, Recalibrate, warn_of_old_statistics
from lottery_pools.pooling.guard import restored_on_failure
from lottery_pools.pooling.method import Method
from lottery_pools.pooling.methods import BY_SCORE, find
from lottery_pools.pooling.pruning import MaskRule, Scope
from lottery_pools.pooling.result import Ingredients, Settings, Steps
from lottery_pools.pooling.soup import mixture
from lottery_pools.pooling.task import Network, PoolingTask, Samples
from lottery_pools.tickets.ticket import Ticket


@dataclass(frozen=True)
class Recipe:
    """How a pooled ticket was made: all that rebuilds it from the tickets it was pooled from.

    Example:
        ```python
        recipe = lp.Recipe.of(lp.load("stronger.safetensors"))
        again = lp.replay(model, tickets, recipe, recalibrate)
        ```
    """

    target: int
    """Level of the ticket that was strengthened."""
    steps: Steps
    """(level of a ticket, its coefficient), in order."""
    method: str | Method = BY_SCORE
    scope: Scope = "global"
    mask: MaskRule = "magnitude"
    settings: Settings = field(default_factory=dict)
    """What the method needs beside the steps."""
    mixed: Mapping[str, str] = field(default_factory=dict)
    """Level of the target and of each ticket that was mixed, as text → the digest of its weights (`Ticket.digest`),
    where it is known."""

    @classmethod
    def of(cls, ticket: Ticket) -> Recipe:
        """The recipe that a pooled ticket carries in its origin; raises UserError where it carries none."""
        origin = ticket.origin
        if "recipe" not in origin:
            raise UserError(f"the ticket of level {ticket.level} has no recipe: give one that was pooled")
        steps = tuple((int(level), float(coefficient)) for level, coefficient in origin["recipe"])
        how = {key: origin[key] for key in ("method", "scope", "mask", "settings")}
        return cls(ticket.level, steps, **how, mixed=origin.get("mixed", {}))


def replay(
    model: nn.Module,
    tickets: Sequence[Ticket],
    recipe: Recipe,
    recalibrate: Recalibrate | None = None,
    *,
    base: Mapping[str, Tensor] | None = None,
    samples: Samples | None = None,
    allow_other_run: bool = False,
) -> Ticket:
    """The pooled ticket of a recipe, the same tensors, without a search; `model` is left with it.

    Args:
        model: the module that the weights are loaded into.
        tickets: those that were given to `pool`, in any order.
        recipe: how it was made; `Recipe.of(pooled.ticket)` reads it from the pooled ticket.
        recalibrate: as `pool` was given it, or `pool`'s `final_recalibrate`. Warns where the model has BatchNorm and
            there is none.
        base: as `pool` was given it.
        samples: as `pool` was given it.
        allow_other_run: as `pool` was given it.

    Raises UserError where a level of the recipe is not among the tickets, where a ticket has other weights or masks
    than the one that `lp.pool` was given (the command `replay` compares the files of a run), and as `pool`.
    """
    task, ingredients = task_of_recipe(model, tickets, recipe, recalibrate, base, allow_other_run)
    warn_of_old_statistics(model, recalibrate)
    task = replace(task, samples=checked_samples(samples))
    with restored_on_failure(model):
        return Ticket(*task.recalibrated(build(task, recipe, ingredients)), recipe.target)


def task_of_recipe(
    model: nn.Module,
    tickets: Sequence[Ticket],
    recipe: Recipe,
    recalibrate: Recalibrate | None = None,
    base: Mapping[str, Tensor] | None = None,
    allow_other_run: bool = False,
) -> tuple[PoolingTask, Ingredients]:
    """What `build` is given to make the network of a recipe; raises UserError as `replay` does."""
    check_rules(recipe.scope, recipe.mask)
    find(recipe.method)
    by_level = checked_tickets(model, tickets, recipe.target, allow_other_run)
    for level in dict.fromkeys((recipe.target, *(level for level, _ in recipe.steps))):
        if level not in by_level:
            raise UserError(f"the recipe mixes in level {level}, which is not among the tickets: {sorted(by_level)}")
        if (known := recipe.mixed.get(str(level))) and known != by_level[level].digest:
            raise UserError(
                f"the ticket of level {level} has other weights (digest {by_level[level].digest}) than that which was "
                f"pooled ({known}): give the same tickets"
            )
    task = PoolingTask(
        evaluator=Evaluator(model, lambda model: 0.0, recalibrate),
        target=by_level[recipe.target],
        candidates=(),
        scope=recipe.scope,
        mask=recipe.mask,
        base=checked_base(model, base),
    )
    return task, [(by_level[level], coefficient) for level, coefficient in recipe.steps]


def build(task: PoolingTask, recipe: Recipe, ingredients: Ingredients) -> Network:
    """The network of a recipe, before it is recalibrated."""
    method = find(recipe.method)
    default = mix_in_turn if method.recipe == "steps" else mixture
    return (method.rebuild or default)(task, ingredients, recipe.settings)
