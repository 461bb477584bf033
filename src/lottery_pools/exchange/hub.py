"""A folder for the Hugging Face hub: weights, settings, preprocessing, model card, and the code of our own networks.

`huggingface_hub.upload_folder(repo_id=…, folder_path=…)` uploads it as it is. Networks of timm are in timm's layout:
`timm.create_model("local-dir:FOLDER", pretrained=True)` loads them, or `hf-hub:REPO` once they are uploaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save as serialise

from lottery_pools.data.preprocessing import Preprocessing
from lottery_pools.exchange import card as cards
from lottery_pools.exchange import network, standalone
from lottery_pools.exchange.card import Card
from lottery_pools.runs.disk import write
from lottery_pools.tickets.ticket import Ticket
from lottery_pools.version import VERSION


def write_hub(ticket: Ticket, out: Path, preprocessing: Preprocessing | None, card: Card) -> None:
    """Write `config.json`, `model.safetensors` and `README.md` into `out`.

    Beside them lie `network.py`, the code of a network of ours, and for images `preprocessor_config.json`.
    """
    described = ticket.origin.get("model")
    model = dict(described) if isinstance(described, Mapping) else {}
    code = standalone.source(str(model.get("name")))
    if code is not None:
        write(out / "network.py", code)
    write(out / "model.safetensors", plain_safetensors(ticket))
    write(out / "README.md", cards.text(card, ticket, preprocessing, usage(model, preprocessing, code is not None)))
    if preprocessing is not None and (images := image_processor(preprocessing)) is not None:
        write(out / "preprocessor_config.json", json.dumps(images, indent=2, sort_keys=True) + "\n")
    write(out / "config.json", json.dumps(config(ticket, model, preprocessing), indent=2, sort_keys=True) + "\n")


def plain_safetensors(ticket: Ticket) -> bytes:
    """The weights under the names of the network's `state_dict`, as safetensors."""
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in ticket.weights.items()}
    return serialise(tensors, {"format": "pt"})


def config(ticket: Ticket, model: Mapping[str, Any], preprocessing: Preprocessing | None) -> dict[str, Any]:
    """The `config.json`: our section, and for networks of timm what timm reads."""
    ours = {
        "version": VERSION,
        "model": dict(model) or None,
        "level": ticket.level,
        "density": ticket.density,
        "prunable": list(ticket.mask),
        "preprocessing": None if preprocessing is None else preprocessing.to_json(),
    }
    if not str(model.get("name")).startswith("timm:"):
        return {network.SECTION: ours}
    shape = model["input_shape"]
    arguments = {**model["arguments"], **({"in_chans": shape[0]} if shape[0] != 3 else {})}
    pretrained: dict[str, Any] = {"input_size": list(shape), "num_classes": model["classes"]}
    if preprocessing is not None:
        pretrained |= {
            "mean": [value / 255 for value in preprocessing.mean],
            "std": [value / 255 for value in preprocessing.std],
            "interpolation": "bilinear",
            "crop_pct": preprocessing.input_shape[-1] / preprocessing.stored_shape[-1],
        }
    return {
        "architecture": str(model["name"]).removeprefix("timm:"),
        "num_classes": model["classes"],
        "model_args": arguments,
        "pretrained_cfg": pretrained,
        **({"label_names": list(preprocessing.classes)} if preprocessing and preprocessing.classes else {}),
        network.SECTION: ours,
    }


def image_processor(preprocessing: Preprocessing) -> dict[str, Any] | None:
    """The `preprocessor_config.json` from which Hugging Face's libraries make an image processor.

    None for signals, and for images that are not stored as squares, which no such processor makes.
    """
    channels, *stored = preprocessing.stored_shape
    if not preprocessing.is_of_images or stored[0] != stored[1]:
        return None
    height, width = preprocessing.input_shape[1:]
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": channels == 3,
        "do_resize": True,
        "size": {"shortest_edge": stored[0]},
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [value / 255 for value in preprocessing.mean],
        "image_std": [value / 255 for value in preprocessing.std],
    }


def usage(model: Mapping[str, Any], preprocessing: Preprocessing | None, with_code: bool) -> str:
    """Code that loads the network in the folder and, where the preprocessing is known, applies it to `samples`."""
    name = str(model.get("name", ""))
    if name.startswith("timm:"):
        lines = ["import timm", "", 'network = timm.create_model("local-dir:.", pretrained=True)', "network.eval()"]
    else:
        importing, call = _building(name, model, with_code)
        lines = ["from safetensors.torch import load_file", importing, "", f"network = {call}"]
        lines += ['network.load_state_dict(load_file("model.safetensors"))', "network.eval()"]
    if preprocessing is None:
        return "\n".join(lines)
    shape = ", ".join(["-1", *["1"] * (len(preprocessing.input_shape) - 1)])
    return "\n".join(
        [
            "import torch",
            *lines,
            "",
            f"mean = torch.tensor({list(preprocessing.mean)}).view({shape})",
            f"std = torch.tensor({list(preprocessing.std)}).view({shape})",
            f"# samples: (n, {', '.join(map(str, preprocessing.input_shape))}), in their stored units",
            "logits = network((samples.float() - mean) / std)",
        ]
    )


def _building(name: str, model: Mapping[str, Any], with_code: bool) -> tuple[str, str]:
    """The line that imports what builds the network, and the expression that calls it."""
    origin, _, attribute = name.partition(":")
    arguments = "".join(
        f", {key}={value!r}" for key, value in sorted(model.get("arguments", {}).items()) if key.isidentifier()
    )
    classes, shape = model.get("classes"), tuple(model.get("input_shape", ()))
    if with_code:
        return f"from network import {name}  # network.py, in this folder", f"{name}({classes!r}, {shape}{arguments})"
    if origin == "torchvision":
        call = f"torchvision.models.get_model({attribute!r}, num_classes={classes!r}{arguments})"
        return "import torchvision", call
    if all(part.isidentifier() for part in (*origin.split("."), attribute)):
        note = "  # the code of the network, which is not in this folder"
        call = f"{attribute}(classes={classes!r}, input_shape={shape}{arguments})"
        return f"from {origin} import {attribute}{note}", call
    return "from mine import build  # the code of the network, which is not in this folder", "build()"
