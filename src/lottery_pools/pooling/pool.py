"""Pool tickets into a stronger one: the public function."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from lottery_pools.config.schema import PAPER_COEFFICIENTS
from lottery_pools.errors import UserError
from lottery_pools.pooling.algorithm2 import neighbours
from lottery_pools.pooling.checks import (
    check_at_least_one,
    check_functions,
    check_rules,
    checked_base,
    checked_coefficients,
    checked_samples,
    checked_tickets,
)
from lottery_pools.pooling.evaluator import Evaluator, Recalibrate, Score, warn_of_old_statistics
from lottery_pools.pooling.guard import restored_on_failure
from lottery_pools.pooling.method import Method
from lottery_pools.pooling.methods import BY_SCORE, DEFAULT, NOTHING_HELD_OUT, WITHOUT_LABELS, find
from lottery_pools.pooling.overlap import warn_of_overlap
from lottery_pools.pooling.pruning import MaskRule, Scope
from lottery_pools.pooling.result import Pooled
from lottery_pools.pooling.task import Loss, PoolingTask, Samples
from lottery_pools.tickets.ticket import Ticket, load_into

INHERITED = ("model", "task", "preprocessing", "data", "data_digest", "config", "seed")
"""What a pooled ticket's origin takes over from its target's, so that its file says how it is used."""
UNUSED_SAMPLES = (
    f"both `score` and `samples` were given: {BY_SCORE} chooses by the score and does not use the samples; leave one "
    f"of them out, or give a method, such as method={WITHOUT_LABELS!r}, which compares predictions of the samples"
)


def pool(
    model: nn.Module,
    tickets: Sequence[Ticket],
    target: int,
    score: Score | None = None,
    recalibrate: Recalibrate | None = None,
    *,
    method: str | Method | None = None,
    coefficients: Sequence[float] = PAPER_COEFFICIENTS,
    candidates: int | None = None,
    max_evaluations: int | None = None,
    final_recalibrate: Recalibrate | None = None,
    scope: Scope = "global",
    mask: MaskRule = "magnitude",
    loss: Loss | None = None,
    base: Mapping[str, Tensor] | None = None,
    samples: Samples | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
    allow_other_run: bool = False,
    allow_same_samples: bool = False,
) -> Pooled:
    """Strengthen the ticket of level `target` with the others: Lottery Pools, for any module, data and metric.

    Args:
        model: the module that the weights are loaded into; it is left with the pooled network in it, or, where anything
            is raised, as it was. Its parameters' `.grad` stay as they were.
        tickets: each with a level of its own, all of one network.
        target: level of the ticket to strengthen.
        score: `score(model)` is one number, higher is better, or a 1-D tensor with one per sample. Use held-out data.
            For classifiers give `log_likelihood`: it tells networks apart with a tenth of the samples accuracy needs.
            None: the tickets are classifiers, and `samples` choose, with their `labels` where there are any; or the
            method chooses nothing (`sparser-soup`), and the scores of the result are not numbers.
        recalibrate: `recalibrate(model)` re-estimates BatchNorm statistics; called after each change of weights.
        method: a name in `METHODS`, or a `Method` of your own; none: `trimmed-soup`, which needs a `score`, or
            `balanced-soup` where `samples` and `labels` are given and no `score`, or `fading-soup` without labels.
        coefficients: α, the weight of the best network so far, of the methods that try several.
        candidates: offer only so many of the nearest tickets; none: all.
        max_evaluations: recalibrate and score at most so many networks; none: as many as the method wants.
        final_recalibrate: for our soups (trimmed, consensus, fading, balanced): re-estimates the returned network,
            where `recalibrate` is a quicker one that only serves to compare; `replay` then needs it as `recalibrate`.
        scope: prune back over the whole network, as the paper does, or tensor by tensor.
        mask: which weights are kept first, as many as the target has: the largest (`magnitude`, as in the paper), the
            target's own, or those in any (`union`) or all (`intersection`) of the masks of what is merged.
        loss: for methods that learn: `loss(model)` is the differentiable loss of a next mini-batch. BatchNorm then has
            the statistics of the batch, everything else is in evaluation mode. Give it samples that `score` does not
            have: on its own samples, what was learned scores too well.
        base: for `ties` and `model-stock`: the weights at the rewind point.
        samples: for methods that compare agreement (our consensus, fading and balanced soups,
            `interpolation-agreement`), and for `fisher`, `regmean` and `repair`: `samples()` gives batches of inputs,
            without labels, the same at each call; of (inputs, labels) the first part is taken. Agreement takes held-out
            inputs: on training inputs that they fit, all tickets agree. For the others training inputs do.
        labels: for `balanced-soup`: the class of each of these samples in their order, (n,) int64.
        seed: decides the classes that `fisher` draws.
        allow_other_run: take tickets whose origin names other data, settings or seed; as a control.
        allow_same_samples: `loss` has the samples of `score` knowingly; there is no warning then.

    Returns the pooled ticket, whose density is exactly the target's, with its recipe and every trial. Warns where the
    model has BatchNorm and there is no `recalibrate`, where a method learns on the samples of `score`, and where both
    `score` and `samples` are given and no method.

    Raises UserError where the target is not among the tickets, two share a level, one does not fit the model, their
    origins name different models or runs, two are the model's own tensors, a parameter is complex or masked under one
    of two names only, a coefficient is not strictly between 0 and 1, `candidates` or `max_evaluations` is below 1, the
    method needs more evaluations than that, the method, scope or mask is unknown, what the method needs is missing or
    no function, the score is not finite or not one per sample, of the same samples each time, the loss is NaN, or
    agreement is given other samples at each call.

    Source: Yin et al., "Lottery Pools", AAAI 2023, Algorithm 2; those of other methods are linked in `METHODS`.

    Example:
        ```python
        pooled = lp.pool(model, tickets, target=5, score=score, recalibrate=recalibrate)
        print(pooled.recipe, pooled.ticket.density)
        lp.save(pooled.ticket, "stronger.safetensors")
        by_labels = lp.pool(model, tickets, 5, recalibrate=recalibrate, samples=lambda: batches, labels=labels)
        without_labels = lp.pool(model, tickets, 5, recalibrate=recalibrate, samples=lambda: batches)
        with_nothing_held_out = lp.pool(model, tickets, 5, recalibrate=recalibrate, method="sparser-soup")
        ```
    """
    is_ambiguous = method is None and score is not None and samples is not None
    if method is None:
        of_samples = WITHOUT_LABELS if labels is None else DEFAULT
        method = of_samples if score is None and samples is not None else BY_SCORE
    chosen, coefficients = find(method), checked_coefficients(coefficients)
    check_at_least_one("candidates", candidates)
    check_at_least_one("max_evaluations", max_evaluations)
    check_rules(scope, mask)
    check_functions({"score": score, "recalibrate": recalibrate, "final_recalibrate": final_recalibrate})
    check_functions({"loss": loss, "samples": samples})
    by_level, target = checked_tickets(model, tickets, target, allow_other_run), operator.index(target)
    is_scored = score is not None or chosen.compares_predictions
    score = checked_score(score, chosen)
    if loss is not None and "loss" in chosen.needs and not allow_same_samples:
        score, loss = warn_of_overlap(model, score, loss)
    task = PoolingTask(
        evaluator=Evaluator(model, score, recalibrate, max_evaluations),
        target=by_level[target],
        candidates=neighbours(list(by_level.values()), target)[:candidates],
        coefficients=coefficients,
        scope=scope,
        mask=mask,
        loss=loss,
        base=checked_base(model, base),
        samples=checked_samples(samples),
        labels=labels,
        seed=seed,
        final_recalibrate=final_recalibrate,
    )
    if is_ambiguous:
        warnings.warn(UNUSED_SAMPLES, stacklevel=2)
    warn_of_old_statistics(model, recalibrate)
    with restored_on_failure(model):
        pooled = chosen.run(task)
    load_into(model, pooled.ticket.weights)
    if not is_scored:
        pooled = replace(pooled, score=math.nan, target_score=math.nan)
    return replace(pooled, ticket=replace(pooled.ticket, origin=_origin(pooled, chosen, task)))


def _origin(pooled: Pooled, method: Method, task: PoolingTask) -> dict[str, Any]:
    """What a pooled ticket says of itself: how it was made (`Recipe.of`), and as its target does, how it is used."""
    of_target = task.target.origin
    offered = {ticket.level: ticket for ticket in (task.target, *task.candidates)}
    used = sorted({task.target.level, *(level for level, _ in pooled.recipe)})
    return {
        **{key: of_target[key] for key in INHERITED if key in of_target},
        "method": method.name,
        "scope": task.scope,
        "mask": task.mask,
        "recipe": [list(step) for step in pooled.recipe],
        "mixed": {str(level): offered[level].digest for level in used if level in offered},
        "settings": dict(pooled.settings),
    }


def checked_score(score: Score | None, method: Method) -> Score:
    """The score; raises UserError where there is none and the method needs one."""
    if score is not None:
        return score
    if method.chooses and not method.compares_predictions:
        raise UserError(
            f"{method.name} needs a score: give one; or, of classifiers, samples alone, without a method; or "
            f"method={NOTHING_HELD_OUT!r}, which chooses nothing"
        )
    return lambda model: 0.0  # it decides nothing
