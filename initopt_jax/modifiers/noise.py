"""Gradient noise: Gaussian, smaller step by step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.keys import named_key
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, Modifier, PyTree


class NoiseState(NamedTuple):
    """Steps so far, int32."""

    step_count: Array


def gradient_noise(
    eta: ArrayLike = 0.01, gamma: ArrayLike = 0.55
) -> optax.GradientTransformationExtraArgs:
    """Adds normal noise of variance `eta / (1 + t)^gamma` to every entry, `t` from 0.

    The noise comes from the `key` that the training step hands to its transformation, a new one
    each step, so that a lane's noise is that of its own stream.

    Args:
        eta: variance at the first step; at least 0, concrete or traced.
        gamma: at least 0, concrete or traced.

    Raises:
        ValueError: if a concrete number is negative or not a number; on update, without a `key`.

    Reference:
        Neelakantan et al. (2015), Adding gradient noise improves learning for very deep networks,
        eq. 1.

    >>> noise = gradient_noise(eta=1.0)
    >>> zeros = jnp.zeros(10_000)
    >>> noisy, _ = noise.update(zeros, noise.init(zeros), key=jax.random.key(0))
    >>> round(float(noisy.std()), 1)
    1.0
    """
    checks.non_negative("eta", eta)
    checks.non_negative("gamma", gamma)

    def init(params: PyTree) -> NoiseState:
        del params
        return NoiseState(jnp.zeros((), jnp.int32))

    def apply(
        updates: PyTree, state: NoiseState, params: PyTree = None, *, key: Any = None, **extra: Any
    ) -> tuple[PyTree, NoiseState]:
        del params, extra
        if key is None:
            raise ValueError("gradient_noise needs a key in update, a new one each step")
        own = named_key(key, "gradient_noise")

        def add(path: str, update: Array) -> Array:
            (wide,) = widen(update)
            count = state.step_count.astype(wide.dtype)
            deviation = jnp.sqrt(scalar(eta, wide) * (1 + count) ** -scalar(gamma, wide))
            draw = jax.random.normal(named_key(own, path), wide.shape, wide.dtype)
            return (wide + deviation * draw).astype(update.dtype)

        noisy = [add(path, update) for path, update in named_leaves(updates)]
        count = jnp.asarray(optax.safe_increment(state.step_count))
        return jax.tree.unflatten(jax.tree.structure(updates), noisy), NoiseState(count)

    return on_real_leaves(optax.GradientTransformationExtraArgs(init, apply))


ENTRIES = (
    Modifier(
        name="gradient_noise",
        place="pre-transform",
        make=gradient_noise,
        formula="g <- g + N(0, eta / (1 + t)^gamma)",
        reference="Neelakantan et al. (2015), eq. 1",
    ),
)
