from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lottery_pools.config.schema import Training
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.errors import UserError
from lottery_pools.models import registry
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import masks, training
from lottery_pools.tickets.forward import accuracy_of, predict
from lottery_pools.tickets.ticket import snapshot
from lottery_pools.tickets.training import Epoch, Trained, TrainingRun, train

PLAIN = Training(epochs=4, batch=16, lr=0.05, milestones=(2, 3), weight_decay=1e-3, keep="last")
SEED, LEVEL, PER_EPOCH = 5, 2, 3


def split(n: int, name: str) -> Split:
    draws = generator(0, "tiny", name)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 200, (n, 3, 8, 8), dtype=torch.uint8, generator=draws)
    return Split(images + 25 * labels.to(torch.uint8)[:, None, None, None], labels)


VALIDATION = split(24, "validation")
DATA = Dataset(
    train=split(40, "train"),  # batches of 16, 16 and 8
    epochs=VALIDATION,
    validation=VALIDATION,
    test=split(24, "test"),
    classes=("a", "b", "c"),
    mean=torch.full((3,), 120.0),
    std=torch.full((3,), 60.0),
    crop=1,
    flip=True,
)


def network() -> nn.Module:
    return registry.build("resnet20", {"width": 4, "blocks": 1}, 3, (3, 8, 8), seed=0)


def dropout_network() -> nn.Module:
    layers = (nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())
    model = nn.Sequential(*layers, nn.Linear(144, 3))
    draws = generator(0, "weights")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=draws) - 0.5)
    return model


def run(settings: Training, **changes: Any) -> TrainingRun:
    """What all training runs here are, with some changes."""
    return replace(TrainingRun(settings, DATA, SEED, LEVEL), **changes)


def half(model: nn.Module) -> dict[str, Tensor]:
    """Half of the convolutional weights, drawn at random."""
    mask = masks.dense(model.state_dict(), registry.prunable(model, "convolutions"))
    return masks.prune(masks.random_scores(mask, generator(0, "half")), mask, masks.count(mask)[0] // 2)


def bits(weights: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in weights.items()}


def plain_loop(model: nn.Module, settings: Training, start: int, stop: int) -> dict[str, Tensor]:
    """What anyone would write, on the batches of our named streams."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9, weight_decay=1e-3, nesterov=settings.nesterov)
    model.train()
    for step in range(start, stop):
        epoch, place = divmod(step, PER_EPOCH)
        order = torch.randperm(40, generator=generator(SEED, "order", LEVEL, epoch))
        chosen = order[16 * place : 16 * (place + 1)]
        images = DATA.augment(
            DATA.train.images[chosen], DATA.draws(len(chosen), generator(SEED, "augment", LEVEL, step))
        )
        images = ((images - DATA.mean[0]) / DATA.std[0]).contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(model(images), DATA.train.labels[chosen], label_smoothing=settings.label_smoothing)
        optimizer.param_groups[0]["lr"] = 0.05 * 0.1 ** ((epoch >= 2) + (epoch >= 3))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
    return snapshot(model)


@pytest.mark.parametrize("start", [0, 3, 4])
@pytest.mark.parametrize("settings", [PLAIN, replace(PLAIN, nesterov=True, label_smoothing=0.1, clip_norm=0.5)])
def test_equals_a_plain_loop_to_the_bit_from_any_step(settings: Training, start: int) -> None:
    model = network()
    trained = train(model, {}, run(settings, start=start))
    assert bits(trained.weights) == bits(plain_loop(network(), settings, start, 12))
    assert bits(snapshot(model)) == bits(trained.weights)
    assert trained.images == {0: 160, 3: 120, 4: 104}[start]
    assert (trained.epoch, trained.accuracy) == (4, None)


def test_stops_within_an_epoch_and_holds_a_fixed_rate() -> None:
    assert bits(train(network(), {}, run(PLAIN, stop=4)).weights) == bits(plain_loop(network(), PLAIN, 0, 4))
    model = network()
    before = snapshot(model)
    trained = train(model, {}, run(PLAIN, stop=2, fixed_rate=0.0))
    assert trained.images == 32
    for name, _ in model.named_parameters():
        assert torch.equal(trained.weights[name], before[name])


def test_nothing_to_train() -> None:
    with pytest.raises(UserError, match=r"^nothing to train at level 2: it would start at step 12 and stop at 12$"):
        train(network(), {}, run(PLAIN, start=12))


@pytest.mark.parametrize("step", [0, 4])
def test_at_step_acts_once_before_that_step(step: int) -> None:
    model, seen = network(), []
    plain = plain_loop(network(), PLAIN, 0, step)
    trained = train(model, {}, run(PLAIN, at_step=(step, lambda: seen.append(snapshot(model)))))
    assert [bits(weights) for weights in seen] == [bits(plain)]
    assert bits(trained.weights) == bits(plain_loop(network(), PLAIN, 0, 12))


def test_a_last_batch_of_a_single_sample_is_left_out() -> None:
    data = replace(DATA, train=DATA.train.take(torch.arange(33)))
    assert train(network(), {}, run(PLAIN, dataset=data)).images == 4 * 32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_pruned_weights_stay_zero_and_the_others_move(optimizer: Any, precision: Any) -> None:
    settings = replace(
        PLAIN, optimizer=optimizer, precision=precision, weight_decay=0.1, clip_norm=1.0, label_smoothing=0.1
    )
    model = network()
    mask, before = half(model), snapshot(model)
    epochs: list[int] = []

    def check(epoch: Epoch) -> None:
        epochs.append(epoch.epoch)
        for name, m in mask.items():
            weight = model.state_dict()[name]
            assert not weight[~m].any()
            assert not weight[~m].signbit().any()
            assert (weight != before[name])[m].float().mean() > 0.9
            assert weight.dtype == torch.float32

    train(model, mask, run(settings), check)
    assert epochs == [1, 2, 3, 4]


class Awkward(nn.Module):
    """Gradients that are not finite at zero, and a prunable tensor that no output depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.linspace(0.01, 0.02, 576).reshape(192, 3))
        self.unused = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w.abs().sqrt()


