"""What a method of pooling is, or was: one value that says everything about it. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Ingredients, Pooled, Settings
    from lottery_pools.pooling.task import Network, PoolingTask


@dataclass(frozen=True)
class Offer:
    """How much a method has to choose from, for one target: from this follows how many networks it evaluates."""

    sparser: int
    """Candidates that are sparser than the target."""
    denser: int
    """Candidates that are denser than the target."""
    coefficients: int
    """Coefficients α to try."""

    @property
    def candidates(self) -> int:
        """All candidates."""
        return self.sparser + self.denser


def no_passes(offer: Offer) -> int:
    """A search that does not look at `samples`."""
    return 0


def one_a_candidate(offer: Offer) -> int:
    """The target and each candidate once: networks that a search evaluates, or its passes over `samples`."""
    return 1 + offer.candidates


@dataclass(frozen=True)
class Method:
    """A method of pooling, with everything that the rest of the package knows about it.

    Its functions are named functions of a module, not lambdas: so they reach the worker processes of an experiment.

    To bring a method of your own, give it to `lottery_pools.pool`, or add it to `lottery_pools.METHODS`: then the
    experiments, the tables, the figures and replay know it too.

    Example:
        ```python
        def half(task):  # the mean of the target and its nearest neighbour, whatever it scores
            target_score, _ = task.evaluate(task.target_network)
            ingredients = [(task.target, 0.5), (task.candidates[0], 0.5)]
            score, network = task.evaluate(task.mixture(ingredients))
            return task.result(network, ingredients, score, target_score)

        lp.pool(model, tickets, 3, score, method=lp.Method("half", half, label="Half and half"))
        ```
    """

    name: str
    """The name in settings, in result rows and in file names."""
    run: Callable[[PoolingTask], Pooled]
    """The search: gets a `PoolingTask`, returns a `Pooled`."""
    label: str
    """The name for people, in tables and figures."""
    summary: str = ""
    """What the method does, in one phrase."""
    paper: str = ""
    """Link to the source."""
    rank: float = 1000.0
    """Where the method stands among the others in tables and figures: lower comes first."""

    recipe: Literal["steps", "shares"] = "shares"
    """How to read the recipe. `steps`: candidates are mixed in one after the other, and α is the weight of what was
    there before. `shares`: each coefficient is the ticket's share in one weighted sum."""
    rebuild: Callable[[PoolingTask, Ingredients, Settings], Network] | None = None
    """Makes the network of a recipe again, before BatchNorm is recalibrated. None: as `recipe` says, by Algorithm 2's
    steps or as one weighted sum that is pruned once."""

    needs: tuple[Literal["loss", "base", "samples", "labels"], ...] = ()
    """What `lottery_pools.pool` must be given: a differentiable `loss`, `base`, the weights at the rewind point,
    `samples`, batches of inputs without labels, or `labels`, the classes of these."""
    scored_by: Literal["accuracy", "log-likelihood", "agreement", "agreement and labels"] = "accuracy"
    """What an experiment compares networks by: accuracy, as the papers do, log-likelihood after temperature scaling, or
    agreement with all tickets together, with labels or without, for which the search itself sees."""
    scored_on: Literal["all", "selection"] = "all"
    """Which samples an experiment scores networks on: all validation samples, or `pooling.selection` of them. The loss
    is computed on all validation samples."""
    chooses: bool = True
    """Whether scores, or a loss on held-out samples, decide which network is returned."""
    final_recalibration: bool = False
    """Whether BatchNorm of the returned network is re-estimated once more, on as many images as for every final
    network."""
    stops_early: bool = False
    """Whether the search can stop at any time with the best network so far, as a limit on evaluations asks."""
    evaluations: Callable[[Offer], int] = one_a_candidate
    """How many networks the search evaluates, at most or about, to foresee its cost."""
    gradient_steps: int = 0
    """How many mini-batches the search differentiates the loss of, to foresee its cost."""
    passes: Callable[[Offer], int] = no_passes
    """How often the search goes over all `samples`, to foresee its cost."""
    classifies: bool = False
    """Whether networks must be classifiers with one label a sample, as class probabilities or temperatures ask."""
    differentiates_samples: bool = False
    """Whether these passes are differentiated, which makes each as costly as three."""

    colour: str = ""
    """Colour in figures; empty: one that follows from the name."""
    marker: str = "8"
    """Marker in figures, as matplotlib names it."""
    collapses: bool = False
    """Whether the method loses ten points and more at some density, so that a figure with it would show nothing
    else."""

    @property
    def compares_predictions(self) -> bool:
        """Whether the search compares the predictions of networks itself, so that it needs `samples` and no score."""
        return self.scored_by.startswith("agreement")


@dataclass(frozen=True)
class RetiredMethod:
    """A method of an earlier version that is gone: what reports need to show the rows and recipes that it left."""

    label: str
    """The name for people, in tables and figures."""
    summary: str
    """What the method did, in one phrase."""
    nearest: str
    """The method that is nearest to it."""
    recipe: Literal["steps", "shares"] = "shares"
    """How to read its recipes, as `Method.recipe`."""
    colour: str = ""
    """Colour in figures."""
    marker: str = "8"
    """Marker in figures."""
    collapses: bool = False
    """As `Method.collapses`."""
