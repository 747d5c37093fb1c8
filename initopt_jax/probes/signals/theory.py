"""Mean-field theory beside a network's own numbers: its layers' sigmas, and what they predict.

The theory is of wide plain networks: a kernel, a bias, an activation, again and again. All in
NumPy, on the host.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from initopt_jax.initializers import Network
from initopt_jax.initializers.activations import HOMOGENEOUS, find_activation, normal_mean
from initopt_jax.initializers.mean_field import (
    CRITICAL,
    correlation,
    critical_sigma_w,
    depth_scales,
    fixed_point,
    local_slope,
    next_correlation,
    next_size,
    slope,
)
from initopt_jax.tree import named_leaves
from initopt_jax.types import PyTree

Floats = npt.NDArray[np.float64]
SIZES = np.geomspace(1e-8, 1e8, 321)
ROUNDS = 600  # of the map of sizes; an error of 1% where it shrinks by 0.8% a round
LARGEST = 1e8


class Sigmas(NamedTuple):
    """Standard deviations of every kernel times sqrt(fan-in), and of its bias; [kernel] each."""

    weights: Floats
    biases: Floats


def sigmas(params: PyTree, network: Network) -> Sigmas:
    """The (sigma_w, sigma_b) of every kernel, from the weights themselves.

    `sigma_w^2 = fan_in mean(W^2)`, `sigma_b^2 = mean(b^2)`: second moments, for what is not
    centred counts too; 0 where there is no bias.

    Args:
        params: of the network, concrete.
        network: its anatomy says which leaves are kernels, and their fans.

    >>> from initopt_jax.initializers import make_network
    >>> params, x = {"w": 0.5 * np.ones((4, 3), np.float32)}, np.ones((2, 4), np.float32)
    >>> network = make_network(lambda p, x: x @ p["w"], lambda z, y: z[:, 0], params, x, x)
    >>> sigmas(params, network).weights.tolist()
    [1.0]
    """
    leaves = {path: np.asarray(leaf, np.float64) for path, leaf in named_leaves(params)}
    weights, biases = [], []
    for kernel in network.anatomy.kernels:
        leaf = leaves[kernel.path]
        fan_in, _ = kernel.fans(leaf.shape)
        weights.append(math.sqrt(fan_in * float(np.mean(np.square(leaf)))))
        bias = network.anatomy.bias_of(kernel.path)
        biases.append(0.0 if bias is None else math.sqrt(float(np.mean(np.square(leaves[bias])))))
    return Sigmas(np.array(weights), np.array(biases))


class Predicted(NamedTuple):
    """What the theory says of every kernel, [kernel] each.

    sizes: `q`, from the first kernel's measured one on.
    correlations: of two inputs, likewise.
    gradients: norms of gradients by pre-activations, up to a common factor: 1 at the last hidden
        kernel.
    """

    sizes: Floats
    correlations: Floats
    gradients: Floats


def predict(
    activation: str, own: Sigmas, size: float, correlated: float, widths: Floats
) -> Predicted:
    """Sizes, correlations and gradients of a plain network, layer by layer.

    `q_l = sigma_w^2 E[phi(sqrt(q_{l-1}) z)^2] + sigma_b^2` with the sigmas of layer l, correlations
    likewise; gradients by `|d_l|^2 = |d_{l+1}|^2 chi_l n_{l+1} / n_l` per unit, where `chi_l` has
    the sigma_w of layer l+1 and n are widths.

    Args:
        activation: between the layers, a name that `gains.gain` knows.
        own: of the kernels, in order of use.
        size: q of the first kernel.
        correlated: the correlation of two inputs there.
        widths: units of every kernel.

    Reference:
        Poole et al. (2016), eq. 3 and 5; Schoenholz et al. (2017), eq. 15.

    >>> he = Sigmas(np.full(3, 2**0.5), np.zeros(3))
    >>> predict("relu", he, 0.7, 0.0, np.full(3, 64.0)).sizes.round(6).tolist()
    [0.7, 0.7, 0.7]
    """
    sizes, correlations = [size], [correlated]
    for weight, bias in list(zip(*own, strict=True))[1:]:
        known = math.isfinite(sizes[-1]) and math.isfinite(correlations[-1])
        given = activation, float(weight), float(bias), sizes[-1]
        correlations.append(next_correlation(*given, correlations[-1]) if known else math.nan)
        sizes.append(next_size(*given) if math.isfinite(sizes[-1]) else math.nan)
    gradients = np.full(len(sizes), np.nan)
    last = max(len(sizes) - 2, 0)
    gradients[last] = 1.0
    for layer in range(last - 1, -1, -1):
        chi = local_slope(activation, float(own.weights[layer + 1]), sizes[layer])
        ratio = widths[layer + 1] / widths[layer]
        gradients[layer] = gradients[layer + 1] * math.sqrt(chi * ratio)
    return Predicted(np.array(sizes), np.array(correlations), gradients)


@dataclass(frozen=True)
class Phase:
    """A point of the phase diagram.

    Attributes:
        sigma_w: of the weights times sqrt(fan-in).
        sigma_b: of the biases.
        q: the fixed point of sizes; infinite where they grow beyond all bounds.
        c: that of correlations.
        chi: chi_1, below 1 order, above chaos.
        depth: xi_c, layers over which correlations forget where they started.
    """

    sigma_w: float
    sigma_b: float
    q: float
    c: float
    chi: float
    depth: float


def phase(activation: str, sigma_w: float, sigma_b: float) -> Phase:
    """Where a network stands between order and chaos.

    Args:
        activation: a name that `gains.gain` knows.
        sigma_w: of the weights times sqrt(fan-in), at least 0.
        sigma_b: of the biases, at least 0.

    >>> found = phase("tanh", 2**0.5, 0.05**0.5)
    >>> round(found.q, 3), round(found.depth, 1)
    (0.722, 25.2)
    """
    if sigma_w == 0:
        return Phase(0.0, sigma_b, sigma_b**2, 1.0, 0.0, 0.0)
    given = activation, sigma_w, sigma_b
    try:
        q = fixed_point(*given)
    except ValueError:
        # Sizes grow: what chi tends to, and no fixed point for correlations to come to.
        chi = local_slope(activation, sigma_w, LARGEST)
        return Phase(sigma_w, sigma_b, math.inf, math.nan, chi, math.nan)
    return Phase(sigma_w, sigma_b, q, correlation(*given), slope(*given), depth_scales(*given)[1])


class Diagram(NamedTuple):
    """The phase diagram of an activation on a grid.

    sigma_w: [columns]. sigma_b: [rows]. chi: [rows, columns]. line: the points (sigma_w, sigma_b)
    of the critical line in the picture, empty where it is not known.
    """

    sigma_w: Floats
    sigma_b: Floats
    chi: Floats
    line: Floats


def diagram(
    activation: str, sigma_w: tuple[float, float], sigma_b: tuple[float, float], points: int = 61
) -> Diagram:
    """chi_1 over a grid of (sigma_w, sigma_b), and the line on which it is 1.

    The map of sizes is iterated from 1 on all points together, its means taken from a table over q.

    Args:
        activation: a name that `gains.gain` knows.
        sigma_w: from, to; above 0.
        sigma_b: from, to; at least 0.
        points: along each axis, at least 2.

    >>> found = diagram("tanh", (0.5, 2.5), (0.0, 0.5), points=5)
    >>> found.chi.shape, bool((np.diff(found.chi[0]) > 0).all())
    ((5, 5), True)
    """
    across, up = np.linspace(*sigma_w, points), np.linspace(*sigma_b, points)
    square, offset = across[None, :] ** 2, up[:, None] ** 2
    function, logs = find_activation(activation), np.log(SIZES)
    stds = np.sqrt(SIZES)
    sizes, slopes = (
        np.array([float(normal_mean(lambda x, f=f: f(x) ** 2, std)) for std in stds])
        for f in (function.value, function.slope)
    )
    q = np.ones((points, points))
    for _ in range(ROUNDS):
        # Sizes go to 0 or grow by powers, so that it is their logarithm that is interpolated.
        mean = np.exp(np.interp(np.log(q), logs, np.log(np.maximum(sizes, 1e-300))))
        q = np.clip(square * mean + offset, SIZES[0], SIZES[-1])
    chi = square * np.interp(np.log(q), logs, slopes)
    return Diagram(across, up, chi, _line(activation, across, up))


def _line(activation: str, across: Floats, up: Floats) -> Floats:
    if activation in HOMOGENEOUS:
        edge = np.array([[critical_sigma_w(activation, 0.0), up[0]]])
        # With biases sizes have no fixed point there, but gradients pass all the same.
        return np.concatenate([edge, [[edge[0, 0], up[-1]]]])
    if activation not in CRITICAL:
        return np.zeros((0, 2))
    line = np.array([[critical_sigma_w(activation, float(bias)), bias] for bias in up])
    return line[(line[:, 0] >= across[0]) & (line[:, 0] <= across[-1])]