def test_a_gradient_that_is_not_finite_does_not_reach_a_pruned_weight() -> None:
    model = Awkward()
    mask = {"w": torch.rand(192, 3, generator=generator(0)) < 0.5, "unused": torch.tensor([True, False, True, True])}
    settings = replace(PLAIN, lr=1e-6, weight_decay=0.0)
    weights = train(model, mask, run(settings)).weights
    assert weights["w"].isfinite().all()
    assert not weights["w"][~mask["w"]].any()
    assert weights["unused"].tolist() == [1.0, 0.0, 1.0, 1.0]


def test_the_clipped_norm_is_that_of_the_surviving_gradient() -> None:
    model = network()
    mask = half(model)
    settings = replace(PLAIN, lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=0.01)
    before = masks.apply(snapshot(model), mask)
    after = train(model, mask, run(settings, stop=1)).weights
    moved = torch.cat([(after[name] - before[name]).flatten() for name, _ in model.named_parameters()])
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-3)


class StopHereError(Exception):
    pass


def stop_at(epoch: int) -> Callable[[Epoch], None]:
    def on_epoch(done: Epoch) -> None:
        if done.epoch == epoch:
            raise StopHereError

    return on_epoch


@pytest.mark.parametrize("build", [network, dropout_network])
@pytest.mark.parametrize(
    ("keep", "optimizer", "momentum"),
    [
        ("best", "sgd", 0.9),
        ("best", "adamw", 0.9),
        ("last", "sgd", 0.0),
        ("last", "adamw", 0.9),
        ("swa", "sgd", 0.9),
        ("ema", "adamw", 0.9),
    ],
)
def test_interrupted_after_any_epoch_it_goes_on_to_the_same_bits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    optimizer: Any,
    momentum: float,
    keep: Any,
    build: Callable[[], nn.Module],
) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    settings = replace(
        PLAIN, optimizer=optimizer, momentum=momentum, keep=keep, average_from=0.5, schedule="cosine", clip_norm=1.0
    )
    mask = half(build())

    def attempt(model: nn.Module, checkpoint: Path | None, on_epoch: Callable[[Epoch], None]) -> Trained:
        return train(model, mask, run(settings, start=1, checkpoint=checkpoint), on_epoch)

    whole: list[Epoch] = []
    expected = attempt(build(), None, whole.append)
    for epoch in range(1, 5):
        checkpoint = tmp_path / f"{epoch}.safetensors"
        with pytest.raises(StopHereError):
            attempt(build(), checkpoint, stop_at(epoch))
        assert checkpoint.exists() == (epoch > 1)
        rest: list[Epoch] = []
        torch.manual_seed(epoch)  # of no account
        model = build()
        trained = attempt(model, checkpoint, rest.append)
        assert rest == whole[epoch - 1 :]
        assert bits(trained.weights) == bits(snapshot(model)) == bits(expected.weights)
        assert (trained.epoch, trained.accuracy, trained.images) == (expected.epoch, expected.accuracy, 160 - 16)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"level": 0}, {"start": 2}, {"settings": replace(PLAIN, lr=0.3)}])
