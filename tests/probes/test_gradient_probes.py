"""Probes of gradients against explicit per-example gradients, known noise and known optimizers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax import models, tasks, transforms
from initopt_jax.probes.gradients import PROBES, gradient_noise, step_cosine, update
from initopt_jax.probes.probe import Batch, LaneOptimizer
from initopt_jax.types import Split

EPS = float(np.finfo(np.float32).eps)
RANDOM = np.random.default_rng(0)
KEY = jax.random.key(0)
N = 12
NOISE = (
    "noise_scale",
    "gradient_variance",
    "gradient_squared",
    "between_share",
    "within_share",
    "gradient_cosine",
)


def quick(function, **options):
    """Compiled in little time: small programs run only a few times."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0}, **options)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


# --- a small net, with gradients of every example in NumPy ----------------------------------------

NET = {"a": normal(3, 4), "b": normal(4), "c": normal(4, 2)}


def net_loss(params, batch):
    outputs = jnp.tanh(batch.inputs @ params["a"] + params["b"][None]) @ params["c"]
    return 0.5 * jnp.mean(jnp.sum(jnp.square(outputs - batch.targets), axis=1))


def example_gradients(params, batch):
    """[n, weights] in float64, by hand."""
    a, b, c = (np.float64(params[name]) for name in "abc")
    inputs, targets = np.float64(batch.inputs), np.float64(batch.targets)
    hidden = np.tanh(inputs @ a + b)
    error = hidden @ c - targets
    back = (error @ c.T) * (1 - hidden**2)
    parts = (
        inputs[:, :, None] * back[:, None],
        back,
        hidden[:, :, None] * error[:, None],
    )
    return np.concatenate([part.reshape(len(inputs), -1) for part in parts], axis=1)


def anova(gradients, groups, parts):
    """Everything that `gradient_noise` measures, from the gradients of the parts, in order."""
    size = len(gradients) // (groups * parts)
    count = groups * parts * size
    split = gradients[:count].reshape(groups * parts, size, -1).mean(axis=1)
    grouped = split.reshape(groups, parts, -1)
    means, mean = grouped.mean(axis=1), split.mean(axis=0)
    within = ((grouped - means[:, None]) ** 2).sum()
    between = parts * ((means - mean) ** 2).sum()
    total = ((split - mean) ** 2).sum()
    assert np.isclose(within + between, total)
    # McCandlish et al., appendix A.1, with B_small a part and B_big all.
    small, big = (split**2).sum(axis=1).mean(), (mean**2).sum()
    squared = (count * big - size * small) / (count - size)
    variance = (small - big) / (1 / size - 1 / count)
    pairs = [
        (one @ other) / np.linalg.norm(one) / np.linalg.norm(other)
        for one, other in itertools.combinations(means, 2)
    ]
    return {
        "noise_scale": variance / squared,
        "gradient_variance": variance,
        "gradient_squared": squared,
        "between_share": between / total,
        "within_share": within / total,
        "gradient_cosine": np.mean(pairs),
    }


