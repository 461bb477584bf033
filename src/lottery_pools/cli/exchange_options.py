"""What the commands take that exchange networks with other software: `import`, `export`, `predict` and `compile`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lottery_pools.cli.marks import FLAT, FileArgument, Flag, Json, TrustModel
from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError

Format = Literal["onnx", "torch-export", "state-dict", "safetensors", "hub", "compressed-tensors", "compiled"]
"""The formats of `exchange.export`, and `compiled`, which the wing `deploy` writes; a test compares them. These modules
are not imported here because they import torch."""
DEFAULT_PRESET = "images"
"""The preset that `import` starts from: most checkpoints are of networks for images."""


@dataclass(frozen=True)
class NamedNetwork:
    """The network of a file, named by the user."""

    name: str | None = None
    """Your own network, where the file names one: `package.module:factory`. The file alone does not make its code run.
    None: the network must be one of this package, of timm or of torchvision."""


@dataclass(frozen=True)
class ImportOptions:
    """Options of `import`: the checkpoints, how they are read, and every setting of the run."""

    files: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(help="Checkpoints of one network, or one folder of them."),
    ] = ()
    out: Path | None = None
    """Folder of the run; none: runs/NAME."""
    preset: str = DEFAULT_PRESET
    """Settings to start from: a name that `lottery-pools presets` lists, or a TOML file. Data and network are to be
    those of the checkpoints."""
    masks: tuple[Path, ...] = ()
    """Files of masks, where they are not in the checkpoints: one for each checkpoint; none: the masks in the
    checkpoints, or their zeros, hold."""
    prefix: str | None = None
    """What stands before the names of the network's tensors, such as `student.`; none: it is found out."""
    leave_out: tuple[str, ...] = ()
    """Tensors of the checkpoints that the network does not have, as names or patterns such as `normalize.*`."""
    dense: tuple[str, ...] = ()
    """Tensors whose zeros are no pruning, as names or patterns."""
    rewind: Path | None = None
    """Checkpoint of the rewind point, which only the methods `ties` and `model-stock` need."""
    train_images: tuple[int, ...] = ()
    """Training images that each ticket cost, those of the tickets before it included, the densest first; none:
    unknown."""
    json: Json = False
    trust_model: TrustModel = False
    config: Annotated[Config, FLAT] = field(default_factory=Config)

    @property
    def folder(self) -> Path:
        """Where the run goes."""
        return self.out or Path("runs") / self.config.name


@dataclass(frozen=True)
class ExportOptions:
    """Options of `export`."""

    file: FileArgument
    to: Format = "onnx"
    """The format: `onnx`, `torch-export`, `state-dict`, `safetensors`, `hub`, `compressed-tensors`, or `compiled` (C
    with its library)."""
    out: Path | None = None
    """File to write, or folder for `hub`, `compressed-tensors` and `compiled`; none: in the current folder, named after
    the ticket."""
    normalise: Flag = False
    """Put the normalisation into the program (`onnx`, `torch-export`), which then takes images as numbers from 0 to
    255, and signals as they are stored."""
    title: str = "A sparse network"
    """Title of the model card (`hub`)."""
    licence: str = "unknown"
    """Licence that the model card names (`hub`), as the hub writes it: `mit`, `apache-2.0`, ...."""
    data: str = ""
    """What the model card says of the data (`hub`); none: the name of the data set."""
    model: NamedNetwork = field(default_factory=NamedNetwork)
    json: Json = False


@dataclass(frozen=True)
class PredictOptions:
    """Options of `predict`."""

    file: Annotated[
        tyro.conf.Positional[Path],
        tyro.conf.arg(help="A ticket file, or a folder that `export` wrote as `hub` or `compressed-tensors`."),
    ]
    inputs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(help="Images, folders of images, or one `.npy` file of samples."),
    ] = ()
    top: int | None = None
    """Number of classes that are named for each sample, the most likely first; none: one class, or all labels or
    numbers where the network predicts several."""
    batch: int = 256
    """Number of samples that are forwarded at once."""
    compiled: Flag = False
    """Let compiled C compute, in which zeros cost nothing: for many samples. Needs a C compiler."""
    model: NamedNetwork = field(default_factory=NamedNetwork)
    json: Json = False


@dataclass(frozen=True)
class CompileOptions:
    """Options of `compile`."""

    file: FileArgument
    out: Path | None = None
    """Folder of the C files; none: beside the ticket, level_03.compiled for level_03.safetensors, where the report
    finds the speed."""
    target: Literal["avx512", "avx2", "neon", "plain"] | None = None
    """Instructions that the code is tuned for; none: this processor's."""
    threads: int | None = None
    """Threads of the timing; none: as many as PyTorch takes."""
    untimed: Flag = False
    """Do not measure how fast the network is."""
    model: NamedNetwork = field(default_factory=NamedNetwork)
    json: Json = False

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UserError(f"compile --threads is {self.threads}: give 1 or more")
