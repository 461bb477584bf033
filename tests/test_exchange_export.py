"""Networks go out in the formats of other software, are what they were, and come back the same."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import types
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import lottery_pools as lp
from lottery_pools.errors import UserError
from lottery_pools.exchange import standalone
from lottery_pools.exchange.export import FORMATS
from lottery_pools.models import registry
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket, load_into, snapshot

SHAPE = (1, 12)
PREPROCESSING = lp.Preprocessing((0.25,), (1.5,), SHAPE, SHAPE, ("no", "perhaps", "yes"))
MODEL: Mapping[str, Any] = {
    "name": "conv1d", "arguments": {"width": 4, "depth": 2}, "classes": 3, "input_shape": list(SHAPE),
}  # fmt: skip
WITHOUT = "import sys; sys.modules['lottery_pools'] = None; "
"""So that a subprocess cannot import this package."""


def made(model: Mapping[str, Any] = MODEL, density: float = 0.4) -> Ticket:
    """A ticket of a network of ours, its BatchNorm's statistics unlike those it starts with."""
    network = registry.build(model["name"], model["arguments"], model["classes"], tuple(model["input_shape"]), seed=3)
    network.train()(torch.randn(8, *model["input_shape"], generator=generator(0, "export")))
    weights = snapshot(network)
    mask = masks.dense(weights, registry.prunable(network, "convolutions+linear"))
    mask = masks.prune(masks.magnitude(weights, mask), mask, round(density * masks.count(mask)[1]))
    return Ticket(masks.apply(weights, mask), mask, 2, {"model": dict(model), "seed": 1, "data": "mnist1d"})


def network_of(ticket: Ticket) -> nn.Module:
    model = ticket.origin["model"]
    network = registry.build(model["name"], model["arguments"], model["classes"], tuple(model["input_shape"]), seed=9)
    load_into(network, ticket.weights)
    return network.eval().requires_grad_(False)


def samples(n: int = 7) -> Tensor:
    return 1.5 * torch.randn(n, *SHAPE, generator=generator(1, "export")) + 0.25


def same(found: Ticket, wanted: Ticket) -> bool:
    pairs = [(found.weights, wanted.weights), (found.mask, wanted.mask)]
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


@pytest.mark.parametrize("to", ["state-dict", "safetensors", "hub", "compressed-tensors"])
def test_every_format_of_weights_is_read_back_as_the_same_ticket(to: str, tmp_path: Path) -> None:
    ticket = made()
    lp.save(ticket, tmp_path / "ticket.safetensors")
    suffix = {"state-dict": ".pt", "safetensors": ".safetensors"}.get(to, "")
    sources: list[Ticket | Path | str] = [ticket, tmp_path / "ticket.safetensors", f"{tmp_path}/ticket.safetensors"]
    for n, source in enumerate(sources):
        out = lp.export(source, to, tmp_path / f"out{n}{suffix}", preprocessing=PREPROCESSING)
        assert same(lp.read(out, model=network_of(ticket)), ticket)
        assert same(lp.read(out), ticket)
    files = [sorted(path for path in tmp_path.rglob("*") if path.is_file() and f"out{n}" in str(path)) for n in (0, 1)]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_plain_formats_load_as_every_state_dict_does(tmp_path: Path) -> None:
    ticket = made()
    network = network_of(made(density=0.9))
    network.load_state_dict(torch.load(lp.export(ticket, "state-dict", tmp_path / "a.pt"), weights_only=True))
    assert torch.equal(network(samples()), network_of(ticket)(samples()))
    network.load_state_dict(load_file(lp.export(ticket, "safetensors", tmp_path / "a.safetensors")))
    assert torch.equal(network(samples()), network_of(ticket)(samples()))


def test_a_weight_that_survives_as_zero_stays_in_the_bitmask(tmp_path: Path) -> None:
    ticket = made()
    name = next(iter(ticket.mask))
    place = ticket.mask[name].nonzero()[0]
    ticket.weights[name][tuple(place)] = 0
    loaded = lp.read(lp.export(ticket, "compressed-tensors", tmp_path / "out"))
    assert same(loaded, ticket)
    assert loaded.kept == ticket.kept


