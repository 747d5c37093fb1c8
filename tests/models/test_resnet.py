import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from initopt_jax.errors import ConfigError
from initopt_jax.initializers.model_level import fixup, leaves_of, lsuv, zero_gamma
from initopt_jax.models import network_of, param_shapes
from initopt_jax.models.resnet import resnet
from initopt_jax.studies.preview import audit
from initopt_jax.tasks import REGISTRY as TASKS
from initopt_jax.types import Split

SPEC = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)


def drawn(model, inputs):
    """Weights of order 1 / sqrt(fan-in), scales about 1, and the model's first state."""
    shapes, state = jax.eval_shape(model.init, jax.random.key(0), inputs)
    generator = np.random.default_rng(3)

    def draw(leaf):
        if len(leaf.shape) == 1:
            return jnp.asarray(generator.normal(1, 0.2, leaf.shape), jnp.float32)
        deviation = math.prod(leaf.shape[:-1]) ** -0.5
        return jnp.asarray(generator.normal(0, deviation, leaf.shape), jnp.float32)

    statistics = {path: path.endswith("var") for path in leaves_of(state)}
    leaves = [
        jnp.full(leaf.shape, float(statistics[path])) for path, leaf in leaves_of(state).items()
    ]
    return jax.tree.map(draw, shapes), jax.tree.unflatten(jax.tree.structure(state), leaves)


