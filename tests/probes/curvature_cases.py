"""Small networks with their explicit curvature matrices, in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.initializers import make_network
from initopt_jax.models import REGISTRY, network_of, param_shapes, with_precision
from initopt_jax.probes.probe import Batch
from initopt_jax.tasks import REGISTRY as TASKS
from initopt_jax.types import Split

SMALL = {"width": 4, "depth": 1, "heads": 2, "mlp_ratio": 1}
PICTURES = {"channels": [2]}
FAMILIES = {
    "mlp": ({"hidden": [5], "activation": "tanh"}, (4,)),
    "batch norm": ({**PICTURES, "hidden": [4], "norm": "batch", "pooling": "average"}, (6, 6, 1)),
    "patches": ({**PICTURES, "hidden": [], "convolution": "patches"}, (6, 6, 1)),
    "gru": ({"hidden": 2}, (2, 2)),
    "transformer": (SMALL, (3, 2)),
}  # fmt: skip
MODELS = {"batch norm": "cnn", "patches": "cnn"}


def family(name, examples=7, outputs=3):
    """The network of a model of this family with random weights, those, and a batch.

    To be called, like all here, where float64 is on.
    """
    options, shape = FAMILIES[name]
    generator = np.random.default_rng(3)
    made = REGISTRY[MODELS.get(name, name)].make(outputs=outputs, dtype="float64", **options)
    model = with_precision(made, wide=jnp.float64, compute=jnp.float64)
    inputs = generator.normal(size=(examples, *shape))
    targets = generator.integers(outputs, size=examples)
    _, state = jax.eval_shape(model.init, jax.random.key(0), inputs)
    shapes = param_shapes(model, inputs)
    params = jax.tree.map(lambda leaf: jnp.asarray(0.6 * generator.normal(size=leaf.shape)), shapes)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
    train = Split(inputs, targets.astype(np.int32))
    network = network_of(model, TASKS["classification"], params, state, train)
    return network, params, Batch(jnp.asarray(train.inputs), jnp.asarray(train.targets))


def tied(examples=5):
    """A linear autoencoder that codes and decodes with the same weights."""
    generator = np.random.default_rng(4)
    inputs = jnp.asarray(generator.normal(size=(examples, 4)))
    params = {"w": jnp.asarray(generator.normal(size=(4, 2)))}

    def apply(params, inputs):
        return jnp.tanh(inputs @ params["w"]) @ params["w"].T

    def squares(outputs, targets):
        return jnp.sum((outputs - targets) ** 2, axis=-1) / 2

    return make_network(apply, squares, params, inputs, inputs), params, Batch(inputs, inputs)


def mean_loss(network):
    """`(params, batch) -> scalar`, as a study hands it to a probe."""
    return lambda params, batch: network.mean_loss(params, *batch)


def explicit_hessian(network, params, batch, jacobian=jax.jacfwd):
    """The Hessian, by derivatives of the plain operations."""
    flat, outputs, cost = parts(network, params, batch)
    return np.asarray(jax.jit(jacobian(jax.grad(lambda vector: cost(outputs(vector)))))(flat))


def explicit_gauss_newton(network, params, batch):
    """The Gauss-Newton matrix, likewise."""
    flat, outputs, cost = parts(network, params, batch)

    @jax.jit
    def matrix(vector):
        by_weights = jax.jacrev(outputs)(vector)
        return by_weights.T @ jax.hessian(cost)(outputs(vector)) @ by_weights

    return np.asarray(matrix(flat))


def parts(network, params, batch):
    """All weights as a vector; all outputs as a function of it; the mean loss as one of these."""
    leaves, structure = jax.tree.flatten(params)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    shape = jax.eval_shape(network.plain, params, batch.inputs).shape

    def tree(vector):
        shaped = [
            part.reshape(leaf.shape)
            for part, leaf in zip(jnp.split(vector, ends), leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, shaped)

    def outputs(vector):
        return network.plain(tree(vector), batch.inputs).ravel()

    def cost(outputs):
        return jnp.mean(network.loss(outputs.reshape(shape), batch.targets))

    return jnp.concatenate([leaf.ravel() for leaf in leaves]), outputs, cost
