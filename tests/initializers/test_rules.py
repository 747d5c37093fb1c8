"""Which rule draws which leaf, and that a leaf's weights depend on its own path alone."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import initializers
from initopt_jax.initializers import default_rules, initialize, layouts, match_rules
from initopt_jax.keys import named_key


def spec(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def network():
    return {
        "dense_0": {"kernel": spec(8, 16), "bias": spec(16)},
        "norm": {"scale": spec(16), "bias": spec(16)},
        "dense_1": {"kernel": spec(16, 4), "bias": spec(4)},
    }


def test_first_match_wins():
    rules = [("dense_1/*", "ones"), ("*bias", "zeros"), ("*", "normal")]
    patterns = {leaf.path: leaf.pattern for leaf in match_rules(network(), rules)}
    assert patterns == {
        "dense_0/bias": "*bias",
        "dense_0/kernel": "*",
        "dense_1/bias": "dense_1/*",
        "dense_1/kernel": "dense_1/*",
        "norm/bias": "*bias",
        "norm/scale": "*",
    }


def test_default_rules():
    params = initialize(jax.random.key(0), network(), default_rules("he_normal"))
    np.testing.assert_array_equal(params["dense_0"]["bias"], 0)
    np.testing.assert_array_equal(params["norm"]["scale"], 1)
    assert float(jnp.abs(params["dense_0"]["kernel"]).min()) > 0


def test_default_rules_reach_bare_names_and_may_find_nothing():
    params = initialize(
        jax.random.key(0), {"bias": spec(3), "kernel": spec(2, 3)}, default_rules("ones", "normal")
    )
    np.testing.assert_array_equal(params["kernel"], 1)
    assert float(jnp.abs(params["bias"]).max()) < 0.1
    single = initialize(jax.random.key(0), spec(2, 3), default_rules("ones"))  # the path is empty
    np.testing.assert_array_equal(single, np.ones((2, 3)))


def test_roles_by_the_whole_last_word_where_there_is_no_network():
    tree = {
        "up": {"upscale": spec(64, 32), "log_scale": spec(64, 32), "unbias": spec(64, 32)},
        "norm": {"scale": {"value": spec(16)}, "bias": {"value": spec(16)}},
        "list": {"bias": [spec(3), spec(4)]},
    }
    leaves = {leaf.path: leaf.pattern for leaf in match_rules(tree, default_rules("he_normal"))}
    assert leaves == {
        "up/upscale": "*",
        "up/log_scale": "*",
        "up/unbias": "*",
        "norm/scale/value": "(scale)",
        "norm/bias/value": "(bias)",
        "list/bias/0": "(bias)",
        "list/bias/1": "(bias)",
    }
    own = match_rules(tree, {"*/bias": "zeros", "list/*": "zeros", "*": "ones"})
    assert {leaf.path: leaf.pattern for leaf in own}["norm/bias/value"] == "*/bias"


def test_roles_by_use_where_there_is_a_network():
    tree = {
        "scale": spec(8, 16), "b": spec(16), "g": spec(16), "slope": spec(), "log_gain": spec(16),
        "norm": {"scale": spec(16)}, "shifted": {"scale": spec(16)},
    }  # fmt: skip

    def apply(p, x):
        h = x @ p["scale"] + p["b"][None]
        h = jnp.where(h > 0, h, p["slope"] * h) * p["g"][None] * jnp.exp(p["log_gain"])[None]
        return h * p["norm"]["scale"][None] * (1 + p["shifted"]["scale"])[None]

    found = layouts(apply, tree, spec(4, 8))
    leaves = match_rules(tree, default_rules("normal"), found)
    assert {leaf.path: leaf.pattern for leaf in leaves} == {
        "scale": "*",
        "b": "(bias)",
        "g": "(scale)",
        "slope": "*",
        "log_gain": "*",
        "norm/scale": "(scale)",
        "shifted/scale": "*",
    }
    alone = {"slope": tree["slope"]}
    with pytest.raises(ValueError, match=r"leaf 'slope' \(\).*he_normal.*\{\"slope\": zeros\}"):
        initialize(jax.random.key(0), alone, {"*": "he_normal"}, found)


def test_a_bias_takes_the_fans_of_its_layer():
    tree = {"a": {"w": spec(64, 2000), "bias": spec(2000)}, "norm": {"bias": spec(2000)}}

    def apply(p, x):
        h = jnp.tanh(x @ p["a"]["w"] + p["a"]["bias"][None])
        return h + p["norm"]["bias"][None]

    found = layouts(apply, tree, spec(4, 64))
    rules = [("norm/*", "zeros"), *default_rules("he_normal", bias="torch_default")]
    bias = initialize(jax.random.key(0), tree, rules, found)["a"]["bias"]
    # U[-1/8, 1/8): within five standard errors of a deviation from 2,000 draws
    assert abs(float(bias.std()) - 0.07217) < 5 * 0.07217 / math.sqrt(2 * 2000)
    assert float(jnp.abs(bias).max()) <= 1 / 8
    with pytest.raises(ValueError, match=r"leaf 'norm/bias' \(2000,\).*torch_default.*not known"):
        initialize(jax.random.key(0), tree, default_rules("normal", bias="torch_default"), found)
    with pytest.raises(ValueError, match=r"leaf 'a/bias'.*not known"):  # without the network
        initialize(jax.random.key(0), tree, default_rules("normal", bias="he_normal"))


def test_weights_depend_on_key_and_path_alone():
    key, rules = jax.random.key(1), {"*": "normal"}
    before = initialize(key, network(), rules)
    changed = network()
    changed["a_new_first_layer"] = {"kernel": spec(3, 3)}
    changed["renamed"] = changed.pop("dense_0")
    del changed["norm"]
    after = initialize(key, changed, rules)
    np.testing.assert_array_equal(before["dense_1"]["kernel"], after["dense_1"]["kernel"])
    np.testing.assert_array_equal(before["dense_1"]["bias"], after["dense_1"]["bias"])
    assert (before["dense_0"]["kernel"] != after["renamed"]["kernel"]).any()
    expected = initializers.normal(named_key(key, "dense_1/kernel"), (16, 4))
    np.testing.assert_array_equal(before["dense_1"]["kernel"], expected)


def test_leaves_of_equal_shape_differ():
    params = initialize(jax.random.key(0), {"a": spec(8, 8), "b": spec(8, 8)}, {"*": "normal"})
    assert (params["a"] != params["b"]).all()


def test_shapes_dtypes_and_structure_are_kept():
    tree = [spec(2, 3, dtype=jnp.bfloat16), {"x": jnp.zeros((4,), jnp.float16)}]
    params = initialize(jax.random.key(0), tree, {"*": "normal"})
    assert jax.tree.structure(params) == jax.tree.structure(tree)
    for leaf, given in zip(jax.tree.leaves(params), jax.tree.leaves(tree), strict=True):
        assert (leaf.shape, leaf.dtype) == (given.shape, given.dtype)


def test_uncovered_leaves_are_named():
    with pytest.raises(ValueError, match=r"no rule matches 'dense_0/bias', 'norm/scale'; add"):
        initialize(
            jax.random.key(0),
            network(),
            {"*kernel": "normal", "norm/bias": "zeros", "dense_1/bias": "zeros"},
        )


def test_rule_that_matches_nothing_is_named():
    with pytest.raises(ValueError, match=r"rule 'dens_0/\*' matches no leaf; there .*norm/scale"):
        match_rules(network(), [("dens_0/*", "ones"), *default_rules("normal")])


def test_rule_that_is_always_too_late_is_named():
    with pytest.raises(ValueError, match=r"'\*bias' never applies: earlier rules \('\*'\)"):
        match_rules(network(), [("*", "normal"), ("*bias", "zeros")])


def test_closing_rules_may_be_idle():
    own = [("*bias", "zeros"), ("*kernel", "normal"), ("*scale", "ones")]
    assert len(match_rules(network(), [*own, ("*", "ones")])) == 6
    assert len(match_rules(network(), [("*", "normal"), *default_rules("ones")])) == 6


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"*": "he_norml"}, "unknown initializer 'he_norml'; did you mean 'he_normal'"),
        ({"*": 3}, r"initializer of rule '\*' must be a name or a callable, got 3"),
        ({"*": lambda key, shape, dtype: jnp.zeros((3, *shape), dtype)}, "must return"),
        ({"*": lambda key, shape, dtype: jnp.zeros(shape, jnp.int32)}, "float32 for leaf .* int32"),
        ({}, "Patterns given: none"),
    ],
)
def test_wrong_rules(rules, message):
    with pytest.raises(ValueError, match=message):
        initialize(jax.random.key(0), network(), rules)


def test_leaves_must_be_arrays():
    with pytest.raises(ValueError, match="leaf 'a' must have a shape and a dtype, got 3"):
        initialize(jax.random.key(0), {"a": 3}, {"*": "normal"})


def test_under_jit_and_vmap_with_traced_options():
    shapes = {"kernel": spec(8, 16), "bias": spec(16)}

    def draw(key, stddev):
        rule = functools.partial(initializers.normal, stddev=stddev)
        return initialize(key, shapes, default_rules(rule))

    keys = jax.random.split(jax.random.key(2), 3)
    stddevs = jnp.array([0.1, 0.2, 0.3])
    many = jax.jit(jax.vmap(draw))(keys, stddevs)
    for lane in range(3):
        one = draw(keys[lane], stddevs[lane])
        jax.tree.map(lambda a, b, i=lane: np.testing.assert_allclose(a[i], b, rtol=1e-5), many, one)


def test_as_kernel_init_of_flax():
    layer = nn.Dense(7, kernel_init=initializers.orthogonal, bias_init=initializers.ones)
    params = layer.init(jax.random.key(0), jnp.zeros((1, 5)))["params"]
    kernel = np.asarray(params["kernel"], np.float64)
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(5), atol=1e-5)
    np.testing.assert_array_equal(params["bias"], 1)


def test_of_flax_eval_shape():
    layer = nn.Conv(6, (3, 3))
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, 8, 8, 2)))
    params = initialize(jax.random.key(0), shapes, default_rules("he_normal"))
    assert params["params"]["kernel"].shape == (3, 3, 2, 6)
    assert layer.apply(params, jnp.ones((1, 8, 8, 2))).shape == (1, 8, 8, 6)
