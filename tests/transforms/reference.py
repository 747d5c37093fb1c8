"""Two costs, their gradients by hand, and paths of a method and of its reference along both.

One run minimizes two costs at once, a quadratic and a logistic regression. All 1,000 points of both
paths are compared, the first included. Both costs are convex, and the rates should be such that no
path chatters about its minimum: else the paper's own formulas amplify the rounding of float32, and
the comparison says nothing.

A reference is `(theta, g, s, t, **numbers) -> theta` for one array of weights: `s` is the method's
memory, a dict that starts empty, `t` counts from 1. One that sees all weights at once is marked
`whole`: `(thetas, gs, s, t, gradients, **numbers) -> thetas` with lists of arrays, and
`gradients(thetas) -> gs` to look elsewhere.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

STEPS = 1000
CURVATURE = np.diag([0.1, 0.3, 1.0, 2.0]) + 0.05
CENTRE = np.array([1.0, -2.0, 0.5, 3.0])
INPUTS = np.random.default_rng(7).normal(size=(12, 3))
LABELS = np.random.default_rng(8).integers(2, size=(12, 2)).astype(float)
START = {
    "quadratic": np.array([3.0, 0.1, -1.0, 0.2]),
    "logistic": {
        "weights": np.array([[2.0, -2.5], [-1.5, 3.0], [2.5, 1.5]]),
        "bias": np.array([-2.0, 2.0]),
    },
}


def cost(params):
    offset = params["quadratic"] - jnp.asarray(CENTRE, params["quadratic"].dtype)
    curvature, inputs, labels = (jnp.asarray(x, offset.dtype) for x in (CURVATURE, INPUTS, LABELS))
    logits = inputs @ params["logistic"]["weights"] + params["logistic"]["bias"][None, :]
    logistic = jnp.mean(jnp.sum(jax.nn.softplus(logits) - labels * logits, axis=1))
    return offset @ curvature @ offset / 2 + logistic


def gradient(params):
    """The gradient of `cost`, by hand."""
    logits = INPUTS @ params["logistic"]["weights"] + params["logistic"]["bias"]
    errors = (1 / (1 + np.exp(-logits)) - LABELS) / len(LABELS)
    return {
        "quadratic": CURVATURE @ (params["quadratic"] - CENTRE),
        "logistic": {"weights": INPUTS.T @ errors, "bias": errors.sum(axis=0)},
    }


class Problem(NamedTuple):
    """Where a path begins, what it minimizes, and the gradient of that by hand."""

    start: Any
    cost: Callable[[Any], Any]
    gradient: Callable[[Any], Any]


CONVEX = Problem(START, cost, gradient)


class Case(NamedTuple):
    """A method and what it is held to.

    Attributes:
        make: `(**numbers, **flags) -> optax.GradientTransformation`.
        reference: float64 NumPy, from the paper.
        numbers: traced for the method, plain for the reference.
        flags: of the method alone.
        whole: whether the reference sees all weights at once.
    """

    make: Callable[..., optax.GradientTransformation]
    reference: Callable[..., Any]
    numbers: dict[str, float]
    flags: Mapping[str, Any] = MappingProxyType({})
    whole: bool = False


def expected_path(reference, numbers, *, whole=False, problem=CONVEX):
    """The reference's points, [STEPS, ...] per array of weights."""
    leaves, structure = jax.tree.flatten(problem.start)

    def gradients(leaves):
        return jax.tree.leaves(problem.gradient(structure.unflatten(leaves)))

    memory, memories = {}, [{} for _ in leaves]
    points = []
    for t in range(1, STEPS + 1):
        if whole:
            leaves = reference(leaves, gradients(leaves), memory, t, gradients, **numbers)
        else:
            leaves = [
                reference(leaf, g, own, t, **numbers)
                for leaf, g, own in zip(leaves, gradients(leaves), memories, strict=True)
            ]
        points.append(leaves)
    return [np.stack(of_leaf) for of_leaf in zip(*points, strict=True)]


def path(make, numbers, flags, dtype, problem=CONVEX):
    """Built inside the compiled program from traced scalars, as the engine does."""

    def run(numbers):
        transform = optax.with_extra_args_support(make(**numbers, **flags))

        def step(carry, key):
            params, state = carry
            value, grads = jax.value_and_grad(problem.cost)(params)
            extra = {"value": value, "grad": grads, "key": key}
            extra["value_fn"] = lambda params, key=None: problem.cost(params)
            updates, state = transform.update(grads, state, params, **extra)
            params = jax.tree.map(jnp.add, params, updates)
            return (params, state), params

        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), problem.start)
        keys = jax.random.split(jax.random.key(0), STEPS)
        return jax.lax.scan(step, (params, transform.init(params)), keys)[1]

    # Problems are tiny: what LLVM would gain in speed costs more to compile.
    compiled = jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})
    return jax.tree.leaves(compiled(jax.tree.map(lambda x: jnp.asarray(x, dtype), numbers)))


def largest_relative_error(ours, expected):
    """Over the 1,000 points, of one array of weights: error norm over norm."""
    ours = np.asarray(ours, np.float64).reshape(STEPS, -1)
    expected = expected.reshape(STEPS, -1)
    return np.max(np.linalg.norm(ours - expected, axis=1) / np.linalg.norm(expected, axis=1))


def assert_follows(case, dtype, tolerance, *, moves=1.0, problem=CONVEX):
    """The method stays within a relative `tolerance` of its reference at every one of the points.

    Both get the same numbers: a `b2` of 0.999 is 1.3e-5 off in `1 - b2` once it is a float32.
    `moves` is how far each array of weights must get from its first point, so that there is
    something to compare.
    """
    numbers = {name: float(dtype(value)) for name, value in case.numbers.items()}
    expected = expected_path(case.reference, numbers, whole=case.whole, problem=problem)
    assert all(np.linalg.norm(points[-1] - points[0]) > moves for points in expected)
    with jax.enable_x64(dtype is np.float64):
        ours = path(case.make, numbers, case.flags, dtype, problem)
    for points, wanted in zip(ours, expected, strict=True):
        assert points.dtype == dtype
        assert largest_relative_error(points, wanted) < tolerance


# For `pytest.mark.parametrize(*PRECISIONS)`.
PRECISIONS = (("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
