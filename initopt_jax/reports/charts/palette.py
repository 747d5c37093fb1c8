"""Colours and marks, the same for an optimizer or initializer in every figure; color-blind safe."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

# Okabe and Ito's palette without its yellow, which is too faint for lines on white.
BOLD = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
# Paul Tol's "muted" palette, for initializers, so that the two families are never mistaken.
MUTED = ("#332288", "#CC6677", "#117733", "#88CCEE", "#882255", "#999933", "#44AA99", "#AA4499")
Dash = Literal["solid", "dashed", "dotted", "dashdot"]
DASHES: tuple[Dash, ...] = ("solid", "dashed", "dotted", "dashdot")
# The same eight shapes by their Matplotlib and Plotly names.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SYMBOLS = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "triangle-down",
    "cross",
    "x",
    "star",
)


class Style(NamedTuple):
    """How one label is drawn; `mark` indexes `MARKERS` and `SYMBOLS`."""

    color: str
    dash: Dash
    mark: int


def styles(labels: Sequence[str], colors: Sequence[str]) -> dict[str, Style]:
    """A style per label; past the end of the palette colours repeat with another dash.

    >>> styles(["adam"], BOLD)["adam"]
    Style(color='#0072B2', dash='solid', mark=0)
    """
    count = len(colors)
    return {
        label: Style(colors[i % count], DASHES[i // count % len(DASHES)], i % len(MARKERS))
        for i, label in enumerate(labels)
    }


def rgba(color: str, alpha: float) -> str:
    """A `#rrggbb` colour as a CSS colour with opacity.

    >>> rgba("#0072B2", 0.2)
    'rgba(0,114,178,0.2)'
    """
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"