def test_compressed_tensors_says_what_it_is(tmp_path: Path) -> None:
    lp.export(made(), "compressed-tensors", tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "compressed-tensors"
    assert config["sparsity_config"]["format"] == "sparse-bitmask"
    assert config["sparsity_config"]["global_sparsity"] == pytest.approx(0.6, abs=0.01)
    tensors = load_file(tmp_path / "out/model.safetensors")
    assert {"fc.shape", "fc.compressed", "fc.bitmask", "fc.row_offsets", "fc.bias"} <= tensors.keys()
    assert "fc.weight" not in tensors


def test_compressed_tensors_reads_what_we_write(tmp_path: Path) -> None:
    library = pytest.importorskip("compressed_tensors.compressors.sparse_compressors.sparse_bitmask")
    from compressed_tensors.config import BitmaskConfig  # type: ignore[import-not-found, unused-ignore]

    ticket = made()
    lp.export(ticket, "compressed-tensors", tmp_path / "out")
    compressor = library.BitmaskCompressor(config=BitmaskConfig())
    decompressed = dict(compressor.decompress(str(tmp_path / "out")))
    assert decompressed.keys() == ticket.weights.keys()
    assert all(torch.equal(decompressed[name], tensor) for name, tensor in ticket.weights.items())


def run(code: str, folder: Path) -> Tensor:
    """The tensor `logits` that Python code leaves in a process that cannot import this package."""
    torch.save(samples(), folder / "samples.pt")
    before = "import torch; torch.set_num_threads(1); samples = torch.load('samples.pt', weights_only=True)\n"
    after = "\ntorch.save(logits.detach(), 'logits.pt')\n"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + before + code + after], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    logits: Tensor = torch.load(folder / "logits.pt", weights_only=True)
    return logits


def code_in(card: Path) -> str:
    return card.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


def test_a_hub_folder_runs_where_this_package_is_not(tmp_path: Path) -> None:
    ticket = made()
    folder = lp.export(ticket, "hub", tmp_path / "hub", preprocessing=PREPROCESSING)
    assert torch.equal(run(code_in(folder / "README.md"), folder), network_of(ticket)(PREPROCESSING(samples())))


def test_a_torch_export_program_runs_where_this_package_is_not(tmp_path: Path) -> None:
    ticket = made()
    lp.export(ticket, "torch-export", tmp_path / "a.pt2", preprocessing=PREPROCESSING, normalise=True)
    code = "logits = torch.export.load('a.pt2').module()(samples)"
    torch.testing.assert_close(run(code, tmp_path), network_of(ticket)(PREPROCESSING(samples())))


@pytest.mark.parametrize("inside", [False, True])
def test_an_onnx_model_runs_where_this_package_is_not(inside: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    ticket = made()
    out = lp.export(ticket, "onnx", tmp_path / "a.onnx", preprocessing=PREPROCESSING, normalise=inside)
    model = onnx.load(out)
    batch, *rest = model.graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param
    assert [axis.dim_value for axis in rest] == list(SHAPE)
    assert b"site-packages" not in out.read_bytes()
    assert str(Path.cwd()).encode() not in out.read_bytes()
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert metadata["preprocessing"]["classes"] == ["no", "perhaps", "yes"]
    assert metadata["normalisation_inside"] is inside
    given = "samples" if inside else f"(samples - {PREPROCESSING.mean[0]}) / {PREPROCESSING.std[0]}"
    code = f"import onnxruntime\nsession = onnxruntime.InferenceSession({out.name!r})\n"
    code += f"logits = torch.from_numpy(session.run(None, {{'input': ({given}).numpy()}})[0])"
    torch.testing.assert_close(run(code, tmp_path), network_of(ticket)(PREPROCESSING(samples())), atol=1e-5, rtol=0)


def test_onnx_without_its_package_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"ONNX needs onnxruntime: pip install 'lottery-pools\[onnx\]'"):
        lp.export(made(), "onnx", tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


class Branching(nn.Module):
    """A network whose way depends on its input."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(x if x.sum() > 0 else -x)
        return y


class Drifting(nn.Module):
    """A network that gives something else each time."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(x) + torch.rand(2)
        return y


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Branching(), r"the network cannot be written as torch\.export \(\w+: "),
        (Drifting(), r"torch\.export gives outputs that differ from PyTorch's by .* nothing was written"),
    ],
)
def test_a_program_that_is_not_the_network_is_not_written(network: nn.Module, message: str, tmp_path: Path) -> None:
    weights = snapshot(network)
    ticket = Ticket(weights, masks.dense(weights, ["fc.weight"]), 0)
    preprocessing = lp.Preprocessing((0.0,) * 4, (1.0,) * 4, (4,), (4,))
    with pytest.raises(UserError, match=message) as error:
        lp.export(ticket, "torch-export", tmp_path / "a.pt2", model=network, preprocessing=preprocessing)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", ["torch-export", "onnx"])
