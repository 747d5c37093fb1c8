"""Nothing of a float64 study is float32 in between, and all its products are of full precision.

Programs are traced, not compiled: the entry of every registry costs milliseconds.
"""

import inspect
import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import initializers, models, modifiers, schedules, transforms
from initopt_jax.config.schema import validate
from initopt_jax.engine.flops import tile_shapes
from initopt_jax.engine.segment import make_lane_step
from initopt_jax.models import with_precision
from initopt_jax.models.sequences import sinusoids
from initopt_jax.planning.resolve import find_task, refiner, resolve
from initopt_jax.precision import in_precision
from initopt_jax.studies.manifest import settings

PRODUCTS = {"conv_general_dilated", "dot_general"}
HIGHEST = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
PICTURE, ROW, SEQUENCE = (8, 8, 1), (64,), (8, 4)
INPUTS = {
    "autoencoder": ROW,
    "cnn": PICTURE,
    "deep_linear": ROW,
    "gru": SEQUENCE,
    "lenet5": (28, 28, 1),
    "linear": ROW,
    "lstm": SEQUENCE,
    "mixer": PICTURE,
    "mlp": ROW,
    "resnet": PICTURE,
    "rnn": SEQUENCE,
    "transformer": SEQUENCE,
    "vit": PICTURE,
}
CASES = [(name, INPUTS[name], {}) for name in models.REGISTRY] + [
    ("cnn", PICTURE, {"norm": "batch"}),
    ("transformer", SEQUENCE, {"positions": "sinusoidal"}),
]
PATCHED = {"mixer": {"patch": 4}, "vit": {"patch": 4}}
TRANSFORMER = {"name": "transformer", "width": 8, "heads": 2, "depth": 1, "length": 8}
# What an initializer for residual networks or for attention needs.
MODEL_OF = {
    **dict.fromkeys(("deep_norm", "fixup", "gpt2", "mimetic", "stable_resnet", "t_fixup"),
                    TRANSFORMER),
    "layer_scale": {**TRANSFORMER, "gate": "channels"},
    "rezero": {**TRANSFORMER, "gate": "scalar"},
    "zero_gamma": {"name": "resnet", "depth": 9, "width": 4, "norm": "group", "groups": 2},
}  # fmt: skip
# Options of modifiers that have no default.
GIVEN = {
    "by_path": {"*bias": 2.0},
    "clipping": 0.01,
    "decay": 0.9,
    "eta": 0.1,
    "every": 2,
    "max_norm": 1.0,
    "max_value": 1.0,
    "paths": ["*bias"],
    "rho": 0.05,
    "weight_decay": 0.1,
}
COUNTERS = {"accumulate", "lookahead", "swa"}  # their "every k steps" is compared in float32


def equations(program):
    """Those of a traced program and of all programs within it."""
    for equation in program.eqns:
        yield equation
        for value in equation.params.values():
            for item in value if isinstance(value, list | tuple) else [value]:
                inner = getattr(item, "jaxpr", item)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def narrow(closed):
    """How many results are float32, by primitive."""
    return Counter(
        equation.primitive.name
        for equation in equations(closed.jaxpr)
        for made in equation.outvars
        if getattr(made.aval, "dtype", None) == np.float32
    )


def rough(closed):
    """The products whose precision is not stated to be the highest."""
    found = [e for e in equations(closed.jaxpr) if e.primitive.name in PRODUCTS]
    return [str(e) for e in found if tuple(e.params["precision"] or ()) != HIGHEST]


def study(optimizers, initializer="he_normal", model=None):
    """A float64 study of the digits."""
    return {
        "name": "exact",
        "task": {"name": "classification", "dataset": "digits", "batch_size": 4},
        "model": model or {"name": "mlp", "hidden": [4]},
        "initializers": [initializer],
        "optimizers": optimizers,
        "seeds": 1,
        "steps": 10,
        "eval_every": 10,
        "precision": "float64",
    }


def traced_step(experiment, program):
    """A lane's step of a float64 study, traced, and the shapes of its state before and after."""
    state, inputs = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype),
        tile_shapes(program, experiment.workload, 1),
    )
    batch = [
        jax.ShapeDtypeStruct((4, *array.shape[1:]), array.dtype)
        for array in experiment.workload.dataset.train
    ]
    step = make_lane_step(
        experiment.workload.model, experiment.workload.task, program.make_transform
    )
    closed, (after, _) = jax.make_jaxpr(step, return_shape=True)(state, inputs, *batch)
    return closed, state, after


def required(make, *, skip=()):
    """The options of a function that have no default."""
    return [
        name
        for name, option in inspect.signature(make).parameters.items()
        if option.default is inspect.Parameter.empty and name not in skip
    ]


