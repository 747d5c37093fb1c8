"""Did each leaf get the weights it was asked to get? Statistics of first weights, leaf by leaf."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from initopt_jax.audits.distributions import miss
from initopt_jax.errors import CheckFailed
from initopt_jax.initializers.registry import REGISTRY
from initopt_jax.initializers.rules import Draw, Rules, WithLayout, match_rules
from initopt_jax.networks.layout import Layout, standard_layout
from initopt_jax.tree import named_leaves
from initopt_jax.types import DistributionSpec, PyTree, Shape

# Angles between units are looked at up to this number: a matrix product takes time.
ANGLES = 2**20
UNCHANGED = "left alone"

AuditVerdict = Literal["ok", "fails", "no distribution"]


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
        layer: what kind of layer uses it, and how; `unknown` with the reason where the network
            could not be followed.
        fan_in: of that layer, and of the layer that a bias belongs to; None where there is none.
        fan_out: likewise.
        distribution: kind of the distribution asked for, None where the initializer states none.
        asked_mean: of one weight, None without a distribution.
        asked_std: of one weight, None without a distribution.
        mean: measured, None for an empty leaf.
        std: measured, None for an empty leaf.
        zeros: share of weights that are exactly 0, None for an empty leaf.
        coherence: largest `|cos|` of the angle between two rows or two columns (the fewer) of a
            kernel: 0 if it is orthogonal, 1 if two units are copies. None for a vector, for a leaf
            of more than a million numbers in such angles, and where one of them is 0.
        verdict: `no distribution` where only finiteness could be judged.
        reason: what failed, empty otherwise.
        then: what an initializer of the whole network did to the leaf afterwards; empty where there
            is none. What is measured is measured after it, what is asked was asked before.
    """

    path: str
    shape: Shape
    initializer: str
    pattern: str
    layer: str
    fan_in: float | None
    fan_out: float | None
    distribution: str | None
    asked_mean: float | None
    asked_std: float | None
    mean: float | None
    std: float | None
    zeros: float | None
    coherence: float | None
    verdict: AuditVerdict
    reason: str
    then: str = ""


