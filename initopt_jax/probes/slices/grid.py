"""The loss along lines and over planes of weights: values on a grid, chunk by chunk."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from initopt_jax.probes.slices.directions import direction_between, inner, moved, orthonormal
from initopt_jax.types import Array, PyTree

Loss = Callable[[PyTree, Any], Array]
CHUNK = 16  # points evaluated side by side; bounds the memory


class Plane(NamedTuple):
    """A plane of weights: `origin + x first + y second`.

    Attributes:
        origin: weights.
        first: a direction of length 1.
        second: another one, at right angles to it.
        points: [P, 2], coordinates of the networks that it was laid through.
    """

    origin: PyTree
    first: PyTree
    second: PyTree
    points: Array


def slice_1d(
    loss: Loss, params: PyTree, batch: Any, direction: PyTree, steps: Array, *, chunk: int = CHUNK
) -> Array:
    """The loss on a line through the weights, `loss(w + t d)`.

    Args:
        loss: `(params, batch) -> scalar`.
        params: of one network.
        batch: whatever the loss takes.
        direction: a tree like `params`; see `filter_direction`.
        steps: [S], the values of t.
        chunk: points evaluated side by side.

    Returns:
        [S].

    Raises:
        ValueError: `steps` is no list of numbers, or `chunk` is below 1.

    Reference:
        Goodfellow, Vinyals, Saxe (2015), Qualitatively Characterizing Neural Network Optimization
        Problems, section 2; Li et al. (2018), section 3.

    >>> def loss(params, batch):
    ...     return jnp.sum(batch * params["w"] ** 2)
    >>> start, way = {"w": jnp.array([1.0, 0.0])}, {"w": jnp.array([1.0, 1.0])}
    >>> slice_1d(loss, start, jnp.array([1.0, 2.0]), way, jnp.array([-1.0, 0.0, 1.0])).tolist()
    [2.0, 1.0, 6.0]
    """
    steps = _steps("steps", steps)
    return _mapped(lambda t: loss(moved(params, (t, direction)), batch), steps, chunk)


def slice_2d(
    loss: Loss,
    params: PyTree,
    batch: Any,
    directions: tuple[PyTree, PyTree],
    x: Array,
    y: Array,
    *,
    chunk: int = CHUNK,
) -> Array:
    """The loss on a plane through the weights, `loss(w + x a + y b)`.

    Args:
        loss: `(params, batch) -> scalar`.
        params: of one network.
        batch: whatever the loss takes.
        directions: the pair (a, b) of trees like `params`.
        x: [X], steps along a.
        y: [Y], steps along b.
        chunk: points evaluated side by side.

    Returns:
        [Y, X], as contour plots take it: a row per step along b.

    Raises:
        ValueError: `x` or `y` is no list of numbers, or `chunk` is below 1.

    Reference:
        Li et al. (2018), Visualizing the Loss Landscape of Neural Nets, section 3.

    >>> def loss(params, batch):
    ...     return jnp.sum(batch * params["w"])
    >>> ways = {"w": jnp.array([1.0, 0.0])}, {"w": jnp.array([0.0, 1.0])}
    >>> steps = jnp.array([0.0, 1.0])
    >>> slice_2d(loss, {"w": jnp.zeros(2)}, jnp.array([1.0, 10.0]), ways, steps, steps).tolist()
    [[0.0, 1.0], [10.0, 11.0]]
    """
    x, y = _steps("x", x), _steps("y", y)
    first, second = directions
    right, up = (part.ravel() for part in jnp.meshgrid(x, y))
    losses = _mapped(
        lambda place: loss(moved(params, (place[0], first), (place[1], second)), batch),
        (right, up),
        chunk,
    )
    return losses.reshape(len(y), len(x))


def plane_through(first: PyTree, second: PyTree, third: PyTree) -> Plane:
    """The plane of three networks, with a right-angled frame at the first of them.

    `u = p2 - p1`, `v = (p3 - p1) - <p3 - p1, u> u / ||u||^2`, both brought to length 1.

    Args:
        first: weights of a network, p1; the origin.
        second: of another one, p2; the first axis runs towards it.
        third: of a third one, p3.

    Returns:
        The plane, and the three coordinates: (0, 0), (||u||, 0), and p3's. Three networks on one
        line span none; the second axis is then zero, or what rounding left.

    Reference:
        Garipov, Izmailov, Podoprikhin, Vetrov, Wilson (2018), Loss Surfaces, Mode Connectivity, and
        Fast Ensembling of DNNs, appendix A.1 (the plane of its figure 1).

    >>> corners = [{"w": jnp.array(p)} for p in ([1.0, 1.0], [3.0, 1.0], [2.0, 4.0])]
    >>> plane_through(*corners).points.tolist()
    [[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]]
    """
    to_second, to_third = direction_between(first, second), direction_between(first, third)
    right, up = orthonormal(to_second, to_third)
    ends = [to_second, to_third]
    places = [jnp.stack([inner(end, right), inner(end, up)]) for end in ends]
    return Plane(first, right, up, jnp.stack([jnp.zeros_like(places[0]), *places]))


def plane_losses(
    loss: Loss, plane: Plane, batch: Any, x: Array, y: Array, *, chunk: int = CHUNK
) -> Array:
    """The loss on a grid of a plane: `slice_2d` from its origin along its axes.

    >>> corners = [{"w": jnp.array(p)} for p in ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0])]
    >>> plane, steps = plane_through(*corners), jnp.array([0.0, 2.0])
    >>> plane_losses(lambda p, _: jnp.sum(p["w"] ** 2), plane, None, steps, steps).tolist()
    [[0.0, 4.0], [4.0, 8.0]]
    """
    ways = plane.first, plane.second
    return slice_2d(loss, plane.origin, batch, ways, x, y, chunk=chunk)


def _mapped(function: Callable[[Any], Array], points: Any, chunk: int) -> Array:
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    return jax.lax.map(function, points, batch_size=chunk)


def _steps(name: str, values: Any) -> Array:
    steps = jnp.asarray(values)
    if steps.ndim != 1 or not steps.size:
        raise ValueError(f"{name} must be a list of numbers, [S], got shape {steps.shape}")
    return steps