def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    stopped = run(PLAIN, checkpoint=tmp_path / "level_01.partial.safetensors")
    with pytest.raises(StopHereError):
        train(network(), {}, stopped, stop_at(2))
    with pytest.raises(UserError, match=r"level_01\.partial\.safetensors is of a training run with other settings"):
        train(network(), {}, replace(stopped, **changed))


def test_a_short_run_writes_no_checkpoint(tmp_path: Path) -> None:
    train(network(), {}, run(PLAIN, checkpoint=tmp_path / "c.safetensors"))
    assert not list(tmp_path.iterdir())


def test_the_callers_random_numbers_are_left_alone() -> None:
    finished, stopped = dropout_network(), dropout_network()
    state = torch.get_rng_state()
    train(finished, {}, run(PLAIN))
    with pytest.raises(StopHereError):
        train(stopped, {}, run(PLAIN), stop_at(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_every_level_and_seed_has_batches_of_its_own() -> None:
    first = bits(train(network(), {}, run(PLAIN)).weights)
    assert first != bits(train(network(), {}, run(PLAIN, seed=SEED + 1)).weights)
    assert first != bits(train(network(), {}, run(PLAIN, level=LEVEL + 1)).weights)


@pytest.mark.parametrize("broken", [0, 4, 5, 11])
def test_a_loss_that_is_not_finite_is_named_by_level_epoch_and_step(broken: int) -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.step = network(), 0

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.inside(x)
            if self.training:
                out, self.step = out * (math.nan if self.step >= broken else 1.0), self.step + 1
            return out

    with pytest.raises(UserError) as error:
        train(Breaks(), {}, run(PLAIN))
    assert str(error.value) == (
        f"the training loss is nan at level 2, epoch {broken // 3}, step {broken}: lower training.lr, warm up, "
        "or set training.clip_norm; finished levels are kept"
    )


@pytest.mark.parametrize(
    ("accuracies", "best"), [((0.5, 0.7, 0.7, 0.6), 2), ((0.0, 0.0, 0.0, 0.0), 1), ((0.1, 0.2, 0.3, 0.4), 4)]
)
def test_the_ticket_is_the_first_of_the_best_epochs(
    monkeypatch: pytest.MonkeyPatch, accuracies: tuple[float, ...], best: int
) -> None:
    answers = iter(accuracies)
    monkeypatch.setattr(training, "accuracy_of", lambda *_: next(answers))
    model = network()
    after: list[dict[str, Tensor]] = []
    reported: list[Epoch] = []

    def on_epoch(epoch: Epoch) -> None:
        after.append(snapshot(model))
        reported.append(epoch)

    trained = train(model, {}, run(replace(PLAIN, keep="best")), on_epoch)
    assert (trained.epoch, trained.accuracy, trained.images) == (best, accuracies[best - 1], 160)
    assert bits(trained.weights) == bits(after[best - 1]) == bits(snapshot(model))
    assert [(epoch.epoch, epoch.accuracy) for epoch in reported] == list(enumerate(accuracies, 1))


def test_epochs_are_chosen_on_the_samples_for_it() -> None:
    reported: list[Epoch] = []
    data = replace(DATA, epochs=split(9, "epochs"))
    settings = replace(PLAIN, keep="best")
    model = network()
    trained = train(model, {}, run(settings, dataset=data), reported.append)
    assert trained.accuracy == accuracy_of(model, data, data.epochs, settings)
    assert trained.accuracy == max(epoch.accuracy or 0.0 for epoch in reported)


def test_it_learns() -> None:
    losses: list[float] = []
    settings = replace(PLAIN, epochs=15, schedule="constant")
    train(network(), {}, run(settings), lambda epoch: losses.append(epoch.loss))
    assert losses[-1] < 0.7 * losses[0]


def test_bfloat16_differs_and_leaves_float32_weights() -> None:
    settings = replace(PLAIN, precision="bfloat16")
    low = train(network(), {}, run(settings)).weights
    full = train(network(), {}, run(PLAIN)).weights
    for name, tensor in full.items():
        assert low[name].dtype == tensor.dtype
    assert 0 < float((low["conv1.weight"] - full["conv1.weight"]).abs().max()) < 0.1
    (logits,) = predict(network(), DATA, DATA.test, settings)
    assert logits.dtype == torch.float32


def learnt(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize(
    ("average_from", "start", "stop", "steps"),
    [
        (0.75, 0, 12, (9, 12)),
        (0.0, 0, 12, (3, 6, 9, 12)),
        (0.6, 0, 12, (9, 12)),  # rounded up
        (0.25, 4, 12, (6, 9, 12)),  # epoch 1 was before the start
        (0.5, 0, 10, (6, 9, 10)),  # the last epoch is one, though it is short
        (0.99, 0, 12, (12,)),
    ],
)
def test_swa_is_the_mean_of_the_weights_after_the_last_epochs(
    average_from: float, start: int, stop: int, steps: tuple[int, ...]
) -> None:
    settings = replace(PLAIN, keep="swa", average_from=average_from)
    model = network()
    trained = train(model, {}, run(settings, start=start, stop=stop))
    points = [plain_loop(network(), PLAIN, start, step) for step in steps]
    for name in learnt(model):
        mean = torch.stack([point[name].double() for point in points]).mean(0)
        torch.testing.assert_close(trained.weights[name].double(), mean, rtol=1e-6, atol=1e-7)
    assert (trained.epoch, trained.accuracy) == (4, None)
    assert trained.images == train(network(), {}, run(PLAIN, start=start, stop=stop)).images
    assert bits(snapshot(model)) == bits(trained.weights)


@pytest.mark.parametrize(("decay", "start"), [(0.5, 0), (0.999, 4)])
def test_ema_is_the_bias_corrected_moving_average_of_the_steps(decay: float, start: int) -> None:
    model = network()
    trained = train(model, {}, run(replace(PLAIN, keep="ema", ema_decay=decay), start=start))
    steps = range(start + 1, 13)
    for name in learnt(model):
        past = torch.zeros_like(trained.weights[name], dtype=torch.float64)
        for step in steps:
            past = decay * past + (1 - decay) * plain(start, step)[name].double()
        torch.testing.assert_close(
            trained.weights[name].double(), past / (1 - decay ** len(steps)), rtol=1e-5, atol=1e-7
        )


@cache
def plain(start: int, stop: int) -> dict[str, Tensor]:
    return plain_loop(network(), PLAIN, start, stop)


@pytest.mark.parametrize("keep", ["swa", "ema"])
def test_averaged_weights_get_batchnorm_statistics_of_one_augmented_epoch(keep: Any) -> None:
    weights = train(network(), {}, run(replace(PLAIN, keep=keep))).weights
    order = torch.randperm(40, generator=generator(SEED, "refit", LEVEL))
    draws = generator(SEED, "refit", "augment", LEVEL)
    augmented = (
        DATA.augment(DATA.train.images[batch], DATA.draws(len(batch), draws)) for batch in torch.split(order, 16)
    )
    seen = [F.conv2d((images - 120.0) / 60.0, weights["conv1.weight"], padding=1) for images in augmented]
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in seen]).mean(0)
    variance = torch.stack([batch.transpose(0, 1).flatten(1).var(1) for batch in seen]).mean(0)
    torch.testing.assert_close(weights["bn1.running_mean"], mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weights["bn1.running_var"], variance, rtol=1e-5, atol=1e-5)
    assert weights["bn1.num_batches_tracked"] == 3


@pytest.mark.parametrize("keep", ["swa", "ema"])
def test_pruned_weights_of_a_mean_are_zero(keep: Any) -> None:
    model = network()
    mask = half(model)
    weights = train(model, mask, run(replace(PLAIN, keep=keep, average_from=0.0))).weights
    for name, m in mask.items():
        assert not weights[name][~m].any()
        assert not weights[name][~m].signbit().any()
        assert weights[name][m].all()


def test_a_mean_without_batchnorm() -> None:
    mask = {"w": torch.ones(192, 3, dtype=torch.bool)}
    settings = replace(PLAIN, lr=1e-6, keep="swa")
    weights = train(Awkward(), mask, run(settings)).weights
    assert set(weights) == {"w", "unused"}
    assert weights["w"].isfinite().all()


def test_compile_trains_the_same_network_through_torch_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []

    def stand_in(model: nn.Module, dynamic: bool) -> nn.Module:
        compiled.append(model)
        return model

    monkeypatch.setattr(torch, "compile", stand_in)
    model, mask = network(), half(network())
    plain = train(network(), mask, run(PLAIN))
    assert compiled == []
    through_compile = train(model, mask, run(replace(PLAIN, compile=True)))
    assert compiled == [model]
    assert all(torch.equal(through_compile.weights[name], weight) for name, weight in plain.weights.items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_compile_for_real_keeps_pruned_weights_at_zero() -> None:
    mask = half(network())
    trained = train(network(), mask, run(replace(PLAIN, epochs=1, compile=True)))
    for name, kept in mask.items():
        assert not trained.weights[name][~kept].any()
        assert trained.weights[name][kept].all()
