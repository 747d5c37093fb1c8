"""Signals in infinitely wide random networks, layer by layer: sizes, correlations, depth scales.

Weights are N(0, sigma_w^2 / fan_in), biases N(0, sigma_b^2). Two inputs of pre-activation size q
and correlation c come out of a layer with (Poole et al. 2016, eq. 3 and 5)

    q' = sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2
    q' c' = sigma_w^2 E[phi(u_1) phi(u_2)] + sigma_b^2,  u_i ~ N(0, q) of correlation c

All in float64 NumPy; the expectations are quadratures, good to about 1e-12.

References:
    Poole, Lahiri, Raghu, Sohl-Dickstein and Ganguli (2016), Exponential expressivity in deep neural
    networks through transient chaos. Schoenholz, Gilmer, Ganguli and Sohl-Dickstein (2017), Deep
    information propagation.
"""

import functools
import math

import numpy as np
from scipy import optimize

from initopt_jax import checks
from initopt_jax.initializers.activations import (
    HOMOGENEOUS,
    Function,
    find_activation,
    normal_mean,
)
from initopt_jax.initializers.gains import gain

# Activations whose line of criticality starts at sigma_b = 0, rises, and carries stable sizes.
CRITICAL = ("elu", "hard_tanh", "selu", "sin", "softsign", "tanh")
LARGEST_SIGMA_B = 5.0
Q_LOW, Q_HIGH = 1e-7, 1e4  # sizes between which that line is followed
Q_ZERO, Q_INFINITE = 1e-12, 1e12  # signals that die out, and that explode
TABLE = 4096


def fixed_point(activation: str, sigma_w: float, sigma_b: float) -> float:
    """The size q* that pre-activations of size 1 come to with depth.

    `q* = sigma_w^2 E[phi(sqrt(q*) z)^2] + sigma_b^2`

    Args:
        activation: a name that `gains.gain` knows.
        sigma_w: of the weights times sqrt(fan-in), above 0.
        sigma_b: of the biases, at least 0.

    Returns:
        q*, 0 where signals die out.

    Raises:
        ValueError: if an argument is out of range, a name is unknown, or the size grows beyond all
            bounds.

    Reference:
        Poole et al. (2016), eq. 3.

    >>> round(fixed_point("tanh", 2**0.5, 0.05**0.5), 3)
    0.722
    """
    _check(sigma_w, sigma_b)
    phi = find_activation(activation).value

    def excess(q: float) -> float:
        return sigma_w**2 * _square_mean(phi, q) + sigma_b**2 - q

    if abs(excess(1.0)) < 1e-13:
        return 1.0
    grows = excess(1.0) > 0
    q = 1.0
    while Q_ZERO < q < Q_INFINITE:
        last, q = q, 2 * q if grows else q / 2
        if (excess(q) > 0) != grows:
            return float(optimize.brentq(excess, last, q, xtol=1e-15, rtol=1e-14))
    if not grows:
        return 0.0
    raise ValueError(
        f"sigma_w and sigma_b must give the size of signals a fixed point, got {sigma_w:g} and "
        f"{sigma_b:g} with {activation!r}"
    )


def slope(activation: str, sigma_w: float, sigma_b: float) -> float:
    """chi_1, by which a layer multiplies small differences of inputs, squared.

    `chi_1 = sigma_w^2 E[phi'(sqrt(q*) z)^2]`

    Below 1 nearby inputs become one (order), above 1 they part (chaos). It is also the factor of a
    gradient's squared norm per layer. Arguments and errors as `fixed_point`.

    Reference:
        Poole et al. (2016), eq. 6; Schoenholz et al. (2017), eq. 5.

    >>> round(slope("relu", 2**0.5, 0.0), 12)
    1.0
    """
    q = fixed_point(activation, sigma_w, sigma_b)
    return sigma_w**2 * _square_mean(find_activation(activation).slope, q)


def next_size(activation: str, sigma_w: float, sigma_b: float, q: float) -> float:
    """The size of pre-activations one layer further: `sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2`.

    Args:
        activation: a name that `gains.gain` knows.
        sigma_w: of the weights times sqrt(fan-in), at least 0.
        sigma_b: of the biases, at least 0.
        q: the size before, at least 0.

    Reference:
        Poole et al. (2016), eq. 3.

    >>> round(next_size("relu", 2**0.5, 0.0, 3.0), 12)
    3.0
    """
    return sigma_w**2 * _square_mean(find_activation(activation).value, q) + sigma_b**2


