"""Samples are brought to what a network was trained on, whether they come as arrays or as files."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lottery_pools as lp
from lottery_pools.cli import commands
from lottery_pools.config.schema import Data
from lottery_pools.data import sources
from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import generator
from tests.test_exchange_export import PREPROCESSING, made, network_of, samples


def test_preprocessing_is_that_of_the_data() -> None:
    dataset = sources.load(Data(train=50, validation=20, test=30))
    preprocessing = lp.Preprocessing.of(dataset)
    assert torch.equal(preprocessing(dataset.test.images), dataset.normalise(dataset.test.images))
    assert preprocessing.classes == dataset.classes
    assert lp.Preprocessing.from_json(preprocessing.to_json()) == preprocessing


def test_the_middle_is_taken_as_the_data_take_it() -> None:
    images = torch.randint(256, (3, 3, 9, 8), generator=generator(0, "middle")).to(torch.uint8)
    preprocessing = lp.Preprocessing((0.0,) * 3, (1.0,) * 3, (3, 6, 6), (3, 9, 8))
    assert torch.equal(preprocessing(images), images[:, :, 1:7, 1:7].float())
    assert torch.equal(preprocessing(images[:, :, :6, :6]), images[:, :, :6, :6].float())
    with pytest.raises(UserError, match=r"samples are \(3, 3, 5, 5\): give \(n, 3, 9, 8\)"):
        preprocessing(images[:, :, :5, :5])


def test_preprocessing_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="has 1 means: give one for each channel"):
        lp.Preprocessing((0.0,), (1.0,), (3, 4, 4), (3, 4, 4))
    with pytest.raises(UserError, match=r"has deviations \(0\.0,\)"):
        lp.Preprocessing((0.0,), (0.0,), (1, 4), (1, 4))


def test_arrays_and_their_files_are_predicted(tmp_path: Path) -> None:
    ticket = made()
    lp.save(ticket, tmp_path / "a.safetensors")
    folder = lp.export(ticket, "hub", tmp_path / "hub", preprocessing=PREPROCESSING)
    np.save(tmp_path / "samples.npy", samples().numpy())
    wanted = network_of(ticket)(PREPROCESSING(samples())).softmax(1)
    for predictions in (
        lp.predict(folder, samples()),
        lp.predict(folder, [tmp_path / "samples.npy"], batch=3),
        lp.predict(tmp_path / "a.safetensors", samples().numpy(), preprocessing=PREPROCESSING),
        lp.predict(network_of(ticket), samples(), preprocessing=PREPROCESSING),
        lp.predict(ticket, samples(), preprocessing=PREPROCESSING),
        lp.predict(lp.load_model(ticket, model=network_of(ticket)), samples(), preprocessing=PREPROCESSING),
    ):
        torch.testing.assert_close(predictions.probabilities, wanted)
        assert predictions.samples == ("0", "1", "2", "3", "4", "5", "6")
        assert torch.equal(predictions.chosen, wanted.argmax(1))
        label, probability = predictions.top(2)[0][0]
        assert label == PREPROCESSING.classes[int(wanted[0].argmax())]
        assert probability == pytest.approx(float(wanted[0].max()))
    assert [len(top) for top in lp.predict(folder, samples()).top(9)] == [3] * 7


def test_a_model_that_is_training_is_put_into_evaluation_mode() -> None:
    network = network_of(made()).train()
    before = network.get_buffer("layer1.bn.running_mean").clone()
    lp.predict(network, samples(), preprocessing=PREPROCESSING)
    assert torch.equal(network.get_buffer("layer1.bn.running_mean"), before)


def test_classes_without_names_are_numbered() -> None:
    preprocessing = lp.Preprocessing((0.25,), (1.5,), (1, 12), (1, 12))
    assert lp.predict(network_of(made()), samples(), preprocessing=preprocessing).classes == ("0", "1", "2")


@pytest.mark.parametrize(("size", "mode"), [((8, 8), "RGB"), ((21, 16), "RGB"), ((11, 13), "L"), ((8, 8), "RGBA")])
def test_images_are_read_as_the_training_data_are(size: tuple[int, int], mode: str, tmp_path: Path) -> None:
    """The same pixels as the data wing makes of the same files."""
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("datasets")
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for n in range(3):
                image.fromarray(np.roll(pixels, 3 * n, 0), "RGBA").convert(mode).save(folder / f"{n}.png")
    dataset = sources.load(Data(name=str(tmp_path / "data"), size=8, validation=2))
    channels = dataset.test.stored.shape[1]
    network = nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, 2))
    preprocessing = lp.Preprocessing.of(dataset)
    paths = [tmp_path / f"data/test/cat/{n}.png" for n in range(3)]
    predictions = lp.predict(network, paths, preprocessing=preprocessing)
    wanted = network(dataset.normalise(dataset.test.images[dataset.test.labels == 0])).softmax(1)
    torch.testing.assert_close(predictions.probabilities, wanted)
    assert predictions.samples == tuple(map(str, paths))
    assert predictions.classes == ("cat", "dog")


def test_what_cannot_be_predicted_is_told(tmp_path: Path) -> None:
    ticket = made()
    lp.save(ticket, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="how samples become inputs is not known: give preprocessing="):
        lp.predict(tmp_path / "a.safetensors", samples())
    folder = lp.export(ticket, "hub", tmp_path / "hub", preprocessing=PREPROCESSING)
    with pytest.raises(UserError, match=r"samples are \(7, 1, 5\): give \(n, 1, 12\)"):
        lp.predict(folder, samples()[:, :, :5])
    with pytest.raises(UserError, match="no samples to predict"):
        lp.predict(folder, [])
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(UserError, match=r"no\.png is an image, the network takes samples of shape \(1, 12\)"):
        lp.predict(folder, [tmp_path / "no.png"])
    images = lp.Preprocessing((0.0,), (1.0,), (1, 4, 4), (1, 4, 4))
    pytest.importorskip("PIL")
    with pytest.raises(UserError, match=r"cannot read .*no\.png: .*; give an image"):
        lp.predict(network_of(ticket), [tmp_path / "no.png"], preprocessing=images)


def test_a_pickled_array_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(UserError, match=r"cannot read .*a\.npy: .* give an array of numbers"):
        lp.predict(network_of(made()), [tmp_path / "a.npy"], preprocessing=PREPROCESSING)


def with_task(task: str, folder: Path) -> Path:
    """The file of a ticket of a network that was trained for a task; its preprocessing does not say which."""
    ticket = made()
    path = folder / f"{task}.safetensors"
    lp.save(lp.Ticket(ticket.weights, ticket.mask, ticket.level, {**ticket.origin, "task": task}), path)
    return path


def test_several_labels_have_a_probability_each(tmp_path: Path) -> None:
    outputs = network_of(made())(PREPROCESSING(samples()))
    of_labels = dataclasses.replace(PREPROCESSING, task="multi-label")
    for predictions in (
        lp.predict(with_task("multi-label", tmp_path), samples(), preprocessing=PREPROCESSING),
        lp.predict(lp.load(with_task("multi-label", tmp_path)), samples(), preprocessing=PREPROCESSING),
        lp.predict(network_of(made()), samples(), preprocessing=of_labels),
        lp.predict(network_of(made()), samples(), preprocessing=PREPROCESSING, task="multi-label"),
    ):
        torch.testing.assert_close(predictions.probabilities, outputs.sigmoid())
        assert torch.equal(predictions.chosen, outputs > 0)
        assert predictions.task == "multi-label"
        assert repr(predictions) == "Predictions(7 samples, 3 outputs, task='multi-label')"
        (first, *_) = predictions.top()
        assert sorted(name for name, _ in first) == ["no", "perhaps", "yes"]
        assert [value for _, value in first] == sorted((value for _, value in first), reverse=True)
        assert [len(labels) for labels in predictions.top(2)] == [2] * 7


def test_a_regression_predicts_numbers(tmp_path: Path) -> None:
    outputs = network_of(made())(PREPROCESSING(samples()))
    predictions = lp.predict(with_task("regression", tmp_path), samples(), preprocessing=PREPROCESSING)
    torch.testing.assert_close(predictions.values, outputs)
    names, values = zip(*predictions.top()[0], strict=True)
    assert names == predictions.classes
    assert values == pytest.approx(outputs[0].tolist())
    with pytest.raises(UserError, match="a regression predicts numbers, which have no probabilities: take `values`"):
        _ = predictions.probabilities
    with pytest.raises(UserError, match="a regression predicts numbers"):
        _ = predictions.chosen


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UserError, match="unknown task 'multi': did you mean 'multi-label'"):
        lp.predict(network_of(made()), samples(), preprocessing=PREPROCESSING, task="multi")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "shown", "key"),
    [("regression", r"0: no -?[\d.e-]+, perhaps ", "numbers"), ("multi-label", "%", "classes")],
)
def test_the_command_shows_labels_and_numbers(
    task: str, shown: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = made()
    origin = {**ticket.origin, "task": task, "preprocessing": PREPROCESSING.to_json()}
    lp.save(lp.Ticket(ticket.weights, ticket.mask, ticket.level, origin), tmp_path / "a.safetensors")
    np.save(tmp_path / "samples.npy", samples().numpy())
    line = ["predict", str(tmp_path / "a.safetensors"), str(tmp_path / "samples.npy")]
    commands.dispatch(line)
    first, *others = capsys.readouterr().out.splitlines()
    assert len(others) == 6
    assert re.search(shown, first)
    assert first.count(",") == 2
    commands.dispatch([*line, "--json"])
    assert len(json.loads(capsys.readouterr().out)["predictions"][0][key]) == 3
