"""Did each leaf get the weights it was asked to get? Statistics of first weights, leaf by leaf.

Every test is made at the level `ALARM = 1e-9`, so that 10,000 healthy leaves give a false alarm
with a probability below 1e-4. Tolerances follow from the number n of weights in the leaf; those of
tiny leaves are wide. With 100 weights and more, a standard deviation off by sqrt(2) is seen; with
1,000 and more, so are the missing tails of a truncated normal.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

from initopt_jax.errors import CheckFailed
from initopt_jax.initializers.layout import Layout, standard_layout
from initopt_jax.initializers.registry import REGISTRY
from initopt_jax.initializers.rules import Draw, Rules, match_rules
from initopt_jax.tree import named_leaves
from initopt_jax.types import Law, PyTree, Shape

ALARM = 1e-9
# Two-sided bound of a standard normal at that level, 6.1. Means of uniform, truncated normal and
# orthogonal weights have lighter tails than a normal of the same variance.
Z = float(-special.ndtri(ALARM / 2))
# A sample's shape is judged on at most so many of its weights, evenly spaced: sorting is the cost.
SHAPE_SAMPLE = 65_536
# Float32 generators resolve probabilities down to about 1e-7; expect no rarer value of them.
REACH_SAMPLE = 10_000_000
# Angles between units are looked at up to this number: a matrix product is the cost.
ANGLES = 2**20
# A normal cut at ten standard deviations or more is a normal.
WIDEST_CUT = 10.0

Verdict = Literal["ok", "fails", "no law"]
Cdf = Callable[[np.ndarray], np.ndarray]


class AuditError(CheckFailed):
    """A leaf missed the distribution that its initializer promised."""


@dataclass(frozen=True)
class LeafAudit:
    """One leaf: what was asked for and what it holds.

    Attributes:
        path: of the leaf.
        shape: of the leaf.
        initializer: its name, or the label given to the audit.
        pattern: of the rule that drew it.
        layer: what kind of layer uses it, and how.
        fan_in: of that layer.
        fan_out: of that layer.
        law: kind of the distribution asked for, None where the initializer states none.
        asked_mean: of one weight, None without a law.
        asked_std: of one weight, None without a law.
        mean: measured, None for an empty leaf.
        std: measured, None for an empty leaf.
        zeros: share of weights that are exactly 0, None for an empty leaf.
        coherence: largest `|cos|` of the angle between two rows or two columns (the fewer) of a
            kernel: 0 if it is orthogonal, 1 if two units are copies. None for a vector, for a leaf
            of more than a million numbers in such angles, and where one of them is 0.
        verdict: `no law` where only finiteness could be judged.
        reason: what failed, empty otherwise.
    """

    path: str
    shape: Shape
    initializer: str
    pattern: str
    layer: str
    fan_in: int
    fan_out: int
    law: str | None
    asked_mean: float | None
    asked_std: float | None
    mean: float | None
    std: float | None
    zeros: float | None
    coherence: float | None
    verdict: Verdict
    reason: str


def audit_params(
    params: PyTree,
    rules: Rules,
    *,
    laws: Mapping[str, Callable[[Shape], Law] | None] | None = None,
    label: str | None = None,
    layouts: Mapping[str, Layout] | None = None,
) -> list[LeafAudit]:
    """Audit every leaf of one network against the rules that should have drawn it.

    The law of a rule comes from `laws`, else from the registry (also through
    `functools.partial(draw, **options)`), else from the initializer's attribute `law`.

    Args:
        params: one network's first weights.
        rules: those given to `initializers.initialize`.
        laws: pattern to `(shape) -> Law`, or to None where there is none.
        label: the name of the initializer in the result; by default that of each rule's own.
        layouts: path to layout, as given to `initializers.initialize`.

    Returns:
        One entry per leaf, in the order of `jax.tree.leaves`.

    Raises:
        ValueError: if the rules do not cover the leaves, as `initializers.match_rules`.

    >>> import jax
    >>> from initopt_jax.initializers import default_rules, initialize
    >>> shapes = {"kernel": jax.ShapeDtypeStruct((64, 10), "float32")}
    >>> params = initialize(jax.random.key(0), shapes, default_rules("lecun_normal"))
    >>> [audit.verdict for audit in audit_params(params, default_rules("lecun_normal"))]
    ['ok']
    >>> audit_params(params, default_rules("he_normal"))[0].reason
    'std 0.1293 must be between 0.1474 and 0.2077 (n = 640)'
    """
    audits = []
    matched = match_rules(params, rules, layouts)
    for leaf, (_, value) in zip(matched, named_leaves(params), strict=True):
        name, law_of = _known(leaf.draw)
        if laws is not None and leaf.pattern in laws:
            law_of = laws[leaf.pattern]
        audits.append(
            audit_leaf(
                leaf.path,
                leaf.pattern,
                np.asarray(value),
                law_of(leaf.layout.kernel_shape(leaf.shape)) if law_of else None,
                leaf.layout.fans(leaf.shape),
                layout=leaf.layout,
                initializer=label or name,
            )
        )
    return audits


def audit_leaf(
    path: str,
    pattern: str,
    value: np.ndarray,
    law: Law | None,
    fans: tuple[int, int],
    *,
    layout: Layout | None = None,
    initializer: str = "",
) -> LeafAudit:
    """Audit one leaf.

    What is tested, all in float64 and with room for the rounding of the leaf's dtype:

    - all weights are finite, and within the law's bounds;
    - constants are exact;
    - mean: `|mean - mu| <= 6.1 sigma / sqrt(n)`;
    - standard deviation: `n s^2 / sigma^2` lies within the quantiles of chi-squared with n degrees
      of freedom; exact for a normal, wider than needed for uniform and truncated normal weights;
    - largest magnitude: neither too far out for n draws, nor too far in (a truncated normal);
    - shape: the Kolmogorov-Smirnov distance to the law stays below `sqrt(ln(2 / 1e-9) / (2 n))`;
    - orthogonal weights: `W^T W = gain^2 I` within rounding, and the mean. That they are Haar
      distributed cannot be judged from one draw;
    - arranged weights: the number of zeros, and what the law's `arranged` finds, kernel by kernel;
      then as above for the part that was drawn.

    Args:
        path: of the leaf.
        pattern: of the rule that drew it.
        value: the leaf on the host, any floating dtype.
        law: what was asked for in each kernel, None where the initializer states none.
        fans: fan-in and fan-out.
        layout: how the leaf is made of kernels; by default what its shape suggests.
        initializer: its name.

    Returns:
        The result; a failed test is in `reason`, the first one only.

    Reference:
        Massart (1990), The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality, for the
        shape.

    >>> weights = np.random.default_rng(0).normal(0, 0.1, (100, 50)).astype(np.float32)
    >>> audit_leaf("kernel", "*", weights, Law("normal", std=0.1), (100, 50)).verdict
    'ok'
    >>> audit_leaf("kernel", "*", 0 * weights, Law("normal", std=0.1), (100, 50)).reason
    'std 0 must be between 0.09395 and 0.1062 (n = 5000)'
    """
    layout = layout or standard_layout(tuple(value.shape))
    weights = value.astype(np.float64)
    finite = bool(np.isfinite(weights).all())
    if not finite:
        reason = f"{np.sum(~np.isfinite(weights))} of {weights.size} weights are not finite"
    else:
        eps = _resolution(value.dtype)
        reason = _miss_leaf(weights, law, layout, eps) if law and weights.size else ""
    verdict: Verdict = "fails" if reason else "ok" if law else "no law"
    with np.errstate(invalid="ignore", over="ignore"):
        mean, std = (weights.mean(), weights.std()) if weights.size else (None, None)
    return LeafAudit(
        path=path,
        shape=tuple(value.shape),
        initializer=initializer,
        pattern=pattern,
        layer=layout.describe(),
        fan_in=fans[0],
        fan_out=fans[1],
        law=law.kind if law else None,
        asked_mean=float(law.mean) if law else None,
        asked_std=float(law.std) if law else None,
        mean=None if mean is None else float(mean),
        std=None if std is None else float(std),
        zeros=float(np.mean(weights == 0)) if weights.size else None,
        coherence=_coherence(layout.take_apart(weights)) if finite and weights.size else None,
        verdict=verdict,
        reason=reason,
    )


def failures(audits: Iterable[LeafAudit]) -> list[LeafAudit]:
    """The leaves that missed their law."""
    return [audit for audit in audits if audit.verdict == "fails"]


def check(audits: Iterable[LeafAudit]) -> None:
    """Refuses weights of which a leaf missed its law.

    Raises:
        AuditError: naming every such leaf and what is wrong with it.
    """
    failed = failures(audits)
    if failed:
        lines = [f"{leaf.path} ({leaf.initializer}): {leaf.reason}" for leaf in failed]
        raise AuditError("leaves that missed their distribution: " + "; ".join(lines))


def to_rows(audits: Iterable[LeafAudit]) -> list[dict[str, Any]]:
    """The audits as dictionaries of plain Python values, for a table."""
    return [asdict(audit) for audit in audits]


def _known(draw: Draw) -> tuple[str, Callable[[Shape], Law] | None]:
    """Name and law of an initializer, looked up in the registry by identity."""
    options: dict[str, Any] = {}
    if isinstance(draw, functools.partial) and not draw.args:
        draw, options = draw.func, draw.keywords
    for entry in REGISTRY.values():
        if entry.draw is draw:
            return entry.name, entry.law and functools.partial(entry.law, **options)
    law = getattr(draw, "law", None)
    name = getattr(draw, "__name__", type(draw).__name__)
    return name, law and functools.partial(law, **options)


def _resolution(dtype: np.dtype) -> float:
    """Spacing of numbers of a dtype near 1; that of float32 for what is not floating."""
    return float(jnp.finfo(dtype if jnp.issubdtype(dtype, jnp.floating) else np.float32).eps)


def _coherence(kernels: np.ndarray) -> float | None:
    """Of kernels [n, ..., inputs, outputs]."""
    matrices = kernels.reshape(len(kernels), -1, kernels.shape[-1])
    if matrices.shape[1] < matrices.shape[2]:
        matrices = matrices.transpose(0, 2, 1)
    units = matrices.shape[2]
    lengths = np.linalg.norm(matrices, axis=1, keepdims=True)
    if kernels.ndim < 3 or units < 2 or len(kernels) * units**2 > ANGLES or not lengths.all():
        return None
    matrices = matrices / lengths
    cosines = np.abs(matrices.transpose(0, 2, 1) @ matrices)
    return float((cosines * (1 - np.eye(units))).max())


def _miss_leaf(weights: np.ndarray, law: Law, layout: Layout, eps: float) -> str:
    """What is wrong with a leaf, all kernels at once where each weight is a draw of its own."""
    alike = law.zeros is None and not (law.arranged or law.drawn)
    if alike and law.kind not in ("exact", "orthogonal"):
        return _miss(weights, law, eps)
    kernels = layout.take_apart(weights)
    for number, kernel in enumerate(kernels):
        if wrong := _miss(kernel, law, eps):
            return wrong if len(kernels) == 1 else f"kernel {number}: {wrong}"
    return ""


def _miss(weights: np.ndarray, law: Law, eps: float) -> str:
    """What is wrong with the weights of a kernel, or an empty text."""
    zeros = int(np.sum(weights == 0))
    if law.zeros is not None and zeros != law.zeros:
        return f"{zeros} of {weights.size} weights are 0, asked were {law.zeros}"
    if law.arranged and (wrong := law.arranged(weights)):
        return wrong
    if law.drawn:
        weights = np.asarray(law.drawn(weights), np.float64)
    return _miss_drawn(weights, law, eps) if weights.size else ""


def _miss_drawn(weights: np.ndarray, law: Law, eps: float) -> str:
    """What is wrong with the random part."""
    slack = 2 * eps
    if law.kind in ("constant", "exact"):
        asked = law.mean if law.value is None else law.value
        wrong = np.abs(weights - asked) > slack * np.abs(asked)
        if wrong.any():
            worst = float(np.abs(weights - asked).max())
            of = f"{law.mean:.4g}" if law.value is None else "those asked"
            return f"weights differ from {of} by up to {worst:.4g}"
        return ""
    low, high = float(weights.min()), float(weights.max())
    if low < law.low - slack * abs(law.low) or high > law.high + slack * abs(law.high):
        return f"weights from {low:.4g} to {high:.4g} leave [{law.low:.4g}, {law.high:.4g}]"
    if law.kind == "orthogonal":
        return _miss_orthogonal(weights, law, eps) or _miss_mean(weights, law, slack)
    return (
        _miss_mean(weights, law, slack)
        or _miss_std(weights, law, slack)
        or ("" if law.kind == "moments" else _miss_shape(weights.ravel(), law, slack))
    )


def _miss_mean(weights: np.ndarray, law: Law, slack: float) -> str:
    mean = float(weights.mean())
    tolerance = Z * law.std / math.sqrt(weights.size) + slack * abs(law.mean)
    if abs(mean - law.mean) <= tolerance:
        return ""
    return f"mean {mean:.4g} must be within {tolerance:.4g} of {law.mean:.4g} (n = {weights.size})"


def _miss_std(weights: np.ndarray, law: Law, slack: float) -> str:
    # Around the asked mean, which costs no degree of freedom and makes the test fit for n = 1.
    n = weights.size
    std = math.sqrt(float(np.mean((weights - law.mean) ** 2)))
    low = law.std * math.sqrt(2 * special.gammaincinv(n / 2, ALARM / 2) / n) * (1 - slack)
    high = law.std * math.sqrt(2 * special.gammainccinv(n / 2, ALARM / 2) / n) * (1 + slack)
    if low <= std <= high:
        return ""
    return f"std {std:.4g} must be between {low:.4g} and {high:.4g} (n = {n})"


def _miss_shape(weights: np.ndarray, law: Law, slack: float) -> str:
    cdf = _cdf(law)
    reach = float(np.abs(weights - law.mean).max())
    span = np.array([-1.0, 1.0]) * reach
    outer = float(np.diff(cdf(law.mean + span * (1 + slack)))[0])
    inner = float(np.diff(cdf(law.mean + span * (1 - slack)))[0])
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
    kind = law.kind.replace("_", " ")
    return f"not {kind}: Kolmogorov-Smirnov distance {distance:.4g} above {limit:.4g} (n = {n})"


def _miss_orthogonal(weights: np.ndarray, law: Law, eps: float) -> str:
    matrix = weights.reshape(-1, weights.shape[-1]) / law.gain
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    worst = float(np.abs(tall.T @ tall - np.eye(tall.shape[1])).max())
    # Storing costs at most 2 eps; computing, in float32 for all narrower dtypes, grows with the
    # length of the sums.
    working = min(eps, float(np.finfo(np.float32).eps))
    tolerance = 2 * eps + 16 * math.sqrt(len(tall)) * working
    if worst <= tolerance:
        return ""
    return f"W^T W / gain^2 differs from I by {worst:.4g}, above {tolerance:.4g}"


def _cdf(law: Law) -> Cdf:
    """The law's distribution function."""
    if law.kind == "uniform":
        return lambda x: np.clip((x - law.low) / (law.high - law.low), 0, 1)
    if law.kind == "normal":
        return lambda x: special.ndtr((x - law.mean) / law.std)
    scale, cut = _underlying_normal(law)
    below = special.ndtr(-cut)
    return lambda x: np.clip((special.ndtr((x - law.mean) / scale) - below) / (1 - 2 * below), 0, 1)


def _underlying_normal(law: Law) -> tuple[float, float]:
    """Scale of the normal that a truncated one was cut from, and the cut in units of it."""
    half = (law.high - law.low) / 2
    if half > WIDEST_CUT * law.std:
        return law.std, WIDEST_CUT
    if law.std * math.sqrt(3) >= half:
        raise ValueError(
            f"the std of a truncated normal law must be below that of the uniform law on its "
            f"bounds, {half / math.sqrt(3):.4g}, got {law.std:.4g}"
        )

    def excess(cut: float) -> float:
        density = math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi)
        std = math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))
        return std / cut - law.std / half

    cut = float(optimize.brentq(excess, 1e-3, WIDEST_CUT))
    return half / cut, cut
