"""Settings: validated when built."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lottery_pools.config.schema import Config, Data, Evaluation, Model, Pooling, Pruning, Training
from lottery_pools.errors import UserError


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Pooling(coefficients=(0.5, 1.0)), "α = 1.0"),
        (lambda: Pooling(coefficients=(0.0,)), "α = 0.0"),
        (lambda: Pooling(coefficients=()), "empty"),
        (lambda: Pooling(candidates=0), "pooling.candidates is 0"),
        (lambda: Pooling(recalibration=-1), "pooling.recalibration is -1"),
        (lambda: Pruning(rate=1.0), "pruning.rate is 1.0"),
        (lambda: Pruning(levels=-1), "pruning.levels is -1"),
        (lambda: Pruning(densities=(0.5, 0.6)), "0.6 after 0.5"),
        (lambda: Pruning(densities=(1.2,)), "1.2 after 1"),
        (lambda: Pruning(densities=(0.5, 0.0)), "0.0 after 0.5"),
        (lambda: Pruning(rewind=-1), "pruning.rewind is -1"),
        (lambda: Data(validation=0), "data.validation is 0"),
        (lambda: Data(validation=math.inf), "data.validation is inf: give a whole number"),
        (lambda: Data(validation=math.nan), "data.validation is nan"),
        (lambda: Data(epoch_share=1.0), "data.epoch_share is 1.0"),
        (lambda: Data(test_part="final"), "data.test_part is final, and mnist1d has no fixed test samples"),
        (lambda: Data("cifar10", draw="per-seed", carve="last"), "data.draw is per-seed, and data.carve = last"),
        (
            lambda: Config(data=Data("cifar10", test_part="look"), evaluation=Evaluation(corrupted_from="CIFAR-10-C")),
            "evaluation.corrupted_from corrupts all test images",
        ),
        (lambda: Data(train=0), "data.train is 0"),
        (lambda: Data(crop=-1), "data.crop is -1"),
        (lambda: Training(epochs=0), "training.epochs is 0"),
        (lambda: Training(lr=0.0), "training.lr is 0.0"),
        (lambda: Training(warmup=200.0), "training.warmup is 200.0"),
        (lambda: Training(label_smoothing=1.0), "training.label_smoothing is 1.0"),
        (lambda: Training(clip_norm=0.0), "training.clip_norm is 0.0"),
        (lambda: Training(optimizer="adamw", nesterov=True), "nesterov"),
        (lambda: Config(seeds=()), "seeds is empty"),
        (lambda: Config(seeds=(1, 1)), "seeds has 1 twice"),
        (lambda: Evaluation(severities=(3, 1, 3)), "evaluation.severities has 3 twice"),
        (lambda: Evaluation(corruptions=("fog", "fog")), "evaluation.corruptions has fog twice"),
        (lambda: Evaluation(trained_baselines=("sms", "sms")), "evaluation.trained_baselines has sms twice"),
        (lambda: Pooling(methods=("swa", "swa")), "pooling.methods has swa twice"),
        (lambda: Pooling(targets=(1, 1)), "pooling.targets has 1 twice"),
        (lambda: Pooling(coefficients=(0.5, 0.5)), "pooling.coefficients has 0.5 twice"),
        (lambda: Training(momentum=-0.5), "training.momentum is -0.5"),
        (lambda: Training(weight_decay=-1.0), "training.weight_decay is -1.0"),
        (lambda: Training(gamma=-0.1), "training.gamma is -0.1"),
        (lambda: Config(training=Training(clip_norm=math.inf)), "training.clip_norm is inf: give a finite"),
        (lambda: Config(training=Training(milestones=(1.0, math.nan))), "training.milestones is nan"),
        (lambda: Config(model=Model(arguments={"scale": math.inf})), "model.arguments is inf"),
        (lambda: Config(evaluation=Evaluation(corrupted_from="CIFAR-10-C")), "corrupted_from is for images"),
        (lambda: Config(pruning=Pruning(rewind=182)), "pruning.rewind is epoch 182"),
        (lambda: Config(pooling=Pooling(targets=(19,))), "levels 0 to 18"),
        (lambda: Data(task="regression"), "data.task is regression, mnist1d has one label a sample"),
        (lambda: Training(class_weights=(1.0, 0.0)), "training.class_weights has 0.0"),
        (lambda: Training(loss="m:f", class_weights=(1.0,)), "training.loss is your own"),
        (lambda: Training(loss="m:f", label_smoothing=0.1), "training.loss is your own"),
        (
            lambda: Config(data=Data("x", task="regression"), training=Training(label_smoothing=0.1)),
            "training.label_smoothing is for labels",
        ),
        (
            lambda: Config(data=Data("x", task="regression"), evaluation=Evaluation(corruptions=("fog",))),
            "evaluation.corruptions are reported as accuracies",
        ),
        (
            lambda: Config(data=Data("x"), evaluation=Evaluation(corruptions=("fog",), metric="m:f")),
            "evaluation.corruptions are reported as accuracies",
        ),
    ],
)
def test_bad_settings_are_refused_by_name(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"size": None}, {"crop": 4}, {"name": "mnist1d"}])
def test_resized_crops_are_of_images_of_a_given_size(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"data.resized_crop is for images, needs data.size, and replaces data.crop"):
        Data(**{"name": "somewhere", "size": 64, "resized_crop": True, **wrong})


def test_schedule_is_rate_or_the_given_densities() -> None:
    assert Pruning(rate=0.2, levels=2).schedule() == pytest.approx((1.0, 0.8, 0.64))
    assert Pruning(densities=(0.5, 0.1)).schedule() == (1.0, 0.5, 0.1)
