"""GradInit: scales of the leaves under which one step of the optimizer lowers the loss most."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.errors import unknown_name
from initopt_jax.networks.network import Network, leaves_of, with_leaves
from initopt_jax.norms import norm as two_norm
from initopt_jax.types import Array, ModelInitializer, PyTree

Scales = dict[str, Array]


def grad_init(
    key: Array,
    params: PyTree,
    network: Network,
    *,
    optimizer: Literal["sgd", "adam"] = "sgd",
    step_size: ArrayLike = 0.1,
    gamma: ArrayLike = 1.0,
    learning_rate: ArrayLike = 0.01,
    smallest: ArrayLike = 0.01,
    steps: int = 100,
) -> tuple[PyTree, dict[str, Array]]:
    """Learns one factor per leaf, so that the loss after one step of training is small.

    `minimize over m: L(S'; theta_m - step_size A[g])`, `g = grad L(S; theta_m)`,
    `theta_m = (m_1 theta_1, m_2 theta_2, ...)`, subject to `||g|| <= gamma`

    `A[g] = g` and the 2-norm for SGD; `A[g] = sign(g)`, Adam's first step, and the 1-norm for Adam.
    A step lowers the norm where it is above `gamma`, else the loss. `S'` shares half of its
    examples with `S`. Leaves of zeros, such as biases, stay.

    Args:
        key: of the batches: 128 examples are shared, 128 belong to each of both.
        params: first weights.
        network: the network and its data.
        optimizer: whose first step it is, `sgd` or `adam`; a text, not traced.
        step_size: `eta`, learning rate of that step; above 0, concrete or traced.
        gamma: bound of the gradient's norm, above 0, concrete or traced. The 1-norm of Adam grows
            with the number of weights.
        learning_rate: `tau`, of the factors, above 0, concrete or traced.
        smallest: `alpha`, lower bound of the factors, above 0, concrete or traced.
        steps: how many, a Python int: it fixes the length of the loop.

    Returns:
        The weights, and `loss_before`, `loss_after`, the loss after one step of training, and
        `gradient_norm_before`, `gradient_norm_after`, on batches that no step has seen.

    Raises:
        ValueError: if `optimizer` is unknown or a concrete option is out of range.

    Reference:
        Zhu, Ni, Xu, Kong, Huang and Goldstein (2021), GradInit, algorithm 1.

    Deviations:
        As in the authors' code, the factors move by Adam, with one state for the norm and one for
        the loss; algorithm 1 writes plain descent. That code holds the step `A[g]` of SGD constant
        and divides it by its norm, and bounds factors of biases by 0; here the loss is
        differentiated as algorithm 1 writes it. 100 steps by default, one epoch (390) in the paper.
    """
    if optimizer not in ("sgd", "adam"):
        raise ValueError(unknown_name("optimizer", optimizer, ("sgd", "adam")))
    for name, value in (
        ("step_size", step_size),
        ("gamma", gamma),
        ("learning_rate", learning_rate),
        ("smallest", smallest),
    ):
        checks.positive(name, value)
    checks.count("steps", steps)
    first = leaves_of(params)

    def weights(scales: Scales) -> PyTree:
        return with_leaves(params, {path: first[path] * scales[path] for path in first})

    def gradient(scales: Scales, inputs: Array, targets: Array) -> PyTree:
        return jax.grad(network.mean_loss)(weights(scales), inputs, targets)

    def norm(scales: Scales, thirds: list) -> Array:
        slopes = gradient(scales, *_joined(thirds[:2]))
        if optimizer == "adam":
            return jnp.asarray(sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(slopes)))
        return two_norm(*jax.tree.leaves(slopes))

    def loss(scales: Scales, thirds: list) -> Array:
        slopes = gradient(scales, *_joined(thirds[:2]))
        moves = jax.tree.map(jnp.sign, slopes) if optimizer == "adam" else slopes
        stepped = jax.tree.map(lambda w, move: w - step_size * move, weights(scales), moves)
        return network.mean_loss(stepped, *_joined(thirds[::2]))

    adam = optax.scale_by_adam()
    steps_key, last_key = jax.random.split(key)

    def step(number: Array, carry: tuple) -> tuple:
        scales, norm_state, loss_state = carry
        thirds = _thirds(jax.random.fold_in(steps_key, number), network)
        length, norm_slopes = jax.value_and_grad(norm)(scales, thirds)

        def lower_norm() -> tuple:
            moves, state = adam.update(norm_slopes, norm_state)
            return moves, state, loss_state

        def lower_loss() -> tuple:
            moves, state = adam.update(jax.grad(loss)(scales, thirds), loss_state)
            return moves, norm_state, state

        moves, *states = jax.lax.cond(length > gamma, lower_norm, lower_loss)
        scales = jax.tree.map(
            lambda m, move: jnp.maximum(m - learning_rate * move, smallest).astype(m.dtype),
            scales,
            moves,
        )
        return scales, *states

    ones = {
        path: jnp.ones((), jnp.promote_types(w.dtype, jnp.float32)) for path, w in first.items()
    }
    scales, *_ = jax.lax.fori_loop(0, steps, step, (ones, adam.init(ones), adam.init(ones)))
    unseen = _thirds(last_key, network)
    info = {
        "loss_before": loss(ones, unseen),
        "loss_after": loss(scales, unseen),
        "gradient_norm_before": norm(ones, unseen),
        "gradient_norm_after": norm(scales, unseen),
    }
    return weights(scales), info


def _thirds(key: Array, network: Network) -> list[tuple[Array, Array]]:
    """Three lots of different examples: one that two batches share, and the rest of each."""
    inputs, targets = network.batch(key, 384)
    size = max(1, len(inputs) // 3)
    return [(inputs[at : at + size], targets[at : at + size]) for at in (size, 0, 2 * size)]


def _joined(lots: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    inputs, targets = zip(*lots, strict=True)
    return jnp.concatenate(inputs), jnp.concatenate(targets)


ENTRIES = (
    ModelInitializer(
        name="grad_init",
        refine=grad_init,
        base="he_normal",
        formula="min over m of L(S'; theta_m - step_size A[grad L(S; theta_m)]), ||grad|| <= gamma",
        reference="Zhu et al. (2021), GradInit, algorithm 1",
    ),
)
