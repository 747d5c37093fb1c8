"""What stands around an optimizer, against float64 NumPy written from each formula."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax import modifiers, transforms
from initopt_jax.modifiers import REGISTRY
from initopt_jax.transforms.chain import chain, eval_params_of
from initopt_jax.types import EvaluatedTransform, option_names

STEPS = 40
CURVATURE = np.array([[0.5, 1.0, 2.0], [3.0, 4.0, 8.0]])
START = {
    "kernel": np.array([[3.0, -1.0, 0.5], [-2.0, 1.5, -0.25]]),
    "bias": np.array([2.0, -0.3]),
}
RATE = 0.05

# Options of every modifier with numbers, and other numbers that must make a difference.
OPTIONS = {
    "clip_by_value": ({"max_value": 1.0}, {"max_value": 0.5}),
    "clip_by_global_norm": ({"max_norm": 2.0}, {"max_norm": 1.0}),
    "clip_by_leaf_norm": ({"max_norm": 2.0}, {"max_norm": 0.5}),
    "adaptive_clip": ({"clipping": 0.3, "eps": 0.001}, {"clipping": 0.1, "eps": 0.1}),
    "gradient_noise": ({"eta": 0.01, "gamma": 0.55}, {"eta": 0.1, "gamma": 0.1}),
    "coupled_weight_decay": ({"weight_decay": 0.1}, {"weight_decay": 1.0}),
    "decoupled_weight_decay": (
        {"weight_decay": 0.1, "learning_rate": RATE},
        {"weight_decay": 1.0, "learning_rate": RATE},
    ),
    "rates": ({"by_path": {"*bias": 2.0}}, {"by_path": {"*bias": 0.0}}),
    "freeze": ({"paths": "*bias"}, None),
    "accumulate": ({"every": 3.0}, {"every": 2.0}),
    "lookahead": ({"every": 5.0, "slow_step": 0.5}, {"every": 3.0, "slow_step": 0.25}),
    "ema": ({"decay": 0.9}, {"decay": 0.5}),
    "swa": (
        {"steps": STEPS, "start": 0.5, "every": 2.0},
        {"steps": STEPS, "start": 0.25, "every": 1.0},
    ),
    "sharpness_aware": ({"rho": 0.5}, {"rho": 2.0}),
    "float32_state": ({}, None),
}


def cost(params, key=None):
    curvature = jnp.asarray(CURVATURE, params["kernel"].dtype)
    return (jnp.sum(curvature * params["kernel"] ** 2) + 3 * jnp.sum(params["bias"] ** 2)) / 2


def gradient(params):
    return {"kernel": CURVATURE * params["kernel"], "bias": 3 * params["bias"]}


def build(name, options, base=None):
    """Gradient descent with one modifier in its place."""
    base = transforms.sgd(RATE) if base is None else base
    entry = REGISTRY[name]
    if entry.place == "wrapper":
        return entry.make(base, **options)
    own = entry.make(**options)
    return chain(own, base) if entry.place == "pre-transform" else chain(base, own)


def run(transform, dtype=jnp.float32, steps=STEPS):
    """Weights after each step, and those evaluated."""
    transform = optax.with_extra_args_support(transform)

    def step(carry, key):
        params, state = carry
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), gradient(params), params)
        extra = {"grad": grads, "key": key, "value_fn": cost}
        updates, state = transform.update(grads, state, params, **extra)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, eval_params_of(transform, state, params))

    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), START)
    keys = jax.random.split(jax.random.key(3), steps)
    return jax.lax.scan(step, (params, transform.init(params)), keys)[1]


def numbers_of(options):
    return {key: value for key, value in options.items() if not isinstance(value, str)}


def run_traced(name, options, fixed):
    numbers = jax.tree.map(jnp.float32, options)
    return jax.jit(lambda numbers: run(build(name, {**numbers, **fixed})))(numbers)


def descend(change=lambda g, p, t: g, after=lambda u, p, t: u):
    """Gradient descent in float64, gradients and updates changed on the way."""
    params, path = START, []
    for t in range(STEPS):
        g = change(gradient(params), params, t)
        u = after({k: -RATE * g[k] for k in g}, params, t)
        params = {k: params[k] + u[k] for k in u}
        path.append(params)
    return path


def clipped_by_norms(g, most, norms):
    return {k: g[k] * np.minimum(1, most / norms[k]) for k in g}


def whole_norm(g):
    return np.sqrt(sum(np.sum(x**2) for x in g.values()))


def units(x):
    return np.sqrt(np.sum(x**2, axis=0)) if x.ndim == 2 else np.sqrt(np.sum(x**2))


REFERENCES = {
    "clip_by_value": lambda: descend(lambda g, p, t: {k: np.clip(g[k], -1, 1) for k in g}),
    "clip_by_global_norm": lambda: descend(
        lambda g, p, t: clipped_by_norms(g, 2.0, dict.fromkeys(g, whole_norm(g)))
    ),
    "clip_by_leaf_norm": lambda: descend(
        lambda g, p, t: clipped_by_norms(g, 2.0, {k: np.linalg.norm(g[k]) for k in g})
    ),
    "adaptive_clip": lambda: descend(
        lambda g, p, t: {
            k: g[k] * np.minimum(1, 0.3 * np.maximum(units(p[k]), 0.001) / units(g[k])) for k in g
        }
    ),
    "coupled_weight_decay": lambda: descend(lambda g, p, t: {k: g[k] + 0.1 * p[k] for k in g}),
    "decoupled_weight_decay": lambda: descend(
        after=lambda u, p, t: {k: u[k] - RATE * 0.1 * p[k] for k in u}
    ),
    "rates": lambda: descend(after=lambda u, p, t: {**u, "bias": 2 * u["bias"]}),
    "sharpness_aware": lambda: descend(
        lambda g, p, t: gradient({k: p[k] + 0.5 * g[k] / whole_norm(g) for k in g})
    ),
    "freeze": lambda: descend(after=lambda u, p, t: {**u, "bias": 0 * u["bias"]}),
    "float32_state": descend,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_follows_its_formula(name):
    options, other = OPTIONS[name]
    fixed = {key: value for key, value in options.items() if isinstance(value, str)}
    weights, evaluated = run_traced(name, numbers_of(options), fixed)
    expected = REFERENCES[name]()
    for key in START:
        wanted = np.stack([point[key] for point in expected])
        np.testing.assert_allclose(weights[key], wanted, rtol=2e-5, atol=1e-6)
        np.testing.assert_array_equal(weights[key], evaluated[key])
    if other:
        moved, _ = run_traced(name, numbers_of(other), fixed)
        assert any(not np.allclose(moved[key], weights[key], atol=1e-3) for key in START)


def test_accumulated_steps_are_those_of_the_mean_gradient():
    weights, _ = run_traced("accumulate", {"every": 3.0}, {})
    for key in START:
        # The weights rest while gradients wait, so that all three are equal, and so is their mean.
        of_steps = np.asarray(weights[key])
        plain = np.stack([point[key] for point in descend()])
        np.testing.assert_allclose(of_steps[2::3], plain[: len(of_steps[2::3])], rtol=1e-5)
        np.testing.assert_array_equal(of_steps[3::3], of_steps[2:-1:3])


def test_accumulation_averages_different_gradients_for_adam():
    gradients = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    gathered = modifiers.accumulate(transforms.adam(0.1), 3.0)
    plain = transforms.adam(0.1)
    state, expected = gathered.init(gradients[0]), plain.init(gradients[0])
    for block in gradients.reshape(2, 3, 4):
        for index, one in enumerate(block):
            updates, state = gathered.update(jnp.asarray(one), state)
            assert index == 2 or not np.any(updates)
        wanted, expected = plain.update(jnp.asarray(block.mean(axis=0)), expected)
        np.testing.assert_allclose(updates, wanted, rtol=1e-5)


def test_lookahead_follows_algorithm_1():
    every, alpha = 5, 0.5
    slow, fast, path, slow_path = dict(START), dict(START), [], []
    for t in range(1, STEPS + 1):
        g = gradient(fast)
        fast = {k: fast[k] - RATE * g[k] for k in fast}
        if t % every == 0:
            slow = {k: slow[k] + alpha * (fast[k] - slow[k]) for k in slow}
            fast = dict(slow)
        path.append(fast)
        slow_path.append(slow)
    weights, evaluated = run_traced("lookahead", *(OPTIONS["lookahead"][:1]), {})
    for key in START:
        for ours, wanted in ((weights, path), (evaluated, slow_path)):
            expected = np.stack([point[key] for point in wanted])
            np.testing.assert_allclose(ours[key], expected, rtol=2e-5, atol=1e-6)


def test_ema_is_the_weighted_mean_of_the_weights_after_each_step():
    decay = 0.9
    weights, evaluated = run_traced("ema", {"decay": decay}, {})
    for key in START:
        path = np.stack([point[key] for point in descend()])
        np.testing.assert_allclose(weights[key], path, rtol=2e-5, atol=1e-6)
        for t in (1, 2, 10, STEPS):
            share = decay ** np.arange(t - 1, -1, -1.0)
            wanted = np.tensordot(share / share.sum(), path[:t], axes=1)
            np.testing.assert_allclose(evaluated[key][t - 1], wanted, rtol=2e-5, atol=1e-6)


def test_swa_is_the_mean_of_every_second_point_of_the_second_half():
    weights, evaluated = run_traced("swa", numbers_of(OPTIONS["swa"][0]), {})
    for key in START:
        path = np.stack([point[key] for point in descend()])
        np.testing.assert_array_equal(evaluated[key][:20], weights[key][:20])
        for t in (22, 31, STEPS):
            chosen = [path[s - 1] for s in range(1, t + 1) if s > 20 and s % 2 == 0]
            wanted = np.mean(chosen, axis=0)
            np.testing.assert_allclose(evaluated[key][t - 1], wanted, rtol=2e-5, atol=1e-6)


def test_an_average_starts_at_the_first_weights():
    for name in ("ema", "swa", "lookahead"):
        transform = build(name, OPTIONS[name][0])
        params = jax.tree.map(jnp.asarray, START)
        first = eval_params_of(transform, transform.init(params), params)
        for key in START:
            np.testing.assert_array_equal(first[key], params[key])


def test_noise_has_the_variance_of_its_step_and_a_new_draw_each_time():
    noise = modifiers.gradient_noise(eta=0.5, gamma=1.0)
    zeros = {"a": jnp.zeros(40_000), "b": jnp.zeros(40_000)}
    state = noise.init(zeros)
    draws = []
    for t in range(3):
        noisy, state = noise.update(zeros, state, key=jax.random.key(t))
        draws += [np.asarray(noisy["a"]), np.asarray(noisy["b"])]
        for leaf in noisy.values():
            # Six standard errors of a sample variance: 6 * sqrt(2 / 40,000).
            assert np.var(leaf) == pytest.approx(0.5 / (1 + t), rel=0.043)
    correlations = np.corrcoef(draws)[np.triu_indices(6, 1)]
    assert np.max(np.abs(correlations)) < 6 / np.sqrt(40_000)
    with pytest.raises(ValueError, match="needs a key"):
        noise.update(zeros, state)


def test_only_chosen_leaves_decay():
    decay = modifiers.coupled_weight_decay(1.0, only="*kernel")
    params = jax.tree.map(jnp.asarray, START)
    none = jax.tree.map(jnp.zeros_like, params)
    updates, _ = decay.update(none, decay.init(params), params)
    np.testing.assert_array_equal(updates["kernel"], params["kernel"])
    assert not np.any(updates["bias"])


def test_a_frozen_leaf_is_not_in_the_norm_that_clips_the_others():
    inner = chain(modifiers.clip_by_global_norm(1.0), transforms.sgd(1.0))
    frozen = modifiers.freeze(inner, "bias")
    grads = {"kernel": jnp.array([0.6]), "bias": jnp.array([100.0])}
    updates, _ = frozen.update(grads, frozen.init(grads), grads)
    assert float(updates["kernel"][0]) == pytest.approx(-0.6)
    assert float(updates["bias"][0]) == 0


@pytest.mark.parametrize("name", ["freeze", "rates", "coupled_weight_decay"])
def test_a_pattern_that_matches_nothing_is_refused(name):
    given = {
        "freeze": {"paths": "*bais"},
        "rates": {"by_path": {"*bais": 1.0}},
        "coupled_weight_decay": {"weight_decay": 1.0, "only": "*bais"},
    }
    transform = build(name, given[name])
    with pytest.raises(ValueError, match=r"'\*bais' matches no leaf; did you mean 'bias'\?"):
        transform.init(jax.tree.map(jnp.asarray, START))


@pytest.mark.parametrize("name", REGISTRY)
def test_dtypes_and_structure_stay(name):
    options = OPTIONS[name][0]
    adam = optax.adam if name == "float32_state" else transforms.adam

    def update(numbers, params):
        fixed = {key: value for key, value in options.items() if isinstance(value, str)}
        transform = optax.with_extra_args_support(build(name, {**numbers, **fixed}, adam(0.1)))
        state = transform.init(params)
        extra = {"grad": params, "key": jax.random.key(0), "value_fn": cost}
        updates, after = transform.update(params, state, params, **extra)
        return state, after, updates, eval_params_of(transform, after, params)

    for dtype in (jnp.float32, jnp.bfloat16):
        params = jax.tree.map(jnp.asarray, START)
        params = jax.tree.map(lambda leaf, to=dtype: leaf.astype(to), params)
        numbers = jax.tree.map(jnp.float32, numbers_of(options))
        with jax.numpy_dtype_promotion("standard" if adam is optax.adam else "strict"):
            state, after, updates, weights = jax.eval_shape(update, numbers, params)
        kinds = [jax.tree.map(lambda x: (x.shape, x.dtype), t) for t in (state, after)]
        assert kinds[0] == kinds[1]
        assert {leaf.dtype for leaf in jax.tree.leaves((updates, weights))} == {jnp.dtype(dtype)}
        if name == "float32_state":
            floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
            assert {leaf.dtype for leaf in floats} == {jnp.dtype(jnp.float32)}


def test_evaluated_weights_survive_what_stands_around():
    averaged = modifiers.ema(transforms.sgd(RATE), 0.9)
    nested = modifiers.freeze(chain(modifiers.clip_by_value(100.0), averaged), "bias")
    assert isinstance(nested, EvaluatedTransform)
    _, wanted = run(averaged)
    _, evaluated = run(nested)
    np.testing.assert_allclose(evaluated["kernel"], wanted["kernel"], rtol=1e-6)
    assert not np.allclose(wanted["bias"], evaluated["bias"])
    with pytest.raises(ValueError, match="only one member"):
        chain(averaged, averaged)
    with pytest.raises(ValueError, match="lookahead cannot stand around"):
        modifiers.lookahead(averaged)


@pytest.mark.parametrize("name", REGISTRY)
def test_entry_docstring_and_wrong_numbers(name):
    entry = REGISTRY[name]
    assert entry.name == name == entry.make.__name__
    assert entry.formula
    assert entry.reference
    assert ">>> " in (inspect.getdoc(entry.make) or "")
    options, _ = OPTIONS[name]
    assert set(options) | {"inner", "layouts", "only"} >= set(option_names(entry.make))
    inner = (transforms.sgd(0.1),) if entry.place == "wrapper" else ()
    for key, value in numbers_of(options).items():
        if key == "steps":
            continue
        for bad in ("fast", float("nan"), -1.0):
            wrong = {"*bias": bad} if isinstance(value, dict) else bad
            with pytest.raises(ValueError, match=f"{key}.* must be .*, got "):
                entry.make(*inner, **{**options, key: wrong})