def test_inputs_that_the_network_does_not_take_are_told(to: Any, tmp_path: Path) -> None:
    odd = lp.Preprocessing((0.0,) * 7, (1.0,) * 7, (7,), (7,))
    with pytest.raises(
        UserError, match=r"^the network does not take inputs \(7,\) \(\w+: .*: give preprocessing whose"
    ):
        lp.export(made(), to, tmp_path / "a", preprocessing=odd)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_told_before_anything_is_written(tmp_path: Path) -> None:
    ticket = made()
    bare = Ticket(ticket.weights, ticket.mask, 1)
    with pytest.raises(UserError, match=r"^C is written by `lottery-pools export --to compiled`"):
        lp.export(made(), "compiled", tmp_path / "c")
    with pytest.raises(UserError, match="unknown export format 'onx': did you mean 'onnx'"):
        lp.export(ticket, "onx", tmp_path / "a")
    with pytest.raises(UserError, match="normalise is for onnx and torch-export, and needs preprocessing"):
        lp.export(ticket, "hub", tmp_path / "a", normalise=True, preprocessing=PREPROCESSING)
    with pytest.raises(UserError, match="normalise is for onnx"):
        lp.export(ticket, "torch-export", tmp_path / "a", normalise=True)
    with pytest.raises(UserError, match="the ticket does not say which network it is of: give it as model="):
        lp.export(bare, "torch-export", tmp_path / "a")
    with pytest.raises(UserError, match=r"^cannot export a Sequential: give a ticket"):
        lp.export(nn.Sequential(), "state-dict", tmp_path / "a")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the ticket does not say what its inputs are: give preprocessing="):
        lp.export(bare, "torch-export", tmp_path / "a", model=network_of(ticket))
    with pytest.raises(UserError, match=r"'layer1\.conv\.weight' is \(4, 1, 5\) in the tensors of the ticket and"):
        lp.export(ticket, "torch-export", tmp_path / "a", model=registry.build("conv1d", {"width": 5}, 3, SHAPE, 0))
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is a folder, state-dict is written to a file"):
        lp.export(ticket, "state-dict", tmp_path / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file, hub is written to a folder"):
        lp.export(ticket, "hub", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_model_that_is_given_stays_as_it_is(tmp_path: Path) -> None:
    ticket = made()
    network = network_of(made(density=0.9)).train()
    before = snapshot(network)
    lp.export(ticket, "torch-export", tmp_path / "a.pt2", model=network)
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_pooled_ticket_has_its_recipe_in_its_card(tmp_path: Path) -> None:
    origin = {
        **made().origin, "method": "trimmed-soup", "recipe": [[2, 0.5], [3, 0.5]], "score": 0.71, "train_images": 9000,
    }  # fmt: skip
    ticket = Ticket(made().weights, made().mask, 2, origin)
    figures = (lp.Figure("accuracy on 500 test samples", 71.2, (69.0, 73.1)), lp.Figure("loss", 0.9, unit=""))
    card = lp.Card("Small and sparse", "apache-2.0", "MNIST-1D, 4,000 samples", figures)
    lp.export(ticket, "hub", tmp_path, preprocessing=PREPROCESSING, card=card)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith('---\nlicense: "apache-2.0"\nlibrary_name: "pytorch"\ntags: ["pruning", ')
    for part in (
        "# Small and sparse",
        f"{ticket.kept:,} of {ticket.prunable:,} prunable weights are left ({ticket.density:.2%})",
        "pooled from tickets of one run by the method trimmed-soup",
        "recipe, as (level of the ticket, its coefficient): (2, 0.5), (3, 0.5)",
        "MNIST-1D, 4,000 samples",
        "| accuracy on 500 test samples | 71.20 % | 69.00 to 73.10 |",
        "| loss | 0.90 |  |",
        "classes, in order: no, perhaps, yes",
        "## Licence\n\napache-2.0",
    ):
        assert part in text


def test_a_card_without_figures_says_so(tmp_path: Path) -> None:
    lp.export(made(), "hub", tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert 'license: "unknown"' in text
    assert "## Figures\n\nNone were given." in text
    assert "Not known: give the network what it was trained on." in text


class Hub(BaseHTTPRequestHandler):
    """Answers what an upload asks the hub, and keeps what it commits."""

    committed: ClassVar[dict[str, bytes]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer: dict[str, Any] = {"errors": [], "warnings": []}
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            answer = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.committed[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            answer = {"commitUrl": "http://127.0.0.1/me/sparse/commit/abc", "commitOid": "abc", "success": True}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def test_the_hub_takes_the_folder(tmp_path: Path) -> None:
    library = pytest.importorskip("huggingface_hub")
    folder = lp.export(made(), "hub", tmp_path / "out", preprocessing=PREPROCESSING, card=lp.Card(licence="mit"))
    card = library.ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.library_name) == ("mit", "pytorch")
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        api = library.HfApi(endpoint=f"http://127.0.0.1:{server.server_port}", token="hf_none")
        api.upload_folder(repo_id="me/sparse", folder_path=folder)
        server.shutdown()
    assert Hub.committed == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert Hub.committed.keys() == {"README.md", "config.json", "model.safetensors", "network.py"}


@pytest.mark.parametrize("name", registry.names())
def test_the_code_of_each_of_our_networks_runs_by_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = standalone.source(name)
    assert code is not None, f"hub folders need the network's code without this package: see {name}"
    assert "lottery_pools" not in code
    module = types.ModuleType("network_by_itself")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # as an import does; dataclasses look there
    exec(compile(code, "network.py", "exec"), vars(module))
    shape = (1, 40) if name in ("conv1d", "mlp") else (3, 32, 32)
    width: int | float = 0.1 if name == "vgg16" else 4
    alone = getattr(module, name)(3, shape, width=width)
    ours = registry.build(name, {"width": width}, 3, shape, seed=0)
    alone.load_state_dict(ours.state_dict())
    x = torch.randn(2, *shape)
    assert torch.equal(alone.eval()(x), ours.eval()(x))


def test_only_our_own_networks_have_code() -> None:
    assert standalone.source("timm:resnet18") is None
    assert standalone.source("mynet:build") is None


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mynet.deep:build", "from mynet.deep import build  # the code of the network, which is not in this folder"),
        ("torchvision:resnet18", "network = torchvision.models.get_model('resnet18', num_classes=3, depth=2, width=4)"),
        ("x; import os:y", "from mine import build  # the code of the network, which is not in this folder"),
    ],
)
def test_networks_of_others_are_told_by_where_they_come_from(name: str, line: str, tmp_path: Path) -> None:
    ticket = Ticket(made().weights, made().mask, 2, {"model": {**MODEL, "name": name}})
    lp.export(ticket, "hub", tmp_path)
    assert line in code_in(tmp_path / "README.md").splitlines()
    assert not (tmp_path / "network.py").exists()


def timm_ticket() -> Ticket:
    timm = pytest.importorskip("timm")
    model = {"name": "timm:resnet18", "arguments": {}, "classes": 3, "input_shape": [1, 32, 32]}
    network = timm.create_model("resnet18", num_classes=3, in_chans=1)
    weights = snapshot(network)
    mask = masks.dense(weights, registry.prunable(network, "convolutions"))
    mask = masks.prune(masks.magnitude(weights, mask), mask, masks.count(mask)[1] // 2)
    return Ticket(masks.apply(weights, mask), mask, 2, {"model": model})


def test_timm_loads_a_folder_of_one_of_its_networks(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    ticket = timm_ticket()
    preprocessing = lp.Preprocessing((127.5,), (51.0,), (1, 32, 32), (1, 32, 32), ("a", "b", "c"))
    lp.export(ticket, "hub", tmp_path, preprocessing=preprocessing)
    network = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert all(torch.equal(tensor, ticket.weights[name]) for name, tensor in network.state_dict().items())
    data = timm.data.resolve_model_data_config(network)
    assert [tuple(data[key]) for key in ("input_size", "mean", "std")] == [(1, 32, 32), (0.5,), (0.2,)]
    assert same(lp.read(tmp_path), ticket)
    assert torch.equal(lp.load_model(tmp_path)(torch.ones(2, 1, 32, 32)), network(torch.ones(2, 1, 32, 32)))


IMAGES = lp.Preprocessing((120.0, 110.0, 100.0), (60.0, 50.0, 40.0), (3, 12, 12), (3, 16, 16), ("ant", "bee", "cow"))
"""Of images that are brought to 16 × 16, of which networks take the middle of 12 × 12."""


def of_images() -> Ticket:
    return made({"name": "resnet20", "arguments": {"width": 4, "blocks": 1}, "classes": 3, "input_shape": [3, 12, 12]})


def test_how_images_are_prepared_is_written_as_image_processors_read_it(tmp_path: Path) -> None:
    lp.export(of_images(), "hub", tmp_path, preprocessing=IMAGES)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert settings["image_processor_type"] == "CLIPImageProcessor"
    assert settings["size"] == {"shortest_edge": 16}
    assert settings["crop_size"] == {"height": 12, "width": 12}
    assert settings["image_mean"] == pytest.approx([120 / 255, 110 / 255, 100 / 255])
    assert settings["image_std"] == pytest.approx([60 / 255, 50 / 255, 40 / 255])
    for shapes in (((3, 12, 12), (3, 16, 20)), ((1, 12), (1, 16))):  # no square, and signals
        mean = (0.0,) * shapes[0][0]
        lp.export(
            made(), "hub", tmp_path / str(shapes), preprocessing=lp.Preprocessing(mean, (1.0,) * len(mean), *shapes)
        )
        assert not (tmp_path / str(shapes) / "preprocessor_config.json").exists()


@pytest.mark.parametrize("size", [(16, 16), (19, 16), (16, 40)])
def test_an_image_processor_prepares_images_as_we_do(size: tuple[int, int], tmp_path: Path) -> None:
    """Of images that are to be resized it does so by its own rule; without that, to the rounding."""
    transformers = pytest.importorskip("transformers")
    image = pytest.importorskip("PIL.Image")
    folder = lp.export(of_images(), "hub", tmp_path / "hub", preprocessing=IMAGES)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image.fromarray(pixels).save(tmp_path / "a.png")
    theirs = torch.as_tensor(np.asarray(processor(image.open(tmp_path / "a.png"))["pixel_values"][0]))[None]
    torch.testing.assert_close(theirs, IMAGES([tmp_path / "a.png"]), atol=1e-5, rtol=1e-5)


def test_the_layout_of_a_folder_of_a_network_of_timm(tmp_path: Path) -> None:
    model = {**MODEL, "name": "timm:resnet18", "arguments": {"drop_rate": 0.1}}
    preprocessing = lp.Preprocessing((127.5,), (51.0,), (1, 28), (1, 32), ("a", "b", "c"))
    lp.export(Ticket(made().weights, made().mask, 2, {"model": model}), "hub", tmp_path, preprocessing=preprocessing)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "resnet18"
    assert config["model_args"] == {"drop_rate": 0.1, "in_chans": 1}
    assert config["pretrained_cfg"] | {"input_size": []} == {
        "input_size": [], "num_classes": 3, "mean": [0.5], "std": [0.2], "interpolation": "bilinear", "crop_pct": 0.875,
    }  # fmt: skip
    assert config["label_names"] == ["a", "b", "c"]
    assert 'timm.create_model("local-dir:.", pretrained=True)' in code_in(tmp_path / "README.md")


def test_every_format_is_in_the_docs() -> None:
    page = (Path(__file__).parents[1] / "docs/howto/export.md").read_text(encoding="utf-8")
    for name in FORMATS:
        assert f"`{name}`" in page


@pytest.mark.parametrize("to", ["hub", "compressed-tensors"])
def test_folders_are_of_networks_that_predict_classes(to: str, tmp_path: Path) -> None:
    ticket = made()
    ticket = Ticket(ticket.weights, ticket.mask, ticket.level, {**ticket.origin, "task": "regression"})
    with pytest.raises(
        UserError, match=f"^{to} says that a network predicts one of its classes, the ticket is of regr"
    ):
        lp.export(ticket, to, tmp_path / "out")
    lp.export(ticket, "safetensors", tmp_path / "out.safetensors")