@pytest.mark.parametrize(
    ("count", "batch_size", "parts", "form"),
    [(12, 4, 2, (3, 2)), (13, 4, 8, (3, 4)), (12, 100, 3, (2, 3)), (30, 10, 3, (3, 3))],
)
def test_noise_is_that_of_explicit_gradients(count, batch_size, parts, form):
    # Targets far off, so that the mean gradient stands out of its noise.
    batch = Batch(normal(count, 3), 3 + normal(count, 2))
    size = min(batch_size, count // 2)
    used = size // form[1] * form[1]
    chosen = example_gradients(NET, batch)[: form[0] * used]
    found = quick(
        lambda params, batch: gradient_noise(net_loss, params, batch, batch_size, parts=parts)
    )(NET, batch)
    expected = anova(chosen, *form)
    assert set(found) == set(expected) == set(NOISE)
    scale = (chosen**2).sum(axis=1).max()
    for name, value in expected.items():
        slack = 50 * EPS * scale / min(expected["gradient_variance"], expected["gradient_squared"])
        np.testing.assert_allclose(found[name], value, rtol=max(slack, 50 * EPS), err_msg=name)


def test_a_known_noise_is_found():
    # The gradient of 0.5 |w - x|^2 is w - x: its covariance is that of x, exactly.
    spread, count, dims = 1.5, 4096, 6
    inputs = spread * RANDOM.normal(size=(count, dims)).astype(np.float32)
    at = jnp.full(dims, 0.8)

    def loss(params, batch):
        return 0.5 * jnp.mean(jnp.sum(jnp.square(params[None] - batch.inputs), axis=1))

    found = quick(lambda w, batch: gradient_noise(loss, w, batch, 64, parts=8))(
        at, Batch(inputs, inputs)
    )
    trace, squared = spread**2 * dims, 0.8**2 * dims
    groups, parts = 64, 8
    freedom = dims * (groups * parts - 1)
    # Chi-squared: a relative standard deviation of sqrt(2 / freedom); four of them.
    deviation = np.sqrt(2 / freedom)
    np.testing.assert_allclose(found["gradient_variance"], trace, rtol=4 * deviation)
    # |g|^2 has the variance 4 |G|^2 spread^2 / n, and a little from the noise's own square.
    slack = 4 * np.sqrt(4 * squared * spread**2 / count + 2 * dims * (spread**2 / count) ** 2)
    np.testing.assert_allclose(found["gradient_squared"], squared, atol=slack)
    np.testing.assert_allclose(
        found["noise_scale"], trace / squared, rtol=4 * deviation + slack / squared
    )
    expected = (groups - 1) / (groups * parts - 1)
    chance = expected * np.sqrt(2 / (dims * (groups - 1)))
    np.testing.assert_allclose(found["between_share"], expected, atol=4 * chance)


def test_shares_tell_mini_batches_that_differ():
    inputs = np.repeat([[1.0], [2.0], [4.0]], 8, axis=0).astype(np.float32)

    def loss(params, batch):
        return jnp.mean(batch.inputs @ params)

    apart = gradient_noise(loss, jnp.ones(1), Batch(inputs, inputs), 8, parts=4)
    assert (apart["between_share"], apart["within_share"]) == (1, 0)
    alike = gradient_noise(loss, jnp.ones(1), Batch(inputs[::3], inputs[::3]), 4, parts=2)
    assert 0 < alike["within_share"] < 1
    same = gradient_noise(loss, jnp.ones(1), Batch(inputs[:8], inputs[:8]), 4, parts=2)
    assert np.isnan(same["between_share"])
    assert (same["noise_scale"], same["gradient_cosine"]) == (0, 1)


def test_no_gradient_and_lost_gradients_are_not_numbers():
    inputs = normal(8, 1)
    measure = quick(
        lambda value: gradient_noise(
            lambda w, batch: value * jnp.mean(batch.inputs) * w,
            jnp.float32(1),
            Batch(inputs, inputs),
            4,
            parts=2,
        )
    )
    for value in (0.0, np.nan, np.inf):
        found = measure(jnp.float32(value))
        assert np.isnan(found["noise_scale"])
        assert np.isnan(found["gradient_cosine"])
        assert np.isnan(found["between_share"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"parts": 1}, "parts must be at least 2, got 1"),
        ({"parts": 2.5}, "parts must be a whole number above 0, got 2.5"),
    ],
)
def test_options_are_checked(options, message):
    batch = Batch(normal(8, 3), normal(8, 2))
    with pytest.raises(ValueError, match=message):
        gradient_noise(net_loss, NET, batch, **options)


def test_few_examples_are_refused():
    batch = Batch(normal(3, 3), normal(3, 2))
    with pytest.raises(ValueError, match="batch must have at least 4 examples, got 3"):
        gradient_noise(net_loss, NET, batch)
    one = Batch(batch.inputs[:1], batch.targets[:1])
    with pytest.raises(ValueError, match="batch must have at least 2 examples, got 1"):
        step_cosine(net_loss, one, KEY, lane(optax.sgd(0.1), NET))


# --- updates -------------------------------------------------------------------------------------


def lane(rule, params):
    return LaneOptimizer(optax.with_extra_args_support(rule), rule.init(params), params)


def step_of(loss, batch, rule, params, state=None):
    """What `update` measures of the step that an optimizer makes of a batch's gradient."""
    grads = jax.grad(loss)(params, batch)
    updates, _ = rule.update(grads, rule.init(params) if state is None else state, params)
    return update(params, grads, updates)


def by_leaf(flat):
    """The parts of a flat vector that belong to the leaves of the small net."""
    return np.split(flat, np.cumsum([leaf.size for leaf in NET.values()])[:-1])


def norms(flat):
    return np.array([np.linalg.norm(part) for part in by_leaf(flat)])


def test_plain_descent_has_its_own_rate():
    batch = Batch(normal(N, 3), normal(N, 2))
    found = quick(lambda batch: step_of(net_loss, batch, transforms.sgd(0.05), NET))(batch)
    slope = norms(example_gradients(NET, batch).mean(axis=0))
    weights = norms(np.concatenate([leaf.ravel() for leaf in NET.values()]))
    np.testing.assert_allclose(found["gradient_norm"], slope, rtol=50 * EPS)
    np.testing.assert_allclose(found["effective_rate"], [0.05] * 3, rtol=10 * EPS)
    np.testing.assert_allclose(found["update_ratio"], 0.05 * slope / weights, rtol=50 * EPS)
    np.testing.assert_allclose(found["momentum_alignment"], [1] * 3, rtol=10 * EPS)


