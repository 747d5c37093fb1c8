"""From Python: run, open, look; and everything of the user's own, by name."""

import shutil
import textwrap

import numpy as np
import pytest

import initopt_jax as iox
from initopt_jax.config.schema import read_config
from initopt_jax.store import Store


@pytest.fixture
def mine(working_dir):
    """A file of the user's own, in the folder where they run."""
    (working_dir / "mine.py").write_text(
        textwrap.dedent(
            '''
            import jax
            import jax.numpy as jnp
            import numpy as np
            import optax
            from flax import linen as nn
            from initopt_jax.tasks import classification
            from initopt_jax.types import DistributionSpec


            def laplace(key, shape, dtype=jnp.float32, *, scale=0.05):
                """W ~ Laplace(0, scale)."""
                return scale * jax.random.laplace(key, shape, dtype)


            def box(key, shape, dtype=jnp.float32, *, half=0.1):
                return jax.random.uniform(key, shape, dtype, -half, half)

            box.distribution = lambda shape, *, half=0.1: DistributionSpec(
                "uniform", std=half / 3**0.5, low=-half, high=half
            )


            def sign_descent(learning_rate, decay=0.9):
                """Follow the sign of a running mean."""
                return optax.chain(
                    optax.ema(decay),
                    optax.scale_by_sign(),
                    optax.scale_by_learning_rate(learning_rate),
                )


            class Net(nn.Module):
                outputs: int
                width: int = 4

                @nn.compact
                def __call__(self, inputs, train=False):
                    hidden = nn.Dense(self.width)(inputs)
                    hidden = nn.BatchNorm(use_running_average=not train)(hidden)
                    return nn.Dense(self.outputs)(nn.relu(hidden))


            def blobs(classes=3):
                generator = np.random.default_rng(0)
                labels = generator.integers(0, classes, 300)
                centers = 4 * generator.standard_normal((classes, 5))
                return centers[labels] + generator.standard_normal((300, 5)), labels


            def task():
                return classification.TASK
            '''
        )
    )
    return working_dir


@pytest.fixture
def own_config(small_config):
    return small_config | {
        "task": {"name": "mine:task", "dataset": "mine:blobs", "batch_size": 20},
        "model": {"name": "mine:Net", "width": 6},
        "initializers": [
            {"name": "mine:laplace", "scale": [0.1, 0.2]},
            "mine:box",
            "jax.he_normal",
        ],
        "optimizers": [
            {"name": "mine:sign_descent", "learning_rate": [0.01, 0.1]},
            {"name": "optax.sgd", "learning_rate": 0.1, "momentum": [0.5, 0.9], "nesterov": True},
            {"name": "optax.lion", "learning_rate": 0.01},
        ],
        "steps": 30,
        "eval_every": 10,
        "target": None,
    }


def test_everything_of_ones_own_works_by_name(mine, own_config):
    study = iox.run(own_config)
    # Two seeds, and one for tuning where an optimizer has two settings.
    assert len(study.lanes) == (2 + 1 + 1) * (3 * (2 + 2) + 2 * 1)
    assert set(study.lanes["initializer"]) == {
        "mine:laplace(scale=0.1)",
        "mine:laplace(scale=0.2)",
        "mine:box",
        "jax.he_normal",
    }
    assert float(study.dataset["test_accuracy"].mean()) > 0.8, "blobs are easy to tell apart"
    leaves = study.dataset["leaf"].to_numpy().tolist()
    assert "BatchNorm_0/scale" in leaves
    from initopt_jax.studies.verify import verify

    assert verify(study.dir, sample=8).exit_code == 0


def test_hyperparameter_that_decides_structure_is_sent_to_static(mine, own_config):
    (mine / "shaky.py").write_text(
        "import optax\n"
        "def shaky(learning_rate, power=1.0):\n"
        "    return optax.sgd(learning_rate if power > 1 else 2 * learning_rate)\n"
    )
    own_config["optimizers"] = [{"name": "shaky:shaky", "learning_rate": 0.1, "power": [1, 2]}]
    with pytest.raises(iox.ConfigError, match="static"):
        iox.run(own_config)
    own_config["optimizers"] = [
        {"name": "shaky:shaky", "learning_rate": 0.1, "static": {"power": 2}}
    ]
    assert len(iox.run(own_config, "ok").lanes) == 8


@pytest.fixture(scope="module")
def small_study(tmp_path_factory):
    """`(small_config) -> study` of one seed, run once; not to be changed."""
    folder, known = tmp_path_factory.mktemp("small") / "study", []

    def study(config):
        if not known:
            known.append(iox.run(config, folder, overrides=["seeds=1"]))
        return known[0]

    return study