OPTIMIZERS = [
    *({"name": name, **dict.fromkeys(required(entry.make), 0.1)}
      for name, entry in transforms.REGISTRY.items()),
    *({"name": "adam", "learning_rate": 0.1, "schedule": name} for name in schedules.REGISTRY),
    *({"name": "adam", "learning_rate": 0.1, "modifiers": [
        {"name": name, **{o: GIVEN[o] for o in required(entry.make) if o in GIVEN}}]}
      for name, entry in modifiers.REGISTRY.items()),
]  # fmt: skip


def test_step_of_every_optimizer():
    with in_precision("float64"):
        experiment = resolve(validate(study(OPTIMIZERS)))
        assert experiment.lanes["optimizer"].nunique() == len(OPTIMIZERS)
        steps = {each.label: traced_step(experiment, each) for each in experiment.programs}
    for label, (closed, before, after) in steps.items():
        kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), s) for s in (before, after)]
        assert kinds[0] == kinds[1], label
        leaves = jax.tree.leaves(before)
        floats = {leaf.dtype.name for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)}
        assert floats == {"float64"}, label
        assert not rough(closed), label
        converted = COUNTERS & set(re.findall(r"\w+", label))
        allowed = {"convert_element_type"} if converted else set()
        assert narrow(closed).keys() <= allowed, label


@pytest.mark.parametrize(("name", "shape", "options"), CASES)
def test_gradient_of_every_model(name, shape, options):
    outputs = 64 if name == "autoencoder" else 3
    options = {**PATCHED.get(name, {}), **options, "outputs": outputs}
    task = find_task("reconstruction" if name == "autoencoder" else "regression")
    with in_precision("float64"):
        made = models.REGISTRY[name].make(**options, dtype="float64")
        model = with_precision(made, wide=np.float64, compute=np.float64)
        inputs, targets = np.zeros((4, *shape)), np.zeros((4, outputs))
        params, state = jax.eval_shape(model.init, jax.random.key(0), inputs)

        def cost(params, state, inputs):
            key = jax.random.key(0)
            outputs, state = model.apply(params, state, inputs, key=key, train=True)
            return jnp.mean(task.loss(outputs, targets)), state

        closed = jax.make_jaxpr(jax.value_and_grad(cost, has_aux=True))(params, state, inputs)
    assert [e for e in equations(closed.jaxpr) if e.primitive.name in PRODUCTS]
    assert not narrow(closed)
    assert not rough(closed)


def test_positions_are_of_full_precision():
    """A table that was float32 once would be off by 2^-25 and more."""
    table = sinusoids(6, 8)
    angles = np.arange(6)[:, None] / 10_000 ** (np.arange(0, 8, 2) / 8)
    np.testing.assert_allclose(table[:, 0::2], np.sin(angles), rtol=1e-15)


@pytest.mark.parametrize("name", initializers.REGISTRY)
def test_draw_of_every_initializer(name):
    draw = initializers.REGISTRY[name].draw
    options = dict.fromkeys(required(draw, skip=("key", "shape")), 0.5)
    with in_precision("float64"):
        closed = jax.make_jaxpr(lambda key: draw(key, (8, 8), np.float64, **options))(
            jax.random.key(0)
        )
    assert closed.out_avals[0].dtype == np.float64
    assert not rough(closed)
    # `sparse` rounds the number of its connections, which it also does in its distribution.
    assert narrow(closed).keys() <= ({"ceil", "convert_element_type", "jit", "max", "min"}
                                     if name == "sparse" else set())  # fmt: skip


@pytest.mark.parametrize("name", sorted(initializers.MODEL_LEVEL))
def test_every_initializer_that_sees_the_network(name):
    with in_precision("float64"):
        optimizers = [{"name": "gd", "learning_rate": 0.1}]
        experiment = resolve(validate(study(optimizers, name, MODEL_OF.get(name))))
        network = experiment.workload.network
        refine = refiner(experiment.initializer_cells[0].refine, network)
        closed, (params, _) = jax.make_jaxpr(refine, return_shape=True)(
            jax.random.key(0), experiment.workload.params, network.inputs, network.targets
        )
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float64"}
    assert not rough(closed)
    # What is told beside the weights, such as a depth, may be float32: it is made at the end.
    assert narrow(closed).keys() <= {"convert_element_type", "sub"}


def test_products_outside_of_training_are_exact_too():
    """Those of a user's functions that make data, say; and the process keeps its own setting."""
    before = settings()
    matrix = np.ones((2, 2), np.float32)
    outside = jax.make_jaxpr(jnp.matmul)(matrix, matrix)
    with in_precision("float32"):
        closed = jax.make_jaxpr(jnp.matmul)(matrix, matrix)
        assert settings() == before
    assert rough(outside)
    assert not rough(closed)
    with in_precision("float64"):
        assert settings() == before | {"jax_enable_x64": True}
    assert settings() == before