def test_vanishing_gradients_have_a_length():
    tiny = {"w": jnp.array([3e-30, -4e-30])}
    found = update({"w": jnp.ones(2)}, tiny, {"w": jnp.array([-6.0, 8.0])})
    np.testing.assert_allclose(found["gradient_norm"], [5e-30], rtol=10 * EPS)
    np.testing.assert_allclose(found["momentum_alignment"], [1], rtol=10 * EPS)
    np.testing.assert_allclose(found["effective_rate"], [2e30], rtol=10 * EPS)


def test_adam_and_momentum_after_two_steps():
    batches = [Batch(normal(N, 3), normal(N, 2)) for _ in range(3)]
    rate, decay, square_decay, eps = 0.01, 0.9, 0.999, 1e-8
    slopes = [example_gradients(NET, batch).mean(axis=0) for batch in batches]

    def measured(rule):
        state = rule.init(NET)
        gradient = quick(jax.grad(net_loss))
        for batch in batches[:2]:  # the weights stay: only the state moves on
            state = rule.update(gradient(NET, batch), state, NET)[1]
        return quick(lambda batch: step_of(net_loss, batch, rule, NET, state))(batches[2])

    velocity = slopes[2] + decay * (slopes[1] + decay * slopes[0])
    first = sum((1 - decay) * decay ** (2 - i) * slopes[i] for i in range(3))
    second = sum((1 - square_decay) * square_decay ** (2 - i) * slopes[i] ** 2 for i in range(3))
    first, second = first / (1 - decay**3), second / (1 - square_decay**3)
    steps = {
        "momentum": (measured(transforms.momentum(rate, decay)), -rate * velocity),
        "adam": (measured(transforms.adam(rate)), -rate * first / (np.sqrt(second) + eps)),
    }
    for name, (found, step) in steps.items():
        # Near-zero gradients lose digits, which Adam's division brings out.
        close = {"rtol": 5e-5, "err_msg": name}
        np.testing.assert_allclose(found["effective_rate"], norms(step) / norms(slopes[2]), **close)
        cosines = [
            -(one @ other) / np.linalg.norm(one) / np.linalg.norm(other)
            for one, other in zip(by_leaf(step), by_leaf(slopes[2]), strict=True)
        ]
        np.testing.assert_allclose(found["momentum_alignment"], cosines, atol=5e-5)


def test_what_has_no_length_has_no_ratio():
    # The second layer is 0: no gradient reaches the first one. Its bias starts at 0.
    params = {"a": NET["a"], "b": np.zeros(4, np.float32), "c": np.zeros((4, 2), np.float32)}
    batch = Batch(normal(N, 3), normal(N, 2))
    found = quick(lambda batch: step_of(net_loss, batch, optax.sgd(0.1), params))(batch)
    np.testing.assert_array_equal(found["gradient_norm"][:2], [0, 0])
    np.testing.assert_array_equal(found["update_ratio"][0], 0)
    assert np.isnan(found["update_ratio"][1:]).all()
    assert np.isnan(found["effective_rate"][:2]).all()
    assert np.isnan(found["momentum_alignment"][:2]).all()
    np.testing.assert_allclose(found["effective_rate"][2], 0.1, rtol=10 * EPS)


# --- steps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "sign"), [(0.1, 1), (0.9, 1), (1.1, -1), (3.0, -1)])
def test_a_step_over_the_valley_turns_the_gradient(rate, sign):
    # Of 0.5 |w|^2 the gradient after a step of the rate r is (1 - r) times that before.
    found = step_cosine(
        lambda w, batch: 0.5 * jnp.mean(batch.inputs) * jnp.sum(w * w),
        Batch(np.ones(4, np.float32), np.ones(4, np.float32)),
        KEY,
        lane(optax.sgd(rate), jnp.array([0.3, -2.0])),
    )
    np.testing.assert_allclose(found, sign, rtol=10 * EPS)


def test_step_cosine_is_that_of_explicit_gradients():
    batch, rate = Batch(normal(2 * N + 1, 3), normal(2 * N + 1, 2)), 0.3
    found = quick(lambda batch: step_cosine(net_loss, batch, KEY, lane(optax.sgd(rate), NET)))(
        batch
    )
    first = example_gradients(NET, Batch(*(part[:N] for part in batch))).mean(axis=0)
    moved = {
        name: np.float64(leaf) - rate * step.reshape(leaf.shape)
        for (name, leaf), step in zip(NET.items(), by_leaf(first), strict=True)
    }
    second = example_gradients(moved, Batch(*(part[N : 2 * N] for part in batch))).mean(axis=0)
    exact = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert -0.99 < exact < 0.99
    np.testing.assert_allclose(found, exact, atol=50 * EPS)