def next_correlation(activation: str, sigma_w: float, sigma_b: float, q: float, c: float) -> float:
    """The correlation of two inputs' pre-activations one layer further.

    `(sigma_w^2 E[phi(u_1) phi(u_2)] + sigma_b^2) / q'`, `q'` of `next_size`

    Args:
        activation: as for `next_size`; `sigma_w`, `sigma_b` and `q` likewise, the size `q` above 0
            and that of both inputs.
        sigma_w: of the weights times sqrt(fan-in).
        sigma_b: of the biases.
        q: the size before.
        c: the correlation before, -1 to 1.

    Returns:
        The correlation; NaN where nothing is left of the signals.

    Reference:
        Poole et al. (2016), eq. 5.

    >>> round(next_correlation("relu", 2**0.5, 0.0, 1.0, 0.0), 4)  # 1 / pi
    0.3183
    """
    after = next_size(activation, sigma_w, sigma_b, q)
    if after == 0:
        return math.nan
    phi = find_activation(activation).value
    c = min(max(c, -1.0), 1.0)
    if abs(c) == 1:
        mean = float(normal_mean(lambda x: phi(x) * phi(c * x), np.array(math.sqrt(max(q, 1e-24)))))
    else:
        mean = _product_mean(phi, max(q, 1e-24), c)
    return (sigma_w**2 * mean + sigma_b**2) / after


def local_slope(activation: str, sigma_w: float, q: float) -> float:
    """Chi of a layer whose pre-activations have size q: `sigma_w^2 E[phi'(sqrt(q) z)^2]`.

    It is `slope` where `q` is the fixed point. The squared norm of a gradient grows by it on the
    way back through the layer, in networks of constant width.

    Args:
        activation: a name that `gains.gain` knows.
        sigma_w: of the weights above the activation times sqrt(fan-in), at least 0.
        q: the size, at least 0.

    Reference:
        Schoenholz et al. (2017), eq. 5 and 15.

    >>> round(local_slope("relu", 2**0.5, 0.3), 12)
    1.0
    """
    return sigma_w**2 * _square_mean(find_activation(activation).slope, q)


def correlation(activation: str, sigma_w: float, sigma_b: float) -> float:
    """The correlation c* that two inputs come to with depth.

    `q* c* = sigma_w^2 E[phi(u_1) phi(u_2)] + sigma_b^2`

    Arguments and errors as `fixed_point`.

    Returns:
        c*: 1 where `chi_1 <= 1`, else the stable fixed point below it.

    Reference:
        Poole et al. (2016), eq. 5.

    >>> round(correlation("tanh", 2**0.5, 0.05**0.5), 2)
    0.74
    """
    if slope(activation, sigma_w, sigma_b) <= 1:
        return 1.0
    q = fixed_point(activation, sigma_w, sigma_b)
    phi = find_activation(activation).value

    def excess(c: float) -> float:
        return (sigma_w**2 * _product_mean(phi, q, c) + sigma_b**2) / q - c

    if excess(0.0) <= 1e-14:  # odd, without biases
        return 0.0
    # The map leaves 1 with a slope above 1: just below, it lies under the diagonal.
    below = 1 - 1e-6
    return float(optimize.brentq(excess, 0.0, below, xtol=1e-14)) if excess(below) < 0 else 1.0


def depth_scales(activation: str, sigma_w: float, sigma_b: float) -> tuple[float, float]:
    """Over how many layers sizes and correlations forget where they started.

    `|q_l - q*| ~ exp(-l / xi_q)`, `|c_l - c*| ~ exp(-l / xi_c)`, each `xi = -1 / ln(slope of the
    map at its fixed point)`

    The slope of the map of sizes is `sigma_w^2 E[phi(sqrt(q*) z)^2 (z^2 - 1)] / (2 q*)`, which by
    parts is the `chi_1 + sigma_w^2 E[phi'' phi]` of the paper, without a second derivative.
    Arguments and errors as `fixed_point`.

    Returns:
        `(xi_q, xi_c)` in layers; infinite at criticality, 0 where one layer suffices.

    Reference:
        Schoenholz et al. (2017), eq. 7 to 9.

    >>> [round(xi, 1) for xi in depth_scales("tanh", 2**0.5, 0.05**0.5)]
    [1.4, 25.2]
    """
    q = fixed_point(activation, sigma_w, sigma_b)
    c = correlation(activation, sigma_w, sigma_b)
    function = find_activation(activation)
    if q == 0:
        of_q = slope(activation, sigma_w, sigma_b)
    else:
        weighted = normal_mean(
            lambda z: function.value(math.sqrt(q) * z) ** 2 * (z**2 - 1), np.array(1.0)
        )
        of_q = sigma_w**2 * float(weighted) / (2 * q)
    if c == 1:
        of_c = slope(activation, sigma_w, sigma_b)
    else:
        of_c = sigma_w**2 * _product_mean(function.slope, q, c)
    return _depth(of_q), _depth(of_c)


