"""Methods that ask for the loss at other weights: SAM, gradient flow and L-BFGS."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import transforms
from tests.transforms.reference import PRECISIONS, Case, assert_follows


def length(arrays):
    return np.sqrt(sum(np.sum(array**2) for array in arrays))


def sam(w, g, s, t, gradients, learning_rate, rho):
    """Foret et al. (2021), algorithm 1."""
    worst = gradients([a + rho * b / length(g) for a, b in zip(w, g, strict=True)])
    return [a - learning_rate * b for a, b in zip(w, worst, strict=True)]


def runge_kutta(w, g, s, t, gradients, learning_rate, substeps=1):
    """Kutta (1901), the classical method for w' = -gradient(w)."""
    h = learning_rate / substeps

    def away(k, share):
        return [a + share * h * b for a, b in zip(w, k, strict=True)]

    def slope(w):
        return [-g for g in gradients(w)]

    for _ in range(substeps):
        k1 = slope(w)
        k2 = slope(away(k1, 0.5))
        k3 = slope(away(k2, 0.5))
        k4 = slope(away(k3, 1.0))
        slopes = zip(k1, k2, k3, k4, strict=True)
        mean = [(a + 2 * b + 2 * c + d) / 6 for a, b, c, d in slopes]
        w = away(mean, 1.0)
    return w


def two_loops(g, pairs):
    """Liu and Nocedal (1989), page 507: `H g` from pairs (s, y), oldest first, scaled by M3."""
    q, alphas = g, []
    for s, y in reversed(pairs):
        alpha = s @ q / (y @ s)
        q = q - alpha * y
        alphas.append(alpha)
    s, y = pairs[-1]
    r = (s @ y) / (y @ y) * q
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + s * (alpha - y @ r / (y @ s))
    return r


def lbfgs(w, g, s, t, gradients, learning_rate, memory):
    """Without a line search; the first direction is a gradient of length 1 at most."""
    vector, g = (np.concatenate([a.ravel() for a in arrays]) for arrays in (w, g))
    if t == 1:
        direction = g * min(1, 1 / np.linalg.norm(g))
        s["pairs"] = []
    else:
        s["pairs"] = [*s["pairs"], (vector - s["w"], g - s["g"])][-memory:]
        direction = two_loops(g, s["pairs"])
    s["w"], s["g"] = vector, g
    moved = vector - learning_rate * direction
    ends = np.cumsum([a.size for a in w])[:-1]
    return [part.reshape(a.shape) for part, a in zip(np.split(moved, ends), w, strict=True)]


