"""How steps are taken. Recording is stood in for by a function that repeats the work; real graphs are in tests/gpu."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lottery_pools.config.schema import Training
from lottery_pools.errors import Notice
from lottery_pools.tickets import optimisation, training
from lottery_pools.tickets.optimisation import prepare
from lottery_pools.tickets.recording import RecordingError
from lottery_pools.tickets.steps import RecordedSteps
from lottery_pools.tickets.ticket import snapshot
from lottery_pools.tickets.training import train
from tests.test_training import DATA, PLAIN, bits, dropout_network, half, network, run


class Recorder:
    """Stands in for CUDA graphs: a recording is the function itself, and is counted."""

    def __init__(self) -> None:
        self.recordings = self.repetitions = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recordings += 1

        def repeat() -> None:
            self.repetitions += 1
            work()

        return repeat


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Makes every training run on the CPU record its steps."""
    recorder = Recorder()
    plain = training._steps

    def recorded(run: training.TrainingRun, sparse: optimisation.SparseNetwork) -> RecordedSteps:
        train_batch = plain(run, sparse)._train_batch  # type: ignore[attr-defined]
        return RecordedSteps(train_batch, sparse.model, len(run.dataset.train), recorder)

    monkeypatch.setattr(training, "_steps", recorded)
    return recorder


# From step 4, the small last batch comes three times only: too few to be recorded.
@pytest.mark.parametrize(("start", "recordings", "repetitions"), [(0, 2, 6), (4, 1, 2)])
@pytest.mark.parametrize("settings", [PLAIN, replace(PLAIN, keep="ema"), replace(PLAIN, nesterov=True, clip_norm=0.5)])
def test_recorded_steps_give_the_bits_of_plain_ones(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    settings: Training,
    start: int,
    recordings: int,
    repetitions: int,
) -> None:
    # The buffer of learning rates is float32, as fused optimizers want it; SGD on the CPU rounds rates just so.
    recorded = train(network(), half(network()), run(settings, start=start))
    assert (recorder.recordings, recorder.repetitions) == (recordings, repetitions)
    monkeypatch.undo()
    plain = train(network(), half(network()), run(settings, start=start))
    assert bits(recorded.weights) == bits(plain.weights)
    assert recorded.images == plain.images


class Counting(nn.Module):
    """A network that acts by a number that it counts in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(192, 3)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.layer(images.flatten(1))
        return logits if self.calls < 5 else -logits


class Drawing(Counting):
    """A network that drops its input by a number drawn on the host."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        return logits if float(torch.rand(())) < 0.5 else -logits


@pytest.mark.parametrize(
    ("model", "obstacle"),
    [(Counting, "changes its attribute calls"), (Drawing, "draws random numbers on the host")],
)
def test_a_network_that_python_takes_part_in_is_not_recorded(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, model: type[Counting], obstacle: str
) -> None:
    torch.manual_seed(0)
    start = model()
    weights = snapshot(start)
    with pytest.warns(Notice, match=f"^training steps are launched one by one, .* since the network {obstacle}: "):
        recorded = train(start, {}, run(PLAIN))
    assert recorder.recordings == 0
    monkeypatch.undo()
    twin = model()
    twin.load_state_dict(weights)
    assert bits(train(twin, {}, run(PLAIN)).weights) == bits(recorded.weights)


def test_a_step_that_cannot_be_recorded_is_taken_plainly(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(work: Callable[[], None]) -> Callable[[], None]:
        raise RecordingError("cannot be recorded (operation not permitted)")

    monkeypatch.setattr(Recorder, "__call__", lambda self, work: refuse(work))
    with pytest.warns(Notice, match=r"the network cannot be recorded \(operation not permitted\): "):
        recorded = train(network(), {}, run(PLAIN))
    monkeypatch.undo()
    assert bits(recorded.weights) == bits(train(network(), {}, run(PLAIN)).weights)


class OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Fails on an operation that moves values between devices."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        assert len({tensor.device.type for tensor in tensors}) <= 1, f"{func} moves values between devices"
        return result


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("make", [network, dropout_network])
def test_no_step_reads_from_the_device_or_copies_to_it(
    make: Callable[[], nn.Module], optimizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The device `meta` stands in for a GPU: it holds no values, so that whatever reads one fails.
    monkeypatch.setattr(
        optimisation, "precision", lambda settings, device: contextlib.nullcontext()
    )  # no autocast there
    settings = replace(PLAIN, optimizer=optimizer, clip_norm=1.0, label_smoothing=0.1)
    model = make()
    mask, whole = half(model), run(settings, dataset=DATA.to("meta"))
    steps = training._steps(whole, prepare(model.to("meta"), mask, settings))
    steps.begin(whole.batches(0))
    with OneDevice():  # type: ignore[no-untyped-call]
        for place in range(3):
            steps.take(place)
    assert steps.losses().shape == (3,)
    with pytest.raises(NotImplementedError), OneDevice():  # type: ignore[no-untyped-call]
        torch.ones(3, device="meta").nonzero()
    with pytest.raises((AssertionError, NotImplementedError)), OneDevice():  # type: ignore[no-untyped-call]
        torch.ones(3, device="meta").cpu()
    with pytest.raises(AssertionError, match="moves values between devices"), OneDevice():  # type: ignore[no-untyped-call]
        torch.ones(3).to("meta")
