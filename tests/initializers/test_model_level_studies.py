"""Initializers that see the whole network, in a study: drawn, refined, audited, re-made."""

import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import initopt_jax as iox
from initopt_jax.audits import AuditError
from initopt_jax.conformance import check_initializer
from initopt_jax.errors import ConfigError
from initopt_jax.studies.preview import audit, initial_weights, prepare
from initopt_jax.studies.verify import verify


@pytest.fixture
def mine(working_dir):
    """A file of the user's own, in the folder where they run."""
    (working_dir / "mine.py").write_text(
        textwrap.dedent(
            '''
            import jax


            def halve(key, params, network, *, by=2.0):
                """W <- W / by."""
                return jax.tree.map(lambda leaf: leaf / by, params), {}

            halve.base = "he_normal"


            def idle(key, params, network):
                return params, {}


            def alone(key, params, network):
                return params


            def lost(key, params, network):
                return {"there": params["nowhere"]}, {}


            def flat(key, params, network):
                return jax.tree.map(lambda leaf: leaf.ravel(), params), {}
            '''
        )
    )
    return working_dir


@pytest.fixture
def config(small_config):
    return small_config | {"seeds": 2, "tuning": {"seeds": 0}}


def test_lsuv_scales_what_its_base_drew(config):
    rows = audit(config | {"initializers": ["orthogonal", {"name": "lsuv", "base": "orthogonal"}]})
    plain, refined = ([row for row in rows if row.initializer == n] for n in ("orthogonal", "lsuv"))
    assert {row.verdict for row in rows} == {"ok"}
    assert {row.then for row in plain} == {""}
    scaled = [row for row in refined if row.then.startswith("times")]
    assert scaled
    for row in scaled:
        (before,) = (other for other in plain if other.path == row.path)
        assert row.std / before.std == pytest.approx(float(row.then.split()[1]), rel=1e-3)
        assert row.coherence < 1e-5  # scaling keeps weights orthogonal
    assert all(row.then == "left alone" for row in refined if row.path.endswith("bias"))


def test_refined_weights_give_the_sums_their_variance(config):
    experiment = prepare(config | {"initializers": ["lsuv"]})
    params = initial_weights(experiment)(0, 0)
    network = experiment.workload.network
    sums = network.sums(params, jnp.asarray(network.inputs))
    for path, values in sums.items():
        # On another sample than the 256 examples that it saw.
        assert float(jnp.var(values)) == pytest.approx(1.0, abs=0.25), path


def test_a_study_of_them_is_remade_bit_for_bit(working_dir, config):
    config |= {"initializers": [{"name": "lsuv", "variance": [0.5, 1.0]}]}
    study = iox.run(config, out=working_dir / "study", devices=2)
    assert set(study.lanes["initializer.variance"]) == {0.5, 1.0}
    outcome = verify(working_dir / "study", devices=1)
    assert outcome.exit_code == 0


def test_ones_own_by_name(mine, config):
    config |= {"initializers": [{"name": "mine:halve", "by": 4.0}]}
    rows = audit(config)
    assert {row.then for row in rows if row.path.endswith("kernel")} == {"times 0.25"}
    assert {row.distribution for row in rows if row.path.endswith("kernel")} == {"normal"}


def test_one_that_changes_nothing_stops_the_study(mine, config):
    config |= {"initializers": ["mine:idle"]}
    assert {row.reason for row in audit(config)} == {"no leaf was changed"}
    with pytest.raises(AuditError, match="no leaf was changed"):
        iox.run(config, out=mine / "study")


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        ({"name": "he_normal", "base": "zeros"}, "takes no base"),
        ({"name": "lsuv", "base": "lsuv"}, "cannot be a base, bias or rule"),
        (
            {"name": "lsuv", "base": {"name": "normal", "stddev": [0.1, 0.2]}},
            "one value per option",
        ),
        ({"name": "lsuv", "variance": -1}, "variance must be"),
        ({"name": "lsuv", "varience": 1}, "unknown option 'varience'"),
        ({"name": "lsuvv"}, "lsuv"),
        ({"name": "normal", "rules": {"*kernel": "zeros"}}, "touches no leaf"),
        ({"name": "he_normal", "rules": {"*": "zeros"}}, "never applies|touches no leaf"),
    ],
)
def test_what_does_not_fit_is_refused(config, initializer, message):
    with pytest.raises(ConfigError, match=message):
        prepare(config | {"initializers": [initializer]})


