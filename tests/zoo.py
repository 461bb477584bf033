"""Small modules of many kinds, each with tickets of it: what people may bring to be pooled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket

CLASSES = 3
SAMPLES = 24


class Last(nn.Module):
    """The last step of what a recurrent network returns, (n, steps, width) → (n, width)."""

    def forward(self, result: tuple[Tensor, object]) -> Tensor:
        return result[0][:, -1]


class Mean(nn.Module):
    """The mean over all places, (n, channels, …) → (n, channels)."""

    def forward(self, values: Tensor) -> Tensor:
        return values.flatten(2).mean(2)


class Attention(nn.Module):
    """Self-attention with a causal mask as buffer, which holds minus infinity."""

    def __init__(self, width: int = 4, steps: int = 5) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)
        self.register_buffer("causal", torch.full((steps, steps), float("-inf")).triu(1))

    def forward(self, values: Tensor) -> Tensor:
        mixed, _ = self.attention(values, values, values, attn_mask=self.causal, need_weights=False)
        logits: Tensor = self.head(self.norm(values + mixed).mean(1))
        return logits


class Tied(nn.Module):
    """A language model in small: the embedding of words is also the last layer. Predicts one of `CLASSES` words."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 4)
        self.hidden = nn.Linear(4, 4)
        self.head = nn.Linear(4, CLASSES, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.head(self.hidden(self.embedding(words)).mean(1).tanh())
        return logits


class Unusual(nn.Module):
    """A scalar parameter, an empty one, a frozen one, and buffers of whole numbers, truth values and one not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, CLASSES)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.empty = nn.Parameter(torch.zeros(0, 3))
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("table", torch.arange(4, dtype=torch.int32))
        self.register_buffer("switch", torch.tensor([True, False]))
        self.register_buffer("shift", torch.tensor(0.5), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        logits: Tensor = self.layer(values * self.frozen) * self.scale + self.shift
        return logits


@dataclass(frozen=True)
class Specimen:
    """A kind of module."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    """Of one sample."""
    dtype: torch.dtype = torch.float32
    """Of the samples and of the module."""

    def inputs(self, seed: int) -> Tensor:
        """Samples, (SAMPLES, …)."""
        draws = generator(seed, "inputs")
        if not self.dtype.is_floating_point:
            return torch.randint(CLASSES, (SAMPLES, *self.shape), generator=draws)
        return torch.randn(SAMPLES, *self.shape, generator=draws).to(self.dtype)

    def model(self) -> nn.Module:
        """The module, the same at each call."""
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # weight_norm as it was called before PyTorch 2
            torch.default_generator.manual_seed(0)
            model = self.build()
        return (model.to(self.dtype) if self.dtype.is_floating_point else model).eval()

    def tickets(self, levels: int = 4) -> list[Ticket]:
        """Neighbouring networks, each pruned to 0.8 ** level; the whole-number buffers differ."""
        return [self._ticket(level) for level in range(levels)]

    def _ticket(self, level: int) -> Ticket:
        model, draws = self.model(), generator(1, level)
        parameters = dict(model.named_parameters(remove_duplicate=False))
        drawn: dict[int, Tensor] = {}  # a tied tensor is drawn once
        weights = {}
        for name, tensor in model.state_dict().items():
            if name in parameters and tensor.ndim:
                noise = drawn.setdefault(id(parameters[name]), torch.randn(tensor.shape, generator=draws))
                weights[name] = tensor + (0.3 * noise).to(tensor)
            else:
                whole = not tensor.is_floating_point() and tensor.dtype != torch.bool
                weights[name] = tensor + level if whole else tensor.clone()
        dense = masks.dense(weights, prunable(model))
        scores, kept = masks.magnitude(weights, dense), dict[str, Tensor]()
        for name, mask in dense.items():
            kept |= masks.prune({name: scores[name]}, {name: mask}, max(1, round(mask.numel() * 0.8**level)))
        return Ticket(masks.apply(weights, kept), kept, level)


def prunable(model: nn.Module) -> list[str]:
    """The names of the tensors to prune: matrices and kernels, of normalised weights their directions."""
    names = dict(model.named_parameters(remove_duplicate=False)).items()
    return [name for name, tensor in names if tensor.ndim > 1 and tensor.numel() and not name.endswith(_NORMS)]


_NORMS = ("_g", "original0")
"""How the norms of normalised weights are called."""


def head(width: int) -> nn.Module:
    """Mean over all places, and a linear layer."""
    return nn.Sequential(Mean(), nn.Linear(width, CLASSES))


def recurrent(kind: type[nn.RNN | nn.LSTM | nn.GRU], **options: bool) -> nn.Module:
    """A recurrent network, and a linear layer on its last step."""
    width = 8 if options.get("bidirectional") else 4
    return nn.Sequential(kind(3, 4, batch_first=True, **options), Last(), nn.Linear(width, CLASSES))


def convolution(layer: nn.Module, *norm: nn.Module) -> nn.Module:
    """A convolution of four output channels, its norm, and a linear layer on the mean over all places."""
    return nn.Sequential(layer, *norm, nn.ReLU(), head(4))


def perceptron(*norm: nn.Module) -> nn.Module:
    """Two linear layers."""
    return nn.Sequential(nn.Linear(4, 4), *norm, nn.Tanh(), nn.Linear(4, CLASSES))


def normalised(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A convolution and a linear layer whose weights are normalised."""
    return nn.Sequential(wrap(nn.Conv1d(2, 4, 3)), nn.ReLU(), Mean(), wrap(nn.Linear(4, CLASSES)))


ZOO: dict[str, Specimen] = {
    "BatchNorm": Specimen(lambda: perceptron(nn.BatchNorm1d(4)), (4,)),
    "BatchNorm without statistics": Specimen(
        lambda: convolution(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4, track_running_stats=False)), (2, 6)
    ),
    "BatchNorm without weights": Specimen(lambda: perceptron(nn.BatchNorm1d(4, affine=False)), (4,)),
    "LayerNorm": Specimen(lambda: perceptron(nn.LayerNorm(4)), (4,)),
    "RMSNorm": Specimen(lambda: perceptron(nn.RMSNorm(4)), (4,)),
    "GroupNorm": Specimen(lambda: convolution(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4)), (2, 5, 5)),
    "InstanceNorm with statistics": Specimen(
        lambda: convolution(nn.Conv1d(2, 4, 3), nn.InstanceNorm1d(4, affine=True, track_running_stats=True)), (2, 6)
    ),
    "RNN": Specimen(lambda: recurrent(nn.RNN), (5, 3)),
    "LSTM": Specimen(lambda: recurrent(nn.LSTM), (5, 3)),
    "GRU, both ways": Specimen(lambda: recurrent(nn.GRU, bidirectional=True), (5, 3)),
    "attention": Specimen(Attention, (5, 4)),
    "transformer layer": Specimen(
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(4, 2, 8, 0.1, batch_first=True), nn.Flatten(), nn.Linear(20, CLASSES)
        ),
        (5, 4),
    ),
    "1-D convolution": Specimen(lambda: convolution(nn.Conv1d(2, 4, 3)), (2, 6)),
    "2-D convolution": Specimen(lambda: convolution(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)), (2, 5, 5)),
    "2-D convolution in groups": Specimen(lambda: convolution(nn.Conv2d(4, 4, 3, groups=2, padding="same")), (4, 5, 5)),
    "3-D convolution": Specimen(lambda: convolution(nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4)), (2, 3, 3, 3)),
    "1-D transposed": Specimen(lambda: convolution(nn.ConvTranspose1d(2, 4, 3)), (2, 4)),
    "2-D transposed": Specimen(lambda: convolution(nn.ConvTranspose2d(2, 4, 3)), (2, 3, 3)),
    "3-D transposed": Specimen(lambda: convolution(nn.ConvTranspose3d(2, 4, 2)), (2, 2, 2, 2)),
    "weight norm": Specimen(lambda: normalised(parametrizations.weight_norm), (2, 6)),
    "weight norm, as before": Specimen(lambda: normalised(nn.utils.weight_norm), (2, 6)),
    "spectral norm": Specimen(lambda: normalised(parametrizations.spectral_norm), (2, 6)),
    "spectral norm, as before": Specimen(lambda: normalised(nn.utils.spectral_norm), (2, 6)),
    "tied": Specimen(Tied, (5,), torch.int64),
    "embedding": Specimen(
        lambda: nn.Sequential(nn.Embedding(CLASSES, 4, padding_idx=0), nn.Flatten(), nn.Linear(20, CLASSES)),
        (5,),
        torch.int64,
    ),
    "unusual tensors": Specimen(Unusual, (4,)),
    "float16": Specimen(lambda: perceptron(nn.LayerNorm(4)), (4,), torch.float16),
    "bfloat16": Specimen(lambda: perceptron(nn.BatchNorm1d(4)), (4,), torch.bfloat16),
    "float64": Specimen(lambda: perceptron(nn.BatchNorm1d(4)), (4,), torch.float64),
    "DataParallel": Specimen(lambda: nn.DataParallel(perceptron(nn.BatchNorm1d(4))), (4,)),
    "compiled": Specimen(lambda: torch.compile(perceptron(nn.BatchNorm1d(4)), backend="eager"), (4,)),  # type: ignore[arg-type, return-value]
    "lazy, once it was called": Specimen(
        lambda: called(nn.Sequential(nn.LazyLinear(4), nn.LazyLinear(CLASSES)), (4,)), (4,)
    ),
}
"""Kinds of modules, by what they are called."""


def called(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The module after a first batch, which gives lazy layers their shapes."""
    model(torch.zeros(2, *shape))
    return model