def test_transforms_get_what_a_training_step_gives_them():
    given = {}

    def take(updates, state, params=None, *, value, grad, value_fn, key):
        given.update(value=value, grad=grad, key=key, again=value_fn(params, key=key))
        return updates, state

    rule = optax.GradientTransformationExtraArgs(lambda params: (), take)
    batch = Batch(normal(2 * N, 3), normal(2 * N, 2))
    with jax.disable_jit():
        step_cosine(net_loss, batch, KEY, LaneOptimizer(rule, (), NET))
    exact = float(net_loss(NET, Batch(*(part[:N] for part in batch))))
    assert [float(given[name]) for name in ("value", "again")] == pytest.approx(
        [exact] * 2, rel=EPS
    )
    assert given["key"] is KEY
    assert set(given["grad"]) == set(NET)


# --- every family of models ----------------------------------------------------------------------

FAMILIES = {
    "cnn": ({"channels": [2], "hidden": [], "norm": "batch"}, (6, 6, 1)),
    "lstm": ({"hidden": 3}, (4, 3)),
    "vit": ({"width": 4, "heads": 2, "depth": 1}, (8, 8, 1)),
    "tied": ({}, (4,)),
}


def tied_loss(params, batch):
    """Weights that are used three times."""
    hidden = jnp.tanh(jnp.tanh(batch.inputs @ params["w"]) @ params["w"]) @ params["w"].T
    logits = jax.nn.log_softmax(hidden)
    return -jnp.mean(jnp.take_along_axis(logits, batch.targets[:, None], axis=1))


def family(name):
    """A loss, random weights and 16 examples."""
    options, shape = FAMILIES[name]
    batch = Batch(normal(16, *shape), RANDOM.integers(0, 3, 16).astype(np.int32))
    if name == "tied":
        return tied_loss, {"w": normal(4, 4)}, batch
    model = models.REGISTRY[name].make(outputs=3, **options)
    task = tasks.REGISTRY["classification"]
    params, state = quick(model.init)(KEY, batch.inputs)
    network = models.network_of(model, task, params, state, Split(*batch))
    return (
        lambda params, batch: network.mean_loss(params, batch.inputs, batch.targets),
        jax.device_get(params),
        batch,
    )


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_family(name):
    loss, params, batch = family(name)
    rule = transforms.momentum(0.1, 0.9)
    lanes = jax.tree.map(lambda leaf: np.stack([leaf, np.full_like(leaf, np.nan)]), params)
    half, other = (Batch(*(x[start : start + 8] for x in batch)) for start in (0, 8))

    def measure(params):
        optimizer = lane(rule, params)
        return {
            **gradient_noise(loss, params, batch, 8, parts=2),
            **step_of(loss, half, rule, params),
            "step_cosine": step_cosine(loss, batch, KEY, optimizer),
        }

    found = jax.device_get(quick(jax.vmap(measure))(lanes))
    assert set(found) == {output for probe in PROBES for output in probe.dims}
    slope = quick(jax.grad(loss))

    def flat(batch, at=params):
        leaves = jax.tree.leaves(slope(at, batch))
        return np.concatenate([np.float64(leaf).ravel() for leaf in leaves])

    # Part by part: with batch normalization the gradient of examples is that of their company.
    parts = np.stack([flat(Batch(*(x[i : i + 4] for x in batch))) for i in range(0, 16, 4)])
    expected = anova(parts, 2, 2)
    expected["gradient_variance"] *= 4  # parts of 4 examples stand for one each here
    if expected["gradient_squared"] > 0:
        expected["noise_scale"] = expected["gradient_variance"] / expected["gradient_squared"]
    size = (parts**2).sum(axis=1).max()
    for which in ("gradient_variance", "gradient_squared"):
        np.testing.assert_allclose(found[which][0], expected[which], atol=200 * EPS * size)
    for which in ("between_share", "gradient_cosine"):
        np.testing.assert_allclose(found[which][0], expected[which], atol=1e-4)
    first = slope(params, half)
    after = flat(other, jax.tree.map(lambda leaf, g: leaf - 0.1 * g, params, first))
    before = flat(half)
    cosine = before @ after / np.linalg.norm(before) / np.linalg.norm(after)
    np.testing.assert_allclose(found["step_cosine"][0], cosine, atol=1e-4)
    gradients = [np.float64(leaf) for leaf in jax.tree.leaves(first)]
    lengths = np.array([np.linalg.norm(leaf) for leaf in gradients])
    np.testing.assert_allclose(
        found["gradient_norm"][0], lengths, rtol=1e-4, atol=1e-6 * lengths.max()
    )
    moving = lengths > 1e-6 * lengths.max()
    np.testing.assert_allclose(found["effective_rate"][0][moving], 0.1, rtol=10 * EPS)
    for which, values in found.items():  # a unit that is off may hide that it is lost
        assert np.isnan(values[1]).any(), which
