"""A test function of two variables under a picture, and which of its minima were reached."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from initopt_jax.probes.slices.record import Mesh
from initopt_jax.reports.charts.scales import Floats
from initopt_jax.tasks.function_task import TestFunction
from initopt_jax.tasks.functions import Domain

Integers = npt.NDArray[np.int64]

# What became of a start that reached no known minimum.
ELSEWHERE, DIVERGED, LEFT, RIGHT, BELOW, ABOVE, ANOTHER = -1, -2, -3, -4, -5, -6, -7
# Up to so many minima have a letter and a colour each; of more, only the lowest few.
MOST_NAMED, NAMED_OF_MANY = 8, 5
# An end belongs to a minimum within this share of the domain's diagonal.
NEARNESS = 0.025
SMALL_PART = 0.5  # starts in less than this share of both axes have a view of their own
MESH = 161  # points along each axis of the picture


@dataclass(frozen=True)
class Surface:
    """A test function on a mesh, ready to be drawn.

    Attributes:
        name: of the function.
        x: [X] mesh.
        y: [Y] mesh.
        values: [Y, X] values at the mesh.
        minima: [M, 2] known minima; M is 0 where there are none.
        domain: x from, x to, y from, y to.
        view: the part of the domain that pictures show, which the mesh covers.
    """

    name: str
    x: Floats
    y: Floats
    values: Floats
    minima: Floats
    domain: Domain
    view: Domain

    @property
    def named(self) -> Floats:
        """[N, 2] the minima with a letter: all of a few, the first (lowest) of many."""
        few = len(self.minima) <= MOST_NAMED
        return self.minima if few else self.minima[:NAMED_OF_MANY]

    @property
    def tolerance(self) -> float:
        """How near to a minimum an end must lie to count as its own."""
        left, right, bottom, top = self.domain
        return NEARNESS * float(np.hypot(right - left, top - bottom))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the view."""
        left, right, bottom, top = self.view
        return right - left, top - bottom


def make_surface(test_function: TestFunction, start: Floats) -> Surface:
    """A test function on a mesh over its domain; values that are not finite are left out.

    Args:
        test_function: the function. Where neither its values nor itself is known, none is shown.
        start: [S, 2] starts; where they fill only the middle of the domain, that is what is shown.
    """
    mesh = test_function.mesh or make_mesh(test_function, start)
    return Surface(
        name=test_function.name,
        x=mesh.x,
        y=mesh.y,
        values=np.where(np.isfinite(mesh.values), mesh.values, np.nan),
        minima=np.array(test_function.minima, np.float64).reshape(-1, 2),
        domain=test_function.domain,
        view=(float(mesh.x[0]), float(mesh.x[-1]), float(mesh.y[0]), float(mesh.y[-1])),
    )


def make_mesh(test_function: TestFunction, start: Floats) -> Mesh:
    """The values of a function on a mesh over what a map of these starts shows of its domain."""
    left, right, bottom, top = view_of(test_function.domain, start)
    x, y = np.linspace(left, right, MESH), np.linspace(bottom, top, MESH)
    values = np.full((MESH, MESH), np.nan)
    if test_function.value is not None:
        points = (jnp.asarray(part, jnp.float32) for part in np.meshgrid(x, y))
        # As lanes call it: a function of one's own need only take two numbers.
        every = jax.vmap(jax.vmap(lambda x, y: jnp.asarray(test_function(x, y))))
        values = np.asarray(every(*points))
    return Mesh(x, y, values)


def view_of(domain: Domain, start: Floats) -> Domain:
    """The whole domain, or less where many starts lie in a small part of it.

    >>> view_of((-5, 5, -5, 5), np.array([[-1.0, -1.0], [1.0, 1.0]]))
    (-2.0, 2.0, -2.0, 2.0)
    >>> view_of((-5, 5, -5, 5), np.array([[-4.0, -1.0], [1.0, 1.0]]))
    (-5, 5, -5, 5)
    """
    if not len(start):
        return domain
    low, high = start.min(axis=0), start.max(axis=0)
    edge_low, edge_high = np.array(domain[0::2]), np.array(domain[1::2])
    narrow = (high - low) < SMALL_PART * (edge_high - edge_low)
    if not narrow.all() or not (high > low).all():
        return domain
    low = np.maximum(low - (high - low) / 2, edge_low)
    high = np.minimum(high + (high - low) / 3, edge_high)
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


def outcomes(
    end: Floats, diverged: npt.NDArray[np.bool_], surface: Surface, *, sides: bool | None = None
) -> Integers:
    """What became of each start.

    Args:
        end: [S, 2] last finite points.
        diverged: [S] whether the value left the finite numbers.
        surface: names the known minima, the tolerance and the domain.
        sides: whether to tell by which side a path left the domain; by default where no minimum is
            known. A function without a lower end carries paths away, so there the side goes before
            divergence.

    Returns:
        [S] the index of the nearest known minimum within the tolerance (`ANOTHER` for one without
        a letter), else one of `ELSEWHERE`, `DIVERGED`, `LEFT`, `RIGHT`, `BELOW`, `ABOVE`.
    """
    sides = not len(surface.minima) if sides is None else sides
    found = np.full(len(end), ELSEWHERE, np.int64)
    if len(surface.minima) and len(end):
        apart = np.hypot(*np.moveaxis(end[:, None] - surface.minima[None], 2, 0))
        apart = np.where(np.isfinite(apart), apart, np.inf)
        near = apart.min(axis=1) <= surface.tolerance
        nearest = apart.argmin(axis=1)
        found = np.where(near, np.where(nearest < len(surface.named), nearest, ANOTHER), found)
    found = np.where(diverged, DIVERGED, found)
    if sides and len(end):
        left, right, bottom, top = surface.domain
        with np.errstate(invalid="ignore"):
            beyond = np.stack(
                [left - end[:, 0], end[:, 0] - right, bottom - end[:, 1], end[:, 1] - top], axis=1
            )
        beyond = np.where(np.isfinite(beyond), beyond, -np.inf)
        out = beyond.max(axis=1) > 0
        found = np.where(out, np.array([LEFT, RIGHT, BELOW, ABOVE])[beyond.argmax(axis=1)], found)
    return found


def outcome_name(outcome: int, surface: Surface) -> str:
    """An outcome in words; minima by letter.

    >>> flat = np.zeros(2)
    >>> plain = Surface("f", flat, flat, flat[None], np.array([[3, 2]]), (0, 4, 0, 4), (0, 4, 0, 4))
    >>> outcome_name(0, plain), outcome_name(DIVERGED, plain), outcome_name(ELSEWHERE, plain)
    ('A (3, 2)', 'diverged', 'none of them')
    """
    if outcome >= 0:
        x, y = surface.minima[outcome]
        return f"{letter(outcome)} ({x:.3g}, {y:.3g})".replace("-", "−")
    sides = {LEFT: "left", RIGHT: "right", BELOW: "bottom", ABOVE: "top"}
    if outcome in sides:
        return f"out at the {sides[outcome]}"
    if outcome in (DIVERGED, ANOTHER):
        return "diverged" if outcome == DIVERGED else "another minimum"
    return "none of them" if len(surface.minima) else "still inside"


def letter(place: int) -> str:
    """A, B, ... Z, A1, B1, ...

    >>> letter(0), letter(27)
    ('A', 'B1')
    """
    more, within = divmod(place, 26)
    return chr(ord("A") + within) + (str(more) if more else "")