def audit_params(
    params: PyTree,
    rules: Rules,
    *,
    distributions: Mapping[str, Callable[[Shape], DistributionSpec] | None] | None = None,
    label: str | None = None,
    layouts: Mapping[str, Layout] | None = None,
) -> list[LeafAudit]:
    """Audit every leaf of one network against the rules that should have drawn it.

    The distribution of a rule comes from `distributions`, else from the registry (also through
    `functools.partial(draw, **options)`), else from the initializer's attribute `distribution`.

    Args:
        params: one network's first weights.
        rules: those given to `initializers.initialize`.
        distributions: pattern to `(shape) -> DistributionSpec`, or to None where there is none.
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
        name, distribution_of = _known(leaf.draw)
        if distributions is not None and leaf.pattern in distributions:
            distribution_of = distributions[leaf.pattern]
        audits.append(
            audit_leaf(
                leaf.path,
                leaf.pattern,
                np.asarray(value),
                distribution_of(leaf.layout.kernel_shape(leaf.shape)) if distribution_of else None,
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
    spec: DistributionSpec | None,
    fans: tuple[float, float] | None,
    *,
    layout: Layout | None = None,
    initializer: str = "",
) -> LeafAudit:
    """Audit one leaf.

    What is tested, all in float64 and with room for the rounding of the leaf's dtype:

    - all weights are finite, and within the distribution's bounds;
    - constants are exact;
    - mean: `|mean - mu| <= 6.1 sigma / sqrt(n)`;
    - standard deviation: `n s^2 / sigma^2` lies within the quantiles of chi-squared with n degrees
      of freedom; exact for a normal, wider than needed for uniform and truncated normal weights;
    - largest magnitude: neither too far out for n draws, nor too far in (a truncated normal);
    - shape: the Kolmogorov-Smirnov distance to it stays below `sqrt(ln(2 / 1e-9) / (2 n))`;
    - orthogonal weights: `W^T W = gain^2 I` within rounding, and the mean. That they are Haar
      distributed cannot be judged from one draw;
    - arranged weights: the number of zeros, and what the distribution's `arranged` finds, kernel
      by kernel; then as above for the part that was drawn.

    Args:
        path: of the leaf.
        pattern: of the rule that drew it.
        value: the leaf on the host, any floating dtype.
        spec: what was asked for in each kernel, None where the initializer states none.
        fans: fan-in and fan-out, None where the leaf has none.
        layout: how the leaf is made of kernels; by default what its shape suggests.
        initializer: its name.

    Returns:
        The result; a failed test is in `reason`, the first one only.

    Reference:
        Massart (1990), The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality, for the
        shape.

    >>> weights = np.random.default_rng(0).normal(0, 0.1, (100, 50)).astype(np.float32)
    >>> audit_leaf("kernel", "*", weights, DistributionSpec("normal", std=0.1), (100, 50)).verdict
    'ok'
    >>> audit_leaf(
    ...     "kernel", "*", 0 * weights, DistributionSpec("normal", std=0.1), (100, 50)
    ... ).reason
    'std 0 must be between 0.09395 and 0.1062 (n = 5000)'
    """
    layout = layout or standard_layout(tuple(value.shape))
    weights = value.astype(np.float64)
    finite = bool(np.isfinite(weights).all())
    if not finite:
        reason = f"{np.sum(~np.isfinite(weights))} of {weights.size} weights are not finite"
    else:
        eps = _resolution(value.dtype)
        reason = miss(weights, spec, layout, eps) if spec and weights.size else ""
    verdict: AuditVerdict = "fails" if reason else "ok" if spec else "no distribution"
    with np.errstate(invalid="ignore", over="ignore"):
        mean, std = (weights.mean(), weights.std()) if weights.size else (None, None)
    return LeafAudit(
        path=path,
        shape=tuple(value.shape),
        initializer=initializer,
        pattern=pattern,
        layer=layout.describe(),
        fan_in=fans[0] if fans else None,
        fan_out=fans[1] if fans else None,
        distribution=spec.kind if spec else None,
        asked_mean=float(spec.mean) if spec else None,
        asked_std=float(spec.std) if spec else None,
        mean=None if mean is None else float(mean),
        std=None if std is None else float(std),
        zeros=float(np.mean(weights == 0)) if weights.size else None,
        coherence=_coherence(layout.take_apart(weights)) if finite and weights.size else None,
        verdict=verdict,
        reason=reason,
    )


def audit_refined(
    audits: Sequence[LeafAudit],
    drawn: PyTree,
    refined: PyTree,
    layouts: Mapping[str, Layout] | None = None,
    *,
    may_rest: bool = False,
) -> list[LeafAudit]:
    """The audit of weights that an initializer of the whole network changed after they were drawn.

    Args:
        audits: of the drawn weights: the distributions are theirs.
        drawn: those weights.
        refined: what became of them.
        layouts: path to layout, as for `audit_params`.
        may_rest: whether it is right to find nothing to change, such as muP at its base width.

    Returns:
        The entries with what is measured now and what was done to each leaf. Leaves fail as drawn,
        where they are not finite now, and all of them where no leaf was changed and one had to be.
    """
    rows = []
    for row, (_, old), (path, new) in zip(
        audits, named_leaves(drawn), named_leaves(refined), strict=True
    ):
        layout = (layouts or {}).get(path) or standard_layout(tuple(new.shape))
        now = audit_leaf(path, row.pattern, np.asarray(new), None, None, layout=layout)
        measured = {name: getattr(now, name) for name in ("mean", "std", "zeros", "coherence")}
        if now.verdict == "fails":
            measured |= {"verdict": now.verdict, "reason": now.reason}
        rows.append(replace(row, **measured, then=_change(np.asarray(old), np.asarray(new))))
    if not may_rest and all(row.then == UNCHANGED for row in rows):
        return [replace(row, verdict="fails", reason="no leaf was changed") for row in rows]
    return rows


def _change(old: np.ndarray, new: np.ndarray) -> str:
    """What was done to a leaf, in words."""
    if np.array_equal(old, new):
        return UNCHANGED
    if not new.any():
        return "set to 0"
    before, after = (np.asarray(leaf, np.float64).ravel() for leaf in (old, new))
    factor = float(before @ after / (before @ before)) if before.any() else 0.0
    if np.linalg.norm(after - factor * before) <= 1e-5 * np.linalg.norm(after):
        return f"times {factor:.4g}"
    return "changed"


def failures(audits: Iterable[LeafAudit]) -> list[LeafAudit]:
    """The leaves that missed their distribution."""
    return [audit for audit in audits if audit.verdict == "fails"]


def check(audits: Iterable[LeafAudit]) -> None:
    """Refuses weights of which a leaf missed its distribution.

    Raises:
        AuditError: naming every such leaf and what is wrong with it.
    """
    failed = failures(audits)
    if failed:
        lines = [f"{leaf.path} ({leaf.initializer}): {leaf.reason}" for leaf in failed]
        raise AuditError("leaves that missed their distribution: " + "; ".join(lines))


def _known(draw: Draw) -> tuple[str, Callable[[Shape], DistributionSpec] | None]:
    """Name and distribution of an initializer, looked up in the registry by identity."""
    options: dict[str, Any] = {}
    if isinstance(draw, WithLayout):
        return _known(draw.draw)
    if isinstance(draw, functools.partial) and not draw.args:
        draw, options = draw.func, draw.keywords
    for entry in REGISTRY.values():
        if entry.draw is draw:
            return entry.name, entry.distribution and functools.partial(
                entry.distribution, **options
            )
    distribution = getattr(draw, "distribution", None)
    name = getattr(draw, "__name__", type(draw).__name__)
    return name, distribution and functools.partial(distribution, **options)


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
