"""A lane has diverged where anything that is trained or measured leaves the finite numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

import initopt_jax as iox
from initopt_jax.engine.divergence import NEVER, make_finite

MINE = """
import jax
import jax.numpy as jnp
import numpy as np
import optax

from initopt_jax.types import Dataset, EvaluatedTransform, Model, Split


def data(far_train=0.0, far_val=0.0, far_test=0.0):
    # One example of a split may lie so far out that its squared error overflows.
    draw = np.random.default_rng(0)
    splits = {}
    for name, far in (("train", far_train), ("val", far_val), ("test", far_test)):
        inputs = draw.normal(size=(40, 2)).astype(np.float32)
        inputs[0] += np.float32(far)
        splits[name] = Split(inputs, np.zeros((40, 1), np.float32) + inputs[1].sum())
    return Dataset("far", "regression", **splits, outputs=1, fingerprint="")


def capped(outputs):
    # A weight `u` that may be infinite without a loss that is.
    def init(key, inputs):
        del key
        kernel = jnp.zeros((inputs.shape[1], outputs))
        return {"w": {"kernel": kernel}, "u": {"bias": jnp.ones((1, 1))}}, {}

    def apply(params, state, inputs, *, key=None, train=False):
        return inputs @ params["w"]["kernel"] + 0.1 * jnp.minimum(params["u"]["bias"], 1.0), state

    return Model(init, apply)


def bursts(learning_rate=0.01, at=7.0):
    # SGD; the update of number `at` makes u infinite.
    def update(updates, count, params=None, **extra):
        def moved(path, leaf):
            step = -learning_rate * leaf
            return jnp.where(count == at, jnp.inf, step) if "u" in str(path[0]) else step

        return jax.tree_util.tree_map_with_path(moved, updates), count + 1

    return optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)


def offers(learning_rate=0.01, at=7.0):
    # SGD; from the update of number `at` on it offers infinite weights to evaluate.
    inner = bursts(learning_rate, -1.0)

    def eval_params(state, params):
        bad = jnp.where(state >= at, jnp.inf, 0.0)
        return {**params, "u": {"bias": params["u"]["bias"] + bad}}

    return EvaluatedTransform(inner.init, inner.update, eval_params)


def slide(x, y):
    return -(x**4) - y**4


def steep(x, y):
    return 1e25 * (x + y)


def wall(x, y):
    return x**2 + jnp.where(y > 1.0, jnp.inf, 0.0) + y
