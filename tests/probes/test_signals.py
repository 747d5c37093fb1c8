"""Signals and Jacobians against explicit NumPy in float64, and theory against simulation."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.initializers import make_network
from initopt_jax.initializers.mean_field import correlation, depth_scales, fixed_point, slope
from initopt_jax.probes.probe import Batch
from initopt_jax.probes.signals import jacobian_spectrum, signals, step_signals
from initopt_jax.probes.signals.measure import OUTPUTS
from initopt_jax.probes.signals.theory import Sigmas, diagram, phase, predict, sigmas


def halves(outputs, targets):
    return 0.5 * ((outputs - targets) ** 2).sum(axis=1)


def perceptron(activation):
    """`apply` of kernels `w0`, `w1`... with biases `b0`, `b1`... where there are such."""

    def apply(params, x):
        depth = sum(name.startswith("w") for name in params)
        for layer in range(depth):
            x = (activation(x) if layer else x) @ params[f"w{layer}"]
            if f"b{layer}" in params:
                x = x + params[f"b{layer}"][None]
        return x

    return apply


def measured(params, x, y, apply):
    """`signals`, compiled whole: operation by operation it takes far longer."""
    network = make_network(apply, halves, params, x, y)
    return jax.jit(lambda params, batch: signals(params, batch, network))(params, Batch(x, y))


def gaussian(seed, widths, sigma_w, sigma_b=0.0, dtype=np.float64):
    generator = np.random.default_rng(seed)
    params = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        params[f"w{layer}"] = sigma_w / inputs**0.5 * generator.normal(size=(inputs, outputs))
        if sigma_b:
            params[f"b{layer}"] = sigma_b * generator.normal(size=outputs)
    return jax.tree.map(lambda leaf: leaf.astype(dtype), params)


def test_signals_of_a_perceptron():
    with jax.enable_x64(True):
        params = gaussian(0, (4, 6, 5, 2), 3.0, 0.5)
        x, y = (np.random.default_rng(seed).normal(size=(7, n)) for seed, n in ((1, 4), (2, 2)))
        found = measured(params, x, y, perceptron(jnp.tanh))

    before = [x @ params["w0"] + params["b0"]]
    for layer in (1, 2):
        before.append(np.tanh(before[-1]) @ params[f"w{layer}"] + params[f"b{layer}"])
    after = [np.tanh(before[0]), np.tanh(before[1]), before[2]]
    slopes = [1 - after[0] ** 2, 1 - after[1] ** 2, np.ones_like(before[2])]
    gradients = [before[2] - y]
    for layer in (1, 0):
        gradients.insert(0, gradients[0] @ params[f"w{layer + 1}"].T * slopes[layer])
    pairs = list(itertools.permutations(range(7), 2))

    def cosine(h):
        unit = h / np.linalg.norm(h, axis=1, keepdims=True)
        return np.mean([unit[a] @ unit[b] for a, b in pairs])

    expected = {
        "preactivation_variance": [(h**2).mean() for h in before],
        "activation_mean": [a.mean() for a in after],
        "activation_variance": [a.var() for a in after],
        "activation_kurtosis": [((a - a.mean()) ** 4).mean() / a.var() ** 2 for a in after],
        "saturated_share": [(s < 0.05 * s.max()).mean() for s in slopes],
        "dead_units": [0.0, 0.0, 0.0],
        "input_correlation": [cosine(h) for h in before],
        "backward_norm": [np.sqrt((g**2).mean()) for g in gradients],
    }
    assert 0 < expected["saturated_share"][0] < 1
    assert set(found) == set(OUTPUTS) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-10, atol=1e-12, err_msg=name)


def test_dead_and_inactive_units():
    """Of four units one is always off, one always on, and one off for half of the examples."""
    params = {"w0": np.array([[0.0, 0.0, 1.0, 1.0]]), "b0": np.array([-1.0, 1.0, 0.0, 2.0]),
              "w1": np.ones((4, 1))}  # fmt: skip
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    x = np.array([[-1.0], [-0.5], [0.5], [1.0]], np.float32)
    found = measured(params, x, np.zeros((4, 1), "f"), perceptron(jax.nn.relu))
    assert found["dead_units"].tolist() == [0.25, 0.0]
    assert found["saturated_share"].tolist() == [1.5 / 4, 0.0]


def test_lanes_side_by_side_and_one_that_diverged():
    lanes = [gaussian(seed, (4, 6, 5, 2), 1.5, 0.1, np.float32) for seed in range(3)]
    lanes[1]["w1"][0, 0] = np.nan
    x, y = (np.random.default_rng(s).normal(size=(5, n)).astype("f") for s, n in ((1, 4), (2, 2)))
    network = make_network(perceptron(jnp.tanh), halves, lanes[0], x, y)

    def measure(params, batch):
        return signals(params, batch, network) | jacobian_spectrum(params, batch, network)

    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *lanes)
    together = jax.jit(jax.vmap(measure, (0, None)))(stacked, Batch(x, y))
    alone_on = jax.jit(measure)
    for lane in (0, 2):
        alone = alone_on(lanes[lane], Batch(x, y))
        for name, values in alone.items():
            np.testing.assert_allclose(together[name][lane], values, rtol=2e-5, err_msg=name)
    for name, values in together.items():
        assert np.isnan(values[1] if name.startswith("jacobian") else values[1][1:]).all(), name
    assert np.isfinite(together["preactivation_variance"][1][0])


def test_examples_are_told_from_steps():
    """As many steps as examples: one example is left out, and the pairs are those of examples."""
    params = {"w0": np.random.default_rng(0).normal(size=(3, 4)).astype("f")}
    x = np.random.default_rng(1).normal(size=(4, 4, 3)).astype("f")

    def apply(params, x):
        return (x.swapaxes(0, 1) @ params["w0"]).sum(axis=0)

    found = measured(params, x, np.zeros((4, 4), "f"), apply)["input_correlation"]
    flat = (x[:3] @ params["w0"]).reshape(3, -1)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    expected = ((unit @ unit.T).sum() - 3) / 6
    np.testing.assert_allclose(found, [expected], rtol=1e-5)


def test_zero_weights_have_no_correlation_but_sizes():
    params = jax.tree.map(jnp.zeros_like, gaussian(0, (4, 6, 2), 1.0, 1.0, np.float32))
    x = np.ones((3, 4), np.float32)
    found = measured(params, x, np.ones((3, 2), "f"), perceptron(jax.nn.relu))
    assert found["preactivation_variance"].tolist() == [0, 0]
    assert found["backward_norm"].tolist() == [0, 1]
    assert found["dead_units"].tolist() == [1, 0]
    assert np.isnan(found["input_correlation"]).all()


def test_jacobian_against_finite_differences():
    with jax.enable_x64(True):
        params = gaussian(0, (5, 6, 3), 2.0)
        x = np.random.default_rng(1).normal(size=(4, 5))
        apply = perceptron(jnp.tanh)
        network = make_network(apply, halves, params, x, x[:, :3])
        found = jacobian_spectrum(params, Batch(x, x[:, :3]), network, examples=3)
        step, each = 1e-5, []
        for example in x[:3]:
            moved = [example + sign * step * np.eye(5) for sign in (1, -1)]
            up, down = (np.asarray(apply(params, points)) for points in moved)
            each.append(np.linalg.svd((up - down).T / (2 * step), compute_uv=False))
    squares = np.array(each) ** 2
    # Central differences leave an error of step^2 / 6 times a third derivative.
    tight = {"rtol": 1e-7}
    np.testing.assert_allclose(found["jacobian_mean_square"], squares.mean(), **tight)
    spreads = squares.var(axis=1) / squares.mean(axis=1) ** 2
    np.testing.assert_allclose(found["jacobian_spread"], spreads.mean(), **tight)
    np.testing.assert_allclose(found["jacobian_singular_values"], np.mean(each, axis=0), **tight)
    np.testing.assert_allclose(found["jacobian_largest"], np.mean(each, axis=0)[0], **tight)


def test_jacobian_of_very_small_signals():
    """Squares of 1e-30 are 0 in float32; the values and their spread are not lost with them."""
    params = {"w": 1e-30 * np.diag([1.0, 3.0]).astype("f")}
    x = np.ones((2, 2), np.float32)
    network = make_network(lambda p, x: x @ p["w"], halves, params, x, x)
    found = jacobian_spectrum(params, Batch(x, x), network)
    np.testing.assert_allclose(found["jacobian_singular_values"], [3e-30, 1e-30], rtol=1e-6)
    np.testing.assert_allclose(found["jacobian_spread"], 0.64, rtol=1e-6)
    still = jacobian_spectrum({"w": np.zeros((2, 2), "f")}, Batch(x, x), network)
    assert still["jacobian_singular_values"].tolist() == [0, 0]
    assert still["jacobian_mean_square"] == 0
    assert np.isnan(still["jacobian_spread"])


def test_jacobian_refuses():
    network = make_network(lambda p, x: x @ p["w"], halves, {"w": np.eye(2, dtype="f")},
                           np.ones((2, 2), "f"), np.ones((2, 2), "f"))  # fmt: skip
    batch = Batch(np.ones((2, 2), "f"), np.ones((2, 2), "f"))
    with pytest.raises(ValueError, match="examples must be at least 1, got 0"):
        jacobian_spectrum({"w": np.eye(2, dtype="f")}, batch, network, examples=0)


def test_tokens_have_no_jacobian():
    params = {"table": np.ones((5, 3), np.float32)}
    tokens = np.array([[1, 2], [3, 4]])
    network = make_network(
        lambda p, x: jnp.take(p["table"], x, axis=0).sum(axis=1), halves, params, tokens, tokens
    )
    found = jacobian_spectrum(params, Batch(tokens, tokens), network)
    assert all(np.isnan(value).all() for value in found.values())
    assert found["jacobian_singular_values"].shape == (2,)  # of tokens


@pytest.mark.parametrize("relu", [False, True])
def test_isometry(relu):
    """The spread is L and 0 in linear networks, 2 L and L with relu (Pennington et al. 2017)."""
    depth, width, draws = 4, 128, 10
    gain = 2**0.5 if relu else 1.0

    def draw(seed, orthogonal):
        params = gaussian(seed, (width,) * (depth + 1), gain, dtype=np.float32)
        if not orthogonal:
            return params
        return {name: (gain * np.linalg.qr(leaf)[0]).astype("f") for name, leaf in params.items()}

    def apply(params, x):
        for layer in range(depth):
            x = x @ params[f"w{layer}"]
            x = jax.nn.relu(x) if relu else x
        return x

    x = np.random.default_rng(99).normal(size=(2, width)).astype("f")
    network = make_network(apply, halves, draw(0, orthogonal=False), x, x)
    measure = jax.jit(lambda params: jacobian_spectrum(params, Batch(x, x), network))
    for orthogonal in (False, True):
        found = [measure(draw(seed, orthogonal))["jacobian_spread"] for seed in range(draws)]
        expected = depth * (relu + (not orthogonal))
        # 15% is what ten draws are held to; a product of orthogonal matrices is one to rounding.
        assert abs(np.mean(found) - expected) <= max(0.15 * expected, 1e-4), found


def test_simulated_sizes_and_correlations_come_to_the_fixed_points():
    """Schoenholz et al. (2017), sigma_w^2 = 4, sigma_b^2 = .05: q* 2.196; ξ_c 6.98 layers."""
    depth, width = 24, 1000
    params = gaussian(0, (20, *[width] * depth), 2.0, 0.05**0.5, np.float32)
    x = np.random.default_rng(1).normal(size=(8, 20)).astype("f")
    network = make_network(perceptron(jnp.tanh), halves, params, x, x)
    found = measured(params, x, np.zeros((8, width), "f"), perceptron(jnp.tanh))
    given = ("tanh", 2.0, 0.05**0.5)
    late = float(np.mean(found["preactivation_variance"][10:]))
    assert fixed_point(*given) == pytest.approx(2.196, abs=1e-3)
    assert late == pytest.approx(2.196, rel=0.03)
    own = sigmas(params, network)
    np.testing.assert_allclose(own.weights[1:], 2.0, rtol=0.005)
    # 28 pairs of 1000 units, whose errors a layer hands on for ξ_c layers.
    error = 4 * (6.98 / (28 * width)) ** 0.5
    first = (float(found[name][0]) for name in ("preactivation_variance", "input_correlation"))
    theory = predict("tanh", own, *first, np.full(depth, float(width)))
    np.testing.assert_allclose(found["input_correlation"], theory.correlations, atol=error)
    assert float(found["input_correlation"][-1]) == pytest.approx(correlation(*given), abs=error)
    # A layer's size is a mean over 1000 squares of normals, were its examples all the same.
    spread = 3 * (2 / width) ** 0.5
    np.testing.assert_allclose(found["preactivation_variance"], theory.sizes, rtol=spread)


@pytest.mark.parametrize(("variance", "scale"), [(1.0, 3.63), (3.0, 9.05)])
def test_correlations_come_near_within_the_depth_scale(variance, scale):
    """Poole et al. (2016): c - c* falls as exp(-layer / ξ_c), in order and in chaos.

    Two batches, more and less correlated, go through the same weights, whose noise is as large as
    what is left of c - c* after a few layers, and cancels in the difference of the two.
    """
    width, draws, given = 1000, 10, ("tanh", variance**0.5, 0.05**0.5)
    assert depth_scales(*given)[1] == pytest.approx(scale, rel=2e-3)
    depth, end = int(1.5 * scale) + 2, correlation(*given)
    draw = functools.partial(gaussian, dtype=np.float32)
    widths, still = [width] * (depth + 1), np.zeros((16, width), "f")
    first = draw(0, widths, *given[1:])
    network = make_network(perceptron(jnp.tanh), halves, first, still, still)
    measure = jax.jit(lambda params, batch: signals(params, batch, network)["input_correlation"])
    near = (-0.02, -0.12) if end > 0.99 else (0.1, -0.1)
    gaps = []
    for seed in range(draws):
        generator = np.random.default_rng(seed)
        common, own = generator.normal(size=(1, width)), generator.normal(size=(16, width))
        params = draw(seed, widths, *given[1:])
        params |= {"w0": np.eye(width, dtype="f"), "b0": np.zeros(width, "f")}  # it sees its inputs
        more, less = (
            fixed_point(*given) ** 0.5 * (alike**0.5 * common + (1 - alike) ** 0.5 * own)
            for alike in (end + near[0], end + near[1])
        )
        found = [measure(params, Batch(x.astype("f"), still)) for x in (more, less)]
        gaps.append(found[0] - found[1])
    away = np.log(np.abs(np.mean(gaps, axis=0)))
    check_shapes = -1 / np.polyfit(np.arange(depth), away, 1)[0]
    assert check_shapes == pytest.approx(scale, rel=0.1)


def test_foretold_gradients():
    """chi at every layer, against a network of width 500; the loss is the same for all units."""
    params = gaussian(0, (500,) * 9, 1.2, 0.2, np.float32)
    x = np.random.default_rng(1).normal(size=(16, 500)).astype("f")
    y = np.random.default_rng(2).normal(size=(16, 500)).astype("f") * 100
    network = make_network(perceptron(jnp.tanh), halves, params, x, y)
    found = measured(params, x, y, perceptron(jnp.tanh))
    first = (float(found[name][0]) for name in ("preactivation_variance", "input_correlation"))
    theory = predict("tanh", sigmas(params, network), *first, np.full(8, 500.0))
    norms = np.asarray(found["backward_norm"])[:-1]
    np.testing.assert_allclose(norms / norms[-1], theory.gradients[:-1], rtol=0.05)
    assert norms[0] / norms[-1] < 0.8


def test_relu_correlations_follow_the_arc_cosine_kernel():
    """Cho and Saul (2009): c' = (sqrt(1 - c^2) + (pi - arccos c) c) / pi."""
    he = Sigmas(np.full(6, 2**0.5), np.zeros(6))
    theory = predict("relu", he, 0.3, 0.1, np.full(6, 10.0))
    c, expected = 0.1, [0.1]
    for _ in range(5):
        c = (np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / np.pi
        expected.append(c)
    np.testing.assert_allclose(theory.correlations, expected, rtol=1e-7)
    np.testing.assert_allclose(theory.sizes, 0.3, rtol=1e-12)
    np.testing.assert_allclose(theory.gradients[:-1], 1.0, rtol=1e-12)


def test_foretold_width_and_death():
    zero = predict("tanh", Sigmas(np.zeros(3), np.zeros(3)), 0.0, np.nan, np.full(3, 2.0))
    assert zero.sizes.tolist() == [0, 0, 0]
    assert np.isnan(zero.correlations).all()
    he = Sigmas(np.full(3, 2**0.5), np.zeros(3))
    theory = predict("relu", he, 1.0, 0.0, np.array([4.0, 16.0, 2.0]))
    np.testing.assert_allclose(theory.gradients[:2], [2.0, 1.0], rtol=1e-12)


def test_diagram():
    found = diagram("tanh", (0.5, 2.5), (0.0, 0.6), points=7)
    for row, column in ((0, 0), (0, 6), (3, 2), (6, 6)):
        given = "tanh", float(found.sigma_w[column]), float(found.sigma_b[row])
        assert found.chi[row, column] == pytest.approx(slope(*given), rel=2e-3)
    published = np.array([[0.05**0.5, 1.761**0.5]])  # Schoenholz et al. (2017), figure 1
    at = np.interp(published[0, 0], found.line[:, 1], found.line[:, 0])
    assert at == pytest.approx(published[0, 1], abs=0.02)  # between grid points
    assert diagram("sigmoid", (0.5, 2.5), (0.0, 0.6), points=3).line.shape == (0, 2)


def test_phases():
    assert phase("relu", 2.0, 0.1).q == np.inf
    assert phase("relu", 2.0, 0.1).chi == pytest.approx(2.0)
    assert phase("tanh", 0.0, 0.0).chi == 0
    assert phase("tanh", 1.0, 0.05**0.5).depth == pytest.approx(3.63, abs=0.005)


def test_signals_along_the_steps():
    """Back through time by hand."""
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        params = {"u": generator.normal(size=(3, 4)), "w": generator.normal(size=(4, 4)) / 2,
                  "v": generator.normal(size=(4, 2))}  # fmt: skip
        x, y = generator.normal(size=(5, 6, 3)), generator.normal(size=(5, 2))

        def apply(params, x):
            def step(state, seen):
                return jnp.tanh(seen + state @ params["w"]), None

            seen = x.swapaxes(0, 1) @ params["u"]
            return jax.lax.scan(step, jnp.zeros((x.shape[0], 4)), seen)[0] @ params["v"]

        network = make_network(apply, halves, params, x, y)
        found = jax.jit(lambda p, batch: step_signals(p, batch, network))(params, Batch(x, y))
    state, sums = np.zeros((5, 4)), []
    for time in range(6):
        sums.append(x[:, time] @ params["u"] + state @ params["w"])
        state = np.tanh(sums[-1])
    gradient, norms = (state @ params["v"] - y) @ params["v"].T, []
    for before in sums[::-1]:
        gradient = gradient * (1 - np.tanh(before) ** 2)
        norms.insert(0, np.sqrt((gradient**2).mean()))
        gradient = gradient @ params["w"].T
    np.testing.assert_allclose(found["step_backward_norm"], norms, rtol=1e-11)
    sizes = [(before**2).mean() for before in sums]
    np.testing.assert_allclose(found["step_preactivation_variance"], sizes, rtol=1e-11)


def test_a_network_without_steps():
    params = gaussian(0, (3, 2), 1.0, dtype=np.float32)
    x = np.ones((2, 3), np.float32)
    network = make_network(perceptron(jnp.tanh), halves, params, x, x[:, :2])
    found = step_signals(params, Batch(x, x[:, :2]), network)
    assert {name: values.shape for name, values in found.items()} == {
        "step_preactivation_variance": (0,),
        "step_backward_norm": (0,),
    }