def convolved(values, layer, stride=1):
    margin = layer["kernel"].shape[0] // 2
    return lax.conv_general_dilated(
        values, layer["kernel"], (stride, stride), ((margin, margin),) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def normed(values, layer):
    mean, variance = values.mean((0, 1, 2)), values.var((0, 1, 2))
    normal = (values - mean[None, None, None]) / jnp.sqrt(variance + 1e-5)[None, None, None]
    return normal * layer["scale"][None, None, None] + layer["bias"][None, None, None]


def block(values, own, stride, shortcut, order):
    """Figures 4a and 4e of He et al. 2016 (Identity mappings), from the formula."""
    relu = jax.nn.relu
    start = values
    if order == "pre":
        start = relu(normed(values, own["norm_1"]))
        made = relu(normed(convolved(start, own["conv_1"], stride), own["norm_2"]))
        made = convolved(made, own["conv_2"])
    else:
        made = relu(normed(convolved(values, own["conv_1"], stride), own["norm_1"]))
        made = normed(convolved(made, own["conv_2"]), own["norm_2"])
    if made.shape != values.shape:
        if shortcut == "A":
            more = (made.shape[3] - values.shape[3]) // 2
            values = jnp.pad(values[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (more, more)))
        elif order == "pre":
            values = convolved(start, own["shortcut"], stride)
        else:
            values = normed(convolved(values, own["shortcut"], stride), own["shortcut_norm"])
    return values + made if order == "pre" else relu(values + made)


def reference(params, inputs, depth, shortcut, order):
    values = convolved(inputs, params["stem"])
    if order == "post":
        values = jax.nn.relu(normed(values, params["stem_norm"]))
    stages = [2] * 4 if depth == 18 else [(depth - 2) // 6] * 3
    for stage, count in enumerate(stages):
        for number in range(count):
            own = params[f"stage_{stage}_block_{number}"]
            stride = 2 if stage > 0 and number == 0 else 1
            values = block(values, own, stride, shortcut, order)
    if order == "pre":
        values = jax.nn.relu(normed(values, params["last_norm"]))
    return values.mean((1, 2)) @ params["head"]["kernel"] + params["head"]["bias"][None]


@pytest.mark.parametrize(
    ("depth", "shortcut", "order"), [(20, "A", "post"), (18, "B", "post"), (20, "B", "pre")]
)
def test_outputs_equal_the_papers_formula(depth, shortcut, order):
    inputs = np.random.default_rng(5).normal(size=(6, 8, 8, 2)).astype(np.float32)
    model = resnet(outputs=3, depth=depth, width=2, shortcut=shortcut, order=order)
    params, state = drawn(model, inputs)
    outputs, _ = jax.jit(lambda *a: model.apply(*a, train=True))(params, state, inputs)
    wanted = reference(params, inputs, depth, shortcut, order)
    # about twenty layers, each a sum of at most 144 products in another order, normalized again
    np.testing.assert_allclose(outputs, wanted, rtol=0, atol=2e-4 * float(abs(wanted).max()))


def test_depth_nine_equals_its_formula_and_keeps_running_statistics():
    inputs = np.random.default_rng(6).normal(size=(6, 8, 8, 2)).astype(np.float32)
    model = resnet(outputs=3, depth=9, width=2, residual_scale=0.5)
    params, state = drawn(model, inputs)

    def layer(values, name, pool=False):
        values = jax.nn.relu(
            normed(convolved(values, params[f"{name}_conv"]), params[f"{name}_norm"])
        )
        count, side = len(values), values.shape[1] // 2
        return values.reshape(count, side, 2, side, 2, -1).max((2, 4)) if pool else values

    values = layer(layer(inputs, "stem"), "layer_1", pool=True)
    values = values + 0.5 * layer(layer(values, "residual_1_1"), "residual_1_2")
    values = layer(layer(values, "layer_2", pool=True), "layer_3", pool=True)
    values = values + 0.5 * layer(layer(values, "residual_3_1"), "residual_3_2")
    wanted = values.max((1, 2)) @ params["head"]["kernel"] + params["head"]["bias"][None]

    apply = jax.jit(model.apply, static_argnames="train")
    outputs, after = apply(params, state, inputs, train=True)
    np.testing.assert_allclose(outputs, wanted, rtol=0, atol=1e-4 * float(abs(wanted).max()))
    sums = np.asarray(convolved(inputs, params["stem_conv"]), np.float64)
    own = after["batch_stats"]["stem_norm"]
    np.testing.assert_allclose(own["mean"], 0.1 * sums.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(own["var"], 0.9 + 0.1 * sums.var((0, 1, 2)), rtol=1e-5)
    still, unchanged = apply(params, after, inputs, train=False)
    jax.tree.map(np.testing.assert_array_equal, unchanged, after)
    assert not np.allclose(still, outputs)


@pytest.mark.parametrize(
    ("depth", "shortcut", "count"),
    # published: 0.27, 0.46, 0.66, 0.85 million with option A; 11.17 million for ResNet-18 on CIFAR
    [(20, "A", 269_722), (32, "A", 464_154), (44, "A", 658_586), (56, "A", 853_018),
     (18, "B", 11_173_962), (9, "B", 6_573_130)],
)  # fmt: skip
def test_parameters_are_as_many_as_published(depth, shortcut, count):
    shapes = param_shapes(resnet(outputs=10, depth=depth, shortcut=shortcut), SPEC)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count


def network(**options):
    inputs = np.random.default_rng(7).normal(size=(8, 8, 8, 1)).astype(np.float32)
    model = resnet(outputs=3, width=2, **options)
    params, state = drawn(model, inputs)
    task = TASKS["classification"]
    return network_of(model, task, params, state, Split(inputs, np.arange(8) % 3)), params


@pytest.mark.parametrize(
    ("depth", "shortcut", "branches"), [(9, "B", 2), (20, "A", 9), (20, "B", 9), (18, "B", 8)]
)
def test_every_branch_is_found_and_zero_gamma_makes_it_vanish(depth, shortcut, branches):
    known, params = network(depth=depth, shortcut=shortcut)
    started, info = zero_gamma(jax.random.key(0), params, known)
    assert info["depth"] == branches
    zeroed = {path for path, leaf in leaves_of(started).items() if not leaf.any()}
    ends = ("norm_2/scale",) if depth > 9 else ("_1_2_norm/scale", "_3_2_norm/scale")
    assert zeroed == {path for path in leaves_of(params) if path.endswith(ends)}


def test_fixup_zeroes_the_ends_and_scales_the_others():
    known, params = network(depth=9, norm="none")
    started, info = fixup(jax.random.key(0), params, known)
    before, after = leaves_of(params), leaves_of(started)
    assert info["depth"] == 2
    for branch in ("residual_1", "residual_3"):
        assert not after[f"{branch}_2_conv/kernel"].any()
        first = f"{branch}_1_conv/kernel"
        # two branches of two kernels: 2 to the power of -1 / (2 * 2 - 2)
        np.testing.assert_allclose(after[first], before[first] / np.sqrt(2), rtol=1e-6)
    np.testing.assert_array_equal(known.apply(started, known.inputs), 0)


def test_kernels_are_seen_one_by_one_for_lsuv():
    known, params = network(depth=9)
    sums = jax.eval_shape(known.sums, params, known.inputs)  # traced, as lsuv does, not computed
    kernels = {path for path in leaves_of(params) if path.endswith("kernel")}
    assert set(sums) == kernels
    assert sums["layer_3_conv/kernel"].shape == (8 * 2 * 2, 16)
    refined, info = jax.eval_shape(lambda p: lsuv(jax.random.key(0), p, known), params)
    assert set(info) == {f"variance/{path}" for path in kernels}
    assert jax.tree.structure(refined) == jax.tree.structure(params)


def test_the_audit_knows_the_fans_of_every_leaf(small_config):
    config = small_config | {
        "model": {"name": "resnet", "depth": 9, "width": 2},
        "initializers": [{"name": "constant", "value": 0.5}],  # compiles in no time; fans are fans
        "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
    }
    rows = {row.path: row for row in audit(config)}
    assert (rows["layer_3_conv/kernel"].fan_in, rows["layer_3_conv/kernel"].fan_out) == (72, 144)
    assert (rows["head/kernel"].fan_in, rows["head/kernel"].fan_out) == (16, 10)
    assert rows["layer_3_norm/scale"].mean == 1
    assert {row.verdict for row in rows.values()} == {"ok"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 19}, "depth must be one of 9, 18, 20, 32, 44, 56, got 19"),
        ({"width": 0}, "width must be an integer of at least 1, got 0"),
        ({"norm": "bacth"}, "unknown norm 'bacth'; did you mean 'batch'"),
        (
            {"norm": "group", "groups": 3, "width": 8},
            "8 channels are not 3 equal groups; 1, 2, 4, 8 would do",
        ),
        ({"shortcut": "C"}, "unknown shortcut 'C'"),
        ({"order": "per"}, "unknown order 'per'"),
        ({"depth": 9, "order": "pre"}, "order pre is for depths above 9"),
        ({"residual_scale": "big"}, "residual_scale must be a number, got 'big'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        resnet(**{"outputs": 2} | options)


def test_pictures_that_cannot_be_halved_are_refused():
    with pytest.raises(ConfigError, match=r"until 8 pixels are one, and these are 7 x 9"):
        param_shapes(resnet(outputs=2, depth=9), jax.ShapeDtypeStruct((1, 7, 9, 1), jnp.float32))