def test_frame_has_a_row_per_lane_and_evaluation(small_study, small_config):
    study = small_study(small_config)
    frame = study.frame()
    lanes = study.lanes
    evaluations = 5  # steps 0 to 20 by 5; gd has 0 to 4 by 1
    assert len(frame) == len(lanes) * evaluations
    assert {"lane", "initializer", "optimizer.learning_rate", "step", "val_loss"} <= set(frame)
    row = frame.query("optimizer == 'gd' and step == 3").iloc[0]
    stored = study.dataset["val_loss"].sel(lane=row["lane"], eval=3)
    assert row["val_loss"] == np.float32(stored)
    assert study.dataset["val_loss"].dims == ("lane", "eval")
    assert study.dataset["weight_norm"].dims == ("lane", "eval", "leaf")
    summary = study.summary()
    assert len(summary) == 2 * 3
    assert summary["test_accuracy_mean"].between(0, 1).all()
    opened = iox.open_study(study.dir)
    assert opened.config == read_config(small_config, ["seeds=1"])
    assert opened.manifest["seconds"] > 0


def test_initial_norms_are_those_of_the_initializer(small_study, small_config):
    """End to end: what stands in the results is what was asked of the first weights."""
    study = small_study(small_config)
    norms = study.dataset["weight_norm"].isel(eval=0).sel(leaf="dense_0/kernel")
    normal = study.lanes.index[study.lanes["initializer"] == "normal(stddev=0.1)"]
    n = 64 * 8  # a chi distribution: mean 0.1 sqrt(n), standard deviation 0.1 / sqrt(2)
    assert np.abs(norms.sel(lane=normal) - 0.1 * np.sqrt(n)).max() < 5 * 0.1 / np.sqrt(2)
    biases = study.dataset["weight_norm"].isel(eval=0).sel(leaf="dense_0/bias")
    assert (biases == 0).all()


def test_regression_reports_explained_variance(working_dir, small_config):
    small_config |= {
        "task": {"name": "regression", "dataset": "diabetes", "batch_size": 32},
        "optimizers": [{"name": "sgd", "learning_rate": [0.001, 0.01]}],
        "target": {"metric": "val_r2", "at_least": 0.3},
        "steps": 100,
        "eval_every": 20,
    }
    study = iox.run(small_config)
    assert float(study.dataset["test_r2"].max()) > 0.25
    assert np.isfinite(study.dataset["steps_to_target"]).any()
    assert study.info.primary == "r2"


def test_study_of_which_every_lane_diverges_still_reports(working_dir, small_config, full_reports):
    small_config |= {
        "task": {"name": "regression", "dataset": "diabetes", "batch_size": 32},
        "model": {"name": "linear"},
        "optimizers": [{"name": "sgd", "learning_rate": [1e15, 1e20]}],
        "target": None,
    }
    study = iox.run(small_config)
    assert bool(study.dataset["diverged"].all())
    assert (study.dir / "report.html").stat().st_size > 10_000
    assert (study.summary()["n_diverged"] == 2).all()


def test_refused_config_creates_nothing(working_dir, small_config):
    with pytest.raises(iox.ConfigError):
        iox.run(small_config | {"steps": 21})
    assert not any(working_dir.iterdir())


def test_studies_begun_elsewhere_do_not_go_on(small_study, small_config, study_dir):
    store = Store(shutil.copytree(small_study(small_config).dir, study_dir))
    manifest = store.manifest() | {"status": "stopped"}
    manifest["versions"]["jax"] = "0.0.1"
    store.write_manifest(manifest)
    with pytest.raises(iox.StudyError, match=r"versions\.jax: '0\.0\.1'"):
        iox.run(small_config, study_dir, overrides=["seeds=1"])


def test_unknown_attribute_of_the_package():
    with pytest.raises(AttributeError, match="no_such"):
        _ = iox.no_such
    assert "run" in dir(iox)


BROKEN = '''
import jax.numpy as jnp
from initopt_jax.types import Model

def trains_badly(*, outputs):
    """Fails only while training."""
    def apply(params, state, inputs, *, key=None, train=False):
        if train:
            raise RuntimeError("no dropout key")
        return inputs @ params["w"], state
    return Model(lambda key, inputs: ({"w": jnp.ones((64, outputs))}, {}), apply)

def unlucky(learning_rate):
    """Fails at once."""
    return {}["nothing"]
'''


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": {"name": "broken:trains_badly"}},
            (
                r"model 'broken:trains_badly' cannot be trained on inputs of shape \(64,\): "
                r"RuntimeError: no dropout key \(broken.py, line 9\)"
            ),
        ),
        (
            {"optimizers": [{"name": "broken:unlucky", "learning_rate": 0.1}]},
            r"optimizer 'broken:unlucky': KeyError: 'nothing' \(broken.py, line 15\)",
        ),
    ],
)
def test_what_ones_own_code_raises_is_one_line_with_its_place(
    working_dir, small_config, changes, message
):
    (working_dir / "broken.py").write_text(BROKEN)
    with pytest.raises(iox.ConfigError, match=message):
        iox.run(small_config | changes)
    assert not (working_dir / "runs").exists()
