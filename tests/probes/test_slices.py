"""Slices, planes, paths and barriers against closed forms and explicit linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import probes
from initopt_jax.initializers import Layout
from initopt_jax.probes import slices

EPS = float(np.finfo(np.float32).eps)


def tree(seed: int, *lead: int) -> dict:
    rng = np.random.default_rng(seed)
    shapes = {"bias": (3,), "kernel": (4, 3), "conv": (2, 2, 3, 5)}
    return {
        name: jnp.asarray(rng.standard_normal((*lead, *shape)), jnp.float32)
        for name, shape in shapes.items()
    }


def flat(params: dict) -> np.ndarray:
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(params)])


def rows(path: dict) -> np.ndarray:
    leaves = jax.tree.leaves(path)
    return np.concatenate([np.asarray(x, np.float64).reshape(len(x), -1) for x in leaves], axis=1)


def quadratic(params: dict, batch: jax.Array) -> jax.Array:
    """0.5 w^T diag(batch) w + sum w: its slices are parabolas that can be written down."""
    w = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])
    return 0.5 * jnp.sum(batch * w * w) + jnp.sum(w)


def exact(w: np.ndarray, curvature: np.ndarray) -> float:
    return 0.5 * float(np.sum(curvature * w * w)) + float(np.sum(w))


CURVATURE = np.linspace(-1, 2, 75)  # of all weights of `tree`
# A sum of 75 products of numbers of size one, each rounded: its error grows like the root of their
# number, and stays below this many units of the sum of magnitudes (about 100).
ROOM = 75 * EPS * 100


def test_slice_1d_of_a_quadratic_is_its_parabola() -> None:
    params, direction = tree(0), tree(1)
    steps = jnp.linspace(-1.0, 1.0, 7)
    found = probes.slice_1d(
        quadratic, params, jnp.asarray(CURVATURE, jnp.float32), direction, steps, chunk=3
    )
    w, d = flat(params), flat(direction)
    wanted = [exact(w + float(t) * d, CURVATURE) for t in steps]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ROOM)


def test_slice_2d_has_a_row_per_step_of_the_second_direction() -> None:
    params, a, b = tree(0), tree(1), tree(2)
    x, y = jnp.array([-1.0, 0.5]), jnp.array([0.0, 0.25, 1.0])
    batch = jnp.asarray(CURVATURE, jnp.float32)
    found = probes.slice_2d(quadratic, params, batch, (a, b), x, y, chunk=4)
    w = flat(params)
    wanted = [[exact(w + float(s) * flat(a) + float(t) * flat(b), CURVATURE) for s in x] for t in y]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ROOM)


def test_slices_are_those_of_each_lane_under_vmap_and_a_lost_lane_is_nan() -> None:
    lanes, direction = tree(0, 3), tree(1)
    lanes["kernel"] = lanes["kernel"].at[1, 0, 0].set(jnp.nan)
    steps, batch = jnp.linspace(-1.0, 1.0, 5), jnp.asarray(CURVATURE, jnp.float32)

    def one(params: dict) -> jax.Array:
        return probes.slice_1d(quadratic, params, batch, direction, steps)

    found = jax.vmap(one)(lanes)
    assert np.isnan(found[1]).all()
    for lane in (0, 2):
        alone = one(jax.tree.map(lambda leaf, lane=lane: leaf[lane], lanes))
        np.testing.assert_allclose(found[lane], alone, rtol=0, atol=ROOM)


def test_wrong_grids_are_refused() -> None:
    params = tree(0)
    with pytest.raises(ValueError, match=r"steps must be a list of numbers, \[S\], got shape \(\)"):
        probes.slice_1d(quadratic, params, 1.0, params, jnp.float32(1))
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        probes.slice_1d(quadratic, params, 1.0, params, jnp.ones(3), chunk=0)
    with pytest.raises(ValueError, match="points must be at least 3, got 2"):
        probes.interpolate(quadratic, params, params, 1.0, points=2)
    with pytest.raises(ValueError, match="losses must have at least 3 points, got 2"):
        probes.barrier(jnp.ones(2))


# --- directions ----------------------------------------------------------------------------------


def test_filters_of_a_direction_are_as_long_as_those_of_the_weights() -> None:
    params = tree(0)
    found = probes.filter_direction(params, jax.random.key(0))
    for name, axes in (("kernel", 0), ("conv", (0, 1, 2))):
        own = np.linalg.norm(
            np.asarray(found[name], np.float64).reshape(-1, params[name].shape[-1]), axis=0
        )
        wanted = np.sqrt(np.square(np.asarray(params[name], np.float64)).sum(axis=axes))
        np.testing.assert_allclose(own, wanted, rtol=20 * EPS)
    assert not np.asarray(found["bias"]).any()


def test_layouts_say_which_axes_are_units() -> None:
    params = {
        "heads": jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4)), jnp.float32)
    }
    layout = {"heads": Layout("dense", inputs=(2,), outputs=(0, 1))}
    way = slices.random_direction(params, jax.random.key(1))
    found = probes.filter_normalized(way, params, layout)["heads"]
    wanted = np.linalg.norm(np.asarray(params["heads"], np.float64), axis=2)
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), wanted, rtol=20 * EPS)
    table = {"heads": Layout("embedding", batch_axes=(0,), outputs=(1, 2))}  # a row is a filter
    found = probes.filter_normalized(way, params, table)["heads"].reshape(2, -1)
    wanted = np.linalg.norm(np.asarray(params["heads"], np.float64).reshape(2, -1), axis=1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), wanted, rtol=20 * EPS)
    with pytest.raises(
        ValueError, match="layouts has no entry for the leaf 'heads'; it has 'head'"
    ):
        probes.filter_normalized(way, params, {"head": layout["heads"]})


def test_units_without_weights_have_no_direction() -> None:
    params = {"kernel": jnp.zeros((4, 3)).at[:, 0].set(1.0)}
    found = probes.filter_direction(params, jax.random.key(0))["kernel"]
    assert not np.asarray(found[:, 1:]).any()
    assert np.isfinite(found).all()
    assert np.asarray(found[:, 0]).any()


def test_slices_do_not_change_with_the_scale_of_a_filter() -> None:
    """What the normalization is for: a relu network scaled up in one layer and down in the next."""
    rng = np.random.default_rng(3)
    x = jnp.asarray(rng.standard_normal((8, 4)), jnp.float32)
    params = {
        "a": jnp.asarray(rng.standard_normal((4, 6)), jnp.float32),
        "b": jnp.asarray(rng.standard_normal((6, 2)), jnp.float32),
    }
    scaled = {"a": 8 * params["a"], "b": params["b"] / 8}  # powers of two: no rounding

    def loss(p: dict, x: jax.Array) -> jax.Array:
        return jnp.mean((jax.nn.relu(x @ p["a"]) @ p["b"]) ** 2)

    steps, key = jnp.linspace(-1, 1, 5), jax.random.key(0)
    curves = [
        probes.slice_1d(loss, p, x, probes.filter_direction(p, key), steps)
        for p in (params, scaled)
    ]
    np.testing.assert_allclose(curves[0], curves[1], rtol=100 * EPS)


def test_orthonormal_pairs() -> None:
    a, b = probes.orthonormal_pair(tree(0), jax.random.key(2))
    gram = np.array([[flat(u) @ flat(v) for v in (a, b)] for u in (a, b)])
    np.testing.assert_allclose(gram, np.eye(2), atol=10 * EPS)
    nearly = jax.tree.map(lambda u, v: u + 1e-3 * v, tree(0), tree(1))
    one, other = slices.orthonormal(tree(0), nearly)  # nearly parallel: rounding must not survive
    assert abs(flat(one) @ flat(other)) < 10 * EPS
    parallel = slices.orthonormal({"w": jnp.ones(2)}, {"w": jnp.zeros(2)})[1]
    assert parallel["w"].tolist() == [0.0, 0.0]


# --- planes and paths ----------------------------------------------------------------------------


def test_a_plane_passes_through_its_three_networks() -> None:
    corners = [tree(seed) for seed in range(3)]
    plane = probes.plane_through(*corners)
    for corner, (x, y) in zip(corners, np.asarray(plane.points), strict=True):
        found = flat(plane.origin) + x * flat(plane.first) + y * flat(plane.second)
        np.testing.assert_allclose(found, flat(corner), atol=50 * EPS)
    assert plane.points[0].tolist() == [0.0, 0.0]
    assert float(plane.points[1, 1]) == pytest.approx(0, abs=50 * EPS)
    batch = jnp.asarray(CURVATURE, jnp.float32)
    grid = probes.plane_losses(
        quadratic, plane, batch, jnp.asarray(plane.points[:, 0]), jnp.asarray(plane.points[:, 1])
    )
    wanted = [exact(flat(corner), CURVATURE) for corner in corners]
    np.testing.assert_allclose(np.diag(grid), wanted, rtol=0, atol=ROOM)


def test_an_equilateral_plane_keeps_distances() -> None:
    corners = [{"w": jnp.eye(3)[k]} for k in range(3)]
    points = np.asarray(probes.plane_through(*corners).points, np.float64)
    sides = [np.linalg.norm(points[i] - points[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(sides, np.sqrt(2), rtol=10 * EPS)


def test_path_plane_is_the_singular_vectors() -> None:
    paths = [tree(0, 6), jax.tree.map(lambda leaf: 2 * leaf, tree(1, 4))]
    found = probes.path_plane(paths)
    points = [rows(path) for path in paths]
    origin = np.mean([own[-1] for own in points], axis=0)
    every = np.concatenate(points) - origin
    centred = every - every.mean(axis=0)
    _, values, right = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found.explained, (values**2 / np.sum(values**2))[:2], rtol=1e-12)
    np.testing.assert_allclose(flat(found.origin), origin, atol=4 * EPS)
    ways = np.stack([flat(found.first), flat(found.second)])
    signs = np.sign(np.sum(ways * right[:2], axis=1))
    np.testing.assert_allclose(ways, right[:2] * signs[:, None], atol=EPS)  # rounded to float32
    places = np.concatenate(found.coordinates)
    wanted = (every @ right[:2].T) * signs
    np.testing.assert_allclose(places, wanted, atol=1e-10)
    off = np.linalg.norm(every - (every @ right[:2].T) @ right[:2], axis=1)
    np.testing.assert_allclose(np.concatenate(found.off), off, rtol=1e-9)
    assert [len(own) for own in found.coordinates] == [6, 4]


def test_a_single_path_ends_at_the_origin_and_a_plane_path_is_explained() -> None:
    """Li et al. look from the last weights; a path in a plane leaves nothing unexplained."""
    turn = np.linspace(0, 3, 9)
    base = np.stack([flat(tree(1)), flat(tree(2))])
    line = np.stack([np.cos(turn), 0.5 * turn], axis=1) @ base
    found = probes.path_plane([{"w": line}])
    np.testing.assert_allclose(found.explained.sum(), 1, rtol=1e-12)
    assert np.max(found.off[0]) < 1e-6
    np.testing.assert_allclose(found.coordinates[0][-1], 0, atol=1e-12)
    np.testing.assert_allclose(found.origin["w"], line[-1], rtol=1e-14)
    straight = probes.path_plane([{"w": turn[:, None] * base[:1]}])
    assert straight.explained.tolist() == [pytest.approx(1, rel=1e-12), 0.0]
    assert not straight.second["w"].any()


def test_lost_points_take_no_part_in_the_plane() -> None:
    whole = tree(0, 5)
    lost = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:2]]), whole)
    lost["kernel"] = lost["kernel"].at[5:, 0].set(jnp.inf)
    with_lost, without = probes.path_plane([lost]), probes.path_plane([whole])
    np.testing.assert_array_equal(with_lost.coordinates[0][:5], without.coordinates[0])
    assert np.isnan(with_lost.coordinates[0][5:]).all()
    with pytest.raises(ValueError, match="at least 3 finite points, got 2"):
        probes.path_plane([tree(0, 2)])
    with pytest.raises(ValueError, match="at least one path, got none"):
        probes.path_plane([])


# --- lines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [5, 25])
def test_barrier_of_a_double_well(points: int) -> None:
    """(w^2 - 1)^2 between -1 and 1 has height 1 in the middle, which an odd grid meets."""
    ends = {"w": jnp.array(-1.0)}, {"w": jnp.array(1.0)}
    losses = probes.interpolate(lambda p, _: (p["w"] ** 2 - 1) ** 2, *ends, None, points=points)
    assert float(probes.barrier(losses)) == pytest.approx(1.0, abs=4 * EPS)
    assert losses[0] == losses[-1] == 0.0


def test_barrier_is_measured_from_the_straight_line() -> None:
    """A tilted parabola -a^2 + 3a: at most 1/4 above the line of its ends, at a = 1/2."""
    ends = {"w": jnp.array(0.0)}, {"w": jnp.array(1.0)}
    losses = probes.interpolate(lambda p, _: 3 * p["w"] - p["w"] ** 2, *ends, None, points=9)
    assert float(probes.barrier(losses)) == pytest.approx(0.25, abs=4 * EPS)
    assert float(probes.barrier(jnp.array([2.0, 1.0, 0.0]))) == 0.0  # a slope is no barrier
    assert float(probes.barrier(jnp.array([2.0, 0.0, 2.0]))) == 0.0  # nor is a valley
    assert np.isnan(probes.barrier(jnp.array([[1.0, jnp.nan, 1.0], [0.0, 1.0, 0.0]]))[0])


def test_ends_of_a_line_are_the_networks_themselves() -> None:
    first, second = tree(0), tree(1)
    batch = jnp.asarray(CURVATURE, jnp.float32)
    losses = probes.interpolate(quadratic, first, second, batch, points=3)
    halfway = exact((flat(first) + flat(second)) / 2, CURVATURE)
    wanted = [exact(flat(first), CURVATURE), halfway, exact(flat(second), CURVATURE)]
    np.testing.assert_allclose(losses, wanted, rtol=0, atol=ROOM)
