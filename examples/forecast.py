"""Pool tickets of a network, data and metric of your own: a forecaster of noisy waves, scored by its error.

Nothing here is an image classifier, and nothing but `lp.Ticket`, `lp.pool` and two functions of ours is used.
Run: python examples/forecast.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lottery_pools as lp

LEVELS, RATE, WINDOW = 6, 0.3, 24


def waves(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n windows (n, WINDOW) of two superposed sines in noise, and the noiseless next value (n, 1)."""
    draws = torch.Generator().manual_seed(seed)
    phase = torch.rand(n, 2, generator=draws) * 6.28
    speed = 0.2 + 0.6 * torch.rand(n, 2, generator=draws)
    clean = (speed[:, :, None] * torch.arange(WINDOW + 1) + phase[:, :, None]).sin().sum(1)
    return clean[:, :WINDOW] + 0.3 * torch.randn(n, WINDOW, generator=draws), clean[:, WINDOW:]


def train(model: nn.Module, mask: dict[str, Tensor], data: tuple[Tensor, Tensor], seed: int) -> None:
    """Forty epochs of Adam on the mean squared error, pruned weights held at zero."""
    inputs, targets = data
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    draws = torch.Generator().manual_seed(seed)
    for _ in range(40):
        for batch in torch.split(torch.randperm(len(inputs), generator=draws), 50):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs[batch]), targets[batch])
            torch.autograd.backward(loss)
            for name, kept in mask.items():
                parameters[name].grad.mul_(kept)  # type: ignore[union-attr]
            optimizer.step()


def prune(weights: dict[str, Tensor], mask: dict[str, Tensor]) -> dict[str, Tensor]:
    """Your own pruning: here each layer loses the smallest 30 % of its surviving weights."""
    pruned = {}
    for name, kept in mask.items():
        surviving = weights[name].abs()[kept]
        threshold = surviving.kthvalue(max(1, int(RATE * len(surviving)))).values
        pruned[name] = kept & (weights[name].abs() > threshold)
    return pruned


def main() -> None:
    """Six tickets of one forecaster; the second is strengthened; its error before and after on fresh waves."""
    torch.manual_seed(0)
    training, validation, test = waves(600, 1), waves(2000, 2), waves(5000, 3)
    model = nn.Sequential(nn.Linear(WINDOW, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 1))
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    mask = {"0.weight": torch.ones(128, WINDOW, dtype=torch.bool), "3.weight": torch.ones(1, 128, dtype=torch.bool)}
    tickets = []
    for level in range(LEVELS):
        rewound = {name: tensor * mask[name] if name in mask else tensor for name, tensor in start.items()}
        model.load_state_dict(rewound)
        model.train()
        train(model, mask, training, seed=level)
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        tickets.append(lp.Ticket(weights, mask, level=level))
        mask = prune(weights, mask)

    def score(model: nn.Module) -> Tensor:
        """Higher is better, one number a sample: minus the squared error on held-out waves."""
        model.eval()
        errors: Tensor = (model(validation[0]) - validation[1]).square()[:, 0]
        return -errors

    def recalibrate(model: nn.Module) -> None:
        lp.recalibrate(model, torch.split(training[0], 200))

    def error(ticket: lp.Ticket) -> float:
        model.load_state_dict(dict(ticket.weights))
        recalibrate(model)
        model.eval()
        with torch.no_grad():
            return float((model(test[0]) - test[1]).square().mean().sqrt())

    target = 1
    pooled = lp.pool(model, tickets, target=target, score=score, recalibrate=recalibrate)
    print(f"density {pooled.ticket.density:.3f}, as the ticket's {tickets[target].density:.3f}")
    print(f"recipe {list(pooled.recipe)}")
    print(f"test error: ticket {error(tickets[target]):.4f}, pooled {error(pooled.ticket):.4f}")


if __name__ == "__main__":
    main()
