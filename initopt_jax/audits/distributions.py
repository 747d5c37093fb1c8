"""Do weights follow the distribution that they were asked to follow? Tests of one sample.

Every test is made at the level `ALARM = 1e-9`, so that 10,000 healthy leaves give a false alarm
with a probability below 1e-4. Tolerances follow from the number n of weights in the leaf; those of
tiny leaves are wide. With 100 weights and more, a standard deviation off by sqrt(2) is seen; with
1,000 and more, so are the missing tails of a truncated normal.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, special

from initopt_jax.networks.layout import Layout
from initopt_jax.types import DistributionSpec

ALARM = 1e-9
# Two-sided bound of a standard normal at that level, 6.1. Means of uniform, truncated normal and
# orthogonal weights have lighter tails than a normal of the same variance.
Z = float(-special.ndtri(ALARM / 2))
# A sample's shape is judged on at most so many of its weights, evenly spaced: sorting takes time.
SHAPE_SAMPLE = 65_536
# Float32 generators resolve probabilities down to about 1e-7; expect no rarer value of them.
REACH_SAMPLE = 10_000_000
# A normal cut at ten standard deviations or more is a normal.
WIDEST_CUT = 10.0

Cdf = Callable[[np.ndarray], np.ndarray]


def miss(weights: np.ndarray, spec: DistributionSpec, layout: Layout, eps: float) -> str:
    """What is wrong with a leaf of finite weights, or an empty text.

    All kernels are taken together where each weight is a draw of its own, else one by one.

    Args:
        weights: float64, not empty.
        spec: of one kernel.
        layout: how the leaf is made of kernels.
        eps: relative rounding of the dtype that the leaf is stored in.
    """
    alike = spec.zeros is None and not (spec.arranged or spec.drawn)
    if alike and spec.kind not in ("exact", "orthogonal"):
        return _miss_kernel(weights, spec, eps)
    kernels = layout.take_apart(weights)
    for number, kernel in enumerate(kernels):
        if wrong := _miss_kernel(kernel, spec, eps):
            return wrong if len(kernels) == 1 else f"kernel {number}: {wrong}"
    return ""


def _miss_kernel(weights: np.ndarray, spec: DistributionSpec, eps: float) -> str:
    """What is wrong with the weights of a kernel, or an empty text."""
    zeros = int(np.sum(weights == 0))
    if spec.zeros is not None and zeros != spec.zeros:
        return f"{zeros} of {weights.size} weights are 0, asked were {spec.zeros}"
    if spec.arranged and (wrong := spec.arranged(weights)):
        return wrong
    if spec.drawn:
        weights = np.asarray(spec.drawn(weights), np.float64)
    return _miss_drawn(weights, spec, eps) if weights.size else ""


def _miss_drawn(weights: np.ndarray, spec: DistributionSpec, eps: float) -> str:
    """What is wrong with the random part."""
    slack = 2 * eps
    if spec.kind in ("constant", "exact"):
        asked = spec.mean if spec.value is None else spec.value
        wrong = np.abs(weights - asked) > slack * np.abs(asked)
        if wrong.any():
            worst = float(np.abs(weights - asked).max())
            of = f"{spec.mean:.4g}" if spec.value is None else "those asked"
            return f"weights differ from {of} by up to {worst:.4g}"
        return ""
    low, high = float(weights.min()), float(weights.max())
    if low < spec.low - slack * abs(spec.low) or high > spec.high + slack * abs(spec.high):
        return f"weights from {low:.4g} to {high:.4g} leave [{spec.low:.4g}, {spec.high:.4g}]"
    if spec.kind == "orthogonal":
        return _miss_orthogonal(weights, spec, eps) or _miss_mean(weights, spec, slack)
    return (
        _miss_mean(weights, spec, slack)
        or _miss_std(weights, spec, slack)
        or ("" if spec.kind == "moments" else _miss_shape(weights.ravel(), spec, slack))
    )


def _miss_mean(weights: np.ndarray, spec: DistributionSpec, slack: float) -> str:
    mean = float(weights.mean())
    tolerance = Z * spec.std / math.sqrt(weights.size) + slack * abs(spec.mean)
    if abs(mean - spec.mean) <= tolerance:
        return ""
    return f"mean {mean:.4g} must be within {tolerance:.4g} of {spec.mean:.4g} (n = {weights.size})"


def _miss_std(weights: np.ndarray, spec: DistributionSpec, slack: float) -> str:
    # Around the asked mean, which costs no degree of freedom and makes the test fit for n = 1.
    n = weights.size
    std = math.sqrt(float(np.mean((weights - spec.mean) ** 2)))
    least = math.sqrt(2 * special.gammaincinv(n / 2, ALARM / 2) / n)
    most = math.sqrt(2 * special.gammainccinv(n / 2, ALARM / 2) / n)
    # The variance of s^2 is (kurtosis - 1) / n of sigma^4: 2 / n for a normal.
    wider = math.sqrt(max(spec.kurtosis - 1, 2) / 2)
    low = spec.std * max(0.0, 1 - wider * (1 - least)) * (1 - slack)
    high = spec.std * (1 + wider * (most - 1)) * (1 + slack)
    if low <= std <= high:
        return ""
    return f"std {std:.4g} must be between {low:.4g} and {high:.4g} (n = {n})"


def _miss_shape(weights: np.ndarray, spec: DistributionSpec, slack: float) -> str:
    cdf = _cdf(spec)
    reach = float(np.abs(weights - spec.mean).max())
    span = np.array([-1.0, 1.0]) * reach
    outer = float(np.diff(cdf(spec.mean + span * (1 + slack)))[0])
    inner = float(np.diff(cdf(spec.mean + span * (1 - slack)))[0])
    # P(all n within the reach) and P(any of n beyond it).
    if min(weights.size, REACH_SAMPLE) * math.log(max(outer, 1e-300)) < math.log(ALARM):
        return f"no weight of {weights.size} is further than {reach:.4g} from the mean"
    if (1 - inner) * weights.size < ALARM:
        return f"a weight of {weights.size} is {reach:.4g} from the mean"
    sample = np.sort(weights[:: math.ceil(weights.size / SHAPE_SAMPLE)])
    n = sample.size
    # A rounded weight stands for all numbers that round to it.
    half = slack / 2 * np.abs(sample)
    above = np.arange(1, n + 1) / n - cdf(sample + half)
    below = cdf(sample - half) - np.arange(n) / n
    distance, limit = float(max(above.max(), below.max())), math.sqrt(math.log(2 / ALARM) / (2 * n))
    if distance <= limit:
        return ""
    kind = spec.kind.replace("_", " ")
    return f"not {kind}: Kolmogorov-Smirnov distance {distance:.4g} above {limit:.4g} (n = {n})"


def _miss_orthogonal(weights: np.ndarray, spec: DistributionSpec, eps: float) -> str:
    matrix = weights.reshape(-1, weights.shape[-1]) / spec.gain
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    worst = float(np.abs(tall.T @ tall - np.eye(tall.shape[1])).max())
    # Storing costs at most 2 eps; computing, in float32 for all narrower dtypes, grows with the
    # length of the sums.
    working = min(eps, float(np.finfo(np.float32).eps))
    tolerance = 2 * eps + 16 * math.sqrt(len(tall)) * working
    if worst <= tolerance:
        return ""
    return f"W^T W / gain^2 differs from I by {worst:.4g}, above {tolerance:.4g}"


def _cdf(spec: DistributionSpec) -> Cdf:
    """The cumulative distribution function."""
    if spec.kind == "uniform":
        return lambda x: np.clip((x - spec.low) / (spec.high - spec.low), 0, 1)
    if spec.kind == "normal":
        return lambda x: special.ndtr((x - spec.mean) / spec.std)
    scale, cut = _underlying_normal(spec)
    below = special.ndtr(-cut)
    return lambda x: np.clip(
        (special.ndtr((x - spec.mean) / scale) - below) / (1 - 2 * below), 0, 1
    )


def _underlying_normal(spec: DistributionSpec) -> tuple[float, float]:
    """Scale of the normal that a truncated one was cut from, and the cut in units of it."""
    half = (spec.high - spec.low) / 2
    if half > WIDEST_CUT * spec.std:
        return spec.std, WIDEST_CUT
    if spec.std * math.sqrt(3) >= half:
        raise ValueError(
            f"the std of a truncated normal must be below that of the uniform distribution on its "
            f"bounds, {half / math.sqrt(3):.4g}, got {spec.std:.4g}"
        )

    def excess(cut: float) -> float:
        density = math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi)
        std = math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))
        return std / cut - spec.std / half

    cut = float(optimize.brentq(excess, 1e-3, WIDEST_CUT))
    return half / cut, cut
