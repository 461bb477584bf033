"""The figures of README and docs/method.md, drawn as SVG. Run: python -m docs.figures.draw"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from lottery_pools.evaluation.metrics import gains
from lottery_pools.experiment import report as reports

RESULTS = Path(__file__).parents[1] / "results"

STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #333 }
.small { font-size: 11px }
.middle { text-anchor: middle }
.end { text-anchor: end }
.on { fill: #00796b }
.best { fill: #d9600a }
.unlabelled { fill: #5350c4 }
.off { fill: none; stroke: #bbb }
.line { stroke: #777; fill: none }
.grid { stroke: #777; fill: none; opacity: 0.2 }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd }
  .on { fill: #4db6ac }
  .best { fill: #ffa15c }
  .unlabelled { fill: #a5a3ff }
  .off { stroke: #555 }
  .line { stroke: #999 }
}"""


def svg(width: int, height: int, title: str, shapes: Sequence[str]) -> str:
    """A figure of so many pixels, readable on a light and on a dark page."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">'
    return "\n".join([head, f"<title>{title}</title>", f"<style>\n{STYLE}\n</style>", *shapes, "</svg>", ""])


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A rectangle of class `kind`."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" class="{kind}"/>'


def text(x: float, y: float, words: str, kind: str = "") -> str:
    """A line of text with its baseline at y."""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{words}</text>'


def masks() -> str:
    """One layer of 12 × 12 weights at four levels: survivors are always among those before. Squares are 9 wide."""
    side, cell, gap = 12, 11, 31
    order = random.Random(0).sample(range(side**2), side**2)  # the smallest weight comes last
    shapes = []
    for column, level in enumerate((0, 2, 5, 10)):
        kept = set(order[: round(0.8**level * side**2)])
        left = 1 + column * (side * cell + gap)
        for kind in ("on", "off"):
            places = [i for i in range(side**2) if (i in kept) == (kind == "on")]
            squares = "".join(f"M{left + i % side * cell} {26 + i // side * cell}h9v9h-9z" for i in places)
            shapes.append(f'<path d="{squares}" class="{kind}"/>')
        share = f"level {level}: {len(kept) / side**2:.0%}"
        shapes.append(text(left + side * cell / 2, 16, share, "middle"))
    return svg(4 * (side * cell + gap) - gap, 160, "Masks of four levels, each within the one before", shapes)


TARGET = (0.9, 0, -0.7, 0.5, 0, -0.4, 0.8, 0, 0.3, -0.6, 0, 0)
CANDIDATE = (0.8, -0.2, -0.5, 0.7, 0, -0.6, 0.6, 0.5, 0, -0.4, 0.15, 0)
ALPHA = 0.6


def pruned(weights: Sequence[float], keep: int) -> list[float]:
    """The `keep` largest weights, zero elsewhere."""
    largest = sorted(range(len(weights)), key=lambda i: -abs(weights[i]))[:keep]
    return [weight if i in largest else 0 for i, weight in enumerate(weights)]


def mixing() -> str:
    """Twelve weights of the target and of a candidate, their mixture, and what is left of it after pruning back."""
    mixture = [ALPHA * one + (1 - ALPHA) * other for one, other in zip(TARGET, CANDIDATE, strict=True)]
    count = sum(weight != 0 for weight in TARGET)
    rows = [
        ("target", TARGET),
        ("candidate", CANDIDATE),
        (f"{ALPHA} · target + {1 - ALPHA:.1f} · candidate", mixture),
        (f"its {count} largest: the target's density", pruned(mixture, count)),
    ]
    shapes = []
    for row, (name, weights) in enumerate(rows):
        middle = 45 + 84 * row
        shapes += [text(0, middle - 4, name), text(0, middle + 14, f"{sum(w != 0 for w in weights)} of 12", "small")]
        shapes.append(f'<path d="M 230 {middle} h 384" class="line"/>')
        for i, weight in enumerate(weights):
            height, x = 38 * abs(weight), 234 + 32 * i
            lost = row == 2 and weight != 0 and rows[3][1][i] == 0
            if weight:
                kind = "off" if lost else "best" if row > 1 else "on"
                shapes.append(box(x, middle - height if weight > 0 else middle, 24, round(height, 2), kind))
            else:
                shapes.append(f'<circle cx="{x + 12}" cy="{middle}" r="2.5" class="off"/>')
    return svg(620, 345, "Mixing two tickets and pruning back", shapes)


def ladder() -> str:
    """The tickets of a run, and the order in which they are offered to the ticket of level 3."""
    target, levels = 3, 9
    order = sorted((level for level in range(levels) if level != target), key=lambda k: (abs(k - target), k))
    shapes = [text(0, 14, "level"), text(64, 14, "density"), text(610, 14, "offered", "end")]
    for level in range(levels):
        y, density = 26 + 30 * level, 0.8**level
        kind = "best" if level == target else "on"
        shapes += [text(12, y + 15, str(level)), box(64, y, 440 * density, 20, kind)]
        shapes.append(text(64 + 440 * density + 8, y + 15, f"{density:.0%}", "small"))
        words = "the target" if level == target else f"no. {order.index(level) + 1}"
        shapes.append(text(610, y + 15, words, "end"))
    return svg(620, 300, "The ladder of levels", shapes)


STUDIES = {
    "mnist1d": "MNIST-1D",
    "cifar10-resnet20-fit-confirm": "ResNet, CIFAR-10",
    "cifar100-vgg-small-confirm": "VGG, CIFAR-100",
}
"""Studies of the plan, and their titles."""
SERIES = {
    "interpolation": ("the paper's rule", "best"),
    "trimmed-soup": ("our trimmed soup", "on"),
    "fading-soup": ("our fading soup", "unlabelled"),
}


def studies() -> str:
    """Gains by density, a panel a study: the paper's rule beside two of our methods, their means and single seeds."""
    width, top, unit = 236, 84, 22
    lowest, highest = -2, 5

    def height(points: float) -> float:
        return round(top + unit * (highest - min(max(points, lowest), highest)), 1)

    shapes = [text(58, 16, "What pooling adds to a ticket: means over seeds")]
    for place, (words, kind) in enumerate(SERIES.values()):
        shapes += [box(58 + 130 * place, 28, 10, 10, kind), text(74 + 130 * place, 38, words)]
    middle = -(height(lowest) + height(highest)) / 2
    for line, words in enumerate(("points of test accuracy", "over the recalibrated ticket")):
        turned = f'x="{middle:g}" y="{11 + 14 * line}" transform="rotate(-90)"'
        shapes.append(f'<text {turned} class="small middle">{words}</text>')
    for panel, (study, title) in enumerate(STUDIES.items()):
        left = 58 + width * panel
        _, rows, _ = reports.read(RESULTS / study)
        needed = [row for row in rows if not row.severity and row.method in ("ticket", "recalibrated", *SERIES)]
        seeds = sorted({row.seed for row in needed})
        of_seeds = [gains([row for row in needed if row.seed == seed], ("recalibrated",)) for seed in seeds]
        all_gains = gains(needed, ("recalibrated",))
        levels = sorted({(g.level, g.density) for g in all_gains if g.level is not None and g.density is not None})
        shapes.append(text(left, top - 14, f"{title}, {len(seeds)} seeds"))
        for points in range(lowest, highest + 1):
            kind = "line" if points == 0 else "grid"
            shapes.append(f'<path d="M {left} {height(points)} h {width - 30}" class="{kind}"/>')
            if panel == 0:
                shapes.append(text(left - 6, height(points) + 4, f"{points:+d}" if points else "0", "small end"))
        for level, density in levels:
            x = left + 14 + (width - 58) * level / max(1, len(levels) - 1)
            if level % 2 == 0:
                shapes.append(
                    text(x, height(lowest) + 18, f"{100 * density:.2g} %" if density < 1 else "100 %", "small middle")
                )
            for place, (method, (_, kind)) in enumerate(SERIES.items()):
                at = round(x + 6 * place - 6, 1)
                for dots, radius in ((all_gains, 3.2), *((of_seed, 1.4) for of_seed in of_seeds)):
                    points_there = [g.gain for g in dots if (g.method, g.level) == (method, level)]
                    shapes += [
                        f'<circle cx="{at}" cy="{height(y)}" r="{radius}" class="{kind}"/>' for y in points_there
                    ]
    bottom = round(height(lowest) + 38)
    shapes.append(text(58, bottom, "density: share of the weights that survive", "small"))
    shapes.append(text(330, bottom, "small dots: single seeds; at 0, the method returns the ticket itself", "small"))
    return svg(58 + width * len(STUDIES), bottom + 8, "What pooling adds, by density", shapes)


FIGURES: dict[str, Callable[[], str]] = {"masks": masks, "mixing": mixing, "ladder": ladder, "studies": studies}

if __name__ == "__main__":
    for name, draw in FIGURES.items():
        Path(__file__).with_name(f"{name}.svg").write_text(draw(), encoding="utf-8")