"""


@pytest.fixture
def study(working_dir, study_dir):
    (working_dir / "mine.py").write_text(MINE)

    def run(**changes):
        config = {
            "name": "far",
            "task": {"name": "regression", "dataset": {"name": "mine:data"}, "batch_size": 8},
            "model": "mine:capped",
            "initializers": ["zeros"],
            "optimizers": [{"name": "sgd", "learning_rate": 0.01}],
            "seeds": 2,
            "tuning": {"seeds": 0},
            "steps": 20,
            "eval_every": 5,
            "target": {"metric": "val_loss", "at_most": 2.0},
            "probes": [],
            "audit": False,
        }
        return iox.run(config | changes, study_dir)

    return run


def known(study):
    data = study.dataset
    return data["diverged"].values.tolist(), data["diverged_step"].values.tolist()


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("split", ["val", "test"])
def test_a_loss_that_is_infinite_on_one_split_only(study, split, early):
    """Squares of 1e30 overflow once the weights are not zero; the training batches never see it."""
    dataset = {"name": "mine:data", f"far_{split}": 1e30}
    task = {"name": "regression", "dataset": dataset, "batch_size": 8}
    found = study(task=task, early_stop=early)
    last = np.nanmax(found.dataset["step"].values, axis=1).tolist()
    assert last == [5 if early and split == "val" else 20] * 2
    losses = found.dataset[f"{split}_loss"].values.reshape(2, -1)
    assert np.isinf(losses[:, min(1, losses.shape[1] - 1)]).all()
    assert np.isfinite(found.dataset["batch_loss"].values[:, 1]).all()
    assert known(found) == ([True] * 2, [5.0] * 2 if split == "val" else last)
    summary = found.summary()
    assert (summary["n_diverged"] == 2).all()
    assert summary["val_loss_mean"].isna().all()


@pytest.mark.parametrize("name", ["mine:bursts", "mine:offers"])
@pytest.mark.parametrize(("at", "seen"), [(7.0, 10.0), (19.0, 20.0), (30.0, None)])
def test_infinite_weights_count_where_every_loss_is_finite(study, name, at, seen):
    """Trained or only evaluated, in mid-run or in the last update; at the next evaluation."""
    found = study(optimizers=[{"name": name, "learning_rate": 0.01, "at": at}])
    assert np.isfinite(found.dataset["val_loss"].values).all()
    assert np.isfinite(found.dataset["test_loss"].values).all()
    diverged, steps = known(found)
    assert diverged == [seen is not None] * 2
    np.testing.assert_array_equal(steps, [np.nan if seen is None else seen] * 2)


def test_the_whole_training_set_in_every_step(study):
    """Gradient descent whose last update overflows: no training loss is there to tell."""
    found = study(
        optimizers=[{"name": "gd", "learning_rate": [0.01, 3e38], "steps": 1, "eval_every": 1}]
    )
    wild = (found.lanes["optimizer.learning_rate"] > 1).to_numpy()
    np.testing.assert_array_equal(found.dataset["diverged"].values, wild)
    np.testing.assert_array_equal(found.dataset["diverged_step"].values[wild], 1.0)
    best = found.summary()
    assert best["optimizer.learning_rate"].tolist() == [0.01]


def test_a_rate_whose_validation_loss_is_infinite_is_never_chosen(study):
    """Whatever the direction of the metric; and its runs do not reach a target by it."""
    found = study(
        task={"name": "test_function", "function": "mine:slide"},
        model=None,
        initializers=[{"name": "points", "points": [[1.0, 0.5]]}],
        optimizers=[{"name": "gd", "learning_rate": [1e-4, 1.0]}],
        tuning={"seeds": 2},
        target={"metric": "val_loss", "at_most": -1e38},
    )
    assert found.summary()["optimizer.learning_rate"].tolist() == [1e-4]
    data = found.dataset
    wild = (found.lanes["optimizer.learning_rate"] == 1.0).to_numpy()
    assert data["diverged"].values[wild].all()
    assert np.isneginf(data["val_loss"].values[wild]).any()
    assert data["steps_to_target"].isnull().all()
    assert not data["diverged"].values[~wild].any()


def test_a_start_on_which_the_cost_is_infinite(study):
    found = study(
        task={"name": "test_function", "function": "mine:wall"},
        model=None,
        initializers=[{"name": "points", "points": [[1.0, 2.0], [1.0, 0.0]]}],
        target={"metric": "val_loss", "at_most": 0.5},
    )
    assert known(found)[0] == [True, False, True, False]
    assert found.dataset["diverged_step"].values[0] == 0


CLIP = [{"name": "clip_by_global_norm", "max_norm": 1.0}]


def test_gradients_whose_squares_overflow(study):
    """A lane moves by its formula, or is seen to fail: none stands still in silence."""
    moves = {"clipped": {"name": "sgd", "modifiers": CLIP}, "sign": {"name": "sign_descent"}}
    fails = {"ours": {"name": "adam"}, "optax": {"name": "optax.adam"}}
    optimizers = [
        {"label": label, "learning_rate": 0.01, **options}
        for label, options in (moves | fails).items()
    ]
    found = study(
        task={"name": "test_function", "function": "mine:steep"},
        model=None,
        initializers=[{"name": "points", "points": [[1.0, 0.5]]}],
        optimizers=optimizers,
        target=None,
        seeds=1,
        steps=4,
        eval_every=2,
    )
    seen = dict(zip(found.lanes["optimizer"], found.dataset["diverged"].values, strict=True))
    assert seen == dict.fromkeys(moves, False) | dict.fromkeys(fails, True)
    kept = found.dataset["val_loss"].values[~found.dataset["diverged"].values]
    # 4 steps of 0.01, along the gradient or along each axis.
    np.testing.assert_allclose(kept[:, -1] / 1e25, [1.5 - 0.04 * 2**0.5, 1.5 - 0.08], rtol=1e-6)


def test_a_deep_net_with_weights_that_are_too_large_moves_under_clipping(study):
    config = {
        "task": {"name": "classification", "dataset": "digits", "batch_size": 16},
        "model": {"name": "mlp", "hidden": [64] * 16, "activation": "relu"},
        "initializers": [{"name": "normal", "stddev": 3.0}],
        "optimizers": [{"name": "sgd", "learning_rate": 0.1, "modifiers": CLIP}],
        "target": None,
        "probes": ["distance", {"name": "update", "examples": 16}],
    }
    found = study(**config, seeds=1, steps=2, eval_every=1, eval_train=32)
    assert not found.dataset["diverged"].values.any()
    assert (found.dataset["gradient_norm"].values[0, :, 0] > 1.9e19).all()
    whole = np.linalg.norm(found.dataset["distance"].values[0], axis=-1)
    np.testing.assert_allclose(whole[:2], [0.0, 0.1], rtol=1e-3)  # of weights of size 3, rounded


def test_what_was_infinite_before_the_first_step_is_so_by_design():
    lanes = {"w": jnp.array([[1.0, 2.0], [jnp.nan, 1.0], [0.0, 0.0], [1.0, 1.0]])}
    least, mean = jnp.array([jnp.inf, 1.0, jnp.inf, 2.0]), jnp.array([0.0, 0.0, jnp.inf, 0.0])
    state = {"count": jnp.zeros(4, jnp.int32), "least": least, "mean": mean}
    first = {"count": jnp.int32(0), "least": jnp.float32(jnp.inf), "mean": jnp.float32(0.0)}
    finite = make_finite(first)(lanes, state)
    assert finite.tolist() == [True, False, False, True]
    assert NEVER < 0