CASES = {
    # Short of the minimum: close to it, the direction of the gradient turns with any rounding.
    "sam": Case(transforms.sam, sam, {"learning_rate": 0.01, "rho": 0.05}, whole=True),
    "gradient_flow": Case(
        transforms.gradient_flow, runge_kutta, {"learning_rate": 0.5}, whole=True
    ),
    "gradient_flow, three substeps": Case(
        transforms.gradient_flow,
        lambda *arguments, **numbers: runge_kutta(*arguments, **numbers, substeps=3),
        {"learning_rate": 0.5},
        {"substeps": 3},
        whole=True,
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(*PRECISIONS)
def test_follows_the_paper_for_1000_steps(case, dtype, tolerance):
    assert_follows(CASES[case], dtype, tolerance)


@pytest.mark.parametrize("make", [transforms.sam, transforms.gradient_flow, transforms.lbfgs])
def test_the_cost_is_asked_for(make):
    transform, weights = make(0.1), jnp.ones(2)
    state = transform.init(weights)
    with pytest.raises(ValueError, match="needs the loss around the weights"):
        transform.update(weights, state, weights)
    with pytest.raises(ValueError, match="needs the loss around the weights"):
        transform.update(weights, state, value_fn=jnp.sum)


def test_sharpness_aware_hands_any_transformation_the_other_gradient():
    def cost(params):
        return jnp.sum(params["w"] ** 4) / 4 + jnp.sum(params["b"] ** 2)

    params = {"w": jnp.array([1.0, -2.0]), "b": jnp.array([0.5])}
    gradient = jax.grad(cost)(params)
    norm = np.sqrt(sum(jnp.sum(g**2) for g in gradient.values()))
    worst = jax.tree.map(lambda p, g: p + 0.25 * g / norm, params, gradient)
    inner = transforms.adam(0.1)
    expected, _ = inner.update(jax.grad(cost)(worst), inner.init(params))
    outer = transforms.sharpness_aware(inner, rho=0.25)
    found, state = outer.update(gradient, outer.init(params), params, value_fn=cost)
    assert jax.tree.structure(state) == jax.tree.structure(inner.init(params))
    for name in params:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def test_sharpness_aware_evaluates_where_its_inner_transformation_does():
    outer = transforms.sharpness_aware(transforms.schedule_free_sgd(0.5, b1=0.0), rho=0.1)
    y = jnp.array([2.0])
    state = outer.init(y)
    for _ in range(2):
        updates, state = outer.update(y, state, y, value_fn=lambda y: y @ y / 2)
        y = y + updates
    # z: 2, 2 - 2.1 / 2 = 0.95, 0.95 - 1.05 / 2 = 0.425, and their mean without the start.
    np.testing.assert_allclose(outer.eval_params(state, y), (0.95 + 0.425) / 2, rtol=1e-6)


def test_sam_without_a_distance_is_sgd():
    weights = jnp.array([1.0, -3.0])
    transform = transforms.sam(0.5, rho=0.0)
    found, _ = transform.update(
        weights, transform.init(weights), weights, value_fn=lambda w: w @ w / 2
    )
    np.testing.assert_array_equal(found, -0.5 * weights)


def test_gradient_flow_is_of_order_4():
    # On a quadratic the flow is exp(-curvature * time), whatever the network's size.
    curvature, start = np.array([0.5, 1.0, 2.0]), np.array([1.0, -2.0, 3.0])
    exact = start * np.exp(-curvature)
    errors = []
    with jax.enable_x64(True):
        weights = jnp.asarray(start)
        for substeps in (16, 32, 64):
            transform = transforms.gradient_flow(1.0, substeps)
            updates, _ = transform.update(
                curvature * weights,
                transform.init(weights),
                weights,
                value_fn=lambda w: jnp.sum(curvature * w**2) / 2,
            )
            errors.append(np.linalg.norm(weights + updates - exact))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    # The next order adds h to it: 0.075, then half of that.
    np.testing.assert_allclose(orders, 4, atol=0.1)
    assert errors[-1] < 1e-8


RANDOM = np.random.default_rng(3).normal(size=(6, 6))
HESSIAN = RANDOM @ RANDOM.T / 6 + np.eye(6)
BEGIN = np.random.default_rng(4).normal(size=6)


def quadratic(w):
    return w @ jnp.asarray(HESSIAN, w.dtype) @ w / 2


def descend(transform, steps):
    """The points [T, 6] on the quadratic, the first included, in float64."""
    gradient = jax.jit(jax.grad(quadratic))
    update = jax.jit(lambda g, state, w: transform.update(g, state, w, value_fn=quadratic))
    points = [jnp.asarray(BEGIN)]
    state = transform.init(points[0])
    for _ in range(steps):
        updates, state = update(gradient(points[-1]), state, points[-1])
        points.append(points[-1] + updates)
    return np.stack(points)


def test_lbfgs_follows_two_loops_written_in_numpy():
    with jax.enable_x64(True):
        ours = descend(transforms.lbfgs(0.25, memory=3, line_search=False), 12)
    theirs, memory = [BEGIN], {}
    for t in range(1, 13):
        w = theirs[-1]
        theirs += lbfgs([w], [HESSIAN @ w], memory, t, None, 0.25, 3)
    # Each direction divides by differences of gradients: a dozen amplify rounding a hundredfold.
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_lbfgs_searched_steps_lie_on_its_directions_and_end_at_the_minimum():
    with jax.enable_x64(True):
        points = descend(transforms.lbfgs(), 10)
    memory = {}
    for t in range(1, 6):
        w, step = points[t - 1], points[t] - points[t - 1]
        direction = lbfgs([w], [HESSIAN @ w], memory, t, None, 1.0, 10)[0] - w
        cosine = step @ direction / np.linalg.norm(step) / np.linalg.norm(direction)
        assert cosine > 1 - 1e-12
        # The strong conditions of Wolfe.
        slope = direction @ HESSIAN @ w
        before, after = (p @ HESSIAN @ p / 2 for p in (w, points[t]))
        share = np.linalg.norm(step) / np.linalg.norm(direction)
        assert after <= before + 1e-4 * share * slope
        assert abs(direction @ HESSIAN @ points[t]) <= 0.9 * abs(slope)
    # Six weights: exact searches would take six steps, those of Wolfe's conditions a few more.
    assert points[-1] @ HESSIAN @ points[-1] / 2 < 1e-10
