"""MetaInit: norms of the weights that leave the gradient as it is after a step along it."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.errors import ConfigError
from initopt_jax.networks.network import Network, leaves_of, with_leaves
from initopt_jax.norms import norm
from initopt_jax.types import Array, ModelInitializer, PyTree

EPS = 1e-5  # of the authors' code
MEASURED = 9  # batches
SMALLEST = 0.01  # of a norm, as a share of the first one


def meta_init(
    key: Array,
    params: PyTree,
    network: Network,
    *,
    steps: int = 200,
    learning_rate: ArrayLike = 0.1,
    momentum: ArrayLike = 0.9,
) -> tuple[PyTree, dict[str, Array]]:
    """Learns the norm of every matrix, so that curvature disturbs the first step least.

    `GQ = mean |(g - H g) / (g + eps sgn(g)) - 1|`, with `g` and `H` of the mean loss
    `v_l <- momentum v_l - learning_rate sign(dGQ / d||W_l||)`, `||W_l|| <- ||W_l|| + v_l`

    The mean is over all weights, `sgn(0) = 1`, `eps = 1e-5`. Only leaves with two axes or more
    change, and of them only the norm. No data are needed: each step has inputs `N(0, 1)` of its
    own, and targets that have nothing to do with them.

    Args:
        key: of the inputs and targets.
        params: first weights.
        network: the network; of its data, shapes and targets are used. Inputs that are whole
            numbers, such as words, are those of training examples, with targets of others.
        steps: how many, a Python int: it fixes the length of the loop.
        learning_rate: of a norm, above 0, concrete or traced.
        momentum: in [0, 1), concrete or traced.

    Returns:
        The weights, and `gradient_quotient_before` and `gradient_quotient_after`: the median of GQ
        over 9 batches that no step has seen. Its mean is made by the few gradients near 0.

    Raises:
        ConfigError: if no leaf has two axes.
        ValueError: if a concrete option is out of range.

    Reference:
        Dauphin and Schoenholz (2019), MetaInit: initializing learning by learning to initialize,
        eq. 1 and algorithm 1.

    Deviations:
        200 steps by default; the paper takes up to 500. It keeps the last norms; here those of the
        step with the smallest quotient, because momentum carries them past the minimum and back,
        further than small norms are long. For the same reason a norm does not fall below a
        hundredth of its first value. Targets are those of random training examples, not uniform
        over classes, so that regression works too.
    """
    checks.count("steps", steps)
    checks.positive("learning_rate", learning_rate)
    checks.fraction("momentum", momentum)
    directions: dict[str, Array] = {}
    first: dict[str, Array] = {}
    for path, leaf in leaves_of(params).items():
        if leaf.ndim >= 2:
            wide = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
            length = norm(wide)
            directions[path] = wide / jnp.where(length == 0, 1.0, length)
            first[path] = length
    if not first:
        raise ConfigError("meta_init learns the norms of matrices, and this model has none")

    def weights(norms: dict[str, Array]) -> PyTree:
        return with_leaves(params, {path: directions[path] * norms[path] for path in norms})

    def objective(norms: dict[str, Array], key: Array) -> Array:
        inputs, targets = _noise(key, network)
        return gradient_quotient(
            lambda params: network.mean_loss(params, inputs, targets), weights(norms)
        )

    steps_key, last_key = jax.random.split(key)

    def step(number: Array, carry: tuple) -> tuple:
        norms, velocity, best, least = carry
        found, slopes = jax.value_and_grad(objective)(norms, jax.random.fold_in(steps_key, number))
        best = jax.tree.map(partial(jnp.where, found < least), norms, best)

        def push(old: Array, slope: Array) -> Array:
            # Where the quotient overflows, its slope says nothing.
            return jnp.asarray(momentum * old - learning_rate * jnp.nan_to_num(jnp.sign(slope)))

        velocity = jax.tree.map(push, velocity, slopes)
        norms = {
            path: jnp.maximum(norms[path] + velocity[path], SMALLEST * first[path])
            for path in norms
        }
        return norms, velocity, best, jnp.fmin(found, least).astype(least.dtype)

    still, least = jax.tree.map(jnp.zeros_like, first), jnp.full((), jnp.inf)
    norms = jax.lax.fori_loop(0, steps, step, (first, still, first, least))[2]
    unseen = jax.random.split(last_key, MEASURED)
    info = {
        f"gradient_quotient_{when}": jnp.median(jax.lax.map(partial(objective, those), unseen))
        for when, those in (("before", first), ("after", norms))
    }
    return weights(norms), info


def gradient_quotient(loss: Callable[[PyTree], Array], params: PyTree, eps: float = EPS) -> Array:
    """How much the gradient of a loss changes, relatively, after a step of length 1 along it.

    `GQ = mean |(g - H g) / (g + eps sgn(g)) - 1|`, `sgn(0) = 1`

    Args:
        loss: `(params) -> scalar`, twice differentiable in reverse mode.
        params: where.
        eps: keeps the denominator from 0.

    Returns:
        A scalar; near 0 where the loss is linear, 1 where its gradient is 0.

    Reference:
        Dauphin and Schoenholz (2019), eq. 1.

    >>> loss = lambda x: (jnp.array([0.5, 2.0]) * x**2).sum() / 2
    >>> round(float(gradient_quotient(loss, jnp.array([1.0, -1.0]))), 3)
    1.25
    """
    gradient = jax.grad(loss)

    def half_square(params: PyTree) -> Array:
        return jnp.asarray(
            sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradient(params))) / 2
        )

    slopes = jax.tree.leaves(gradient(params))
    products = jax.tree.leaves(jax.grad(half_square)(params))  # H g, by reverse over reverse
    total = sum(
        jnp.abs((g - product) / (g + eps * jnp.where(g >= 0, 1.0, -1.0)) - 1).sum()
        for g, product in zip(slopes, products, strict=True)
    )
    return jnp.asarray(total) / sum(g.size for g in slopes)


def _noise(key: Array, network: Network) -> tuple[Array, Array]:
    inputs_key, targets_key = jax.random.split(key)
    _, targets = network.batch(targets_key)
    if not jnp.issubdtype(network.inputs.dtype, jnp.floating):
        return network.batch(inputs_key)[0], targets
    shape = (len(targets), *network.inputs.shape[1:])
    return jax.random.normal(inputs_key, shape, network.inputs.dtype), targets


ENTRIES = (
    ModelInitializer(
        name="meta_init",
        refine=meta_init,
        base="he_normal",
        formula="v <- momentum v - learning_rate sign(dGQ/d||W||); ||W|| <- ||W|| + v; "
        "GQ = mean |(g - H g) / (g + eps sgn(g)) - 1|",
        reference="Dauphin and Schoenholz (2019), eq. 1 and algorithm 1",
    ),
)
