"""Recurrent networks against Flax's cells and float64 NumPy, and what starts their gates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from initopt_jax import tasks
from initopt_jax.errors import ConfigError
from initopt_jax.initializers.model_level import mup_multipliers
from initopt_jax.models import REGISTRY, network_of, param_shapes
from initopt_jax.models.sequences import as_sequence
from initopt_jax.networks.anatomy import anatomy
from initopt_jax.studies.preview import audit, initial_weights, prepare
from initopt_jax.tree import named_leaves
from initopt_jax.types import Split

CELLS = {"rnn": nn.SimpleCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
RECURRENT = {"rnn": ["h"], "lstm": ["hf", "hg", "hi", "ho"], "gru": ["hn", "hr", "hz"]}
HIDDEN, LAYERS = 6, 2


def random_params(model, inputs, seed=0):
    """Weights and biases that are all random, so that each of them counts."""
    generator = np.random.default_rng(seed)
    shapes = param_shapes(model, inputs)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * generator.normal(size=leaf.shape), leaf.dtype), shapes
    )


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(1).normal(size=(3, 5, 4)).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_states(kind, leaves, steps):
    """States of a layer from the papers' equations, in float64."""

    def affine(values, name):
        layer = leaves[name]
        return values @ np.float64(layer["kernel"]) + np.float64(layer.get("bias", 0.0))

    state = memory = np.zeros((steps.shape[1], HIDDEN))
    states = []
    for x in steps:
        if kind == "rnn":
            state = np.tanh(affine(x, "i") + affine(state, "h"))
        elif kind == "lstm":
            i, f, g, o = (affine(x, f"i{name}") + affine(state, f"h{name}") for name in "ifgo")
            memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
            state = sigmoid(o) * np.tanh(memory)
        else:
            r, z = (sigmoid(affine(x, f"i{name}") + affine(state, f"h{name}")) for name in "rz")
            new = np.tanh(affine(x, "in") + r * affine(state, "hn"))
            state = z * state + (1 - z) * new
        states.append(state)
    return np.stack(states)


@pytest.mark.parametrize("kind", CELLS)
def test_follows_the_equations_and_flax(kind, inputs):
    """Tolerance: five steps of sums of ten float32 numbers of size one; 1e-5 is 80 roundings."""
    model = REGISTRY[kind].make(outputs=2, hidden=HIDDEN, layers=LAYERS)
    params = random_params(model, inputs)
    outputs, state = model.apply(params, {}, inputs)
    assert state == {}

    values = np.float64(inputs).swapaxes(0, 1)
    for index in range(LAYERS):
        values = numpy_states(kind, params[f"layer_{index}"], values)
    head = params["head"]
    expected = values[-1] @ np.float64(head["kernel"]) + np.float64(head["bias"])
    np.testing.assert_allclose(outputs, expected, atol=1e-5)

    flax = nn.RNN(CELLS[kind](HIDDEN)).apply({"params": {"cell": params["layer_0"]}}, inputs)
    own = numpy_states(kind, params["layer_0"], np.float64(inputs).swapaxes(0, 1))
    np.testing.assert_allclose(flax.swapaxes(0, 1), own, atol=1e-5)


@pytest.mark.parametrize("kind", CELLS)
def test_initializers_see_a_recurrent_network(kind, inputs):
    """Recurrent kernels are no input layers, gates no residual branches; muP counts both sides."""
    model = REGISTRY[kind].make(outputs=2, hidden=HIDDEN)
    train = Split(inputs, np.zeros(3, np.int32))
    params = param_shapes(model, inputs)
    found = network_of(model, tasks.REGISTRY["classification"], params, {}, train).anatomy
    recurrent = [f"layer_0/{name}/kernel" for name in RECURRENT[kind]]
    seeing = {f"layer_0/{name.replace('h', 'i')}/kernel" for name in RECURRENT[kind]}
    assert set(found.inputs) == seeing
    assert found.outputs == ("head/kernel",)
    assert found.branches == ()
    assert {kernel.path for kernel in found.kernels if kernel.in_scan} == set(recurrent)
    rates = mup_multipliers(found, params, HIDDEN / 4, kind="adam")
    grown = {path for path, rate in rates.items() if rate == 1 / 4}
    assert grown == {*recurrent, "head/kernel"}


