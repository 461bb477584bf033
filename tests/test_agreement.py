"""Agreement with all tickets together: the score by hand, and the soup that it trims."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling.agreement import SameSamples, ensemble_probabilities, share_of_labels
from lottery_pools.pooling.algorithm2 import neighbours
from lottery_pools.pooling.likelihood import log_likelihood
from lottery_pools.pooling.method import Method
from lottery_pools.pooling.methods import METHODS, fading_soup
from lottery_pools.pooling.methods.consensus_soup import JOIN_MARGIN
from lottery_pools.pooling.methods.trimmed_soup import trimmed_soup
from lottery_pools.pooling.pool import pool
from lottery_pools.pooling.result import Pooled
from lottery_pools.tickets.ticket import Ticket
from tests.test_algorithm2 import Net, make_recalibrate, make_samples, make_tickets, tensors_equal

TICKETS = make_tickets(0, range(4))
INPUTS = make_samples(5)[0]


def samples() -> list[Tensor]:
    return [INPUTS[:20], INPUTS[20:]]


def predicted(model: nn.Module) -> Tensor:
    """The logits of all samples."""
    with torch.no_grad():
        return torch.cat([model.eval()(batch).float() for batch in samples()])


def logits_of(ticket: Ticket) -> Tensor:
    network = Net()
    network.load_state_dict(dict(ticket.weights))
    return predicted(network)


def test_the_ensemble_is_the_mean_of_probabilities() -> None:
    model = Net().train()
    probabilities = ensemble_probabilities(model, TICKETS, samples)
    assert torch.allclose(probabilities, torch.stack([logits_of(ticket).softmax(1) for ticket in TICKETS]).mean(0))
    assert model.training


@pytest.mark.parametrize("target", range(4))
@pytest.mark.parametrize(
    ("name", "by_score"),
    [
        ("consensus-soup", replace(METHODS["trimmed-soup"], run=partial(trimmed_soup, join_margin=JOIN_MARGIN))),
        ("interpolation-agreement", METHODS["interpolation"]),
    ],
)
def test_it_is_the_same_search_by_agreement(name: str, by_score: Method, target: int) -> None:
    recalibrate = make_recalibrate(0)
    in_order = [TICKETS[target], *neighbours(TICKETS, target)]  # sums depend on it in the last bits
    targets = ensemble_probabilities(Net(), in_order, samples)

    def score(model: nn.Module) -> Tensor:
        return log_likelihood(predicted(model), targets)

    scored = pool(Net(), TICKETS, target, score, recalibrate, method=by_score)
    agreed = pool(Net(), TICKETS, target, None, recalibrate, method=name, samples=samples)
    assert (agreed.recipe, agreed.trials) == (scored.recipe, scored.trials)
    assert tensors_equal(agreed.ticket, scored.ticket)
    assert agreed.ticket.origin["method"] == name


LABELS = torch.tensor([0, 1, 2] * len(INPUTS))[: len(INPUTS)]


@pytest.mark.parametrize("target", range(4))
def test_labels_are_a_part_of_what_to_agree_with(target: int) -> None:
    recalibrate = make_recalibrate(0)
    in_order = [TICKETS[target], *neighbours(TICKETS, target)]
    together = ensemble_probabilities(Net(), in_order, samples)
    logits = [logits_of(ticket) for ticket in in_order]
    by_labels, by_agreement = (
        torch.stack([log_likelihood(ticket, targets) for ticket in logits]) for targets in (LABELS, together)
    )
    share = share_of_labels(by_labels, by_agreement)
    assert 0 < share < 1
    targets = (1 - share) * together
    targets[torch.arange(len(LABELS)), LABELS] += share

    def score(model: nn.Module) -> Tensor:
        return log_likelihood(predicted(model), targets)

    by_score = replace(METHODS["fading-soup"], run=fading_soup.search, needs=())
    scored = pool(Net(), TICKETS, target, score, recalibrate, method=by_score)
    options = {"method": "balanced-soup", "samples": samples, "labels": LABELS}
    held = pool(Net(), TICKETS, target, recalibrate=recalibrate, **options)  # type: ignore[arg-type]
    assert held.recipe == scored.recipe
    assert [trial.accepted for trial in held.trials] == [trial.accepted for trial in scored.trials]
    assert held.score == pytest.approx(scored.score, abs=1e-5)
    assert tensors_equal(held.ticket, scored.ticket)


def test_the_share_of_labels_by_hand() -> None:
    """Centred, the differences are ±[1.5, 0.5]: of mean ±1 and variance 0.5. So Σb² = 2 and Σv = 2 · 0.5 / 2 = 0.5."""
    by_labels = torch.tensor([[4.0, 1.0], [1.0, 0.0]])
    by_agreement = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert share_of_labels(by_labels, by_agreement) == 0.75
    assert share_of_labels(by_labels + torch.tensor([5.0, -2.0]), by_agreement) == 0.75  # what all networks share


def test_labels_have_no_share_where_nothing_speaks_for_them() -> None:
    likelihoods = torch.tensor([[2.0, 0.0], [0.0, 0.0]])  # Σb² = 0.5 and Σv = 0.5: noise explains the difference
    assert share_of_labels(likelihoods, torch.zeros(2, 2)) == 0
    assert share_of_labels(likelihoods[:1], torch.ones(1, 2)) == 0  # one network
    assert share_of_labels(likelihoods[:, :1], torch.ones(2, 1)) == 0  # one sample
    assert share_of_labels(likelihoods, likelihoods) == 0  # no difference


@pytest.mark.parametrize(
    ("bias", "of_labels", "of_agreement"),
    [(0.0, 0.15, 8.0), (0.02, 0.3, 1.3), (0.05, 0.7, 0.6), (0.2, 1.0, 0.06), (1.0, 1.0, 0.003)],
)
def test_the_mixed_score_follows_the_better_of_the_two(bias: float, of_labels: float, of_agreement: float) -> None:
    """Nine networks, 300 samples, 200 draws: its squared error is at most such parts of those of either score."""
    draws = torch.Generator().manual_seed(1)
    errors = []
    for _ in range(200):
        truth = 0.05 * torch.randn(9, 1, generator=draws)
        by_labels = truth + 0.8 * torch.randn(9, 300, generator=draws)
        biased = truth + bias * torch.randn(9, 1, generator=draws)
        by_agreement = biased + 0.1 * torch.randn(9, 300, generator=draws)
        share = share_of_labels(by_labels, by_agreement)
        mixed = share * by_labels + (1 - share) * by_agreement
        scores = (by_labels, by_agreement, mixed)
        errors.append([float(((score - truth).mean(1) - (score - truth).mean()).square().mean()) for score in scores])
    labels, agreement, both = torch.tensor(errors).mean(0).tolist()
    assert both < of_labels * labels
    assert both < of_agreement * agreement


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "this method compares predictions with labels too: give `labels`, the class of each sample"),
        (LABELS[:-1], rf"labels are \({len(INPUTS) - 1},\) int64: give the class of each of the {len(INPUTS)} samples"),
        (LABELS[:, None], r"labels are \(\d+, 1\) int64: give the class"),
        (LABELS.float(), r"labels are \(\d+,\) float32: give the class .*, a whole number from 0 to 2"),
        (LABELS > 0, r"labels are \(\d+,\) bool: give the class"),
        (LABELS + 1, "labels go from 1 to 3: give the class of each"),
        (LABELS - 1, "labels go from -1 to 1: give the class of each"),
        ("dog", "labels are a str: give a tensor"),
        (LABELS.tolist(), "labels are a list: give a tensor"),
    ],
)
def test_labels_that_are_no_classes_of_the_samples_are_refused(labels: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pooled_with(Net(), method="balanced-soup", samples=samples, labels=labels)


def test_labels_that_tickets_rule_out_are_refused() -> None:
    class Masked(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).masked_fill(torch.tensor([True, False, False]), -torch.inf)

    impossible = int((LABELS == 0).sum())
    with pytest.raises(UserError, match=f"tickets give the labels of {impossible} samples a logit of -inf: leave"):
        pooled_with(Masked(), method="balanced-soup", samples=samples, labels=LABELS)
    possible = LABELS.clamp(min=1)
    pooled_with(Masked(), method="balanced-soup", samples=samples, labels=possible)


def test_labels_of_any_whole_kind_choose_the_same() -> None:
    def recipe(labels: Tensor) -> object:
        recalibrate = make_recalibrate(0)
        method = "balanced-soup"
        return pool(Net(), TICKETS, 1, recalibrate=recalibrate, method=method, samples=samples, labels=labels).trials

    assert recipe(LABELS.to(torch.uint8)) == recipe(LABELS.int()) == recipe(LABELS)


def test_inputs_without_labels_and_no_score_choose_by_agreement() -> None:
    recalibrate = make_recalibrate(0)
    by_name = pool(Net(), TICKETS, 1, None, recalibrate, method="fading-soup", samples=samples)
    by_default = pool(Net(), TICKETS, 1, recalibrate=recalibrate, samples=samples)
    assert by_default.recipe == by_name.recipe
    assert by_default.ticket.origin == by_name.ticket.origin
    labelled = pool(Net(), TICKETS, 1, recalibrate=recalibrate, samples=samples, labels=LABELS)
    assert labelled.ticket.origin["method"] == "balanced-soup"
    with pytest.warns(UserWarning, match="both `score` and `samples` were given: trimmed-soup chooses by the score"):
        scored = pool(Net(), TICKETS, 1, lambda model: 0.0, recalibrate, samples=samples)
    assert scored.ticket.origin["method"] == "trimmed-soup"
    with pytest.raises(UserError, match="trimmed-soup needs a score: give one; or, of classifiers, samples alone"):
        pool(Net(), TICKETS, 1, recalibrate=recalibrate)


def test_it_keeps_to_its_budget() -> None:
    pooled = pool(
        Net(),
        TICKETS,
        0,
        None,
        make_recalibrate(0),
        method="consensus-soup",
        samples=samples,
        max_evaluations=2,
    )
    assert pooled.evaluations == 2


def pooled_with(model: nn.Module, **options: object) -> None:
    pool(model, TICKETS, 0, None, make_recalibrate(0), **options)  # type: ignore[arg-type]


class Pair(Net):
    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return torch.stack([logits, logits])


class One(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :1]


def test_of_inputs_with_labels_the_inputs_are_taken() -> None:
    def pooled(given: Callable[[], object]) -> Pooled:
        return pool(Net(), TICKETS, 0, None, make_recalibrate(0), method="consensus-soup", samples=given)  # type: ignore[arg-type]

    bare, labelled = pooled(samples), pooled(lambda: [(batch, torch.zeros(len(batch))) for batch in samples()])
    assert labelled.recipe == bare.recipe
    assert tensors_equal(labelled.ticket, bare.ticket)


def shuffled(rows: Callable[[], Tensor]) -> Callable[[], list[Tensor]]:
    """Samples in the order that `rows` gives anew at each call."""
    return lambda: [INPUTS[rows()]]


def calls(*given: list[Tensor]) -> Callable[[], list[Tensor]]:
    """Samples that give these batches in turn, and the last ones at every later call."""
    left = list(given)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize("method", ["fading-soup", "consensus-soup", "interpolation-agreement"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: shuffled(lambda: torch.randperm(len(INPUTS))),
        lambda: calls(samples(), [INPUTS.flip(-1)]),  # mirrored
        lambda: calls(samples(), samples()[:1]),
        lambda: calls(samples(), [*samples(), INPUTS]),
        lambda: calls(samples(), samples(), samples(), [*samples(), INPUTS]),  # more, after values are compared
        lambda: calls(*[samples()] * 5, [*samples(), INPUTS]),  # while it searches
    ],
)
def test_samples_that_differ_from_call_to_call_are_refused(
    method: str, make: Callable[[], Callable[[], list[Tensor]]]
) -> None:
    with pytest.raises(UserError, match=r"^samples\(\) gave other inputs than at its first call"):
        pooled_with(Net(), method=method, samples=make())


class OfWords(Net):
    """Takes a mapping, as networks of language do."""

    def forward(self, x: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(x["input"])


def test_batches_that_are_mappings_are_compared_too() -> None:
    """Through `ensemble_probabilities`, since recalibration gives tensors."""
    same = ensemble_probabilities(OfWords(), TICKETS, lambda: [{"input": INPUTS, "name": "a"}])  # type: ignore[list-item]
    assert torch.equal(same, ensemble_probabilities(Net(), TICKETS, lambda: [INPUTS]))

    def shuffled_words() -> list[dict[str, Tensor]]:
        return [{"input": INPUTS[torch.randperm(len(INPUTS))]}]

    with pytest.raises(UserError, match=r"^samples\(\) gave other inputs"):
        ensemble_probabilities(OfWords(), TICKETS, shuffled_words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "batch",
    [
        torch.tensor([[torch.finfo(torch.float32).max, torch.finfo(torch.float32).min]] * 2),
        torch.tensor([[torch.inf, torch.nan]]),
        torch.zeros(0, 4),
        torch.tensor(1.0),
        torch.eye(3).to_sparse(),
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
        torch.ones(2, 2, dtype=torch.complex64),
        torch.arange(6).view(2, 3),
        torch.ones(2, 2, dtype=torch.bool),
        torch.ones(2, 2, dtype=torch.float16),
        ["a", None, {"b": (torch.ones(2), 3)}],
    ],
    ids=str,
)
def test_equal_batches_of_any_kind_are_the_same_samples(batch: object) -> None:
    given = SameSamples(lambda: [batch, {"a": 1}, INPUTS])  # type: ignore[list-item]
    assert [len(list(given())) for _ in range(3)] == [3, 3, 3]


def test_the_default_type_of_numbers_does_not_matter() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert len(list(SameSamples(samples)())) == 2
    finally:
        torch.set_default_dtype(torch.float32)


def test_samples_that_are_indexed_are_batches() -> None:
    class Indexed:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, number: int) -> Tensor:
            return samples()[number]  # IndexError ends the loop

    bare = pool(Net(), TICKETS, 0, None, make_recalibrate(0), samples=samples)
    assert pool(Net(), TICKETS, 0, None, make_recalibrate(0), samples=Indexed).recipe == bare.recipe  # type: ignore[arg-type]


def test_samples_of_which_a_ticket_predicts_nothing_are_refused() -> None:
    with_nan = INPUTS.clone()
    with_nan[3] = torch.nan
    with pytest.raises(UserError, match=rf"^the ticket of level 0 predicts NaN for 1 of {len(INPUTS)} samples: look"):
        pooled_with(Net(), samples=lambda: [with_nan])


def test_samples_that_are_no_batches_are_refused() -> None:
    shape = re.escape(str(tuple(INPUTS.shape)))
    with pytest.raises(UserError, match=rf"^samples\(\) gave one tensor {shape}, of which each row would be a batch"):
        pooled_with(Net(), samples=lambda: INPUTS)
    with pytest.raises(UserError, match=r"^samples\(\) gave a NoneType: return batches of inputs"):
        pooled_with(Net(), samples=lambda: None)


def test_mistakes_are_refused() -> None:
    with pytest.raises(UserError, match="of two classes or more"):  # one class is certain in every network
        pooled_with(One(), method="consensus-soup", samples=samples)
    of_numbers = [replace(ticket, origin={"task": "regression"}) for ticket in TICKETS]
    with pytest.raises(UserError, match=r"the tickets are of regression data: give a score"):
        pool(Net(), of_numbers, 0, None, make_recalibrate(0), samples=samples)
    with pytest.raises(UserError, match=r"compares predictions: give `samples`"):
        pooled_with(Net(), method="consensus-soup")
    with pytest.raises(UserError, match=r"samples has no batches"):
        pooled_with(Net(), method="consensus-soup", samples=list)
    with pytest.raises(UserError, match=r"its output must be logits, \(n, classes\)"):
        pooled_with(Pair(), method="consensus-soup", samples=samples)
    with pytest.raises(UserError, match="interpolation needs a score: give one; or, of classifiers, samples alone"):
        pooled_with(Net(), method="interpolation")