@functools.cache
def critical_sigma_w(activation: str, sigma_b: float) -> float:
    """The sigma_w at which `chi_1 = 1`: the edge between order and chaos.

    Along the edge the size q gives both: `sigma_w^2 = 1 / E[phi'(sqrt(q) z)^2]` and
    `sigma_b^2 = q - sigma_w^2 E[phi(sqrt(q) z)^2]`; the second is solved for q.

    Args:
        activation: one of `CRITICAL`, or of `HOMOGENEOUS`, whose edge is the single point
            `sigma_w = gain(activation)`, `sigma_b = 0`: sqrt(2) for `relu`, where every q is a
            fixed point and the weights are `he_normal`.
        sigma_b: of the biases, between 0 and 5.

    Returns:
        sigma_w.

    Raises:
        ValueError: if `sigma_b` is out of range, or `activation` has no such edge: `sigmoid` and
            `softplus` have none for small `sigma_b`, on that of `gelu` and `silu`
            sizes below 3.6 and 14.3 are not stable.

    Reference:
        Schoenholz et al. (2017), section 3 and figure 1; for rectifiers Hayou, Doucet and Rousseau
        (2019), On the impact of the activation function on deep neural networks training, prop. 1.

    >>> round(critical_sigma_w("tanh", 0.05**0.5) ** 2, 3)
    1.761
    """
    require_critical(activation)
    checks.in_range("sigma_b", sigma_b, 0, LARGEST_SIGMA_B)
    if activation in HOMOGENEOUS:
        if sigma_b != 0:
            raise ValueError(f"sigma_b must be 0 with {activation!r}, got {sigma_b}")
        return gain(activation)

    def excess(log_q: float) -> float:
        return float(_edge(activation, np.exp(log_q))[1]) - sigma_b**2

    low, high = math.log(Q_LOW), math.log(Q_HIGH)
    root = optimize.brentq(excess, low, high, xtol=1e-13) if excess(low) < 0 else low
    return float(np.sqrt(_edge(activation, np.exp(root))[0]))


def require_critical(activation: str) -> None:
    """Refuses an activation that `critical_sigma_w` does not know, and says so."""
    find_activation(activation)
    if activation not in (*CRITICAL, *HOMOGENEOUS):
        raise ValueError(
            f"activation must have a critical line, got {activation!r}. Allowed: "
            f"{', '.join(sorted((*CRITICAL, *HOMOGENEOUS)))}"
        )


@functools.cache
def critical_table(activation: str) -> tuple[np.ndarray, np.ndarray]:
    """Points `(sigma_b, sigma_w)` along the critical line of an activation in `CRITICAL`.

    Linear interpolation between them is within 1e-5 of `critical_sigma_w`.
    """
    q = np.geomspace(Q_LOW, Q_HIGH, TABLE)
    edges = [_edge(activation, part) for part in np.split(q, 32)]  # arrays of 16 MB at a time
    squares, biases = (np.concatenate(parts) for parts in zip(*edges, strict=True))
    sigma_b = np.sqrt(np.maximum(biases, 0))
    rising = np.concatenate([[True], sigma_b[1:] > np.maximum.accumulate(sigma_b)[:-1]])
    return sigma_b[rising], np.sqrt(squares[rising])


def _edge(activation: str, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sigma_w^2 and sigma_b^2 at which q is a fixed point and chi_1 = 1."""
    function, std = find_activation(activation), np.sqrt(q)
    square = 1 / normal_mean(lambda x: function.slope(x) ** 2, std)
    return square, q - square * normal_mean(lambda x: function.value(x) ** 2, std)


def _check(sigma_w: float, sigma_b: float) -> None:
    checks.positive("sigma_w", sigma_w)
    checks.non_negative("sigma_b", sigma_b)


def _square_mean(function: Function, q: float) -> float:
    """`E f(sqrt(q) z)^2`."""
    std = np.sqrt(max(q, 1e-24))  # at 0 the derivative may jump: its mean over both sides counts
    return float(normal_mean(lambda x: function(x) ** 2, std))


def _product_mean(function: Function, q: float, c: float) -> float:
    """`E f(u_1) f(u_2)` of two normals of variance q and correlation c < 1."""
    inner_std = np.array(math.sqrt(q * (1 - c**2)))

    def inner(x: np.ndarray) -> np.ndarray:
        return function(x) * normal_mean(function, inner_std, c * x, nodes=64)

    return float(normal_mean(inner, np.array(math.sqrt(q)), nodes=64))


def _depth(factor: float) -> float:
    factor = abs(factor)  # a negative one alternates
    if factor == 0:
        return 0.0
    return math.inf if factor >= 1 - 1e-12 else -1 / math.log(factor)
