import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.test_util import check_grads

from initopt_jax.tasks import REGISTRY as EVERY_TASK

# A test function looks at no targets: tests/tasks/test_cost_function.py.
REGISTRY = {name: task for name, task in EVERY_TASK.items() if task.kind != "test_function"}

# float32 sums and exponentials of a few dozen numbers of order 1 to 10
CLOSE = {"rtol": 2e-6, "atol": 2e-6}


def example(name, count=37, seed=0):
    """Outputs and targets of one task, float32 as the engine passes them."""
    generator = np.random.default_rng(seed)
    if name == "classification":
        outputs = generator.normal(0, 3, size=(count, 5))
        return outputs.astype(np.float32), generator.integers(0, 5, size=count).astype(np.int32)
    targets = generator.normal(size=(count, 3)) * [1.0, 2.0, 0.5] + [0.5, 0.0, -1.0]
    outputs = targets + generator.normal(0, 0.5, size=(count, 3))
    return outputs.astype(np.float32), targets.astype(np.float32)


def reference(name, outputs, targets):
    """Per-example loss and the metrics in float64 NumPy."""
    outputs = outputs.astype(np.float64)
    if name == "classification":
        rows = np.arange(len(targets))
        losses = scipy.special.logsumexp(outputs, axis=1) - outputs[rows, targets]
        accuracy = np.mean(np.argmax(outputs, axis=1) == targets)
        return losses, {"loss": losses.mean(), "accuracy": accuracy}
    targets = targets.astype(np.float64)
    losses = np.mean((outputs - targets) ** 2, axis=1)
    if name == "reconstruction":
        return losses, {"loss": losses.mean()}
    total = np.sum((targets - targets.mean(axis=0)) ** 2)
    return losses, {"loss": losses.mean(), "r2": 1 - np.sum((outputs - targets) ** 2) / total}


@pytest.mark.parametrize("name", REGISTRY)
def test_loss_and_metrics_equal_the_reference(name):
    task = REGISTRY[name]
    outputs, targets = example(name)
    losses, metrics = reference(name, outputs, targets)
    np.testing.assert_allclose(jax.jit(task.loss)(outputs, targets), losses, **CLOSE)
    found = task.summarize(task.measure(outputs, targets, jnp.ones(len(outputs))))
    assert found.keys() == metrics.keys() == task.metrics.keys()
    for metric, value in metrics.items():
        np.testing.assert_allclose(found[metric], value, **CLOSE)


@pytest.mark.parametrize("padding", [0.0, np.nan])
@pytest.mark.parametrize("name", REGISTRY)
def test_padded_chunks_add_up_to_the_whole(name, padding):
    task = REGISTRY[name]
    outputs, targets = example(name)
    _, metrics = reference(name, outputs, targets)
    chunk = 8
    total = None
    for start in range(0, len(outputs), chunk):
        part = slice(start, start + chunk)
        short = chunk - len(outputs[part])
        padded = np.concatenate([outputs[part], np.full((short, outputs.shape[1]), padding)])
        padded_targets = np.concatenate(
            [targets[part], np.zeros((short, *targets.shape[1:]), targets.dtype)]
        )
        weights = np.arange(chunk) < chunk - short
        sums = task.measure(
            padded.astype(np.float32), jnp.asarray(padded_targets), weights.astype(np.float32)
        )
        assert all(value.shape == () for value in sums.values())
        total = sums if total is None else jax.tree.map(jnp.add, total, sums)
    assert total["count"] == len(outputs)
    for metric, value in task.summarize(total).items():
        np.testing.assert_allclose(value, metrics[metric], **CLOSE)


@pytest.mark.parametrize("name", REGISTRY)
def test_lanes_under_vmap_equal_single_networks(name):
    task = REGISTRY[name]
    outputs, targets = example(name)
    lanes = np.stack([outputs, outputs * 0.5, -outputs])
    weights = jnp.ones(len(outputs))

    def evaluate(outputs):
        return task.summarize(task.measure(outputs, targets, weights))

    together = jax.jit(jax.vmap(evaluate))(lanes)
    for index, lane in enumerate(lanes):
        for metric, value in evaluate(lane).items():
            np.testing.assert_allclose(together[metric][index], value, **CLOSE)


@pytest.mark.parametrize("name", REGISTRY)
def test_bfloat16_outputs_are_lifted_before_the_loss(name):
    task = REGISTRY[name]
    outputs, targets = example(name)
    low = jnp.asarray(outputs, jnp.bfloat16)
    losses = task.loss(low, targets)
    expected, _ = reference(name, np.asarray(low, np.float64), targets)
    assert losses.dtype == jnp.float32
    np.testing.assert_allclose(losses, expected, **CLOSE)
    sums = task.measure(low, targets, jnp.ones(len(targets), jnp.bfloat16))
    assert all(value.dtype == jnp.float32 for value in sums.values())