def test_another_tree_is_refused(mine, config):
    with pytest.raises(ConfigError, match="must return parameters of the shapes and dtypes"):
        prepare(config | {"initializers": ["mine:flat"]})


def test_what_ones_own_gets_wrong_is_one_line(mine, config):
    for name, message in [("alone", "must return a pair"), ("lost", "KeyError: 'nowhere'")]:
        with pytest.raises(ConfigError, match=message):
            prepare(config | {"initializers": [f"mine:{name}"]})


def test_mup_at_its_base_width_has_nothing_to_change(config):
    config |= {"model": {"name": "mlp", "hidden": [64, 64]}, "initializers": ["mup"]}
    rows = audit(config)
    assert {row.then for row in rows} == {"left alone"}
    assert {row.verdict for row in rows} == {"ok"}


def test_weights_do_not_depend_on_who_else_is_in_the_study(config):
    alone = initial_weights(prepare(config | {"initializers": ["lsuv"]}))(0, 1)
    among = initial_weights(prepare(config | {"initializers": ["zeros", "lsuv"]}))(1, 1)
    jax.tree.map(np.testing.assert_array_equal, alone, among)


def outcomes(name):
    return {finding.contract: finding.outcome for finding in check_initializer(name)}


def test_contracts_of_ones_own(working_dir, monkeypatch):
    monkeypatch.syspath_prepend(working_dir)
    (working_dir / "own_initializers.py").write_text(
        textwrap.dedent(
            """
            import itertools
            import jax
            import jax.numpy as jnp
            from initopt_jax.types import DistributionSpec

            COUNT = itertools.count()


            def laplace(key, shape, dtype=jnp.float32, *, scale=0.05):
                return (scale * jax.random.laplace(key, shape)).astype(dtype)

            laplace.distribution = lambda shape, *, scale=0.05: DistributionSpec(
                "moments", std=scale * 2**0.5)


            def wrong_distribution(key, shape, dtype=jnp.float32):
                return jax.random.normal(key, shape).astype(dtype)

            wrong_distribution.distribution = lambda shape: DistributionSpec(
                "uniform", std=1.0, low=-(3**0.5), high=3**0.5)


            def counts(key, shape, dtype=jnp.float32, *, scale=1.0):
                if scale > 10:
                    raise ValueError("too large")
                return jnp.full(shape, next(COUNT), jnp.float32)


            def halve(key, params, network):
                return jax.tree.map(lambda leaf: leaf / 2, params), {}


            def grows(key, params, network, extra):
                return {**params, "more": jnp.zeros(extra)}, {"vector": jnp.zeros(3)}
            """
        )
    )
    assert set(outcomes("own_initializers:laplace").values()) == {"ok"}
    assert set(outcomes("own_initializers:halve").values()) == {"ok"}
    found = outcomes("own_initializers:wrong_distribution")
    assert [text for text, outcome in found.items() if outcome == "fails"] == [
        "The weights follow the distribution that it states, at three seeds and three shapes"
    ]
    found = outcomes("own_initializers:counts")
    failed = [text.split(":")[0] for text, outcome in found.items() if outcome == "fails"]
    assert "The same key gives the same weights" in failed
    assert (
        "It returns the shape and the dtype that it was asked for, dense and convolution" in failed
    )
    assert "Its numbers may be swept" in failed
    assert list(found.values())[-1] == "not checked"
    with pytest.raises(ConfigError, match="needs extra"):
        check_initializer("own_initializers:grows")
    findings = check_initializer("own_initializers:grows", {"extra": 2})
    assert "fails" in {finding.outcome for finding in findings}


def test_numbers_of_steps_are_structure(config):
    given = {"name": "meta_init", "steps": 2, "learning_rate": [0.1, 0.2]}
    rows = audit(config | {"initializers": [given]})
    assert {row.initializer for row in rows} == {
        f"meta_init(learning_rate={rate}, steps=2)" for rate in ("0.1", "0.2")
    }
    for steps in ([1, 2], 2.5, True):
        with pytest.raises(ConfigError, match="steps must be one whole number"):
            prepare(config | {"initializers": [given | {"steps": steps}]})
