"""Layer-sequential unit variance: each layer's outputs are measured and scaled to variance 1."""

import jax
import jax.numpy as jnp

from initopt_jax import checks
from initopt_jax.errors import ConfigError
from initopt_jax.networks.network import Network, leaves_of, with_leaves
from initopt_jax.norms import rescaled
from initopt_jax.types import Array, ModelInitializer, PyTree

ITERATIONS = 10  # the paper's T_max
TOLERANCE = 0.1  # the paper's Tol_var


def lsuv(
    key: Array, params: PyTree, network: Network, *, variance: float = 1.0
) -> tuple[PyTree, dict[str, Array]]:
    """Scales every kernel so that its sums have unit variance on a batch, from the first layer on.

    `while |Var(B_l) - variance| >= 0.1 variance: W_l <- W_l sqrt(variance / Var(B_l))`

    Starts from orthogonal weights. The variance is over examples, places and units of the sums
    before bias and activation; at most ten times per layer.

    Args:
        key: chooses the batch of 256 training examples.
        params: orthogonal first weights.
        network: the network and its data.
        variance: asked of every layer, above 0, concrete or traced.

    Returns:
        The weights, and `variance/<path>` of every kernel as it is in the end.

    Raises:
        ConfigError: if a kernel lies inside a loop, where its sums are not seen, or there is none.
        ValueError: if a concrete `variance` is not above 0.

    Reference:
        Mishkin and Matas (2016), All you need is a good init, algorithm 1.

    Deviations:
        None; biases, which the paper starts at 0, do not enter the variance.
    """
    checks.positive("variance", variance)
    kernels = network.anatomy.kernels
    if not kernels:
        raise ConfigError("lsuv scales kernels, and this model has none")
    for kernel in kernels:
        if kernel.in_scan or kernel.layout.batch_axes:
            why = "is used inside a loop" if kernel.in_scan else "holds several kernels"
            raise ConfigError(
                f"lsuv measures each layer's outputs by themselves, and {kernel.path!r} {why}"
            )
    inputs, _ = network.batch(key)

    def measured(params: PyTree, path: str) -> Array:
        sums = network.sums(params, inputs)[path]
        return jnp.var(sums.astype(jnp.promote_types(sums.dtype, jnp.float32)))

    info = {}
    for path in (kernel.path for kernel in kernels):

        def scaled(_: int, params: PyTree, path: str = path) -> PyTree:
            # In units of a scale: the variance of huge or tiny sums leaves the range of float32.
            sums, scale = rescaled(network.sums(params, inputs)[path])
            now = jnp.var(sums)
            near = jnp.abs(scale * (scale * now) - variance) < TOLERANCE * variance
            factor = jnp.sqrt(variance / jnp.where(now == 0, 1.0, now)) / scale
            factor = jnp.where(near | (now == 0), 1.0, factor)
            return with_leaves(params, {path: leaves_of(params)[path] * factor})

        params = jax.lax.fori_loop(0, ITERATIONS, scaled, params)
        info[f"variance/{path}"] = measured(params, path)
    return params, info


ENTRIES = (
    ModelInitializer(
        name="lsuv",
        refine=lsuv,
        base="orthogonal",
        formula="W_l <- W_l sqrt(variance / Var(x W_l)), layer by layer, on a batch",
        reference="Mishkin and Matas (2016), algorithm 1",
    ),
)