def test_a_loop_over_layers_still_holds_branches():
    """A block with shared weights, repeated: its two sums are branches of every round."""

    def apply(params, values):
        def block(values, _):
            values = values + jnp.tanh(values @ params["a"]) @ params["b"]
            return values + jnp.tanh(values @ params["c"]) @ params["d"], None

        return jax.lax.scan(block, values @ params["in"], None, length=3)[0]

    params = dict.fromkeys(["a", "b", "c", "d", "in"], jnp.ones((4, 4)))
    found = anatomy(apply, params, jnp.ones((2, 4)))
    assert [(one.kernels, one.times) for one in found.branches] == [
        (("a", "b"), 3),
        (("c", "d"), 3),
    ]


def test_audit_reaches_the_gates(working_dir):
    raw = {
        "name": "gates",
        "task": {"name": "classification", "dataset": "digits", "batch_size": 16},
        "model": {"name": "lstm", "hidden": 8},
        "initializers": [
            {"name": "normal", "rules": {"*hf/bias": {"name": "forget_gate", "value": 2.0}}},
            {
                "name": "glorot_uniform",
                "rules": {
                    "*hf/bias": {"name": "chrono", "t_max": 8.0},
                    "*hi/bias": {"name": "chrono", "t_max": 8.0, "gates": "i"},
                },
            },
        ],
        "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
        "steps": 1,
    }
    rows = {(row.initializer, row.path): row for row in audit(raw)}
    labels = list(dict.fromkeys(label for label, _ in rows))
    assert {row.verdict for row in rows.values()} == {"ok"}
    for label in labels:
        assert rows[label, "layer_0/hf/bias"].pattern == "*hf/bias"
        assert rows[label, "layer_0/hf/kernel"].pattern == "*"
        assert (
            rows[label, "layer_0/hf/kernel"].fan_in,
            rows[label, "layer_0/if/kernel"].fan_in,
        ) == (8, 8)
    assert rows[labels[1], "layer_0/hi/bias"].pattern == "*hi/bias"

    initial = initial_weights(prepare(raw))
    first, second = (dict(named_leaves(initial(index, 0))) for index in range(2))
    np.testing.assert_array_equal(first["layer_0/hf/bias"], np.full(8, 2.0))
    np.testing.assert_array_equal(first["layer_0/ho/bias"], np.zeros(8))
    memory = 1 + np.exp(np.float64(second["layer_0/hf/bias"]))  # steps that a unit remembers
    assert ((memory >= 2) & (memory <= 8)).all()
    assert (second["layer_0/hi/bias"] <= 0).all()


def test_dropout_follows_its_key_and_rests_in_evaluation(inputs):
    model = REGISTRY["gru"].make(outputs=2, hidden=HIDDEN, layers=LAYERS, dropout=0.5)
    plain = REGISTRY["gru"].make(outputs=2, hidden=HIDDEN, layers=LAYERS)
    params = random_params(model, inputs)

    def run(seed, train):
        key = None if seed is None else jax.random.key(seed)
        return np.asarray(model.apply(params, {}, inputs, key=key, train=train)[0])

    np.testing.assert_array_equal(run(1, True), run(1, True))
    assert (run(1, True) != run(2, True)).any()
    np.testing.assert_array_equal(run(1, False), run(None, False))
    np.testing.assert_array_equal(run(1, False), plain.apply(params, {}, inputs)[0])


def test_pictures_are_read_row_by_row():
    pictures = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)
    flat = pictures.reshape(2, 16)
    np.testing.assert_array_equal(as_sequence(flat), pictures[..., 0])
    np.testing.assert_array_equal(as_sequence(pictures), pictures[..., 0])
    np.testing.assert_array_equal(as_sequence(pictures, 16)[..., 0], flat)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden must be an integer of at least 1, got 0"),
        ({"layers": True}, "layers must be"),
        ({"length": 2.5}, "length must be"),
        ({"activation": "tahn"}, "did you mean 'tanh'"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dropout": "no"}, "dropout must be a finite number, got 'no'"),
        ({"dtype": "float16"}, "unknown dtype"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        REGISTRY["lstm"].make(**{"outputs": 2, **options})


def test_bad_inputs_are_refused():
    with pytest.raises(ConfigError, match=r"got examples of shape \(10,\); say with length"):
        as_sequence(np.ones((2, 10)))
    with pytest.raises(ConfigError, match="length must divide the 12 numbers"):
        as_sequence(np.ones((2, 3, 4)), 5)