@pytest.mark.parametrize("name", REGISTRY)
def test_gradients_equal_finite_differences(name):
    task = REGISTRY[name]
    outputs, targets = example(name, count=6)
    with jax.enable_x64(True):
        check_grads(
            lambda z: jnp.mean(task.loss(z, jnp.asarray(targets))),
            (jnp.asarray(outputs, jnp.float64),),
            order=1,
            modes=["rev"],
        )


def test_cross_entropy_gradient_is_softmax_minus_one_hot_without_scatter():
    outputs, targets = example("classification")
    gradient = jax.grad(lambda z: jnp.sum(REGISTRY["classification"].loss(z, targets)))
    expected = scipy.special.softmax(outputs.astype(np.float64), axis=1)
    expected[np.arange(len(targets)), targets] -= 1
    np.testing.assert_allclose(gradient(outputs), expected, **CLOSE)
    assert "scatter" not in str(jax.make_jaxpr(gradient)(outputs))


def test_cross_entropy_of_huge_logits_stays_finite():
    outputs = jnp.array([[1e30, 0.0], [1e30, 0.0]])
    losses = REGISTRY["classification"].loss(outputs, jnp.array([0, 1]))
    np.testing.assert_allclose(losses, [0.0, 1e30], rtol=1e-6)


def test_outputs_that_are_not_numbers_are_wrong_answers():
    task = REGISTRY["classification"]
    outputs = jnp.full((4, 3), jnp.nan)
    found = task.summarize(task.measure(outputs, jnp.zeros(4, jnp.int32), jnp.ones(4)))
    assert found["accuracy"] == 0
    assert jnp.isnan(found["loss"])


def test_r2_of_the_mean_is_zero_and_of_the_targets_one():
    task = REGISTRY["regression"]
    _, targets = example("regression")
    mean = np.broadcast_to(targets.mean(axis=0), targets.shape)
    for outputs, expected in ((mean, 0.0), (targets, 1.0)):
        found = task.summarize(task.measure(outputs, targets, jnp.ones(len(targets))))
        np.testing.assert_allclose(found["r2"], expected, atol=1e-6)


def test_r2_of_targets_a_hundred_deviations_from_zero_keeps_two_digits():
    task = REGISTRY["regression"]
    generator = np.random.default_rng(3)
    targets = generator.normal(100, 1, size=(500, 1)).astype(np.float32)
    outputs = (targets + generator.normal(0, 0.5, size=targets.shape)).astype(np.float32)
    _, metrics = reference("regression", outputs, targets)
    found = task.summarize(task.measure(outputs, targets, jnp.ones(500)))
    # precision lost by a factor 1 + 100^2, from 6e-8 relative with a few roundings on the way
    np.testing.assert_allclose(found["r2"], metrics["r2"], atol=5e-3)


def test_r2_of_constant_targets_is_not_a_number():
    task = REGISTRY["regression"]
    sums = task.measure(jnp.ones((4, 1)), jnp.zeros((4, 1)), jnp.ones(4))
    assert jnp.isnan(task.summarize(sums)["r2"])


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"same shape, got \(4, 1\) and \(4,\)"):
        REGISTRY["regression"].loss(jnp.ones((4, 1)), jnp.ones(4))


@pytest.mark.parametrize("name", REGISTRY)
def test_chance_is_the_best_constant_answer(name):
    task = REGISTRY[name]
    _, targets = example(name)
    if name == "classification":
        constants = np.eye(5)
    else:
        steps = np.linspace(-0.5, 0.5, 11)[:, None]
        constants = targets.mean(axis=0) + steps  # the mean itself is among them
    scores = []
    for constant in constants:
        outputs = np.broadcast_to(constant, (len(targets), len(constant))).astype(np.float32)
        sums = task.measure(jnp.asarray(outputs), jnp.asarray(targets), jnp.ones(len(targets)))
        scores.append(float(task.summarize(sums)[task.primary]))
    best = max if task.metrics[task.primary] == "max" else min
    np.testing.assert_allclose(task.chance(targets), best(scores), rtol=1e-6, atol=1e-6)


def test_listings_cover_the_registry():
    for name, task in REGISTRY.items():
        assert task.name == name
        assert task.metrics["loss"] == "min"
        assert task.primary in task.metrics
        assert task.formula
        assert task.reference
